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

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct pool);
} pools SEC(".maps");

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

/*
 * A copy, of which the verifier does not know that it is one. For what is used again after it.
 *
 * The verifier numbers what it sees copied, each time anew. Without CAP_PERFMON, older ones take
 * values with different numbers for different (regsafe() in kernel/bpf/verifier.c). So paths that
 * meet again would be followed on one by one, and there are too many of them. That is why 64-bit
 * values that are live where paths meet are compared in place, narrowed to 32 bits, which leaves
 * no number, or copied with this.
 */
static __always_inline __u64 copy_of(__u64 value)
{
	__u64 copied;

	asm volatile("%0 = 0; %0 |= %1" : "=&r"(copied) : "r"(value));
	return copied;
}

/* The table's address. Hidden from the compiler, which would otherwise know the size of `table`. */
static __always_inline __u64 *table_start(void)
{
	__u64 *start = table;

	barrier_var(start);
	return start;
}

/* The word at a position, 0 outside the table. `config` is known to the verifier. */
static __always_inline __u64 word_at(__u64 position)
{
	barrier_var(position);
	if (position >= config.words)
		return 0;
	return table_start()[position];
}

/*
 * A word that pairs go on with. The offset is part of the instruction that reads; or the compiler
 * shares the addition before it with word_at(), and without CAP_PERFMON the verifier refuses
 * additions whose offsets have different bounds on different paths (sanitize_ptr_alu() there).
 */
static __always_inline __u64 elsewhere_at(__u64 number)
{
	barrier_var(number);
	if (number >= config.words - ELSEWHERE)
		return 0;
	__u64 *from = table_start() + number;

	barrier_var(from);
	return from[ELSEWHERE];
}

/* The element that a node selects, counted from the start of the table. */
static __always_inline __u64 element(__u64 node, __u64 field)
{
	__u64 index = shift_right(field, node >> NODE_SHIFT_SHIFT);

	index = (index & (node >> NODE_MASK_SHIFT & NODE_MASK_BITS)) + (__u32)node;
	/* Or the compiler folds the check of bounds that follows into something unprovable. */
	barrier_var(index);
	return index;
}

/* The next word of a packet that is not inside a branch's prefix. */
static __always_inline __u64 missed(__u64 rest)
{
	return word_at(rest >> BRANCH_MISS_SHIFT & BRANCH_MISS_BITS);
}

static __always_inline __u64 step4(__u64 node, __u64 field)
{
	__u64 at = element(node, copy_of(field));

	if (at >= config.words / 2)
		return 0;
	struct branch4 *branch = (struct branch4 *)table_start() + at;
	__u64 rest = branch->rest;

	if (shift_right(field ^ rest >> BRANCH4_ADDRESS_SHIFT, rest))
		return missed(rest);
	return branch->match;
}

/* 0 if an IPv6 address is inside the prefix of a branch. */
static __always_inline __u64 outside6(struct branch6 *branch, __u64 high, __u64 low)
{
	__u64 differs = shift_right(low ^ branch->low, branch->rest >> BRANCH6_FIRST_SHIFT);

	differs = shift_right(differs, branch->rest >> BRANCH6_SECOND_SHIFT);
	return differs | shift_right(high ^ branch->high, branch->rest);
}

static __always_inline __u64 step6(__u64 node, __u64 high, __u64 low)
{
	__u64 at = element(node, node & NODE_LOW ? copy_of(low) : copy_of(high));

	if (at >= config.words / 4)
		return 0;
	struct branch6 *branch = (struct branch6 *)table_start() + at;

	if (outside6(branch, high, low))
		return missed(branch->rest);
	return branch->match;
}

/* Whether a word is a node of this class, given that the classes before it are done with. */
static __always_inline int is_node(__u64 word, __u64 class)
{
	return word >= class << NODE_CLASS_SHIFT;
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
	/* Inside first: there, leaves and pairs take the same way, and nothing is mispredicted. */
	return !is_inside(word, port) && word >= (__u64)PAIR_KIND << PAIR_KIND_SHIFT;
}

