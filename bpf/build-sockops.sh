#!/bin/sh
# SPDX-License-Identifier: MIT OR GPL-2.0-only
# Compile the sock_ops program: bpf/build-sockops.sh [OUTPUT], bpf/sockops.bpf.o by default. The
# same tools, and the same bytes from the same sources, as bpf/build.sh.
set -eu
cd "$(dirname "$0")/.."
output=${1:-bpf/sockops.bpf.o}
"${CLANG:-clang-14}" -O2 -g -Wall -Wextra -Werror -target bpf -fdebug-compilation-dir=. \
	-I"/usr/include/$(uname -m)-linux-gnu" -c bpf/sockops.bpf.c -o "$output"
"${LLVM_STRIP:-llvm-strip-14}" -g "$output"
