#!/bin/sh
# Remove the regular users of a machine, and its settings for sshd and sudo, from the files in /etc, before tests set up
# their own. Usage, only in a copy of the machine (isolated-root.sh, container.py): plain-machine.sh FOLDER
set -eu
[ -n "${MACHINE_COPY-}" ] || { echo "plain-machine.sh: this is not a copy of the machine" >&2; exit 1; }
rm -f /etc/ssh/sshd_config.d/* /etc/sudoers.d/*
for file in passwd group; do
    awk -F : '$3 < 1000 || $3 == 65534' "/etc/$file" > "$1/$file"
    cat "$1/$file" > "/etc/$file"
    [ $file = passwd ] && shadow=shadow || shadow=gshadow
    [ -e /etc/$shadow ] || continue
    awk -F : 'NR == FNR { kept[$1]; next } $1 in kept' "/etc/$file" "/etc/$shadow" > "$1/$shadow"
    cat "$1/$shadow" > "/etc/$shadow"
done
[ ! -e /usr/share/openssh/sshd_config ] || cp /usr/share/openssh/sshd_config /etc/ssh/
