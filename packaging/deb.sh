#!/bin/sh
# Build the Debian packages of the committed tree, each in a root of its release and without a network, and let lintian
# look at them. Usage, as root: deb.sh FOLDER RELEASE...; the packages come to FOLDER/RELEASE/.
set -eu
cd "$(dirname "$0")/.."
target=$1
shift

SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
commit=$(git rev-parse --short=12 HEAD)
debian=$(sed -n '1s/.*(\(.*\)).*/\1/p' packaging/debian/changelog)
upstream=${debian%-*}
tools="build-essential lintian iproute2"
needed=$(sed -n '/^Build-Depends:/,/^[A-Z]/s/^ \([a-z0-9+.-]*\).*/\1/p' packaging/debian/control |
    sed 's/^debhelper-compat$/debhelper/; s/^dh-sequence-installsysusers$//; s/^dh-sequence-python3$/dh-python/')

for release; do
    root=$(packaging/root.sh make "$release" $tools $needed)
    number=$(. "$root/etc/os-release" && echo "$VERSION_ID")
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    tree=$work/pam-iampass-$upstream
    git archive --prefix="pam-iampass-$upstream/" HEAD | tar -x -C "$work"
    # Upstream's tarball is the tree as it is; the folder debian is a copy of packaging/debian with an entry for the release.
    git archive --format=tar --prefix="pam-iampass-$upstream/" HEAD | gzip -n > "$work/pam-iampass_$upstream.orig.tar.gz"
    cp -R "$tree/packaging/debian" "$tree/debian"
    {
        printf 'pam-iampass (%s~deb%su1) %s; urgency=medium\n\n' "$debian" "$number" "$release"
        printf '  * Built for Debian %s from commit %s.\n\n' "$number" "$commit"
        printf ' -- %s  %s\n\n' "$(sed -n 's/^Maintainer: //p' packaging/debian/control)" \
            "$(date -u -R -d "@$SOURCE_DATE_EPOCH")"
        cat packaging/debian/changelog
    } > "$tree/debian/changelog"
    chown -R 1000:1000 "$work"
    echo "Building for Debian $number ($release): $target/$release/build.log"
    rm -rf "${target:?}/$release"
    mkdir -p "$target/$release"
    as_builder="chroot --userspec=1000:1000 --skip-chdir /"
    packaging/root.sh run "$root" "$work" sh -euc 'cd "/build/$1"; shift; exec "$@"' sh "pam-iampass-$upstream" \
        $as_builder env DEB_BUILD_OPTIONS="${DEB_BUILD_OPTIONS-}" dpkg-buildpackage -us -uc \
        > "$target/$release/build.log" 2>&1 || { tail -n 60 "$target/$release/build.log" >&2; exit 1; }
    find "$work" -maxdepth 1 -type f -exec cp -t "$target/$release" {} +
    # An older lintian knows an older policy than the one that Standards-Version names.
    packaging/root.sh run "$root" "$work" sh -c \
        "$as_builder lintian --fail-on error,warning --suppress-tags newer-standards-version --show-overrides \
            /build/*.changes"
    git rev-parse HEAD > "$target/$release/commit"
    rm -rf "$work"
done
