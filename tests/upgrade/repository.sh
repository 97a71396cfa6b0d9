#!/bin/sh
# Make an apt repository of what an upgrade of a root to a newer release needs; it is kept for a week, beside the roots.
# Usage, as root: repository.sh ROOT OLD NEW PACKAGE...; the packages are what the machine has besides. Prints the path of
# the folder, in which OLD and NEW are repositories without a signature. That of OLD is empty.
set -eu
root=$1
old=$2
new=$3
shift 3
key=$(printf '%s\n' "$root" "$@" "$(cat "$0")" | sha256sum | cut -c 1-12)
made=${root%/*}/$old-to-$new-$key
exec 9> "$made.lock"
flock 9
[ -z "$(find "$made" -maxdepth 0 -mtime +7 2> /dev/null)" ] || rm -rf "$made"
if ! [ -d "$made" ]; then
    rm -rf "$made.new" "$made.apt"
    mkdir -p "$made.new/$old" "$made.new/$new" "$made.apt/lists/partial" "$made.apt/archives/partial"
    sed "s|^deb |deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] |; s/$old/$new/g" \
        "$root/etc/apt/sources.list" > "$made.apt/sources.list"
    # apt of this machine decides for that of the root, and downloads.
    of_root() {
        apt-get -qq -o Dir::State::Lists="$made.apt/lists" -o Dir::State::status="$root/var/lib/dpkg/status" \
            -o Dir::State::extended_states="$root/var/lib/apt/extended_states" \
            -o Dir::Cache::archives="$made.apt/archives" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
            -o Dir::Etc::sourcelist="$made.apt/sources.list" -o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root \
            -o Acquire::Check-Valid-Until=false -o APT::Install-Recommends=true "$@"
    }
    { of_root update && of_root full-upgrade -y --download-only "$@"; } > "$made.log" 2>&1 || { cat "$made.log" >&2; exit 1; }
    mv "$made.apt/archives"/*.deb "$made.new/$new/"
    rm -r "$made.apt"
    for release in "$old" "$new"; do
        (cd "$made.new/$release" && dpkg-scanpackages --multiversion . > Packages 2>> "$made.log")
    done
    mv "$made.new" "$made"
fi
echo "$made"
