#!/bin/sh
# Build the packages of the committed tree, and test them on booted machines of each release.
# Usage, as root: run.sh TESTS FOLDER RELEASE... [-- PYTEST-ARGUMENT...]; TESTS is the folder of the tests. The packages
# are in FOLDER/RELEASE/, and are built again only if they are not from the current commit. In the environment,
# BRIEF=RELEASE: of this release only installation, a login's life, and an upgrade.
set -eu
cd "$(dirname "$0")/../.."
tests=$1
packages=$2
shift 2
network=
[ "$tests" != tests/fleet ] || network=--net # the machines have a network, of which this one is a part
releases=
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    releases="$releases $1"
    shift
done
[ $# -eq 0 ] || shift

# root_of RELEASE FOLDER: make the root of the machines of a release. Sets root, system and asked.
root_of() {
    # The installed packages; and, for apt without a network, the dependencies of the packages and the tests.
    asked=$(for package in "$2/$1"/*.deb; do dpkg-deb -f "$package" Depends | tr ',' '\n'; done |
        sed 's/|.*//; s/(.*//; s/:any//; s/ //g' | grep -vE '(^|-)(pam-)?iampass|^systemd' | sort -u)
    programs="polkitd pkexec opendoas" # which become root by a PAM service of their own
    [ "$1" = bookworm ] || programs="$programs sudo-rs"
    [ "$1" != trixie ] || programs="$programs postgresql"
    # People's clients (clients.py)
    programs="$programs putty-tools dropbear-bin rsync git sshfs mosh lftp python3-paramiko python3-asyncssh"
    programs="$programs cron" # which runs jobs of attackers (test_session_attacks.py)
    system="systemd systemd-sysv dbus libpam-systemd openssh-server openssh-client sudo procps ca-certificates"
    cached="$asked libpam-python pamtester ansible-core python3-apt $programs"
    cached="$cached gcc make libpam0g-dev" # for an installation from source (test_from_source.py)
    cached="$cached --reinstall openssh-server sudo" # their packages too, for upgrades (test_restored_files.py)
    root=$(packaging/root.sh make "$1" $system -- $cached)
}

# before RELEASE: the release before it.
before() {
    case $1 in
        trixie) echo bookworm ;;
        forky) echo trixie ;;
    esac
}

# parts_of RELEASE: parts of the tests, each with machines of its own (conftest.py).
parts_of() {
    case $tests,$1 in
        tests/packages,"${BRIEF-}") echo brief ;;
        tests/packages,trixie) echo hosts-1 hosts-2 gateway ;;
        tests/packages,*) echo hosts ;;
        tests/upgrade,bookworm) ;; # is upgraded to others
        tests/upgrade,*) case " $releases " in *" $(before "$1") "*) echo upgrade ;; esac ;;
        *) echo all ;;
    esac
}

# tested RELEASE PART FOLDER [PYTEST-ARGUMENT...]: test the packages in FOLDER/RELEASE; what pytest says is in
# FOLDER/RELEASE-PART.log.
tested() {
    release=$1
    part=$2
    folder=$3
    shift 3
    older= # hosts of a gateway can have the release before
    if [ "$release" != bookworm ] && [ -d "$folder/bookworm" ]; then
        root_of bookworm "$folder"
        older=$root
    fi
    repository=
    if [ "$tests" = tests/upgrade ]; then # of a machine of the release before
        root_of "$(before "$release")" "$folder"
        repository=$(tests/upgrade/repository.sh "$root" "$(before "$release")" "$release" $asked)
    else
        root_of "$release" "$folder"
    fi
    # The shell is process 1 there, and reaps what tests leave behind: a machine with such a process never powers off.
    echo "Testing the packages on a booted $(. "$root/etc/os-release" && echo "$PRETTY_NAME"): $part"
    PACKAGES_RELEASE=$release PACKAGES_PART=$part PACKAGES_FOLDER=$folder/$release PACKAGES_ROOT=$root \
        PACKAGES_SYSTEM=$system PACKAGES_CACHED=$(echo $asked) PACKAGES_BOOKWORM_ROOT=$older \
        PACKAGES_BEFORE=$(before "$release") PACKAGES_REPOSITORY=$repository \
        PYTHONDONTWRITEBYTECODE=1 unshare $network --mount --propagation private --pid --fork --kill-child --mount-proc \
        sh -c 'mount -t tmpfs -o mode=0755 run /run; "$@"; exit "$?"' sh \
        /usr/bin/python3 -m pytest -v --timeout 1800 --durations=10 "$tests" "$@" 2>&1 | tee "$folder/$release-$part.log"
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
commit=$(git rev-parse HEAD)
for release in $releases; do
    if [ "$(cat "$packages/$release/commit" 2> /dev/null)" != "$commit" ]; then
        packaging/deb.sh "$packages" "$release"
    fi
    cp -R "$packages/$release" "$folder/" # a build at the same time must not remove them
done
# At the same time: the tests mostly wait.
for release in $releases; do
    for part in $(parts_of "$release"); do
        tested "$release" "$part" "$folder" "$@" 2>&1 | sed -u "s/^/$release: /" &
    done
done
wait
tests/support/count.sh 0 "$folder"/*.log
