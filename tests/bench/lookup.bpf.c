// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The programs that tests/bench/lookup.py compares, in one object:
 *
 *   empty    nothing but SK_PASS
 *   one_rule one hard-coded rule: what no table can beat
 *   peer     the design of the peers: two walks through a longest-prefix-match trie
 *   sockreg  the real thing, included as it is
 *
 * Each twice: "hot" reads the packet from the context, which is the same in all repetitions of a
 * test run; "stream_..." takes the next packet from an array in each repetition.
 */
#include <bpf/bpf_endian.h>

#include "../../bpf/sockreg.bpf.c"

/* As many keys as the bench gives: user space replaces the map. The index wraps at keys_mask. */
struct key {
	__u32 address[4]; /* as in the context; IPv4 in the first word */
	__u32 port;
	__u16 family;
	__u16 protocol;
	__u64 zero;
};

struct key keys[2] SEC(".data.keys") = {{.family = 1}};
const volatile __u64 keys_mask SEC(".rodata.keys_mask") = 0;
__u64 next_key SEC(".data.next_key") = 1;

struct peer_key {
	__u32 prefix_length; /* of protocol, port and address together */
	__u16 protocol;
	__u16 port;
	__u32 address[4];
};

struct peer_value {
	__u32 destination;
	__u32 prefix_length;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct peer_key);
	__type(value, struct peer_value);
} peer_bindings SEC(".maps");

/* The next key in the form of a context. Inlined, this makes no copy: the members are the key's. */
static __always_inline struct bpf_sk_lookup next_packet(void)
{
	__u64 index = next_key++ & keys_mask;
	struct bpf_sk_lookup packet = {};
	struct key *key = keys;

	barrier_var(index);
	barrier_var(key);
	if (index > keys_mask)
		return packet;
	key += index;
	packet.family = key->family;
	packet.protocol = key->protocol;
	packet.local_port = key->port;
	packet.local_ip4 = packet.local_ip6[0] = key->address[0];
	packet.local_ip6[1] = key->address[1];
	packet.local_ip6[2] = key->address[2];
	packet.local_ip6[3] = key->address[3];
	return packet;
}

/* 192.0.2.1 port 80 and 3fff:1::1 port 80, TCP: slot 2. */
static __always_inline __u64 find_one_rule(struct bpf_sk_lookup *packet)
{
	if (packet->protocol != IPPROTO_TCP || packet->local_port != 80)
		return SLOT_PASS;
	if (packet->family == AF_INET)
		return packet->local_ip4 == bpf_htonl(0xc0000201) ? FIRST_SLOT : SLOT_PASS;
	if (packet->local_ip6[0] == bpf_htonl(0x3fff0001) && packet->local_ip6[1] == 0 &&
	    packet->local_ip6[2] == 0 && packet->local_ip6[3] == bpf_htonl(1))
		return FIRST_SLOT;
	return SLOT_PASS;
}

/* The rule for the port and the rule for any port; the longer prefix wins. */
static __always_inline __u64 find_peer(struct bpf_sk_lookup *packet)
{
	struct peer_key key = {
		.prefix_length = 160,
		.protocol = packet->protocol,
		.port = packet->local_port,
	};
	struct peer_value *exact, *any;

	if (packet->family == AF_INET) {
		key.address[2] = bpf_htonl(0xffff);
		key.address[3] = packet->local_ip4;
		/* Or the compiler merges the arms, and the verifier sees a modified context pointer. */
		barrier();
	} else {
		key.address[0] = packet->local_ip6[0];
		key.address[1] = packet->local_ip6[1];
		key.address[2] = packet->local_ip6[2];
		key.address[3] = packet->local_ip6[3];
	}
	exact = bpf_map_lookup_elem(&peer_bindings, &key);
	key.port = 0;
	any = bpf_map_lookup_elem(&peer_bindings, &key);
	if (exact && (!any || exact->prefix_length >= any->prefix_length))
		return exact->destination;
	return any ? any->destination : SLOT_PASS;
}

SEC("sk_lookup")
int empty(struct bpf_sk_lookup *ctx)
{
	return SK_PASS;
}

SEC("sk_lookup")
int one_rule(struct bpf_sk_lookup *ctx)
{
	return deliver(ctx, find_one_rule(ctx));
}

SEC("sk_lookup")
int peer(struct bpf_sk_lookup *ctx)
{
	return deliver(ctx, find_peer(ctx));
}

SEC("sk_lookup")
int stream_empty(struct bpf_sk_lookup *ctx)
{
	struct bpf_sk_lookup packet = next_packet();
	/* Have the packet read, so that the others do not pay for its cache misses alone. */
	__u32 seen = packet.family + packet.local_port;

	barrier_var(seen);
	return SK_PASS;
}

SEC("sk_lookup")
int stream_peer(struct bpf_sk_lookup *ctx)
{
	struct bpf_sk_lookup packet = next_packet();

	return deliver(ctx, find_peer(&packet));
}

SEC("sk_lookup")
int stream_sockreg(struct bpf_sk_lookup *ctx)
{
	struct bpf_sk_lookup packet = next_packet();

	return deliver(ctx, find(&packet));
}
