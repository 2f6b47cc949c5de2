#!/bin/sh
# SPDX-License-Identifier: MIT OR GPL-2.0-only
# Compile one BPF object: bpf/compile.sh SOURCE OUTPUT [OPTION...]. Needs clang and llvm-strip 14,
# libbpf's and the kernel's headers. CLANG and LLVM_STRIP name others: these give the same
# instructions, but other bytes. The same sources give the same bytes in any directory.
set -eu
source=$1 output=$2
shift 2
# -mcpu=v3: 32-bit instructions and all comparisons; any kernel with sk_lookup has them (RFC 9669).
# Debian keeps asm/types.h in a directory that clang does not search for this target.
"${CLANG:-clang-14}" -O2 -g -Wall -Wextra -Werror -target bpf -mcpu=v3 \
	-fdebug-compilation-dir=. -I"/usr/include/$(uname -m)-linux-gnu" "$@" -c "$source" -o "$output"
"${LLVM_STRIP:-llvm-strip-14}" -g "$output"
