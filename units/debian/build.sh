#!/bin/bash
# Build the Debian packages, source and binary, into dist/ or the directory given; prints the path of
# the binary one. The source distribution is the upstream tarball. It is built in a copy of the tree:
# Debian's tools want the files of this directory in debian/, and cannot do with a space in the path.
set -euo pipefail
# They take Debian's Python, whatever stands first in PATH.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV
cd "$(dirname "$0")/../.."
target=$(realpath -m "${1:-dist}")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

quietly() {
    if ! "$@" >"$work/log" 2>&1; then
        cat "$work/log" >&2
        exit 1
    fi
}

quietly python3 -m hatchling build -t sdist -d "$work"
sdist=("$work"/sockreg-*.tar.gz)
tree=${sdist[0]%.tar.gz}
version=${tree##*/sockreg-}
mv "${sdist[0]}" "$work/sockreg_$version.orig.tar.gz"
chmod 644 "$work/sockreg_$version.orig.tar.gz"
tar -xf "$work/sockreg_$version.orig.tar.gz" -C "$work"
cp -r units/debian "$tree"
# Unchecked, since Debian takes build-essential for granted, whose compilers nothing here needs.
# What control names is installed by tests/prepare, as a test sees to.
cd "$tree"
quietly dpkg-buildpackage --no-sign --no-check-builddeps
mkdir -p "$target"
find "$work" -maxdepth 1 -name 'sockreg_*' -exec mv -t "$target" {} +
echo "$target"/sockreg_*.deb
