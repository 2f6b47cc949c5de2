/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The walk through a generation's table: packet -> destination. tables.h has the words.
 *
 * `config` and `table` are frozen before the program is loaded, so the verifier knows what is in
 * `config`. It sees the ends of the loops, and removes the parts of the walk that a rule set does
 * not use. docs/dataplane.md explains what looks unusual here, with figures.
 */
#ifndef SOCKREG_WALK_H
#define SOCKREG_WALK_H

#include <linux/bpf.h>
#include <linux/in.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "tables.h"

/* User space replaces `table` with a map of the right size. */
const volatile struct config config SEC(".rodata.config") = {};
const volatile __u64 table[4] SEC(".rodata.table") = {};

/* The table's address. Hidden from the compiler, which would otherwise know the size of `table`. */
static __always_inline const void *table_start(void)
{
	const void *start = (const void *)table;

	barrier_var(start);
	return start;
}

/*
 * value >> (count % 64). BPF shifts by the low six bits of the count (RFC 9669, 4.1). In C more is
 * undefined, and the compiler would mask the count once again.
 */
static __always_inline __u64 shift_right(__u64 value, __u64 count)
{
	asm("%0 >>= %1" : "+r"(value) : "r"(count));
	return value;
}

/* The word at a position, 0 outside the table. */
static __always_inline __u64 word_at(__u64 position)
{
	/* Otherwise, the compiler checks one value and uses another, unknown to the verifier. */
	barrier_var(position);
	return position < config.words ? ((const __u64 *)table_start())[position] : 0;
}

/* The element that a node selects, counted from the start of the table. */
static __always_inline __u64 element(__u64 node, __u64 field)
{
	__u64 index = shift_right(field, node >> NODE_SHIFT_SHIFT);

	index = (index & (node >> NODE_MASK_SHIFT & NODE_MASK_BITS)) + (__u32)node;
	barrier_var(index); /* as above */
	return index;
}

/* Whether a word is a node of this class, given that the classes before it are done with. */
static __always_inline int is_node(__u64 word, __u64 class)
{
	return word >= class << NODE_CLASS_SHIFT;
}

/* The next word of a packet that is not inside a branch's prefix. */
static __always_inline __u64 missed(__u64 rest)
{
	return word_at(rest >> BRANCH_MISS_SHIFT & BRANCH_MISS_BITS);
}

/* The word that follows a node of an IPv4 address or an interface. */
static __always_inline __u64 step4(__u64 node, __u64 field)
{
	__u64 at = element(node, field);
	const struct branch4 *branch;

	if (at >= config.words / 2)
		return 0;
	branch = (const struct branch4 *)table_start() + at;
	if (shift_right(field ^ branch->rest >> BRANCH4_ADDRESS_SHIFT, branch->rest))
		return missed(branch->rest);
	return branch->match;
}

/* 0 if an IPv6 address is inside the prefix of a branch. */
static __always_inline __u64 outside6(const struct branch6 *branch, __u64 high, __u64 low)
{
	__u64 differs = shift_right(low ^ branch->low, branch->rest >> BRANCH6_FIRST_SHIFT);

	differs = shift_right(differs, branch->rest >> BRANCH6_SECOND_SHIFT);
	return differs | shift_right(high ^ branch->high, branch->rest);
}

/* The word that follows a node of an IPv6 address. */
static __always_inline __u64 step6(__u64 node, __u64 high, __u64 low)
{
	__u64 at = element(node, node & NODE_LOW ? low : high);
	const struct branch6 *branch;

	if (at >= config.words / 4)
		return 0;
	branch = (const struct branch6 *)table_start() + at;
	if (outside6(branch, high, low))
		return missed(branch->rest);
	return branch->match;
}

/* Whether a port is inside a leaf or a pair: `bounds` is the lower half of it. */
static __always_inline int is_inside(__u32 bounds, __u32 port)
{
	return ((port - (bounds >> 16)) & 0xffff) <= (bounds & 0xffff);
}

/* Whether the port says more than which destination of a leaf it is. */
static __always_inline int needs_step_port(__u64 word, __u64 port)
{
	if ((__s64)word < 0)
		return is_node(word, NODE_PORT);
	/* Inside first: leaves and pairs take the same path there, and nothing is mispredicted. */
	return !is_inside(word, port) && word >= (__u64)PAIR_KIND << PAIR_KIND_SHIFT;
}