static __always_inline __u64 step_port(__u64 word, __u64 port)
{
	__u64 at;

	if ((__s64)word >= 0)
		return elsewhere_at(word >> PAIR_ELSEWHERE_SHIFT & PAIR_ELSEWHERE_BITS);
	at = element(word, copy_of(port));
	if (!(word & NODE_LOW))
		return word_at(at);
	if (at >= config.words / 2)
		return 0;
	struct wide_pair *pair = (struct wide_pair *)table_start() + at;
	__u64 range = pair->range, elsewhere = pair->elsewhere;

	if (!is_inside(range, port))
		return elsewhere;
	if ((__s64)range < 0)
		return word_at(range >> WIDE_PAIR_POSITION_SHIFT & WIDE_PAIR_POSITION_BITS);
	return range;
}

/*
 * Replace `word` by `next` as long as `more` holds, but `used` times at most.
 *
 * Unrolled to the most steps of any table. The verifier knows `used` and removes the rest; a loop
 * that ends at `used` would suffice, if the verifier did not follow programs without CAP_PERFMON
 * also where jumps never go (sanitize_speculative_path() in kernel/bpf/verifier.c): there, the loop
 * has no end. The barrier keeps the compiler from making one bound out of the two.
 */
#define FOLLOW(word, more, used, maximum, next)                                                  \
	_Pragma("unroll") for (__u32 step = 0; step < (maximum); step++)                          \
	{                                                                                         \
		__u32 limit = (used);                                                             \
                                                                                                  \
		barrier_var(limit);                                                               \
		if (step >= limit || !(more))                                                     \
			break;                                                                    \
		(word) = (next);                                                                  \
	}

static __always_inline __u64 join(__u32 first, __u32 second)
{
	return bpf_be64_to_cpu((__u64)second << 32 | first);
}

/*
 * The word to start with. Heads and shortcuts are at constant offsets, so nothing here waits for
 * anything but the packet. IPv4 addresses are `high` without `low`.
 */
static __always_inline __u64 start(const int number, __u64 high, __u64 low, const int wide)
{
	struct head *head = (struct head *)table_start() + number;
	__u64 otherwise = head->otherwise;

	/* Read now: or the compiler shares the reading with others, at a computed offset. */
	barrier_var(otherwise);
#pragma unroll
	for (__u32 i = 0; i < SHORTCUTS_MAX; i++) {
		struct branch6 *shortcut = &head->shortcuts[i];
		__u64 used = config.shortcuts[number], match, outside;

		barrier_var(used); /* see FOLLOW */
		if (i >= used)
			break;
		outside = wide ? outside6(shortcut, high, low) :
				 shift_right(high ^ shortcut->high, shortcut->rest);
		match = shortcut->match;
		barrier_var(match); /* as above */
		if (!outside)
			return match;
	}
	return copy_of(otherwise);
}

static __always_inline __u64 follow_local4(struct bpf_sk_lookup *ctx)
{
	__u64 address = bpf_ntohl(ctx->local_ip4), high = address << 32, word;

	if (ctx->protocol == IPPROTO_UDP)
		word = start(HEAD_UDP4, high, 0, 0);
	else
		word = start(HEAD_TCP4, high, 0, 0);
	FOLLOW(word, is_node(word, NODE_ADDRESS), config.steps_address, STEPS4_MAX,
	       step4(word, address));
	return word;
}

static __always_inline __u64 follow_local6(struct bpf_sk_lookup *ctx)
{
	__u64 high = join(ctx->local_ip6[0], ctx->local_ip6[1]);
	__u64 low = join(ctx->local_ip6[2], ctx->local_ip6[3]), word;

	if (ctx->protocol == IPPROTO_UDP)
		word = start(HEAD_UDP6, high, low, 1);
	else
		word = start(HEAD_TCP6, high, low, 1);
	FOLLOW(word, is_node(word, NODE_ADDRESS), config.steps_address, STEPS6_MAX,
	       step6(word, high, low));
	return word;
}

