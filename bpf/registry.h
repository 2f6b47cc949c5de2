/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The pinned maps of a registry, which user space and the program share.
 * sockreg/registry/layout.py defines the same layout in Python. A test compares both with the
 * object's BTF. Change both or none.
 */
#ifndef SOCKREG_REGISTRY_H
#define SOCKREG_REGISTRY_H

#include <linux/types.h>

#define AF_INET 2 /* linux/socket.h has it for the kernel only */

#define LABEL_SIZE 256 /* 255 characters and a NUL: systemd's FDNAME_MAX */
#define UNIT_SIZE 256  /* systemd's UNIT_NAME_MAX with its NUL */

/*
 * Slots are numbered from 0. A destination has one below DESTINATION_SLOTS, since the leaf of a
 * table (tables.h) has 14 bits for it. The members of a pool may have any, usually a higher one.
 * Slots below FIRST_SLOT never hold a socket.
 */
#define DESTINATION_SLOTS 16384
#define SLOTS 65536   /* struct pool has them as __u16 */
#define SLOT_PASS 0   /* no rule, or `pass`: ordinary lookup */
#define SLOT_REJECT 1 /* `reject`: its counters count the refused packets */
#define FIRST_SLOT 2

/* counters[slot], one per CPU */
struct counters {
	__u64 lookups; /* packets that a rule sent to this slot */
	__u64 misses;  /* of these: the slot had no socket */
	/* of these: the kernel refused the socket; bpf_sk_lookup_assign() in net/core/filter.c */
	__u64 closed;	/* ESOCKTNOSUPPORT: it was shut down, or connected */
	__u64 family;	/* EAFNOSUPPORT: it is of another address family */
	__u64 protocol; /* EPROTOTYPE: it is of the other protocol */
	__u64 other;	/* for any other reason */
};

/* destinations: the owner of a slot */
struct destination {
	char label[LABEL_SIZE]; /* padded with NUL */
	__u16 family;		/* AF_INET or AF_INET6: of the packet, not of the socket */
	__u16 protocol;		/* IPPROTO_TCP or IPPROTO_UDP */
	__u16 listener;		/* local port of the listener; 0: the only one of its unit */
	__u16 zero;
};

/* destinations: its slot */
struct place {
	__u32 slot;
	__u32 listeners; /* there are destinations of single listeners, too */
};

/* members: which socket is in a slot; the cookie tells a stale record from the current one */
struct member_key {
	__u64 cookie; /* SO_COOKIE */
	__u32 slot;
	__u32 zero;
};

#define MEMBER_WEIGHT_SAID 1 /* its unit or command said a weight: it may share its label */
#define MEMBER_EXACT 2	     /* Reuseport=no: packets are not for its SO_REUSEPORT group */
#define MEMBER_STICKY 4	     /* Flows=sticky, of a UDP socket: its flows stay with it */
#define MEMBER_REPLACED 8    /* a later socket of its unit gets the new flows */
#define MEMBER_STALLED 16    /* Drain=stalled: gets no new flows until its server accepts */

struct member {
	__u64 registered;     /* ns since the epoch, CLOCK_REALTIME */
	__u16 family;	      /* of the socket: AF_INET6 for a dual-stack one */
	__u16 port;	      /* local port, host order */
	__u16 weight;	      /* share of new flows in a pool; 0: none */
	__u16 flags;	      /* MEMBER_... */
	__u8 address[16];     /* local address, network order; IPv4 in the first four bytes */
	char unit[UNIT_SIZE]; /* registrant: a unit name, or "-" for one without */
};

/*
 * pools[slot of a destination]: several members share its flows, or its packets are for a socket
 * without its SO_REUSEPORT group. Only read if that slot itself is empty: a lone member is there and
 * costs nothing. Written as a whole, so that a flow meets either the old pool or the new one.
 */
#define POOL_ENTRIES 1024 /* a power of two */
#define POOL_MEMBERS 32

struct pool {
	__u16 members;		    /* how many there are */
	__u8 exact;		    /* packets go to the selected socket, not to its group */
	__u8 sticky;		    /* flows stay with the member that got their first datagram */
	__u32 active;		    /* how many of these have a weight; they come first */
	__u16 member[POOL_MEMBERS]; /* their slots */
	__u16 entry[POOL_ENTRIES];  /* the slot for each hash of a flow; 0: no weights */
};

/*
 * flows: the member that got the first datagram of a flow, for destinations whose pool is sticky. It
 * exists once a unit says Flows=sticky. Only the program writes it.
 */
#define FLOWS 65536 /* at first; a unit may ask for more */

struct flow_key {
	__u32 slot;	   /* of the destination */
	__u16 local_port;  /* host order */
	__u16 remote_port; /* network order */
	__u8 local[16];	   /* addresses in network order; IPv4 in the first four bytes */
	__u8 remote[16];
};

struct flow {
	__u64 cookie; /* of the member's socket, as in `owners` */
	__u64 since;  /* CLOCK_MONOTONIC, ns */
	__u32 member; /* slot of the member */
	__u32 zero;
};

/*
 * owners[slot of a member of a sticky pool]: the cookie of the socket that user space put there, or
 * 0. A flow with a different cookie is not for the socket that is there now. owners[SLOT_PASS] counts
 * the flows that were noted.
 */

/* units: the .socket units whose rules count, and the files these rules were read from */
struct unit_name {
	char name[UNIT_SIZE];
};

struct unit_state {
	__u32 active;		/* its sockreg@ instance is started */
	__u32 files;		/* unit file and drop-ins: how many ... */
	__u64 newest;		/* ... their latest change (ctime, ns since the epoch) */
	__u64 inodes;		/* ... the sum of their inode numbers */
	__u64 bytes;		/* ... the sum of their sizes */
	__u32 weight;		/* of its sockets in a pool: Weight= */
	__u32 flags;		/* MEMBER_... of its sockets */
	char label[LABEL_SIZE]; /* of its sockets: Label= or FileDescriptorName= */
};

#endif
