#!/bin/sh
# Run a command on a copy of this machine: whatever it changes in files, and every process that it leaves, is gone
# afterwards. The folders are overlays that live in memory; mounts and processes are in namespaces of their own. Only
# the folder that it is run in stays the real one.
# Usage, as root: machine.sh COMMAND [ARGUMENT...]
set -eu

if [ "${1-}" != --inside ]; then
    [ "$(id -u)" -eq 0 ] || { echo "machine.sh: must run as root (it needs private mounts)" >&2; exit 1; }
    copy=$(mktemp -d /tmp/machine.XXXXXX)
    trap 'rmdir "$copy"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    status=0
    unshare --mount --propagation private --pid --fork --kill-child --mount-proc -- "$0" --inside "$copy" "$@" ||
        status=$?
    exit "$status"
fi

copy=$2
shift 2
here=$PWD
mount -t tmpfs -o mode=0755,size=4g machine "$copy"
cp /proc/self/mountinfo "$copy/mounts"
mkdir "$copy/here"
mount --bind "$here" "$copy/here"
for folder in /etc /usr /var /home /root /opt; do
    [ -d "$folder" ] || continue
    name=${folder#/}
    mkdir -p "$copy/$name/upper" "$copy/$name/work"
    chmod --reference="$folder" "$copy/$name/upper"
    mkdir "$copy/$name/before"
    mount --rbind "$folder" "$copy/$name/before"
    mount -t overlay -o "lowerdir=$folder,upperdir=$copy/$name/upper,workdir=$copy/$name/work" overlay "$folder"
    # What else is mounted below is not seen through an overlay: it is shown as it is, read-only.
    awk -v folder="$folder/" 'index($5, folder) == 1 { print $5 }' "$copy/mounts" | while read -r below; do
        [ -e "$below" ] || continue # gone since the list was made
        mount --bind "$copy/$name/before/${below#"$folder"/}" "$below"
        mount -o remount,bind,ro "$below"
    done
done
mount --bind "$copy/here" "$here"
if ! [ -L /dev/log ]; then
    # A machine without a journal: give the copy a /dev/log of its own, beside the devices that there are.
    mkdir "$copy/dev"
    mount --rbind /dev "$copy/dev"
    mount -t tmpfs -o mode=0755 devices /dev
    for device in "$copy"/dev/*; do
        entry=/dev/$(basename "$device")
        if [ -L "$device" ]; then
            cp -P "$device" "$entry"
        elif [ "$entry" = /dev/ptmx ]; then
            mknod -m 666 "$entry" c 5 2 # the kernel looks for the pts beside it
        elif [ -d "$device" ]; then
            mkdir "$entry"
            mount --rbind "$device" "$entry"
        elif ! [ -S "$device" ]; then
            : > "$entry"
            mount --bind "$device" "$entry"
        fi
    done
    ln -s /run/systemd/journal/dev-log /dev/log
fi
grep -qsw "$(uname -n)" /etc/hosts || echo "127.0.1.1 $(uname -n)" >> /etc/hosts # sudo looks its machine up
mount -t tmpfs -o mode=0755 run /run
mkdir -p -m 0755 /run/sshd /run/systemd/journal /run/user /run/lock
cd "$here"
mkdir "$copy/scratch"
export MACHINE_COPY=1 MACHINE_SCRATCH="$copy/scratch" PYTHONPYCACHEPREFIX="$copy/bytecode"
"$@"
