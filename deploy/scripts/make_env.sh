#!/usr/bin/env bash
# Print an .env file for docker-compose with new random secrets: deploy/scripts/make_env.sh > .env
set -euo pipefail

# The file has passwords. Other users of the machine must not read it.
if [ -f /dev/stdout ]; then
    chmod 600 /dev/stdout
fi

secret() {
    od -An -N 24 -t x1 /dev/urandom | tr -d ' \n'
}

echo "JWT_SECRET=$(secret)"
echo "POSTGRES_PASSWORD=$(secret)"
echo "GRAFANA_PASSWORD=$(secret)"
echo "SVGX_ADMIN_PASSWORD=$(secret)"
# The gateway's image has the command that makes the keys of NATS.
docker run --rm "svgx/gateway:${SVGX_VERSION:-0.1.0}" nats-keys --format env
