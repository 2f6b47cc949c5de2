/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The units that are expected to listen, which user space and the sock_ops program share.
 * sockreg/registry/sockops_expected.py defines the same layout in Python. A test compares both with
 * the object's BTF. Change both or none.
 */
#ifndef SOCKREG_SOCKOPS_H
#define SOCKREG_SOCKOPS_H

#include <linux/types.h>

#include "registry.h"

/* expected: a unit whose TCP listener will be registered, by its cgroup */
struct expected_key {
	__u64 cgroup; /* id, as in bpf_get_current_cgroup_id(): the directory's inode */
	__u32 port;   /* the local port it will listen on, host order; 0: the first one */
	__u32 zero;
};

struct expected {
	__u64 netns; /* SO_NETNS_COOKIE of the registry's network namespace */
	__u64 clock; /* CLOCK_REALTIME minus CLOCK_MONOTONIC when this was written, ns */
	/* Of the label's TCP destinations: of the unit's only listener, and of this one. 0: none */
	__u32 only_ipv4;
	__u32 only_ipv6;
	__u32 this_ipv4;
	__u32 this_ipv6;
	/* Cookies of the unit's sockets in these slots, which later ones replace */
	__u64 held_ipv4;
	__u64 held_ipv6;
	__u32 port;	/* of the listener registered first; those on other ports are ignored */
	__u32 own_ipv4; /* an IPv4 socket has taken the slots of IPv4: no dual-stack one replaces it */
	__u32 weight; /* of the members it becomes */
	__u32 failed; /* sockets that the kernel refused */
	char unit[UNIT_SIZE];
};

#endif
