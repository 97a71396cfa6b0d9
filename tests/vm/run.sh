#!/bin/sh
# Test the Debian packages of the committed tree on virtual machines, three at a time.
# Usage, as root: run.sh PACKAGES [PYTEST-ARGUMENT...]; PACKAGES is the folder of `make deb`. The packages are built
# again only if they are not from the current commit.
set -eu
cd "$(dirname "$0")/../.."
packages=$1
shift
if [ "$(cat "$packages/trixie/commit" 2> /dev/null)" != "$(git rev-parse HEAD)" ]; then
    packaging/deb.sh "$packages" trixie
fi
VM_IMAGE=$(tests/vm/image.sh "$packages/trixie")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# tested NAME PYTEST-ARGUMENT...: what pytest says is in NAME.log.
tested() {
    log=$folder/$1.log
    shift
    tests/support/isolated-root.sh env VM_IMAGE="$VM_IMAGE" \
        /usr/bin/python3 -m pytest -v --timeout 3600 --durations=10 "$@" 2>&1 | tee "$log"
}

if [ $# -gt 0 ]; then
    tested chosen "$@"
else
    tested selinux tests/vm/selinux | sed -u 's/^/selinux: /' &
    tested power tests/vm/test_power.py | sed -u 's/^/power: /' &
    tested others tests/vm --ignore=tests/vm/selinux --ignore=tests/vm/test_power.py | sed -u 's/^/others: /' &
    wait
fi
tests/support/count.sh 0 "$folder"/*.log
