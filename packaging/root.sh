#!/bin/sh
# Create a Debian root with packages, which is kept for a week, or run a command in a temporary copy of it. Usage, as
# root:
#
#     root.sh make RELEASE PACKAGE... [-- PACKAGE...]    prints the path of the root; the packages after -- are not
#                                                        installed but cached, for apt-get without a network
#     root.sh run ROOT FOLDER COMMAND [ARGUMENT...]      runs a command in a copy of ROOT, without a network and
#                                                        with FOLDER as /build
#
# The roots are in PAM_IAMPASS_ROOTS (default: /var/tmp/pam-iampass-roots). DEBIAN_MIRROR sets the mirror (default: that
# of mmdebstrap).
set -eu
roots=${PAM_IAMPASS_ROOTS:-/var/tmp/pam-iampass-roots}

make() {
    release=$1
    shift
    key=$(printf '%s\n' "$release" "$@" "${DEBIAN_MIRROR-}" "$(dpkg --print-architecture)" "$(cat "$0")" | sha256sum | cut -c 1-12)
    root=$roots/$release-$key
    mkdir -p -m 0755 "$roots"
    [ -O "$roots" ] && ! [ -L "$roots" ] || { echo "root.sh: $roots is owned by another user" >&2; exit 1; }
    exec 9> "$roots/$release-$key.lock"
    flock 9
    [ -z "$(find "$root" -maxdepth 0 -mtime +7 2> /dev/null)" ] || rm -rf "$root"
    if ! [ -d "$root" ]; then
        include=
        while [ $# -gt 0 ] && [ "$1" != -- ]; do
            include=$include,$1
            shift
        done
        [ $# -eq 0 ] || shift
        rm -rf "$root.new"
        # Lists of a release in development expire within days, and a mirror may be older.
        mmdebstrap --quiet --mode=root --variant=minbase --include="${include#,}" \
            --aptopt='Acquire::Check-Valid-Until "false"' \
            --skip=cleanup/apt/lists,cleanup/apt/cache \
            --customize-hook="chroot \"\$1\" apt-get clean" \
            ${1+--customize-hook="chroot \"\$1\" apt-get install -qq -y -o APT::Install-Recommends=true --download-only $*"} \
            "$release" "$root.new" ${DEBIAN_MIRROR-} > "$root.log" 2>&1 || { cat "$root.log" >&2; exit 1; }
        touch "$root.new"
        mv "$root.new" "$root"
    fi
    echo "$root"
}

inside() {
    copy=$1
    root=$2
    folder=$3
    shift 3
    ip link set lo up
    mount -t tmpfs -o mode=0755 copy "$copy"
    mkdir "$copy/upper" "$copy/work" "$copy/root"
    chmod --reference="$root" "$copy/upper"
    mount -t overlay -o "lowerdir=$root,upperdir=$copy/upper,workdir=$copy/work" overlay "$copy/root"
    mount -t proc proc "$copy/root/proc"
    mount --rbind /dev "$copy/root/dev"
    mkdir "$copy/root/build"
    mount --bind "$folder" "$copy/root/build"
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/nonexistent LANG=C.UTF-8 \
        chroot "$copy/root" "$@"
}

case ${1-} in
    make)
        shift
        make "$@"
        ;;
    run)
        shift
        copy=$(mktemp -d)
        trap 'rmdir "$copy"' EXIT
        unshare --mount --propagation private --net --pid --fork --kill-child -- "$0" --inside "$copy" "$@"
        ;;
    --inside)
        shift
        inside "$@"
        ;;
    *)
        sed -n '2,/^set/s/^#\( \|$\)//p' "$0" >&2
        exit 2
        ;;
esac
