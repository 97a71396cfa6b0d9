#!/bin/sh
# Build the rpm packages of the committed tree with plain rpmbuild in a Debian root without a network, install them
# into a second root, and check them with rpm and rpmlint. Usage, as root: rpm.sh FOLDER
set -eu
cd "$(dirname "$0")/.."
target=$1
version=$(sed -n 's/^Version: *//p' packaging/rpm/pam-iampass.spec)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)

root=$(packaging/root.sh make trixie rpm rpmlint gcc make libc6-dev libpam0g-dev iproute2 python3-build \
    python3-setuptools python3-wheel python3-click python3-hypothesis python3-pampy python3-pytest \
    python3-pytest-timeout python3-aiohttp python3-trustme file python3-rich python3-segno python3-systemd python3-yaml selinux-policy-dev)
populated=$(packaging/root.sh make trixie systemd libpam-runtime python3-minimal)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/SOURCES" "$target"
rm -f "$target"/*.rpm
git archive --prefix="pam-iampass-$version/" HEAD | gzip -n > "$work/SOURCES/pam-iampass-$version.tar.gz"
cp -R packaging/rpm "$work/SPECS"
cp -a "$populated" "$work/populated"
echo "Building the rpm packages: $target/build.log"
packaging/root.sh run "$root" "$work" sh -euxc '
    export SOURCE_DATE_EPOCH='"$SOURCE_DATE_EPOCH"'
    rpmbuild -ba --nodeps --define "_topdir /build" /build/SPECS/pam-iampass.spec
    cd /build/RPMS
    rpm --root /build/populated --initdb
    rpm --root /build/populated --nodeps -ivh */*.rpm
    rpm --root /build/populated -V --nodeps pam-iampass pam-iampass-sandbox pam-iampass-selinux
    # Check the effect of the scriptlets.
    grep "^_iampass:" /build/populated/etc/passwd
    group=$(sed -n "s/^_iampass:[^:]*:\([0-9]*\):.*/\1/p" /build/populated/etc/group)
    [ "$(stat -c "%u:%g %a" /build/populated/etc/iampass/iampass.yaml)" = "0:$group 640" ]
    # Edited files are kept.
    echo "# edited" >> /build/populated/etc/iampass/users.yaml
    rpm --root /build/populated --nodeps -U --replacepkgs */*.rpm
    tail -n 1 /build/populated/etc/iampass/users.yaml | grep -x "# edited"
    rpmlint --rpmlintrc /build/SPECS/pam-iampass.rpmlintrc /build/SPECS/pam-iampass.spec /build/RPMS/*/*.rpm
' > "$target/build.log" 2>&1 || { tail -n 60 "$target/build.log" >&2; exit 1; }
find "$work/RPMS" "$work/SRPMS" -name '*.rpm' -exec cp -t "$target" {} +
rpmlint=$(sed -n 's/^ *\([0-9]* packages and [0-9]* specfiles checked; [0-9]* errors, [0-9]* warnings\).*/\1/p' \
    "$target/build.log" | tail -n 1)
count=$(find "$target" -name '*.rpm' ! -name '*.src.rpm' | wc -l)
echo "rpm: $count packages; their tests pass, they install and verify, and edited files are kept;" \
    "rpmlint: ${rpmlint:?says nothing}"
