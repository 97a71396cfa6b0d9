#!/bin/sh
# All tests, with coverage; inside machine.sh. Arguments go to pytest.
set -eu
data=$(mktemp -d)
export COVERAGE_FILE="$data/coverage"
[ $# -gt 0 ] || set -- tests
status=0
/usr/bin/python3 -m coverage run -m pytest "$@" || status=$?
/usr/bin/python3 -m coverage combine -q "$data" > "$data/log" 2>&1 || cat "$data/log"
/usr/bin/python3 -m coverage report > "$data/report" && tail -n 1 "$data/report"
exit "$status"
