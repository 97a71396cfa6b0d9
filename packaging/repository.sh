#!/bin/sh
# Make a signed apt repository of the packages of `make deb`: plain files for any web server.
# Usage: repository.sh KEY PACKAGES REPOSITORY; the packages are in PACKAGES/RELEASE/, and KEY names a secret key of gpg.
# The repository is made from these packages alone: what else somebody has put into REPOSITORY is not signed but deleted.
# The same packages give the same repository again, but for the dates in Release and the signatures.
set -eu
umask 022
key=$1
packages=$2
target=$3

fail() {
    echo "repository.sh: $1" >&2
    exit 1
}

[ -n "$key" ] || fail "say which key signs: make repository KEY=FINGERPRINT; see gpg --list-secret-keys"
# For each secret key: whether it is valid, its fingerprint, when it expires.
found=$(gpg --batch --with-colons --list-secret-keys -- "$key" 2> /dev/null |
    awk -F: '$1 == "sec" { valid = $2 "-"; expires = $7 } $1 == "fpr" && valid { print valid, $10, expires; valid = "" }')
case $found in
    "") fail "gpg has no secret key $key: see gpg --list-secret-keys, and GNUPGHOME" ;;
    *"
"*) fail "several keys are called $key: give a fingerprint" ;;
    e*) fail "the key $key has expired: gpg --quick-set-expire FINGERPRINT 1y" ;;
    r*) fail "the key $key was revoked" ;;
esac
fingerprint=$(echo "$found" | cut -d ' ' -f 2)
ends=$(echo "$found" | cut -d ' ' -f 3)

[ -n "$(find "$packages" -name '*.deb' 2> /dev/null)" ] || fail "there are no packages in $packages: run make deb"
[ ! -e "$target" ] || [ -e "$target/pam-iampass.asc" ] ||
    fail "$target is there and is no repository of pam-iampass: nothing was changed"

new=$target.new
rm -rf "$new" "$target.old"
mkdir -p "$new"
trap 'rm -rf "$new"' EXIT
trap 'exit 1' HUP INT TERM
sign() {
    gpg --batch --local-user "$fingerprint" "$@" || fail "gpg could not sign with $fingerprint, see above"
}

# Debian 13 accepts a signature that was made before the key expired; it refuses lists that are no longer valid. A web
# server could hold newer lists back for ever if they had no end.
expires=${ends:-$(date -d '1 year' +%s)}
releases=
for folder in "$packages"/*/; do
    release=$(basename "$folder")
    # deb.sh writes it when the packages are built and checked.
    [ -e "$folder/commit" ] || fail "$folder is no complete build: run make deb again"
    mkdir -p "$new/pool/$release"
    install -m 644 "$folder"/*.deb "$new/pool/$release/"
    architectures=
    for package in "$new/pool/$release"/*.deb; do
        dpkg-deb --fsys-tarfile "$package" > /dev/null # apt-ftparchive leaves a broken one out
        architecture=$(dpkg-deb --field "$package" Architecture)
        case " $architectures all " in *" $architecture "*) ;; *) architectures="$architectures $architecture" ;; esac
    done
    for architecture in $architectures; do
        index=$new/dists/$release/main/binary-$architecture
        mkdir -p "$index"
        (cd "$new" && apt-ftparchive --arch "$architecture" packages "pool/$release") > "$index/Packages"
    done
    about=$new/dists/$release
    # It lists what it finds in the folder: its own result must not be there yet.
    apt-ftparchive -o APT::FTPArchive::Release::Origin=pam-iampass -o APT::FTPArchive::Release::Label=pam-iampass \
        -o APT::FTPArchive::Release::Suite="$release" -o APT::FTPArchive::Release::Codename="$release" \
        -o APT::FTPArchive::Release::Components=main \
        -o APT::FTPArchive::Release::ValidTime=$((expires - $(date +%s))) \
        -o APT::FTPArchive::Release::Architectures="${architectures# }" release "$about" > "$new/Release"
    mv "$new/Release" "$about/"
    sign --output "$about/InRelease" --clear-sign "$about/Release"
    sign --output "$about/Release.gpg" --armor --detach-sign "$about/Release"
    releases="$releases $release"
done
gpg --batch --armor --export-options export-minimal --output "$new/pam-iampass.asc" --export "$fingerprint"

[ ! -e "$target" ] || mv -T "$target" "$target.old"
mv -T "$new" "$target"
rm -rf "$target.old"
echo "$target has the packages for$releases, signed by $fingerprint; hosts accept them until $(date -d "@$expires" +%F)"
