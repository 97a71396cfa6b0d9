#!/bin/sh
# Name the failed tests in logs of pytest, and print one summary line. Fails if STATUS is not 0, if a test failed, or if
# in one of the logs no test passed. Usage: count.sh STATUS LOG...
status=$1
shift
grep -hE '^(FAILED|ERROR) ' "$@" | cut -c 1-300
for log; do tail -n 1 "$log"; done | awk -v status="$status" '
    !/[0-9] passed/ { status = 1 }
    { for (word = 2; word <= NF; word++) { name = $word; sub(",", "", name); count[name] += $(word - 1) + 0 } }
    END {
        failed = count["failed"] + count["error"] + count["errors"]
        if (status != 0 && failed == 0) failed = 1
        printf "%d passed, %d failed, %d skipped\n", count["passed"], failed, count["skipped"]
        exit failed != 0
    }'
