#!/bin/sh
# All tests, with coverage: groups that know nothing of each other, each on a copy of the machine of its own, three at
# a time. Usage, as root: run.sh [GROUP...], a group being a folder or a file of tests.
set -eu
cd "$(dirname "$0")/.."

if [ "${1-}" = --group ]; then
    folder=$2
    name=$3
    log=$folder/$(echo "$name" | tr / -).log
    shift 3
    [ "$name" != tests/system ] || set -- --ignore=tests/system/setuid --ignore=tests/system/setup "$@"
    # The doors' promises on time are kept to a fifth of a second: what runs beside must not take that from them.
    [ "$name" != tests/pam ] || first="nice -n -10"
    status=0
    tests/support/isolated-root.sh env COVERAGE_FILE="$folder/coverage" \
        /usr/bin/python3 -m coverage run -m pytest --durations=5 "$name" "$@" > "$log" 2>&1 || status=$?
    { [ "$status" -eq 0 ] && echo "$name: $(tail -n 1 "$log")" && { grep "^Fault table: " "$log" || :; }; } || { echo "$name: FAILED"; cat "$log"; }
    exit "$status"
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
whole=$#
# The longest first; it mostly waits, for phones and for the end of their time.
[ $# -gt 0 ] || set -- tests/system tests/unit tests/faults tests/system/setuid tests/browser tests/system/setup tests/pam \
    tests/client tests/sandbox
echo "Testing $*: each on a copy of this machine, three at a time. This takes about ten minutes."
status=0
printf '%s\n' "$@" | xargs -n 1 -P 3 tests/run.sh --group "$folder" || status=$?
/usr/bin/python3 -m coverage combine -q --data-file="$folder/coverage" > "$folder/combined" 2>&1 ||
    cat "$folder/combined"
/usr/bin/python3 -m coverage report --data-file="$folder/coverage" > "$folder/report" 2>&1 || :
grep TOTAL "$folder/report" || cat "$folder/report"
# What decides about a login is tested on nearly every way through it; told where all tests ran.
if [ "$whole" -eq 0 ]; then
    decides=pam_iampass/login/verification.py,pam_iampass/login/recovery.py,pam_iampass/login/policy.py,pam_iampass/login/decisions.py
    decides=$decides,pam_iampass/login/rate_limit.py,pam_iampass/login/rate_limit_state.py,pam_iampass/login/recovery_codes.py
    decides=$decides,pam_iampass/system/state_dir.py,pam_iampass/system/trusted_file.py,pam_iampass/system/atomic_write.py
    decides=$decides,pam_iampass/system/file_lock.py,"pam_iampass/client/*"
    /usr/bin/python3 -m coverage report --data-file="$folder/coverage" --include="$decides" > "$folder/decides" 2>&1 &&
        awk '/^pam_iampass/ && $6 + 0 < 95 { print "Coverage of " $1 " is " $6 ", and has to be 95%"; low = 1 }
             /^TOTAL/ { print "Branch coverage of what decides about a login: " $6 }
             END { exit low }' "$folder/decides" || { cat "$folder/decides"; status=1; }
fi
# One line for all groups, in the form of a test runner's own.
tail -q -n 1 "$folder"/*.log | awk -v status="$status" '
    { for (word = 2; word <= NF; word++) count[$word] += $(word - 1) + 0 }
    END {
        failed = count["failed"] + count["failed,"] + count["error"] + count["errors"] + count["error,"] + count["errors,"]
        if (status != 0 && failed == 0) failed = 1
        printf "%d passed, %d failed, %d skipped\n", count["passed"] + count["passed,"], failed,
            count["skipped"] + count["skipped,"]
    }'
exit "$status"
