/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* sk_lookup programs of others, which decide the same for every packet to port 80. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} chosen SEC(".maps");

#define PORT 80

static __always_inline int select(struct bpf_sk_lookup *ctx, __u64 flags)
{
	__u32 slot = 0;
	struct bpf_sock *socket = bpf_map_lookup_elem(&chosen, &slot);
	long error;

	if (!socket)
		return SK_DROP;
	if (ctx->local_port != PORT) {
		bpf_sk_release(socket);
		return SK_PASS;
	}
	error = bpf_sk_assign(ctx, socket, flags);
	bpf_sk_release(socket);
	return error ? SK_DROP : SK_PASS;
}

SEC("sk_lookup")
int passes(struct bpf_sk_lookup *ctx)
{
	return SK_PASS;
}

SEC("sk_lookup")
int drops(struct bpf_sk_lookup *ctx)
{
	return ctx->local_port == PORT ? SK_DROP : SK_PASS;
}

/* Refuses a packet without socket, and one whose socket the kernel refuses, as tubular does. */
SEC("sk_lookup")
int selects(struct bpf_sk_lookup *ctx)
{
	return select(ctx, 0);
}

SEC("sk_lookup")
int replaces(struct bpf_sk_lookup *ctx)
{
	return select(ctx, BPF_SK_LOOKUP_F_REPLACE);
}

/* Tries to undo what programs before it have selected. */
SEC("sk_lookup")
int clears(struct bpf_sk_lookup *ctx)
{
	if (ctx->local_port != PORT)
		return SK_PASS;
	return bpf_sk_assign(ctx, NULL, BPF_SK_LOOKUP_F_REPLACE) ? SK_PASS : SK_DROP;
}

char _license[] SEC("license") = "Dual MIT/GPL";
