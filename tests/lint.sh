#!/bin/sh
# Style (ruff) and types (mypy --strict).
set -eu
tests/support/python-tools.sh ruff
ruff=${PAM_IAMPASS_TOOLS:-/var/tmp/pam-iampass-tools-$(id -u)}/ruff/bin/ruff
"$ruff" check --no-cache .
"$ruff" format --no-cache --check --quiet . || { echo "run: $ruff format ."; exit 1; }
/usr/bin/python3 -m mypy --cache-dir=/dev/null
