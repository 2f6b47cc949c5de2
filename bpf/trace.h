/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What a tracing program tells user space: one record for each decision. Only trace.bpf.c defines
 * TRACE; in the program that usually runs, nothing of this exists.
 */
#ifndef SOCKREG_TRACE_H
#define SOCKREG_TRACE_H

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "registry.h"

#ifdef TRACE

/*
 * One decision. sockreg/registry/tracing.py has the same layout. Addresses are in network order,
 * IPv4 in the first four bytes; ports in host order.
 */
struct decision {
	__u64 time;	 /* CLOCK_MONOTONIC, ns */
	__u8 local[16];	 /* where the packet goes to */
	__u8 remote[16]; /* where it comes from */
	__u16 local_port;
	__u16 remote_port;
	__u16 family;
	__u16 protocol;
	__u32 interface; /* index; 0: unknown before Linux 5.17 */
	__u32 slot;	 /* of the rule that won; SLOT_PASS: none did, or a pass rule */
	__u32 member;	 /* slot of the socket; 0: none */
	__s32 error;	 /* 0, or why the kernel refused the socket: -errno */
};

/* Frozen before the program is loaded. */
struct trace_config {
	__u32 one_in;	 /* one of so many packets is reported, at random; 1: all */
	__u32 interface; /* the kernel tells the program the interface */
};

/* What the tracer and the program tell each other while it runs. */
struct trace_state {
	__u64 until; /* CLOCK_MONOTONIC, ns: later the tracer is dead, and nobody reads */
	__u64 lost;  /* decisions for which there was no room */
};

const volatile struct trace_config trace_config SEC(".rodata.trace") = {};
struct trace_state trace_state SEC(".data.trace") = {};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} decisions SEC(".maps");

static __always_inline void tell(struct bpf_sk_lookup *ctx, __u32 slot, __u32 member, long error)
{
	__u64 now = bpf_ktime_get_ns();
	struct decision *one;

	if (now >= trace_state.until)
		return;
	if (trace_config.one_in > 1 && bpf_get_prandom_u32() % trace_config.one_in)
		return;
	one = bpf_ringbuf_reserve(&decisions, sizeof(*one), 0);
	if (!one) {
		__sync_fetch_and_add(&trace_state.lost, 1);
		return;
	}
	__builtin_memset(one, 0, sizeof(*one));
	one->time = now;
	if (ctx->family == AF_INET) {
		*(__u32 *)one->local = ctx->local_ip4;
		*(__u32 *)one->remote = ctx->remote_ip4;
	} else {
#pragma unroll
		for (int i = 0; i < 4; i++) {
			((__u32 *)one->local)[i] = ctx->local_ip6[i];
			((__u32 *)one->remote)[i] = ctx->remote_ip6[i];
		}
	}
	one->local_port = ctx->local_port;
	one->remote_port = bpf_ntohs((__u16)ctx->remote_port);
	one->family = ctx->family;
	one->protocol = ctx->protocol;
	if (trace_config.interface)
		one->interface = ctx->ingress_ifindex;
	one->slot = slot;
	one->member = member;
	one->error = error;
	bpf_ringbuf_submit(one, 0);
}

#else

static __always_inline void tell(struct bpf_sk_lookup *ctx, __u32 slot, __u32 member, long error)
{
	(void)ctx, (void)slot, (void)member, (void)error;
}

#endif
#endif
