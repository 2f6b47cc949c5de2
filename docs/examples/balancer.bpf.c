// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The part of a load balancer that asks: does this host serve the packet?
 *
 * bpf_sk_lookup_tcp() and bpf_sk_lookup_udp() find the socket as the network stack will find it.
 * They run the sk_lookup programs, so they find the socket that a rule of sockreg leads to, and none
 * for a packet that will be refused. Here all packets go on, and are counted by the port that their
 * socket is bound to, 0 for none. A load balancer would send the latter to another host instead.
 *
 * Compile: clang -O2 -g -target bpf -c balancer.bpf.c. docs/recipes.md says how to attach it.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* local port of the socket -> packets */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} packets SEC(".maps");

static __always_inline void count(__u32 port)
{
	__u64 one = 1, *found = bpf_map_lookup_elem(&packets, &port);

	if (found)
		__sync_fetch_and_add(found, 1);
	else
		bpf_map_update_elem(&packets, &port, &one, BPF_NOEXIST);
}

/* The port that the packet's socket is bound to; 0 if it has no socket on this host. */
static __always_inline __u32 serving(void *ctx, __u8 protocol, struct bpf_sock_tuple *tuple,
				     __u32 size)
{
	struct bpf_sock *socket;
	__u32 port;

	if (protocol == IPPROTO_TCP)
		socket = bpf_sk_lookup_tcp(ctx, tuple, size, BPF_F_CURRENT_NETNS, 0);
	else
		socket = bpf_sk_lookup_udp(ctx, tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!socket)
		return 0;
	port = socket->src_port;
	bpf_sk_release(socket);
	return port;
}

/* Look at one packet. Those without a whole TCP or UDP header right behind the IP header go on. */
static __always_inline void look(void *ctx, void *data, void *end)
{
	struct bpf_sock_tuple tuple = {};
	struct ethhdr *ethernet = data;
	__be16 *ports;

	if ((void *)(ethernet + 1) > end)
		return;
	if (ethernet->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(ethernet + 1);

		ports = (void *)(ip + 1);
		if ((void *)(ports + 2) > end || ip->ihl != 5 ||
		    (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP))
			return;
		tuple.ipv4.saddr = ip->saddr;
		tuple.ipv4.daddr = ip->daddr;
		tuple.ipv4.sport = ports[0];
		tuple.ipv4.dport = ports[1];
		count(serving(ctx, ip->protocol, &tuple, sizeof(tuple.ipv4)));
	} else if (ethernet->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(ethernet + 1);

		ports = (void *)(ip + 1);
		if ((void *)(ports + 2) > end ||
		    (ip->nexthdr != IPPROTO_TCP && ip->nexthdr != IPPROTO_UDP))
			return;
		__builtin_memcpy(tuple.ipv6.saddr, &ip->saddr, sizeof(tuple.ipv6.saddr));
		__builtin_memcpy(tuple.ipv6.daddr, &ip->daddr, sizeof(tuple.ipv6.daddr));
		tuple.ipv6.sport = ports[0];
		tuple.ipv6.dport = ports[1];
		count(serving(ctx, ip->nexthdr, &tuple, sizeof(tuple.ipv6)));
	}
}

SEC("xdp")
int balance_xdp(struct xdp_md *ctx)
{
	look(ctx, (void *)(long)ctx->data, (void *)(long)ctx->data_end);
	return XDP_PASS;
}

SEC("tc")
int balance_tc(struct __sk_buff *packet)
{
	look(packet, (void *)(long)packet->data, (void *)(long)packet->data_end);
	return TC_ACT_OK;
}

/* The same question before a client connects: is the service on this very host? */
SEC("cgroup/connect4")
int balance_connect4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock_tuple tuple = {};

	tuple.ipv4.daddr = ctx->user_ip4;
	tuple.ipv4.dport = ctx->user_port;
	count(serving(ctx, ctx->protocol, &tuple, sizeof(tuple.ipv4)));
	return 1;
}

SEC("cgroup/connect6")
int balance_connect6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock_tuple tuple = {};

	for (int word = 0; word < 4; word++)
		tuple.ipv6.daddr[word] = ctx->user_ip6[word];
	tuple.ipv6.dport = ctx->user_port;
	count(serving(ctx, ctx->protocol, &tuple, sizeof(tuple.ipv6)));
	return 1;
}

char _license[] SEC("license") = "Dual MIT/GPL";
