/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What a generation consists of besides its program: the table of one compiled rule set and the
 * switches in .rodata. sockreg/compile/words.py says the same in Python; a test compares both with
 * the object's BTF. docs/dataplane.md explains it with pictures.
 *
 * The table is one flat, read-only array of 64-bit words. A lookup starts with a root word and
 * replaces it, step by step, by a word of the table until it holds a leaf.
 *
 *           63  62..60  59        38  37    32  31                0
 *   node   | 1 | field |   mask     |  shift   |       base        |
 *
 *           63  62          48  47          32  31       16  15   0
 *   leaf   | 0 |   outside    |    inside     |   first    | span  |
 *
 * A leaf decides by the port: (__u16)(port - first) <= span ? inside : outside. So a host with one
 * port, a range and any port are one word. `inside` and `outside` are destinations, see below.
 *
 * A node reads one field of the packet, all fields aligned to the left of 64 bits but the port:
 *
 *   branch node (all fields but the port): an array of `mask` + 1 branches of four words each, at
 *   word 4 * (base + ((field >> shift) & mask)); the branch compares the field with a prefix.
 *
 *   port node: an array of `mask` + 1 words, at word base + ((port >> shift) & mask).
 */
#ifndef SOCKREG_TABLES_H
#define SOCKREG_TABLES_H

#include <linux/types.h>

/* Fields in the order in which a lookup reads them; a node bit on top makes them 8..13. */
#define NODE_HIGH 8		/* local address: IPv4, or the first half of IPv6 */
#define NODE_LOW 9		/* local address: the second half of IPv6 */
#define NODE_PORT 10		/* local port */
#define NODE_INTERFACE 11	/* index of the interface, in the upper 32 bits */
#define NODE_SOURCE_HIGH 12	/* remote address, as NODE_HIGH */
#define NODE_SOURCE_LOW 13	/* remote address, as NODE_LOW */

#define NODE_FIELD_SHIFT 60
#define NODE_MASK_SHIFT 38
#define NODE_MASK_BITS 0x3fffff /* 22 bits */
#define NODE_SHIFT_SHIFT 32 /* 6 bits: the processor cuts off the rest, see sockreg.bpf.c */

/* Destination, 15 bits: 14 missing=pass | 12..0 slot */
#define DESTINATION_SLOT 0x1fff
#define DESTINATION_MISSING_PASS 0x2000

/* One prefix of a field and where to go on. 32 bytes: two in a cache line, never across two. */
struct branch {
	__u64 key;   /* the prefix, aligned to the left, host bits zero */
	__u64 match; /* the next word if (field ^ key) >> shift == 0 */
	__u64 miss;  /* the next word otherwise */
	__u64 shift; /* 64 - length of the prefix */
};

/* The most nodes of one field on a path; user space refuses rule sets that need more. */
#define STEPS_BRANCH 64
#define STEPS_PORT 64

/* The index of a root, and of the steps that its tries need at most. */
#define GROUP_TCP4 0
#define GROUP_UDP4 1
#define GROUP_TCP6 2
#define GROUP_UDP6 3
#define GROUPS 4

struct config {
	__u64 roots[GROUPS]; /* first words; 0: no rule at all */
	__u32 branches;	     /* size of the table in branches; its words are four times as many */
	__u8 steps_high;     /* nodes of each field on the longest path: bounds of the loops */
	__u8 steps_low;
	__u8 steps_port;
	__u8 steps_interface;
	__u8 steps_source_high;
	__u8 steps_source_low;
	__u8 counters; /* count lookups, misses and errors */
	__u8 zero[5];
};

#endif
