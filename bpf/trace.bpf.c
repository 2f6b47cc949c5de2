// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The sk_lookup program once more, with a record of each of its decisions for `sockreg trace`. It
 * runs over the table of the generation in force, in its place, as long as somebody looks.
 */
#define TRACE
#include "sockreg.bpf.c"
