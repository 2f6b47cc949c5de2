// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The sk_lookup program: packet -> rule set -> slot -> socket.
 *
 * Runs for every packet to a local address that no established or connected socket takes
 * (Documentation/bpf/prog_sk_lookup.rst). Everything it looks at is read-only while it runs: a
 * rule set is compiled by user space into `table` and `config`, loaded with an instance of this
 * program, and replaced as a whole. The verifier sees `config` as constants and removes what a
 * rule set does not use.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "registry.h"
#include "tables.h"

#define AF_INET 2

/* Shared by all generations of a registry, and pinned in it. */

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

/* For user space only; declared here so that they are created with their types. */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct destination);
	__type(value, __u32);
} destinations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 2048);
	__type(key, struct member_key);
	__type(value, struct member);
} members SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct unit_name);
	__type(value, struct unit_state);
} units SEC(".maps");

/* Of one generation. User space replaces `table` by a map of the right size. */

const volatile struct config config SEC(".rodata.config") = {};
__u64 table[4] SEC(".data.table") = {1};

/*
 * value >> (count % 64). BPF shifts by the low six bits of the count (RFC 9669, 4.1), in C more
 * is undefined and the compiler would mask it once again.
 */
static __always_inline __u64 shift_right(__u64 value, __u64 count)
{
	asm("%0 >>= %1" : "+r"(value) : "r"(count));
	return value;
}

/* The table's address. Hidden from the compiler, which would otherwise know the size of `table`. */
static __always_inline __u64 *table_start(void)
{
	__u64 *start = table;

	barrier_var(start);
	return start;
}

/* The position a node selects in its array, counted from the start of the table. */
static __always_inline __u64 position(__u64 node, __u64 field)
{
	__u64 index = shift_right(field, node >> NODE_SHIFT_SHIFT);

	return (index & (node >> NODE_MASK_SHIFT & NODE_MASK_BITS)) + (__u32)node;
}

/*
 * The loops below are unrolled to the most steps a table may need; `steps` is a constant to the
 * verifier, which removes the rest. A loop that ends at that constant would do if the verifier did
 * not, without CAP_PERFMON, also walk the side of a jump that is never taken (kernel/bpf/verifier.c,
 * sanitize_speculative_path()): it would go on for ever. The barrier keeps the compiler from making
 * one bound out of the two.
 */

/* Follow the branch nodes of one field. */
static __always_inline __u64 follow(__u64 word, __u64 kind, __u64 field, __u32 steps)
{
#pragma unroll
	for (__u32 step = 0; step < STEPS_BRANCH; step++) {
		__u32 limit = steps;

		barrier_var(limit);
		if (step >= limit || word >> NODE_FIELD_SHIFT != kind)
			break;
		__u64 at = position(word, field);

		barrier_var(at);
		if (at >= config.branches)
			return 0;
		struct branch *branch = (struct branch *)table_start() + at;

		if (shift_right(field ^ branch->key, branch->shift))
			word = branch->miss;
		else
			word = branch->match;
	}
	return word;
}

/* Follow the port nodes. */
static __always_inline __u64 follow_port(__u64 word, __u64 port, __u32 steps)
{
#pragma unroll
	for (__u32 step = 0; step < STEPS_PORT; step++) {
		__u32 limit = steps;

		barrier_var(limit);
		if (step >= limit || word >> NODE_FIELD_SHIFT != NODE_PORT)
			break;
		__u64 at = position(word, port);

		barrier_var(at);
		if (at >= config.branches * 4ULL)
			return 0;
		word = table_start()[at];
	}
	return word;
}

static __always_inline __u64 decide(__u64 leaf, __u64 port)
{
	if (((port - (leaf >> 16)) & 0xffff) <= (leaf & 0xffff))
		return leaf >> 32 & 0xffff;
	return leaf >> 48;
}

