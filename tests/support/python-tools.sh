#!/bin/sh
# Install Python programs that Debian does not package, each into its own virtual environment, which is kept.
# Usage: python-tools.sh ruff|published-client|browser...
#
# They are in PAM_IAMPASS_TOOLS (/var/tmp/pam-iampass-tools-UID), which only its owner can write. Tests find them there
# (tests/support/venv.py), because the isolated root has no network.
set -eu
tools=${PAM_IAMPASS_TOOLS:-/var/tmp/pam-iampass-tools-$(id -u)}
mkdir -p -m 0700 "$tools"
[ -O "$tools" ] && ! [ -L "$tools" ] || { echo "python-tools.sh: $tools belongs to another user" >&2; exit 1; }
exec 9> "$tools/lock"
flock 9

for name; do
    case $name in
        ruff) wanted='ruff>=0.14,<0.15' ;;
        published-client) wanted='IAMPASS==0.0.32' ;;
        browser) wanted='playwright==1.65.2 axe-playwright-python==0.1.8' ;;
        *) echo "usage: python-tools.sh ruff|published-client|browser..." >&2; exit 2 ;;
    esac
    # Recreate it if the requirement changed, or if its Python was removed.
    if [ "$(cat "$tools/$name/made-of" 2> /dev/null)" != "$wanted" ] || ! "$tools/$name/bin/python" -c ''; then
        echo "Installing from PyPI, into $tools/$name: $wanted"
        /usr/bin/python3 -m venv --clear "$tools/$name"
        "$tools/$name/bin/python" -m pip install --quiet --disable-pip-version-check $wanted
        echo "$wanted" > "$tools/$name/made-of"
    fi
done
