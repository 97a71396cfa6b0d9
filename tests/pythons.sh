#!/bin/sh
# The unit and client tests on each other Python from 3.9 on that this machine has; inside machine.sh.
set -eu
seen=
for version in 3.9 3.10 3.11 3.12 3.13 3.14; do
    for python in $(command -v "python$version" || :) "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python; do
        "$python" -c "import venv, sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2> /dev/null || continue
        case $python in /usr/bin/*) continue ;; esac
        echo "Python $version"
        environment=$(mktemp -d)
        "$python" -m venv "$environment"
        "$environment/bin/pip" install -q --disable-pip-version-check \
            requests PyYAML click rich aiohttp trustme pytest pytest-timeout hypothesis
        "$environment/bin/python" -m pytest -q tests/unit tests/client
        seen="$seen $version"
        break
    done
done
[ -n "$seen" ] || echo "No other Python from 3.9 on is on this machine."
