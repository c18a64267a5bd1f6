#!/bin/sh
# Writes requirements.lock (run time, its extras and build), requirements-deploy.lock (that and Ansible) and
# requirements-dev.lock with hashes and without registry addresses.
set -eu
cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT INT TERM
python3 -m venv "$tools"
"$tools/bin/pip" install --quiet 'pip-tools==7.6.2'
compile() {
    output=$1
    shift
    CUSTOM_COMPILE_COMMAND="make lock" "$tools/bin/pip-compile" --quiet --no-emit-index-url --no-emit-trusted-host \
        --no-emit-find-links --generate-hashes --allow-unsafe --strip-extras "$@" --output-file "$output" pyproject.toml
}
compile requirements.lock --extra build --extra quic
compile requirements-deploy.lock --extra build --extra quic --extra deploy --constraint requirements.lock
compile requirements-dev.lock --extra build --extra quic --extra dev --constraint requirements.lock
