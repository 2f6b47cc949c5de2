// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The sk_lookup program: packet -> rule set -> slot -> socket.
 *
 * Runs for every packet to a local address that no established or connected socket takes
 * (Documentation/bpf/prog_sk_lookup.rst). User space compiles a rule set into a table (walk.h),
 * loads it with an instance of this program, and replaces both as a whole.
 */
#include <linux/bpf.h>
#include <linux/errno.h>

#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "pool.h"
#include "trace.h"
#include "walk.h"

/* Count a socket that the kernel refused. */
static __always_inline void count_refusal(struct counters *count, long error)
{
	if (error == -ESOCKTNOSUPPORT)
		count->closed++;
	else if (error == -EAFNOSUPPORT)
		count->family++;
	else if (error == -EPROTOTYPE)
		count->protocol++;
	else
		count->other++;
}

/* Pass the packet to the socket of its destination, or to one of its pool. */
static __always_inline int deliver(struct bpf_sk_lookup *ctx, __u32 destination)
{
	__u32 slot = destination & DESTINATION_SLOT_BITS;
	struct counters *count = NULL;
	struct bpf_sock *socket;
	__u32 member = slot;
	/* Programs that ran before this one may have selected a socket: the last one wins. */
	__u64 flags = BPF_SK_LOOKUP_F_REPLACE;

	if (slot == SLOT_PASS) {
		tell(ctx, slot, 0, 0);
		return SK_PASS;
	}
	if (config.counters)
		count = bpf_map_lookup_elem(&counters, &slot);
	if (count)
		count->lookups++;
	if (slot == SLOT_REJECT) {
		tell(ctx, slot, 0, 0);
		return SK_DROP;
	}

	socket = bpf_map_lookup_elem(&sockets, &slot);
	if (!socket)
		socket = pick(ctx, slot, &flags, &member);
	if (socket) {
		long error = bpf_sk_assign(ctx, socket, flags);

		bpf_sk_release(socket);
		tell(ctx, slot, member, error);
		if (!error)
			return SK_PASS;
		if (count)
			count_refusal(count, error);
	} else {
		tell(ctx, slot, 0, 0);
		if (count)
			count->misses++;
	}
	return destination & DESTINATION_MISSING_PASS ? SK_PASS : SK_DROP;
}

SEC("sk_lookup")
int sockreg(struct bpf_sk_lookup *ctx)
{
	return deliver(ctx, find(ctx));
}

/*
 * Copy a socket from one slot to another, for user space, which has no descriptor of it: run by
 * BPF_PROG_TEST_RUN with the slots in the place of the addresses, never attached. Returns
 * SK_PASS, even if there is no socket, and SK_DROP if the kernel refuses the socket. Among the
 * programs that a test run can start, newer kernels (seen with Linux 7.3) only let sk_lookup
 * programs write to a SOCKMAP.
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

/* Hash of the sources of this object, set by bpf/build.sh. Loaders skip the section. */
const char source[] SEC("sockreg.source") = SOURCE_HASH;

char _license[] SEC("license") = "Dual MIT/GPL";
