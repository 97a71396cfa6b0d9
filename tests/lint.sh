#!/bin/sh
# Style (ruff) and types (mypy --strict). ruff is not in Debian: it is installed into a folder of its own.
set -eu
tools=${PAM_IAMPASS_TOOLS:-/var/tmp/pam-iampass-tools-$(id -u)}
if ! [ -x "$tools/bin/ruff" ]; then
    /usr/bin/python3 -m venv "$tools"
    "$tools/bin/pip" install -q 'ruff>=0.14,<0.15'
fi
"$tools/bin/ruff" check --no-cache .
"$tools/bin/ruff" format --no-cache --check --quiet . || { echo "run: ruff format ."; exit 1; }
/usr/bin/python3 -m mypy --cache-dir=/dev/null
