#!/bin/sh
# Run the unit and client tests on all other Python versions from 3.9 on this machine, two at a time.
# Usage: pythons.sh [VERSION...]
set -eu

if [ "${1-}" = --on ]; then
    environment=$(mktemp -d -p /var/tmp)
    trap 'rm -rf "$environment"' EXIT
    mkdir "$environment/logs"
    status=0
    {
        "$2" -m venv "$environment" &&
            "$environment/bin/pip" install -q --disable-pip-version-check \
                PyYAML click rich segno itsdangerous aiohttp trustme pexpect prometheus-client pytest pytest-timeout hypothesis
    } > "$environment/installed" 2>&1 || { cat "$environment/installed"; exit 1; }
    # At the same time: the tests mostly wait.
    for part in 'tests/unit/[a-k]*' 'tests/unit/[l-s]*' 'tests/unit/[t-z]*' tests/client; do
        log=$(mktemp "$environment/logs/XXXXXX")
        # asyncio before Python 3.13 has no abort_clients: the sandbox may leave a connection to the garbage collector.
        # shellcheck disable=SC2086 # a part is a pattern
        "$(dirname "$0")/support/isolated-root.sh" "$environment/bin/python" -m pytest -q $part \
            -W 'ignore:unclosed transport:ResourceWarning' > "$log" 2>&1 || touch "$environment/failed" &
    done
    wait
    "$2" --version
    [ ! -e "$environment/failed" ] || { status=1; cat "$environment"/logs/*; }
    "$(dirname "$0")/support/count.sh" "$status" "$environment"/logs/*
    exit
fi

list=$(mktemp)
[ $# -gt 0 ] || set -- 3.9 3.10 3.11 3.12 3.13 3.14
for version; do
    for python in $(command -v "python$version" || :) "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python; do
        "$python" -c "import venv, sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2> /dev/null || continue
        case $python in /usr/bin/* | /bin/*) continue ;; esac
        echo "$python" >> "$list"
        break
    done
done
[ -s "$list" ] || { echo "This machine has no other Python from 3.9 on."; exit 0; }
xargs -n 1 -P 2 "$0" --on < "$list"
