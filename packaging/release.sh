#!/bin/sh
# Make a release of the tagged commit: check that all versions agree, build all packages, write checksums and an SBOM
# in CycloneDX format. Usage, as root: release.sh FOLDER RELEASE...
set -eu
cd "$(dirname "$0")/.."
target=$1
shift

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' pam_iampass/__init__.py)
wrong=
says() { [ "$2" = "$version" ] || wrong="$wrong
    $1 has ${2:-none}"; }
says packaging/debian/changelog "$(sed -n '1s/.*(\(.*\)-[^-]*).*/\1/p' packaging/debian/changelog)"
says packaging/rpm/pam-iampass.spec "$(sed -n 's/^Version: *//p' packaging/rpm/pam-iampass.spec)"
says CHANGELOG.md "$(sed -n 's/^## \[\([0-9][^]]*\)\].*/\1/p' CHANGELOG.md | head -n 1)"
says "the tag of this commit" "$(git tag --points-at HEAD --list 'v*' | sed 's/^v//' | head -n 1)"
[ -z "$(git status --porcelain)" ] || wrong="$wrong
    the work tree has uncommitted changes"
if [ -n "$wrong" ]; then
    echo "release.sh: pam_iampass/__init__.py has version $version, but$wrong" >&2
    exit 1
fi

rm -rf "${target:?}"
mkdir -p "$target"
git archive --format=tar --prefix="pam-iampass-$version/" HEAD | gzip -n > "$target/pam-iampass-$version.tar.gz"
packaging/deb.sh "$target/deb" "$@"
packaging/rpm.sh "$target/rpm"
/usr/bin/python3 packaging/sbom.py "$version" "$(git log -1 --format=%ct)" "$target"/deb/*/*.deb > "$target/sbom.json"
(
    cd "$target"
    find . -type f ! -name SHA256SUMS ! -name build.log ! -name commit -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
) > "$target/SHA256SUMS"
echo "Released $version: $target"
