#!/bin/sh
# Run a command as root in a copy of this machine, with its own files, processes, shared memory, host name and network,
# and discard the copy afterwards. Only the current directory is the real one.
# Usage, as root: isolated-root.sh [--check] [--or-container | --or-skip] [--shared-network] COMMAND [ARGUMENT...]
#
# Every copy is alike: its host name is `server`; its network is a loopback interface (--shared-network: the machine's
# own network, for a browser outside); names come from its own files; there are no regular users, no settings in
# sshd_config.d and sudoers.d, and no environment variables except those set here. Use env(1) to set others.
#
# A copy needs namespaces. In a container that may not make them, these run the command nevertheless, if it is a
# container to throw away:
#   --or-container  in the container itself, which gets back its files afterwards (container.py beside this file)
#   --or-skip       in the container itself, for tests: those that change a machine skip themselves (needs.py)
# --check runs no command. It says in one line where the command would run if that is not a copy, and fails if nowhere.
set -eu
support=$(dirname "$0")

if [ "${1-}" != --inside ]; then
    [ "$(id -u)" -eq 0 ] || { echo "isolated-root.sh: must run as root (it mounts file systems)" >&2; exit 1; }
    check=
    otherwise=
    while :; do
        case ${1-} in
            --check) check=--check ;;
            --or-container | --or-skip) otherwise=$1 ;;
            *) break ;;
        esac
        shift
    done
    own="--mount --propagation private --uts --ipc --pid --fork --kill-child --mount-proc"
    if unshare $own true 2> /dev/null; then
        [ -z "$check" ] || exit 0
        exec unshare $own -- "$0" --inside "$@"
    fi
    why="root may make no namespaces here (CAP_SYS_ADMIN is missing)"
    if [ -z "$otherwise" ] || ! refusal=$("$support/throw-away.sh"); then
        echo "This needs a copy of the machine, but $why: use a virtual machine, or a container that was started by" \
            "\`docker run -it --privileged debian:13\`.${otherwise:+ This machine is not used itself, because $refusal.}" >&2
        exit 1
    fi
    [ "${1-}" != --shared-network ] || shift # it has no other
    case $check$otherwise in
        --check--or-container)
            echo "This runs in the container itself, because $why. It changes /etc, /home, /run, /tmp, /usr and /var, and" \
                "puts them back at the end: do not change them meanwhile."
            ;;
        --check--or-skip) echo "Tests that need a copy of the machine are left out, because $why." ;;
        --or-container) exec /usr/bin/python3 "$support/container.py" "$@" ;;
        --or-skip) exec "$support/clean-environment.sh" NO_MACHINE_COPY=1 PYTHONDONTWRITEBYTECODE=1 "$@" ;;
    esac
    exit 0
fi

shift
network=own
if [ "$1" = --shared-network ]; then
    network=shared
    shift
fi
umask 022
ulimit -S -c 0
ulimit -n 65536 2> /dev/null || ulimit -n "$(ulimit -Hn)"

# All changes are written to memory, below a private /run. The current directory is kept open.
here=$PWD
exec 3< "$here"
mount -t tmpfs -o mode=0755,size=4g run /run
copy=/run/isolated-root
mkdir -m 0755 "$copy" "$copy/here" "$copy/scratch" "$copy/bytecode" /run/sshd /run/systemd /run/systemd/journal /run/user /run/lock
mount --bind /proc/self/fd/3 "$copy/here"
exec 3<&-

# The network.
if [ $network = own ]; then
    # Addresses that are no loopback ones.
    "$support/network-namespace.sh" "$copy/network" '
        ip link set lo up; ip address add 203.0.113.2/32 dev lo; ip address add 203.0.113.3/32 dev lo
        for last in 2 3; do ip address add 2001:db8::$last/128 dev lo 2> /dev/null || :; done'
    enter="nsenter --net=$copy/network"
fi

# The directories: overlays.
own="/etc/hostname /etc/hosts /etc/resolv.conf /etc/nsswitch.conf"
cp /proc/self/mountinfo "$copy/mounts"
for folder in /etc /usr /var /root /opt; do
    [ -d "$folder" ] || continue
    name=${folder#/}
    mkdir -p "$copy/$name/upper" "$copy/$name/work" "$copy/$name/before"
    chmod --reference="$folder" "$copy/$name/upper"
    mount --rbind "$folder" "$copy/$name/before"
    mount -t overlay -o "lowerdir=$folder,upperdir=$copy/$name/upper,workdir=$copy/$name/work" overlay "$folder"
    # Mounts below it are not visible through an overlay: bind them read-only.
    awk -v folder="$folder/" 'index($5, folder) == 1 { print $5 }' "$copy/mounts" | while read -r below; do
        case " $own " in *" $below "*) continue ;; esac
        [ -e "$below" ] || continue # gone since the list was made
        mount --bind "$copy/$name/before/${below#"$folder"/}" "$below"
        mount -o remount,bind,ro "$below"
    done
done
# Empty directories.
mount -t tmpfs -o mode=0755 home /home
mount -t tmpfs -o mode=1777 tmp /tmp
mkdir -p "$here"
mount --bind "$copy/here" "$here"

# The host name, and names of hosts and users.
echo server > /proc/sys/kernel/hostname
rm -f $own /etc/localtime
echo server > /etc/hostname
printf '%s\n' '127.0.0.1 localhost' '::1 localhost ip6-localhost ip6-loopback' '127.0.1.1 server' > /etc/hosts
echo 'search .' > /etc/resolv.conf # DNS fails immediately; no domain is added to a name
for database in passwd group shadow gshadow sudoers protocols services networks; do
    echo "$database: files"
done > /etc/nsswitch.conf
echo 'hosts: files dns' >> /etc/nsswitch.conf
MACHINE_COPY=1 "$support/plain-machine.sh" "$copy"

if ! [ -L /dev/log ]; then
    # A machine without a journal: give the copy its own /dev/log beside the existing devices.
    mkdir "$copy/dev"
    mount --rbind /dev "$copy/dev"
    mount -t tmpfs -o mode=0755 devices /dev
    for device in "$copy"/dev/*; do
        entry=/dev/${device##*/}
        if [ -L "$device" ]; then
            cp -P "$device" "$entry"
        elif [ "$entry" = /dev/ptmx ]; then
            mknod -m 666 "$entry" c 5 2 # the kernel expects pts beside it
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

mount -t tmpfs -o mode=1777 shm /dev/shm

cd "$here"
status=0 # no exec: the first process of the copy reaps the others
${enter-} "$support/clean-environment.sh" MACHINE_COPY=1 MACHINE_SCRATCH="$copy/scratch" \
    PYTHONPYCACHEPREFIX="$copy/bytecode" "$@" || status=$?
exit "$status"
