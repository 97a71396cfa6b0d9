#!/bin/sh
# Run the tests that need neither root nor an installation, with the python3 of PATH (for example of a
# virtual environment after `pip install -e '.[dev]'`) or, if that lacks the packages, with the system's.
set -eu
cd "$(dirname "$0")/.."

if [ "${1-}" = --group ]; then
    shift
    folder=$1
    shift
    log=$(mktemp "$folder/XXXXXX.log")
    status=0
    PYTHONDONTWRITEBYTECODE=1 "$PYTHON" -m pytest -q \
        -m 'not (needs_root or needs_isolated_root or needs_programs or needs_published_client)' $1 > "$log" 2>&1 || status=$?
    [ "$status" -eq 0 ] && echo "$1: $(tail -n 1 "$log")" || { echo "$1: FAILED"; cat "$log"; }
    exit "$status"
fi

for PYTHON in python3 /usr/bin/python3 ""; do
    "$PYTHON" -c 'import pytest, hypothesis, pytest_timeout, aiohttp, trustme, yaml, click, rich, segno, itsdangerous, pexpect, prometheus_client' \
        2> /dev/null && break
done
export PYTHON
[ -n "$PYTHON" ] || {
    echo "check.sh: python3 lacks packages; make a virtual environment and run: pip install -e '.[dev]'" >&2
    exit 1
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
echo "Running the tests that need neither root nor an installation. This takes less than a minute."
status=0
# At the same time, since most of these tests wait: logins and sessions above all.
others='tests/unit --ignore=tests/unit/login --ignore=tests/unit/session --ignore-glob=tests/unit/test_*.py'
for group in 'tests/unit/login --part=1/4' 'tests/unit/login --part=2/4' 'tests/unit/login --part=3/4' \
    'tests/unit/login --part=4/4' 'tests/unit/session --part=1/3' 'tests/unit/session --part=2/3' \
    'tests/unit/session --part=3/3' 'tests/unit/test_*.py --part=1/2' 'tests/unit/test_*.py --part=2/2' \
    "$others --part=1/3" "$others --part=2/3" "$others --part=3/3" 'tests/client --part=1/3' \
    'tests/client --part=2/3' 'tests/client --part=3/3' 'tests/sandbox --part=1/2' \
    'tests/sandbox --part=2/2' tests/faults; do
    printf '%s\0' "$group"
done | xargs -0 -n 1 -P 18 tests/check.sh --group "$folder" || status=$?
tests/support/count.sh "$status" "$folder"/*.log
