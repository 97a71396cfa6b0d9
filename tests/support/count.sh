#!/bin/sh
# Print one summary line for several logs of pytest. Usage: count.sh STATUS LOG...
status=$1
shift
tail -q -n 1 "$@" | awk -v status="$status" '
    { for (word = 2; word <= NF; word++) { name = $word; sub(",", "", name); count[name] += $(word - 1) + 0 } }
    END {
        failed = count["failed"] + count["error"] + count["errors"]
        if (status != 0 && failed == 0) failed = 1
        printf "%d passed, %d failed, %d skipped\n", count["passed"], failed, count["skipped"]
    }'