/* The word that follows a pair or a node of a port. */
static __always_inline __u64 step_port(__u64 word, __u64 port)
{
	const struct wide_pair *pair;
	__u64 at;

	if ((__s64)word >= 0)
		return word_at(ELSEWHERE + (word >> PAIR_ELSEWHERE_SHIFT & PAIR_ELSEWHERE_BITS));
	at = element(word, port);
	if (!(word & NODE_LOW))
		return word_at(at);
	if (at >= config.words / 2)
		return 0;
	pair = (const struct wide_pair *)table_start() + at;
	if (!is_inside(pair->range, port))
		return pair->elsewhere;
	if ((__s64)pair->range < 0)
		return word_at(pair->range >> WIDE_PAIR_POSITION_SHIFT & WIDE_PAIR_POSITION_BITS);
	return pair->range;
}

/*
 * The word to start with. Heads and shortcuts are at constant offsets, so everything here only
 * waits for the packet. An IPv4 address is `high` without `low`, which is not read then.
 */
static __always_inline __u64 start(int number, int wide, __u64 high, __u64 low)
{
	const struct head *head = (const struct head *)table_start() + number;

#pragma unroll
	for (int i = 0; i < SHORTCUTS_MAX; i++) {
		const struct branch6 *shortcut = &head->shortcuts[i];

		if (i >= config.shortcuts[number])
			break;
		if (!(wide ? outside6(shortcut, high, low) :
			     shift_right(high ^ shortcut->high, shortcut->rest)))
			return shortcut->match;
	}
	return head->otherwise;
}

/* Half of an IPv6 address, of which the context has four words in network byte order. */
static __always_inline __u64 join(__u32 first, __u32 second)
{
	return bpf_be64_to_cpu((__u64)second << 32 | first);
}

/* The nodes of one class, of an IPv4 address or an interface. */
static __always_inline __u64 follow4(__u64 word, __u64 class, __u32 steps, __u64 field)
{
	for (__u32 step = 0; step < steps && is_node(word, class); step++)
		word = step4(word, field);
	return word;
}

/* The nodes of one class, of an IPv6 address. */
static __always_inline __u64 follow6(__u64 word, __u64 class, __u32 steps, __u64 high, __u64 low)
{
	for (__u32 step = 0; step < steps && is_node(word, class); step++)
		word = step6(word, high, low);
	return word;
}

/* What the rules for a local address say about ports, interfaces and sources. */
static __always_inline __u64 follow_local(struct bpf_sk_lookup *ctx)
{
	int udp = ctx->protocol == IPPROTO_UDP;
	__u64 high, low, word;

	if (ctx->family == AF_INET) {
		high = bpf_ntohl(ctx->local_ip4);
		if (udp)
			word = start(HEAD_UDP4, 0, high << 32, 0);
		else
			word = start(HEAD_TCP4, 0, high << 32, 0);
		return follow4(word, NODE_ADDRESS, config.steps_address, high);
	}
	high = join(ctx->local_ip6[0], ctx->local_ip6[1]);
	low = join(ctx->local_ip6[2], ctx->local_ip6[3]);
	if (udp)
		word = start(HEAD_UDP6, 1, high, low);
	else
		word = start(HEAD_TCP6, 1, high, low);
	return follow6(word, NODE_ADDRESS, config.steps_address, high, low);
}

/* What the rules for a remote address say, given all the rest. */
static __always_inline __u64 follow_remote(struct bpf_sk_lookup *ctx, __u64 word)
{
	if (ctx->family == AF_INET)
		return follow4(word, NODE_SOURCE, config.steps_source, bpf_ntohl(ctx->remote_ip4));
	return follow6(word, NODE_SOURCE, config.steps_source,
		       join(ctx->remote_ip6[0], ctx->remote_ip6[1]),
		       join(ctx->remote_ip6[2], ctx->remote_ip6[3]));
}

/* The destination of a packet. */
static __always_inline __u32 find(struct bpf_sk_lookup *ctx)
{
	__u64 word = follow_local(ctx);
	__u64 port = ctx->local_port;
	__u32 steps = config.steps_port;

	if (!word)
		return SLOT_PASS;
	for (__u32 step = 0; step < steps && needs_step_port(word, port); step++)
		word = step_port(word, port);
	/* Before Linux 5.17 there is no such field. No rule uses it there: config has 0. */
	if (config.steps_interface)
		word = follow4(word, NODE_INTERFACE, config.steps_interface, ctx->ingress_ifindex);
	if (config.steps_source)
		word = follow_remote(ctx, word);
	return (is_inside(word, port) ? word >> LEAF_INSIDE_SHIFT : word >> LEAF_OUTSIDE_SHIFT) &
	       DESTINATION_BITS;
}

#endif
