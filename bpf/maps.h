/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The maps of a registry: pinned in it, and shared by all its programs. User space declares none of
 * its own; it has libbpf create these, with the types given here, or reuse those that are pinned.
 * How many entries they have is up to user space.
 */
#ifndef SOCKREG_MAPS_H
#define SOCKREG_MAPS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "registry.h"

#define AF_INET 2 /* linux/socket.h has it for the kernel only */

/* slot -> socket. Not a reference: the kernel empties the slot when the socket is closed. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} sockets SEC(".maps");

/* slot -> what became of its packets */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

/* slot -> the members that share its packets */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct pool);
} pools SEC(".maps");

/* who owns which slot */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct destination);
	__type(value, __u32);
} destinations SEC(".maps");

/* what is known of the socket in a slot */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 2048);
	__type(key, struct member_key);
	__type(value, struct member);
} members SEC(".maps");

/* the .socket units whose rules count */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct unit_name);
	__type(value, struct unit_state);
} units SEC(".maps");

#endif
