#!/bin/bash
# Build the Debian package into dist/ or the directory given; prints its path. It is built in a
# copy of the source tree: Debian's tools want the files of this directory in debian/, write
# beside the sources, and cannot do with a space in the path.
set -euo pipefail
# They take Debian's Python, whatever stands first in PATH.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV
cd "$(dirname "$0")/../.."
target=$(realpath -m "${1:-dist}")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/tree"
tar --exclude=__pycache__ --exclude=units/debian -c \
    CHANGELOG.md LICENSE LICENSES README.md bin bpf docs pyproject.toml sockreg units |
    tar -x -C "$work/tree"
cp -r units/debian "$work/tree"
# Unchecked, since Debian takes build-essential for granted, whose compilers nothing here needs.
# What control names is installed by tests/prepare, as a test sees to.
options=(--build=binary --no-sign --no-check-builddeps)
if ! (cd "$work/tree" && dpkg-buildpackage "${options[@]}" >"$work/log" 2>&1); then
    cat "$work/log" >&2
    exit 1
fi
mkdir -p "$target"
for package in "$work"/*.deb; do
    mv "$package" "$target"
    echo "$target/${package##*/}"
done
