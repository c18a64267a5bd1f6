#!/bin/sh
# venv.sh PYTHON VENV LOCK: a virtual environment at VENV with what LOCK lists, readable for everybody.
set -eu
umask 022
python=$1 venv=$2 lock=$3
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "setup: $python is not Python 3.11 or newer; name one that is: make PYTHON=/path/to/python3 ..." >&2
    exit 1
fi
version='import sys; print(sys.version_info[:2])'
if [ "$("$venv/bin/python" -c "$version" 2>/dev/null)" != "$("$python" -c "$version")" ]; then
    "$python" -m venv --clear "$venv"
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --requirement "$lock"
