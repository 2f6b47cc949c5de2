/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Pools: which member of a destination a flow belongs to. registry.h has struct pool and flow. */
#ifndef SOCKREG_POOL_H
#define SOCKREG_POOL_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "walk.h" /* config */

/* (destination, flow) -> its member. The program's own of one entry if no unit has sticky flows. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

/* slot -> the cookie of the socket in it, for members of sticky pools */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} owners SEC(".maps");

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

static __always_inline void flow_of(struct bpf_sk_lookup *ctx, __u32 slot, struct flow_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->slot = slot;
	key->local_port = ctx->local_port;
	key->remote_port = ctx->remote_port;
	if (ctx->family == AF_INET) {
		__u32 local = ctx->local_ip4, remote = ctx->remote_ip4;

		/* Otherwise, the compiler reads both families at a computed place: not verifiable. */
		barrier_var(local);
		barrier_var(remote);
		*(__u32 *)key->local = local;
		*(__u32 *)key->remote = remote;
	} else {
#pragma unroll
		for (int i = 0; i < 4; i++) {
			((__u32 *)key->local)[i] = ctx->local_ip6[i];
			((__u32 *)key->remote)[i] = ctx->remote_ip6[i];
		}
	}
}

/* The socket that this flow is noted for, if it is still there. */
static __always_inline struct bpf_sock *noted(const struct flow_key *key, __u32 *member)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, key);
	__u32 slot;
	__u64 *owner;

	if (!flow)
		return NULL;
	slot = flow->member;
	owner = bpf_map_lookup_elem(&owners, &slot);
	if (!owner || *owner != flow->cookie)
		return NULL;
	*member = slot;
	return bpf_map_lookup_elem(&sockets, member);
}

/* Note that this flow belongs to a member. */
static __always_inline void note(const struct flow_key *key, __u32 member)
{
	struct flow flow = {.member = member};
	__u64 *owner = bpf_map_lookup_elem(&owners, &member);
	__u32 count = SLOT_PASS;

	if (!owner || !*owner)
		return;
	flow.cookie = *owner;
	flow.since = bpf_ktime_get_ns();
	/* A flow whose member is gone has an entry already, and is none more. */
	if (bpf_map_update_elem(&flows, key, &flow, BPF_NOEXIST)) {
		bpf_map_update_elem(&flows, key, &flow, BPF_EXIST);
		return;
	}
	owner = bpf_map_lookup_elem(&owners, &count);
	if (owner)
		__sync_fetch_and_add(owner, 1);
}

/*
 * The socket of the member that this flow belongs to by its hash. If the socket is gone, three more parts of
 * the hash spread the flows over the other members. If these are gone, too, any remaining member
 * gets the flow. NULL if there is none. `member` is the slot of the socket.
 */
static __always_inline struct bpf_sock *by_hash(struct bpf_sk_lookup *ctx, const struct pool *pool,
						__u32 *member)
{
	__u64 hash = flow_hash(ctx);
	struct bpf_sock *socket;

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

/*
 * The socket that gets this packet: of the member that got the first datagram of its flow, if the
 * pool is sticky, or else by_hash(). NULL if there is no pool, or no member in it. `flags` are for
 * bpf_sk_assign(), and `member` is the slot of the socket.
 */
static __always_inline struct bpf_sock *pick(struct bpf_sk_lookup *ctx, __u32 slot, __u64 *flags,
					     __u32 *member)
{
	struct pool *pool = bpf_map_lookup_elem(&pools, &slot);
	struct bpf_sock *socket;
	struct flow_key key;

	if (!pool)
		return NULL;
	if (pool->exact)
		*flags |= BPF_SK_LOOKUP_F_NO_REUSEPORT;
	if (!config.flows || !pool->sticky)
		return by_hash(ctx, pool, member);
	flow_of(ctx, slot, &key);
	socket = noted(&key, member);
	if (socket)
		return socket;
	socket = by_hash(ctx, pool, member);
	if (socket)
		note(&key, *member);
	return socket;
}

#endif
