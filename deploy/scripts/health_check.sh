#!/usr/bin/env bash
# Check that a gateway answers and serves metrics. Exit status: 0 healthy, 1 unhealthy. SVGX_URL is the gateway's address.
set -uo pipefail

url="${SVGX_URL:-http://localhost:8000}"

for path in /health/ /metrics/prometheus; do
    if ! curl --fail --silent --show-error --max-time 10 --output /dev/null "$url$path"; then
        echo "ERROR: $url$path does not answer" >&2
        exit 1
    fi
done
echo "Health checks passed"
