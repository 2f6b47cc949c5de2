#!/bin/sh
# SPDX-License-Identifier: MIT OR GPL-2.0-only
# Compile the BPF objects: bpf/build.sh [DIRECTORY [HASHES]]. HASHES is a Python file that notes their
# hashes. Without arguments it replaces the objects in bpf/ and sockreg/kernel/object_source.py.
# bpf/compile.sh says what it needs.
set -eu
cd "$(dirname "$0")/.."
directory=${1:-bpf}
hashes=${2:-}
[ "$directory" != bpf ] || hashes=sockreg/kernel/object_source.py

sha256() { sha256sum | cut -d ' ' -f 1; }

# Each object holds the hash of all sources that it is made from, in the order of their names.
sockreg=$(cd bpf && cat maps.h pool.h registry.h sockreg.bpf.c tables.h trace.h walk.h | sha256)
trace=$(cd bpf && cat maps.h pool.h registry.h sockreg.bpf.c tables.h trace.bpf.c trace.h walk.h | sha256)
sockops=$(cd bpf && cat maps.h registry.h sockops.bpf.c sockops.h | sha256)
bpf/compile.sh bpf/sockreg.bpf.c "$directory/sockreg.bpf.o" -DSOURCE_HASH="\"$sockreg\""
bpf/compile.sh bpf/trace.bpf.c "$directory/trace.bpf.o" -DSOURCE_HASH="\"$trace\""
bpf/compile.sh bpf/sockops.bpf.c "$directory/sockops.bpf.o" -DSOURCE_HASH="\"$sockops\""

[ -z "$hashes" ] || cat >"$hashes" <<PYTHON
"""SHA-256 of the BPF objects, by file name, and of their sources; written by bpf/build.sh."""

OBJECTS = {
    "sockreg.bpf.o": "$(sha256 <"$directory/sockreg.bpf.o")",
    "trace.bpf.o": "$(sha256 <"$directory/trace.bpf.o")",
    "sockops.bpf.o": "$(sha256 <"$directory/sockops.bpf.o")",
}
SOURCES = {
    "sockreg.bpf.o": "$sockreg",
    "trace.bpf.o": "$trace",
    "sockops.bpf.o": "$sockops",
}
PYTHON
