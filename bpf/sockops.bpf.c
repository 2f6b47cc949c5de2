// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The sock_ops program: listen(2) of an expected unit -> slot of its label.
 *
 * Attached to the root cgroup, it runs at the end of every listen(2) on a TCP socket, in the
 * context of the process that calls it and with the socket locked (tcp_call_bpf() in
 * net/ipv4/af_inet.c, inet_listen()). A cgroup identifies an expected unit; the sockets of others
 * do not change. The program needs no process and no descriptor, and changes no flag of a socket.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "sockops.h"

/* Written by user space, one or several entries per unit. */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct expected_key);
	__type(value, struct expected);
} expected SEC(".maps");

/* Part of the kernel's own struct. Loading looks up the position of the bit in its BTF. */
struct sock_common {
	unsigned char skc_ipv6only : 1;
} __attribute__((preserve_access_index));

/* Whether an IPv6 socket also takes IPv4. bind(2) to a specific address sets the bit, too. */
static __always_inline int is_dual_stack(struct bpf_sock *socket)
{
	/* Only a pointer of the kernel's type may be followed; reading it takes CAP_PERFMON. */
	struct sock_common *common = (struct sock_common *)bpf_skc_to_tcp6_sock(socket);

	return common && !BPF_CORE_READ_BITFIELD(common, skc_ipv6only);
}

/*
 * Put the socket into a slot that is empty, or that has an earlier socket of the same unit. A socket
 * of others keeps its slot, and so does a pool. `held` is the cookie of that earlier socket. Its
 * record is there as long as it is in the slot: user space drops the record before it gives the
 * slot to another unit (registry/registration.py).
 */
static __always_inline long claim(struct bpf_sock_ops *ctx, __u64 held, __u32 slot)
{
	struct member_key key = {.cookie = held, .slot = slot};
	long error;

	if (bpf_map_lookup_elem(&pools, &slot))
		return -1;
	error = bpf_sock_map_update(ctx, &sockets, &slot, BPF_NOEXIST);
	if (error && held && bpf_map_lookup_elem(&members, &key))
		error = bpf_sock_map_update(ctx, &sockets, &slot, BPF_ANY);
	/* A pool that was made meanwhile works only while this slot is empty. */
	if (!error && bpf_map_lookup_elem(&pools, &slot)) {
		bpf_map_delete_elem(&sockets, &slot);
		error = -1;
	}
	return error;
}

/*
 * Register the socket in a slot: first the record, then the socket, as registry/members.py does.
 * Returns whether it is there.
 */
static __always_inline int put(struct bpf_sock_ops *ctx, struct expected *unit, __u64 held,
			       __u32 slot)
{
	struct member_key key = {.cookie = bpf_get_socket_cookie(ctx), .slot = slot};
	struct member member = {
		.registered = unit->clock + bpf_ktime_get_ns(),
		.family = ctx->family,
		.port = ctx->local_port,
		.weight = unit->weight,
	};

	if (held == key.cookie) {
		if (bpf_map_lookup_elem(&members, &key))
			return 1; /* a second listen(2) of the same socket */
		held = 0;	  /* it was unregistered */
	}
	if (ctx->family == AF_INET) {
		*(__u32 *)member.address = ctx->local_ip4;
	} else {
		((__u32 *)member.address)[0] = ctx->local_ip6[0];
		((__u32 *)member.address)[1] = ctx->local_ip6[1];
		((__u32 *)member.address)[2] = ctx->local_ip6[2];
		((__u32 *)member.address)[3] = ctx->local_ip6[3];
	}
	__builtin_memcpy(member.unit, unit->unit, sizeof(member.unit));
	if (!bpf_map_update_elem(&members, &key, &member, BPF_ANY) && !claim(ctx, held, slot))
		return 1;
	bpf_map_delete_elem(&members, &key);
	__sync_fetch_and_add(&unit->failed, 1);
	return 0;
}

/* Register the socket in the slots of one family: 0 is none. */
static __always_inline void enter(struct bpf_sock_ops *ctx, struct expected *unit, __u64 *held,
				  __u32 only, __u32 this)
{
	__u64 before = *held;

	if (only && put(ctx, unit, before, only))
		*held = bpf_get_socket_cookie(ctx);
	if (this && put(ctx, unit, before, this))
		*held = bpf_get_socket_cookie(ctx);
}

/* The expectation that the listener meets, if any. */
static __always_inline struct expected *find(struct bpf_sock_ops *ctx)
{
	__u32 port = ctx->local_port;
	struct expected_key key = {.cgroup = bpf_get_current_cgroup_id(), .port = port};
	struct expected *unit = bpf_map_lookup_elem(&expected, &key);

	if (!unit) {
		key.port = 0;
		unit = bpf_map_lookup_elem(&expected, &key);
	}
	/* Sockets of other network namespaces could never be steered to. */
	if (!unit || unit->netns != bpf_get_netns_cookie(ctx))
		return 0;
	if (key.port)
		return unit;
	/* The first listener decides. A later one on its port replaces it. */
	__sync_val_compare_and_swap(&unit->port, 0, port);
	return unit->port == port ? unit : 0;
}

SEC("sockops")
int sockreg_listen(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *socket = ctx->sk;
	struct expected *unit;

	if (ctx->op != BPF_SOCK_OPS_TCP_LISTEN_CB || !socket)
		return 1;
	unit = find(ctx);
	if (!unit)
		return 1;
	if (ctx->family == AF_INET) {
		unit->own_ipv4 = 1;
		enter(ctx, unit, &unit->held_ipv4, unit->only_ipv4, unit->this_ipv4);
		return 1;
	}
	enter(ctx, unit, &unit->held_ipv6, unit->only_ipv6, unit->this_ipv6);
	if (!unit->own_ipv4 && is_dual_stack(socket))
		enter(ctx, unit, &unit->held_ipv4, unit->only_ipv4, unit->this_ipv4);
	return 1;
}

/* Hash of the sources of this object, set by bpf/build.sh. Loaders skip the section. */
const char source[] SEC("sockreg.source") = SOURCE_HASH;

char _license[] SEC("license") = "Dual MIT/GPL";
