#!/bin/sh
# Style (ruff) and types (mypy --strict). All three run, so that one call shows everything.
set -eu
tests/support/python-tools.sh ruff
ruff=${PAM_IAMPASS_TOOLS:-/var/tmp/pam-iampass-tools-$(id -u)}/ruff/bin/ruff
failed=0
"$ruff" check --no-cache . || failed=1
"$ruff" format --no-cache --check --quiet . || { echo "run: $ruff format ."; failed=1; }
/usr/bin/python3 -m mypy --cache-dir=/dev/null || failed=1
exit $failed
