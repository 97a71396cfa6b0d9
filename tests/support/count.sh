#!/bin/sh
# Name the failed tests in logs of pytest, and print one summary line. Fails if STATUS is not 0, if a test failed, or if
# in one of the logs no test passed. Usage: count.sh STATUS LOG...
# PARTLY, if set, says why tests that need an isolated root were left out. It is printed with their number, and with the
# command that runs them.
status=$1
shift
grep -hE '^(FAILED|ERROR) ' "$@" | cut -c 1-300
for log; do tail -n 1 "$log"; done | awk -v status="$status" -v partly="${PARTLY-}" '
    !/[0-9] passed/ && (partly == "" || !/[0-9] skipped/) { status = 1 }
    { for (word = 2; word <= NF; word++) { name = $word; sub(",", "", name); count[name] += $(word - 1) + 0 } }
    END {
        failed = count["failed"] + count["error"] + count["errors"]
        if ((status != 0 || count["passed"] == 0) && failed == 0) failed = 1
        printf "%d passed, %d failed, %d skipped\n", count["passed"], failed, count["skipped"]
        exit failed != 0
    }' || status=1
[ -n "${PARTLY-}" ] || exit "$status"
left_out=$(sed -n 's/^SKIPPED \[\([0-9]*\)\].*: needs an isolated root.*/\1/p' "$@" | awk '{ sum += $1 } END { print sum + 0 }')
echo "$PARTLY These are $left_out of the skipped tests."
echo "From a clone on a machine with Docker, this runs all tests:"
echo "    docker run --rm -it --privileged -v \"\$PWD:/pam-iampass\" -w /pam-iampass debian:13 \\"
echo "        sh -c 'apt-get update -qq && apt-get install -y -qq ca-certificates git make && make test'"
exit "$status"
