#!/bin/sh
# SPDX-License-Identifier: MIT OR GPL-2.0-only
# Compile the program: bpf/build.sh [OUTPUT], bpf/sockreg.bpf.o by default. Needs clang and
# llvm-strip 14 (others through CLANG and LLVM_STRIP, for the same instructions but other
# bytes), libbpf's and the kernel's headers. The same sources give the same bytes in any folder.
set -eu
cd "$(dirname "$0")/.."
output=${1:-bpf/sockreg.bpf.o}
# The hash of all sources in the order of their names: sockreg reads it back to tell whether an
# object was made from the sources beside it.
hash=$(cat bpf/registry.h bpf/sockreg.bpf.c bpf/tables.h | sha256sum | cut -d ' ' -f 1)
# Debian keeps asm/types.h in a folder that clang does not search for this target.
# -mcpu=v3: 32-bit instructions and all comparisons; any kernel with sk_lookup has them (RFC 9669).
"${CLANG:-clang-14}" -O2 -g -Wall -Wextra -Werror -target bpf -mcpu=v3 \
	-fdebug-compilation-dir=. -I"/usr/include/$(uname -m)-linux-gnu" -DSOURCE_HASH="\"$hash\"" \
	-c bpf/sockreg.bpf.c -o "$output"
"${LLVM_STRIP:-llvm-strip-14}" -g "$output"
[ "$output" != bpf/sockreg.bpf.o ] || cat >sockreg/kernel/object_source.py <<PYTHON
"""SHA-256 of bpf/sockreg.bpf.o and of its sources; written by bpf/build.sh."""

OBJECT = "$(sha256sum <"$output" | cut -d ' ' -f 1)"
SOURCE = "$hash"
PYTHON
