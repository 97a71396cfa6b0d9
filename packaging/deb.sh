#!/bin/sh
# Build the Debian packages of the committed tree for each release in a root without a network, and run lintian. Build
# those of the last release twice, and check that the result is the same byte for byte.
# Usage, as root: deb.sh FOLDER RELEASE...; the packages are written to FOLDER/RELEASE/.
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

# The upstream tarball is the unchanged tree; the directory debian is a copy of packaging/debian with a changelog entry
# for the release.
unpack() {
    work=$1
    tree=$work/pam-iampass-$upstream
    git archive --prefix="pam-iampass-$upstream/" HEAD | tar -x -C "$work"
    git archive --format=tar --prefix="pam-iampass-$upstream/" HEAD | gzip -n \
        > "$work/pam-iampass_$upstream.orig.tar.gz"
    cp -R "$tree/packaging/debian" "$tree/debian"
    {
        printf 'pam-iampass (%s~deb%su1) %s; urgency=medium\n\n' "$debian" "$number" "$release"
        printf '  * Built for Debian %s from commit %s.\n\n' "$number" "$commit"
        printf ' -- %s  %s\n\n' "$(sed -n 's/^Maintainer: //p' packaging/debian/control)" \
            "$(date -u -R -d "@$SOURCE_DATE_EPOCH")"
        cat packaging/debian/changelog
    } > "$tree/debian/changelog"
    chown -R 1000:1000 "$work"
}

as_builder="chroot --userspec=1000:1000 --skip-chdir /"

# build WORK LOG [NAME=VALUE...]: build the packages in WORK with these variables.
build() {
    work=$1
    log=$2
    shift 2
    packaging/root.sh run "$root" "$work" sh -euc 'cd "/build/$1"; shift; exec "$@"' sh "pam-iampass-$upstream" \
        $as_builder env "$@" dpkg-buildpackage -us -uc > "$log" 2>&1 || { tail -n 60 "$log" >&2; return 1; }
}

# The checksums of packages and sources. The .buildinfo and .changes files differ: they describe the build machine.
sums() {
    (cd "$1" && LC_ALL=C && sha256sum ./*.deb ./*.dsc ./*.tar.*)
}

for last; do :; done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
say() {
    echo "$(date +%T) Debian $release: $1"
}

for release; do
    say "makes a root with the build tools, or takes the one of this week"
    root=$(packaging/root.sh make "$release" $tools $needed)
    # A release in development has no number. This one sorts before that of the release.
    number=$(. "$root/etc/os-release" && echo "${VERSION_ID:-14~}")
    say "builds the packages; see: tail -f $target/$release/build.log"
    rm -rf "${target:?}/$release"
    mkdir -p "$target/$release"
    mkdir "$folder/$release"
    unpack "$folder/$release"
    build "$folder/$release" "$target/$release/build.log" DEB_BUILD_OPTIONS="${DEB_BUILD_OPTIONS-}"
    find "$folder/$release" -maxdepth 1 -type f -exec cp -t "$target/$release" {} +
    say "lintian"
    # An older lintian does not know the policy version of Standards-Version. It prints nothing if it finds nothing.
    # (With --show-overrides, lintian of Debian 12 would fail for overridden tags.)
    packaging/root.sh run "$root" "$folder/$release" sh -c \
        "$as_builder lintian --fail-on error,warning --suppress-tags newer-standards-version /build/*.changes"
    checked="lintian finds nothing"
    case ${DEB_BUILD_OPTIONS-} in *nocheck*) ;; *) checked="their tests pass, $checked" ;; esac
    if [ "$release" = "$last" ]; then
        say "builds them again, to compare each byte; see: tail -f $target/$release/build-again.log"
        mkdir "$folder/again"
        unpack "$folder/again"
        # With a different time zone, locale and number of jobs, and without tests.
        build "$folder/again" "$target/$release/build-again.log" \
            TZ=Pacific/Apia LC_ALL=C DEB_BUILD_OPTIONS="nocheck parallel=1"
        sums "$folder/$release" > "$folder/first"
        sums "$folder/again" > "$folder/second"
        diff "$folder/first" "$folder/second" >&2 ||
            { echo "deb.sh: the second build differs, see above" >&2; exit 1; }
        checked="$checked, a second build is the same byte for byte"
        rm "$target/$release/build-again.log"
    fi
    git rev-parse HEAD > "$target/$release/commit"
    say "$(ls "$target/$release"/*.deb | wc -l) packages; $checked"
done
