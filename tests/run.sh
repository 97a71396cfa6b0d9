#!/bin/sh
# Run tests: groups of them, each in its own isolated root, some concurrently.
# Usage, as root: run.sh [GROUP...]     all tests but the long ones, in the groups of groups.txt; a group is the arguments
#                                       of pytest: a directory or file of tests, and options
#                 run.sh --long         the long ones (pyproject.toml), at last those that are to run alone
# With COVERAGE=1 and no argument, the code that decides about a login must have nearly full branch coverage.
set -eu
cd "$(dirname "$0")/.."
AT_A_TIME=10

# run_group FOLDER GROUP: run one group. Prints one line, or the whole log if a test failed.
run_group() {
    folder=$1
    group=$2
    log=$(mktemp "$folder/XXXXXX.log")
    status=0
    # Measuring nearly doubles the processor time. These tests are about the code whose coverage is checked below.
    case ${COVERAGE:+$group} in
    *tests/unit/login* | *tests/unit/session* | *tests/unit/system* | *tests/client*) measured='-m coverage run' ;;
    *) measured= ;;
    esac
    # shellcheck disable=SC2086 # a group has words and patterns
    tests/support/isolated-root.sh --or-skip env COVERAGE_FILE="$folder/coverage" PYTHONPYCACHEPREFIX="$folder/bytecode" \
        PAM_IAMPASS_STAGED="$folder/staged" PAM_IAMPASS_SHARED="$folder" FEW_EXAMPLES=1 \
        /usr/bin/python3 $measured -m pytest --durations=5 -m "$chosen" $group > "$log" 2>&1 || status=$?
    if [ "$status" -eq 0 ]; then
        echo "$group: $(tail -n 1 "$log" | tr -d =)"
    else
        echo "$group: FAILED"
        cat "$log"
    fi
    return "$status"
}

if [ "${1-}" = --group ]; then
    chosen=$3
    run_group "$2" "$4"
    exit
fi

mkdir -p build
folder=$(mktemp -d "$PWD/build/tests.XXXXXX")
trap 'rm -rf "$folder"; rmdir build 2> /dev/null || :' EXIT
whole=$#
chosen='not long'
if [ "${1-}" = --long ]; then
    shift
    chosen='long and not alone'
elif [ $# -eq 0 ]; then
    # They begin with those that take longest.
    while read -r group; do set -- "$@" "$group"; done < tests/groups.txt
fi
case $chosen in
    not*) takes='six minutes' ;;
    *) takes='four minutes' ;;
esac
partly=$(tests/support/isolated-root.sh --check --or-skip)
[ -n "$partly" ] || echo "Testing in isolated roots: this machine is not changed. This takes about $takes."
# Compile the tests and all packages that they use once: groups that start at the same time would each do it.
PYTHONPYCACHEPREFIX="$folder/bytecode" PYTHONDONTWRITEBYTECODE='' /usr/bin/python3 -m pytest --collect-only -qq tests \
    > /dev/null 2>&1 &
make -s install DESTDIR="$folder/staged" BUILD="$folder/build" > "$folder/installed" 2>&1 || { cat "$folder/installed"; exit 1; }
wait
status=0
# at_a_time NUMBER MARKS GROUP...: run groups, the tests that have these marks of them.
at_a_time() {
    number=$1
    marks=$2
    shift 2
    for group; do printf '%s\0' "$group"; done |
        xargs -0 -r -n 1 -P "$number" tests/run.sh --group "$folder" "$marks" || status=$?
}
# files_of MARKS: the files that have tests with these marks.
files_of() {
    marks="$1 and not (needs_booted_machine or needs_virtual_machine)"
    /usr/bin/python3 -m pytest --collect-only -qq -m "$marks" tests > "$folder/collected" || { cat "$folder/collected" >&2; return 1; }
    sed -n 's/^\(tests\/[^:]*\): .*/\1/p' "$folder/collected"
}
if [ "$chosen" = 'not long' ]; then
    at_a_time "$AT_A_TIME" "$chosen" "$@"
else
    # shellcheck disable=SC2086 # names of files
    files=$(files_of "$chosen")
    at_a_time "$AT_A_TIME" "$chosen" $files
    echo "Now the tests of promised bounds, with no other test beside them."
    # shellcheck disable=SC2086
    files=$(files_of alone)
    at_a_time 1 alone $files
fi
if [ "$whole" -eq 0 ] && [ -n "${COVERAGE-}" ]; then
    /usr/bin/python3 -m coverage combine -q --data-file="$folder/coverage" > "$folder/combined" 2>&1 ||
        cat "$folder/combined"
    decides=pam_iampass/login/verification.py,pam_iampass/login/recovery.py,pam_iampass/login/policy.py,pam_iampass/login/decisions.py
    decides=$decides,pam_iampass/login/at_iampass.py,pam_iampass/login/at_gateway.py
    decides=$decides,pam_iampass/login/throttle.py,pam_iampass/login/throttle_store.py
    decides=$decides,pam_iampass/system/database.py,pam_iampass/system/trusted_file.py,pam_iampass/system/atomic_write.py
    decides=$decides,pam_iampass/system/file_lock.py,"pam_iampass/client/*"
    /usr/bin/python3 -m coverage report --data-file="$folder/coverage" --include="$decides" > "$folder/decides" 2>&1 &&
        awk '/^pam_iampass/ && $6 + 0 < 95 { print "Coverage of " $1 " is " $6 ", but must be at least 95%"; low = 1 }
             /^TOTAL/ { print "Branch coverage of the code that decides about a login: " $6 }
             END { exit low }' "$folder/decides" || { cat "$folder/decides"; status=1; }
fi
/usr/bin/python3 -m tests.reports
PARTLY=$partly tests/support/count.sh "$status" "$folder"/*.log
