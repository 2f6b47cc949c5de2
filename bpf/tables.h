/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The parts of a generation besides its program: the table of one compiled rule set and the
 * configuration in .rodata. sockreg/compile/words.py defines the same layout in Python. A test
 * compares both with the object's BTF. docs/dataplane.md explains the table with pictures.
 *
 * The table is one flat, read-only array of 64-bit words. A lookup starts with one of them and
 * replaces it, step by step, by another until it holds a leaf:
 *
 *           63 62 61       47 46       32  31       16  15      0
 *   leaf   | 00  |  outside  |  inside   |   first    |  span   |
 *
 * A leaf decides by the port: (__u16)(port - first) <= span ? inside : outside. So a host with
 * one port, a range, and any port are one word each. `inside` and `outside` are destinations.
 *
 *           63 62 61       47 46       32  31       16  15      0
 *   pair   | 01  | elsewhere |  inside   |   first    |  span   |
 *
 * A pair is a leaf for the ports inside. For all others, continue with another word: the one at
 * position ELSEWHERE + elsewhere.
 *
 *           63  62  61   60   59         38  37      32  31          0
 *   node   | 1 | class | low |    mask     |   shift    |    base    |
 *
 * A node takes some bits of the packet, index = (field >> shift) & mask, and continues with element
 * base + index of an array. What the field is and what the array holds depends on the class:
 *
 *   ADDRESS     local address   struct branch4 or struct branch6, by the packet's family
 *   PORT        local port      words, or struct wide_pair if `low`
 *   INTERFACE   its index       struct branch4
 *   SOURCE      remote address  as ADDRESS
 *
 * Where it is not of a port, `low` says that the field is the second half of an IPv6 address.
 * `base` counts elements, not words, from the start of the table; so elements are aligned to their
 * size, and none lies across two cache lines.
 */
#ifndef SOCKREG_TABLES_H
#define SOCKREG_TABLES_H

#include <linux/types.h>

/*
 * The upper three bits of a node. A lookup visits the classes in this order, downwards, so one
 * comparison tells whether a word must still be followed.
 */
#define NODE_ADDRESS 7
#define NODE_PORT 6
#define NODE_INTERFACE 5
#define NODE_SOURCE 4

#define NODE_CLASS_SHIFT 61
#define NODE_LOW (1ULL << 60)
#define NODE_MASK_SHIFT 38
#define NODE_MASK_BITS 0x3fffff /* 22 bits */
#define NODE_SHIFT_SHIFT 32

#define LEAF_INSIDE_SHIFT 32
#define LEAF_OUTSIDE_SHIFT 47

/* A destination, 15 bits: 14 missing=pass | 13..0 slot */
#define DESTINATION_BITS 0x7fff
#define DESTINATION_SLOT_BITS 0x3fff
#define DESTINATION_MISSING_PASS 0x4000

#define PAIR_KIND 1 /* the upper two bits of a pair */
#define PAIR_KIND_SHIFT 62
#define PAIR_ELSEWHERE_SHIFT 47
#define PAIR_ELSEWHERE_BITS 0x7fff

/*
 * A branch compares the whole address with one prefix. The next word is `match` if it is inside,
 * otherwise the word of the table at position `miss`, which is rarely needed:
 *
 *              63            32  31     6  5       0
 *   branch4   |     address    |  miss   |  shift   |    prefix length 32 - shift
 *
 *              63  44  43  38  37  32  31     6  5     0
 *   branch6   |   0   | second | first |  miss  | shift |
 *
 *   prefix length 64 - shift, if first + second = 64: the second half does not count
 *   prefix length 128 - first - second otherwise
 */
#define BRANCH_MISS_SHIFT 6
#define BRANCH_MISS_BITS 0x3ffffff /* 26 bits */
#define BRANCH4_ADDRESS_SHIFT 32
#define BRANCH6_FIRST_SHIFT 32
#define BRANCH6_SECOND_SHIFT 38

struct branch4 {
	__u64 match;
	__u64 rest; /* as above */
};

struct branch6 {
	__u64 high; /* the prefix: first half of the address ... */
	__u64 low;  /* ... and second half */
	__u64 match;
	__u64 rest; /* as above */
};

/*
 * What a pair has no bits for. Inside, continue with `range` itself, which is a leaf; or if its
 * uppermost bit is set, with the word at the position in bits 62..32. Otherwise, continue with the
 * word `elsewhere`.
 */
#define WIDE_PAIR_POSITION_SHIFT 32
#define WIDE_PAIR_POSITION_BITS 0x7fffffff

struct wide_pair {
	__u64 range; /* first and span as in a leaf */
	__u64 elsewhere;
};

/*
 * The table starts with a head for each of these. A lookup begins with the first shortcut whose
 * prefix has the local address, IPv4 in the upper half of `high`; else with `otherwise`. How many
 * shortcuts there are is in the configuration. Their `miss` means nothing.
 */
#define HEAD_TCP4 0
#define HEAD_UDP4 1
#define HEAD_TCP6 2
#define HEAD_UDP6 3
#define HEADS 4
#define SHORTCUTS_MAX 8

struct head {
	__u64 otherwise;
	__u64 zero[3];
	struct branch6 shortcuts[SHORTCUTS_MAX];
};

/* The words that pairs refer to follow the heads. */
#define ELSEWHERE (HEADS * sizeof(struct head) / sizeof(__u64))

/*
 * The most nodes of one class on a path: addresses of 32 and 128 bits, ports. The compiler creates
 * no deeper tables (sockreg/compile/shape.py and functions.py say why).
 */
#define STEPS4_MAX 12
#define STEPS6_MAX 28
#define STEPS_PORT_MAX 16

struct config {
	__u32 words; /* size of the table, a multiple of 4 */
	/* Nodes of each class on the longest path; 0 removes the class from the program. */
	__u8 steps_address;
	__u8 steps_port;
	__u8 steps_interface;
	__u8 steps_source;
	__u8 counters; /* count lookups, misses and errors */
	__u8 shortcuts[HEADS];
	__u8 flows; /* there may be sticky pools; 0 removes them from the program */
	__u8 zero[2];
};

#endif
