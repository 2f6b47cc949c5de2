#!/bin/bash
# Build the RPM packages, source and binary, into dist/ or the directory given; prints the path of the
# binary one. Needs rpmbuild(1), of Debian or of a system with RPMs, and what the spec file names.
set -euo pipefail
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

quietly python3 -m hatchling build -t sdist -d "$work/SOURCES"
chmod 644 "$work"/SOURCES/*
# Debian has no packages of these names.
options=(--define "_topdir $work")
[ ! -e /etc/debian_version ] || options+=(--nodeps)
quietly rpmbuild -ba "${options[@]}" units/rpm/sockreg.spec
mkdir -p "$target"
find "$work/SRPMS" "$work/RPMS" -name '*.rpm' -exec mv -t "$target" {} +
echo "$target"/sockreg-*.noarch.rpm
