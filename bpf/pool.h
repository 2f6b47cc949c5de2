/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Pools: which member of a destination a flow belongs to. registry.h has struct pool. */
#ifndef SOCKREG_POOL_H
#define SOCKREG_POOL_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "maps.h"

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
 * The socket of the member that this flow belongs to. If the socket is gone, three more parts of
 * the hash spread the flows over the other members. If these are gone, too, any remaining member
 * gets the flow. NULL if there is no pool, or no member in it. `flags` are for bpf_sk_assign(),
 * and `member` is the slot of the socket.
 */
static __always_inline struct bpf_sock *pick(struct bpf_sk_lookup *ctx, __u32 slot, __u64 *flags,
					     __u32 *member)
{
	struct pool *pool = bpf_map_lookup_elem(&pools, &slot);
	struct bpf_sock *socket;
	__u64 hash;

	if (!pool)
		return NULL;
	if (pool->exact)
		*flags |= BPF_SK_LOOKUP_F_NO_REUSEPORT;
	hash = flow_hash(ctx);
	for (int shift = 0; shift < 64; shift += 16) {
		*member = pool->entry[hash >> shift & (POOL_ENTRIES - 1)];
		socket = bpf_map_lookup_elem(&sockets, member);
		if (socket)
			return socket;
	}
	for (__u32 at = 0; at < POOL_MEMBERS && at < pool->active; at++) {
		*member = pool->member[at];
		socket = bpf_map_lookup_elem(&sockets, member);
		if (socket)
			return socket;
	}
	return NULL;
}

#endif
