#!/bin/sh
# Run the tests that need neither root nor an installation, with the python3 of PATH: the system's own, or that of a
# virtual environment after `pip install -e '.[dev]'`.
set -eu
cd "$(dirname "$0")/.."

if [ "${1-}" = --group ]; then
    shift
    folder=$1
    shift
    log=$(mktemp "$folder/XXXXXX.log")
    status=0
    PYTHONDONTWRITEBYTECODE=1 python3 -m pytest -q \
        -m 'not (needs_root or needs_isolated_root or needs_programs or needs_published_client)' $1 > "$log" 2>&1 || status=$?
    [ "$status" -eq 0 ] && echo "$1: $(tail -n 1 "$log")" || { echo "$1: FAILED"; cat "$log"; }
    exit "$status"
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
echo "Testing what needs neither root nor an installation. This takes less than a minute."
status=0
for group in 'tests/client --part=1/2' 'tests/client --part=2/2' tests/unit 'tests/sandbox tests/faults'; do
    printf '%s\0' "$group"
done | xargs -0 -n 1 -P 4 tests/check.sh --group "$folder" || status=$?
tests/support/count.sh "$status" "$folder"/*.log
exit "$status"
