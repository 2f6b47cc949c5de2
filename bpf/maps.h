/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The maps that all programs of a registry share, pinned in it. libbpf creates them as declared
 * here, or reuses those that are pinned.
 *
 * Unused entries take memory, too: 8 bytes in `sockets`; 48 bytes for each CPU in
 * `counters`; 16 bytes in a hash. That is 2.3 MiB, and 48 KiB for each CPU: only `counters` is made
 * small, and replaced by a bigger map when rules point to more slots
 * (sockreg/registry/counter_growth.py).
 */
#ifndef SOCKREG_MAPS_H
#define SOCKREG_MAPS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "registry.h"

/* slot -> socket. Not a reference: the kernel empties the slot when the socket is closed. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} sockets SEC(".maps");

/* slot -> counts of its packets */
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
	__uint(max_entries, DESTINATION_SLOTS);
	__type(key, __u32);
	__type(value, struct pool);
} pools SEC(".maps");

/* who owns which slot */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, DESTINATION_SLOTS);
	__type(key, struct destination);
	__type(value, struct place);
} destinations SEC(".maps");

/* facts about the socket in a slot */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SLOTS);
	__type(key, struct member_key);
	__type(value, struct member);
} members SEC(".maps");

/* the .socket units whose rules count */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, DESTINATION_SLOTS);
	__type(key, struct unit_name);
	__type(value, struct unit_state);
} units SEC(".maps");

#endif