static __always_inline __u64 follow_remote(struct bpf_sk_lookup *ctx, __u64 word)
{
	if (ctx->family == AF_INET) {
		__u64 address = bpf_ntohl(ctx->remote_ip4);

		FOLLOW(word, is_node(word, NODE_SOURCE), config.steps_source, STEPS4_MAX,
		       step4(word, address));
	} else {
		__u64 high = join(ctx->remote_ip6[0], ctx->remote_ip6[1]);
		__u64 low = join(ctx->remote_ip6[2], ctx->remote_ip6[3]);

		FOLLOW(word, is_node(word, NODE_SOURCE), config.steps_source, STEPS6_MAX,
		       step6(word, high, low));
	}
	return word;
}

/* What a leaf decides. */
static __always_inline __u32 decide(__u64 leaf, __u32 port)
{
	return (is_inside(leaf, port) ? leaf >> 32 : leaf >> 48) & DESTINATION_BITS;
}

/* The destination of a packet. */
static __always_inline __u32 find(struct bpf_sk_lookup *ctx, const int interfaces)
{
	__u64 word = ctx->family == AF_INET ? follow_local4(ctx) : follow_local6(ctx);
	__u64 port = ctx->local_port;

	if (!word)
		return SLOT_PASS;
	FOLLOW(word, needs_step_port(word, port), config.steps_port, STEPS_PORT_MAX,
	       step_port(word, port));
	if (interfaces && config.steps_interface) {
		__u64 interface = ctx->ingress_ifindex;

		FOLLOW(word, is_node(word, NODE_INTERFACE), config.steps_interface, STEPS4_MAX,
		       step4(word, interface));
	}
	if (config.steps_source)
		word = follow_remote(ctx, word);
	return decide(word, port);
}

/* A number that is the same for all packets of a flow and differs between flows. */
static __always_inline __u64 flow_hash(struct bpf_sk_lookup *ctx)
{
	__u64 hash = (__u64)ctx->remote_port << 32 | ctx->local_port;

	if (ctx->family == AF_INET) {
		hash ^= (__u64)ctx->remote_ip4 << 16 ^ (__u64)ctx->local_ip4 << 24;
	} else {
		hash ^= (__u64)ctx->remote_ip6[0] << 32 | ctx->remote_ip6[1];
		hash *= 0x9e3779b97f4a7c15;
		hash ^= (__u64)ctx->remote_ip6[2] << 32 | ctx->remote_ip6[3];
		hash *= 0x9e3779b97f4a7c15;
		hash ^= (__u64)ctx->local_ip6[2] << 32 | ctx->local_ip6[3];
	}
	/* The finalizer of splitmix64: every bit of the input changes every bit of the hash. */
	hash = (hash ^ hash >> 30) * 0xbf58476d1ce4e5b9;
	hash = (hash ^ hash >> 27) * 0x94d049bb133111eb;
	return hash ^ hash >> 31;
}

/*
 * The socket of the member that this flow belongs to. If it is gone, its flows spread over the
 * others as three more parts of the hash say, and if these are gone too, go to any that is left.
 * NULL if there is no pool, or nobody in it.
 */
static __always_inline struct bpf_sock *pick(struct bpf_sk_lookup *ctx, __u64 *slot)
{
	struct pool *pool = bpf_map_lookup_elem(&pools, slot);
	struct bpf_sock *socket;
	__u64 hash, chosen;

	if (!pool)
		return 0;
	hash = flow_hash(ctx);
#pragma unroll
	for (int shift = 0; shift < 64; shift += 16) {
		chosen = pool->entry[hash >> shift & (POOL_ENTRIES - 1)];
		socket = bpf_map_lookup_elem(&sockets, &chosen);
		if (socket)
			return socket;
	}
#pragma unroll
	for (__u32 at = 0; at < POOL_MEMBERS; at++) {
		__u32 limit = pool->active; /* as above: one bound a loop */

		barrier_var(limit);
		if (at >= limit)
			break;
		chosen = pool->member[at];
		socket = bpf_map_lookup_elem(&sockets, &chosen);
		if (socket)
			return socket;
	}
	return 0;
}

/* What becomes of a packet whose destination has no usable socket. */
static __always_inline int refuse(__u32 destination)
{
	return destination & DESTINATION_MISSING_PASS ? SK_PASS : SK_DROP;
}

