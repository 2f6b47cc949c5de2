/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What user space and the sock_ops program share: who is expected to listen.
 * sockreg/registry/expected.py says the same in Python; a test compares both with the object's
 * BTF. Change both or none.
 */
#ifndef SOCKREG_SOCKOPS_H
#define SOCKREG_SOCKOPS_H

#include <linux/types.h>

#include "registry.h"

/* expected: a unit whose TCP listener is to be registered, by its cgroup */
struct expected_key {
	__u64 cgroup; /* id, as bpf_get_current_cgroup_id() has it: the directory's inode */
	__u32 port;   /* the local port it will listen on, host order; 0: whichever is first */
	__u32 zero;
};

struct expected {
	__u64 netns;	 /* SO_NETNS_COOKIE of the registry's network namespace */
	__u64 clock;	 /* CLOCK_REALTIME minus CLOCK_MONOTONIC when this was written, ns */
	__u32 slot_ipv4; /* of the label's TCP destinations */
	__u32 slot_ipv6;
	__u32 port;	/* of the listener registered first; those on other ports are ignored */
	__u32 own_ipv4; /* an IPv4 socket has taken slot_ipv4: no dual-stack one replaces it */
	__u32 weight;	/* of the members it becomes */
	__u32 failed;	/* sockets the kernel did not take */
	char unit[UNIT_SIZE];
};

#endif