/* Hand the packet to the socket in the destination's slot. */
static __always_inline int deliver(struct bpf_sk_lookup *ctx, __u64 destination)
{
	/* A u64 of its own on the stack: older verifiers lose track of smaller spills. */
	__u64 slot = destination & DESTINATION_SLOT;
	struct counters *count = 0;
	struct bpf_sock *socket;
	int error;

	if (slot == SLOT_PASS)
		return SK_PASS;
	if (config.counters) {
		count = bpf_map_lookup_elem(&counters, &slot);
		if (!count)
			return SK_DROP;
		count->lookups++;
	}
	if (slot == SLOT_REJECT)
		return SK_DROP;
	socket = bpf_map_lookup_elem(&sockets, &slot);
	if (!socket) {
		if (count)
			count->misses++;
		return destination & DESTINATION_MISSING_PASS ? SK_PASS : SK_DROP;
	}
	error = bpf_sk_assign(ctx, socket, 0);
	bpf_sk_release(socket);
	if (error) {
		if (count)
			count->errors++;
		return destination & DESTINATION_MISSING_PASS ? SK_PASS : SK_DROP;
	}
	return SK_PASS;
}

static __always_inline __u64 join(__u32 first, __u32 second)
{
	return bpf_be64_to_cpu((__u64)second << 32 | first);
}

/*
 * The second stage, for rules that look at the interface or the source. The context's
 * ingress_ifindex is unknown to kernels before 5.17; their verifiers accept the program all the
 * same as long as steps_interface is 0, because then they never get there.
 */
static __always_inline __u64 follow_conditions(struct bpf_sk_lookup *ctx, __u64 word)
{
	__u64 high, low = 0;

	if (config.steps_interface)
		word = follow(word, NODE_INTERFACE, (__u64)ctx->ingress_ifindex << 32,
			      config.steps_interface);
	if (config.steps_source_high) {
		if (ctx->family == AF_INET) {
			high = (__u64)bpf_ntohl(ctx->remote_ip4) << 32;
		} else {
			high = join(ctx->remote_ip6[0], ctx->remote_ip6[1]);
			low = join(ctx->remote_ip6[2], ctx->remote_ip6[3]);
		}
		word = follow(word, NODE_SOURCE_HIGH, high, config.steps_source_high);
		word = follow(word, NODE_SOURCE_LOW, low, config.steps_source_low);
	}
	return word;
}

/* Constants with constant offsets: an index computed at run time would need CAP_PERFMON. */
static __always_inline __u64 root(int udp, const int tcp_group, const int udp_group)
{
	__u64 of_tcp = config.roots[tcp_group], of_udp = config.roots[udp_group];

	barrier_var(of_tcp);
	barrier_var(of_udp);
	return udp ? of_udp : of_tcp;
}

/* The destination of a packet. Only reads the packet's part of the context. */
static __always_inline __u64 find(struct bpf_sk_lookup *ctx)
{
	__u64 high, low = 0, port = ctx->local_port, word;
	int udp = ctx->protocol == IPPROTO_UDP;

	if (ctx->family == AF_INET) {
		word = root(udp, GROUP_TCP4, GROUP_UDP4);
		if (!word)
			return SLOT_PASS;
		high = (__u64)bpf_ntohl(ctx->local_ip4) << 32;
	} else {
		word = root(udp, GROUP_TCP6, GROUP_UDP6);
		if (!word)
			return SLOT_PASS;
		high = join(ctx->local_ip6[0], ctx->local_ip6[1]);
		low = join(ctx->local_ip6[2], ctx->local_ip6[3]);
	}
	/*
	 * Adds nothing: families are below 256. But it makes the root an unknown number to the
	 * verifier, which without CAP_PERFMON refuses the same addition to a pointer with a known
	 * number here and an unknown one there (update_alu_sanitation_state()).
	 */
	word ^= ctx->family >> 8;
	word = follow(word, NODE_HIGH, high, config.steps_high);
	word = follow(word, NODE_LOW, low, config.steps_low);
	word = follow_port(word, port, config.steps_port);
	if (config.steps_interface || config.steps_source_high)
		word = follow_conditions(ctx, word);
	return decide(word, port);
}

SEC("sk_lookup")
int sockreg(struct bpf_sk_lookup *ctx)
{
	return deliver(ctx, find(ctx));
}

/* What this object was made from: bpf/build.sh hands in the hash. Loaders skip the section. */
const char source[] SEC("sockreg.source") = SOURCE_HASH;

char _license[] SEC("license") = "Dual MIT/GPL";
