#!/bin/sh
# SPDX-License-Identifier: MIT OR GPL-2.0-only
# Compile one BPF object: bpf/compile.sh SOURCE OUTPUT [OPTION...]. Needs clang and llvm-strip 14 or
# later, libbpf's and the kernel's headers. Those of version 14 come first: the same sources give the
# same bytes with them, in any directory. CLANG and LLVM_STRIP name others.
set -eu
source=$1 output=$2
shift 2
first() { command -v "$1" || command -v "$2" || echo "$2"; }
clang=${CLANG:-$(first clang-14 clang)}
strip=${LLVM_STRIP:-$(first llvm-strip-14 llvm-strip)}
# -mcpu=v3: 32-bit instructions and all comparisons; any kernel with sk_lookup has them (RFC 9669).
# Debian keeps asm/types.h in a directory that clang does not search for this target.
"$clang" -O2 -g -Wall -Wextra -Werror -target bpf -mcpu=v3 \
	-fdebug-compilation-dir=. -I"/usr/include/$(uname -m)-linux-gnu" "$@" -c "$source" -o "$output"
"$strip" -g "$output"
