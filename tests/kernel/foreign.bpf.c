/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* An sk_lookup program of somebody else's, which lets everything pass. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

SEC("sk_lookup")
int foreign(struct bpf_sk_lookup *ctx)
{
	return SK_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