/*
 * Looked up each time: a pointer carried on, which is NULL where counters are off, would do for the
 * processor but not for older verifiers. Without CAP_PERFMON they follow a branch that is never
 * taken, too, as speculation might, and refuse the program for what it does with NULL there.
 */
#define COUNT(slot, what)                                                                  \
	do {                                                                               \
		struct counters *count;                                                    \
                                                                                           \
		if (config.counters && (count = bpf_map_lookup_elem(&counters, slot)) != 0) \
			count->what++;                                                     \
	} while (0)

static __always_inline int hand_over(struct bpf_sk_lookup *ctx, struct bpf_sock *socket,
				     __u64 *slot, __u32 destination)
{
	int error = bpf_sk_assign(ctx, socket, 0);

	bpf_sk_release(socket);
	if (!error)
		return SK_PASS;
	COUNT(slot, errors);
	return refuse(destination);
}

/*
 * Where the destination's own slot is empty. Not inlined, so that a lone socket pays nothing: the
 * path to it keeps its registers, and without CAP_PERFMON the verifier would put barriers against
 * speculation where the two paths meet, at 15 ns each.
 */
static __noinline int deliver_to_pool(struct bpf_sk_lookup *ctx, __u32 destination)
{
	__u64 slot = destination & DESTINATION_SLOT;
	struct bpf_sock *socket;

	socket = pick(ctx, &slot);
	if (socket)
		return hand_over(ctx, socket, &slot, destination);
	COUNT(&slot, misses);
	return refuse(destination);
}

/* Hand the packet to the socket in the destination's slot, or to one of its pool. */
static __always_inline int deliver(struct bpf_sk_lookup *ctx, __u32 destination)
{
	struct bpf_sock *socket;
	/* A u64 of its own on the stack: older verifiers lose track of smaller spills. */
	__u64 slot;

	if ((destination & DESTINATION_SLOT) == SLOT_PASS)
		return SK_PASS;
	/* Not earlier: without CAP_PERFMON the first store to a place costs a barrier, see above. */
	barrier();
	slot = destination & DESTINATION_SLOT;
	COUNT(&slot, lookups);
	if (slot == SLOT_REJECT)
		return SK_DROP;
	socket = bpf_map_lookup_elem(&sockets, &slot);
	if (!socket)
		return deliver_to_pool(ctx, destination);
	return hand_over(ctx, socket, &slot, destination);
}

SEC("sk_lookup")
int sockreg(struct bpf_sk_lookup *ctx)
{
	return deliver(ctx, find(ctx, 1));
}

/*
 * For kernels before 5.17, whose contexts have no ingress_ifindex. That steps_interface is 0 for
 * them is not enough: without CAP_PERFMON the verifier also follows jumps that are never taken.
 */
SEC("sk_lookup")
int sockreg_5_9(struct bpf_sk_lookup *ctx)
{
	return deliver(ctx, find(ctx, 0));
}

/*
 * Copy a socket from one slot to another, for user space, which has no descriptor of it: run by
 * BPF_PROG_TEST_RUN with the slots in the place of the addresses, never attached. SK_PASS also if
 * there is no socket, SK_DROP if the kernel does not take it. Of all programs that a test run can
 * start, newer kernels (seen: Linux 7.3) let sk_lookup ones alone write to a SOCKMAP.
 */
SEC("sk_lookup")
int copy_socket(struct bpf_sk_lookup *ctx)
{
	__u32 from = ctx->remote_ip4, to = ctx->local_ip4;
	struct bpf_sock *socket;
	long error;

	socket = bpf_map_lookup_elem(&sockets, &from);
	if (!socket)
		return SK_PASS;
	error = bpf_map_update_elem(&sockets, &to, socket, BPF_ANY);
	bpf_sk_release(socket);
	return error ? SK_DROP : SK_PASS;
}

/* What this object was made from: bpf/build.sh hands in the hash. Loaders skip the section. */
const char source[] SEC("sockreg.source") = SOURCE_HASH;

char _license[] SEC("license") = "Dual MIT/GPL";
