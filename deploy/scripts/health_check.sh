#!/usr/bin/env bash
# Check that a gateway answers and serves metrics. Exit status: 0 healthy, 1 unhealthy. SVGX_URL is the gateway's address.
# SVGX_METRICS_URL is the address of its metrics if METRICS_PORT is set (default: SVGX_URL).
set -uo pipefail

url="${SVGX_URL:-http://localhost:8000}"

for page in "$url/health/" "${SVGX_METRICS_URL:-$url}/metrics/prometheus"; do
    if ! curl --fail --silent --show-error --max-time 10 --output /dev/null "$page"; then
        echo "ERROR: $page does not answer" >&2
        exit 1
    fi
done
echo "Health checks passed"
