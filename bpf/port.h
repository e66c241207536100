/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Ports and bridges, as the daemon describes them, and their counters. */
#ifndef GOSSAMER_PORT_H
#define GOSSAMER_PORT_H

enum port_kind {
	PORT_FREE,
	PORT_DEVICE,	/* packets come by TC ingress, go by redirect */
	PORT_INTERNAL,	/* the host's own: packets come by TC egress, go by ingress redirect */
	PORT_PATCH,	/* the packet continues in the peer's bridge */
	PORT_TUNNEL,	/* packets go and come inside others: tunnel.h */
};

enum vlan_mode { VLAN_ACCESS, VLAN_TRUNK, VLAN_NATIVE_TAGGED, VLAN_NATIVE_UNTAGGED };

#define PORT_RECEIVE	(1 << 0)
#define PORT_FORWARD	(1 << 1)
#define PORT_FLOOD	(1 << 2)	/* member of OpenFlow FLOOD */
#define PORT_UP		(1 << 3)
#define PORT_PEER_MAC	(1 << 4)	/* peer_mac is known: redirect_peer is safe for it */
#define PORT_ALL_VLANS	(1 << 5)	/* trunks is empty: carries every VLAN */
#define PORT_POLICED	(1 << 6)
#define PORT_PACKET_IN	(1 << 7)
#define PORT_LIVE	(1 << 8)	/* up, and so is its link: what groups and bundles watch */

struct port {
	__u32 ifindex;
	__u32 bridge;
	__u32 ofport;		/* OpenFlow port number */
	__u16 flags;
	__u8 kind;
	__u8 vlan_mode;
	__u16 tag;		/* access or native VLAN */
	__u8 peer_mac[6];	/* of the veth's other end, in another namespace */
	__u32 patch_peer;	/* port id */
	__u32 reserved;
	__u64 police_bytes_s;	/* 0: not limited */
	__u64 police_burst;	/* bytes */
	__u64 police_packets_s;
	__u64 police_packet_burst;
	char name[32];
};

/* Written by the daemon (mapped into its memory), read here. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_PORTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct port);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PORTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u32);
} port_by_ifindex SEC(".maps");

/* The same for small numbers, as an array; 0: none. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LOW_IFINDEXES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u32);
} port_by_low_ifindex SEC(".maps");

struct ofport_key {
	__u32 bridge;
	__u32 ofport;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PORTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ofport_key);
	__type(value, __u32);
} port_by_ofport SEC(".maps");

/* VLANs of a trunk port that has a list of them. */
struct port_trunks {
	__u64 vlans[64];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PORTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct port_trunks);
} trunks SEC(".maps");

struct port_counters {
	__u64 rx_packets, rx_bytes, rx_dropped;
	__u64 tx_packets, tx_bytes, tx_dropped;
};

/* Written here, summed by the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_PORTS);
	__type(key, __u32);
	__type(value, struct port_counters);
} port_counters SEC(".maps");

/* A list in an index array, replaced by one store so that no reader sees half of it. */
#define LIST_OFFSET(list) ((__u32)((list) >> 32))

/* Kernels that inline bpf_loop() compare its count in 64 bits, while the compiler leaves the
 * upper half of a 32-bit argument as it was: clear it by hand (seen on 6.18, clang 14). */
static __always_inline __u32 list_length(__u64 list)
{
	asm volatile("%0 <<= 32\n%0 >>= 32" : "+r"(list));
	return list;
}

enum parse_depth { PARSE_L2, PARSE_L4 };

#define BRIDGE_FORWARD_BPDU (1 << 0)
#define BRIDGE_LENGTHS (1 << 1)	/* some rule asks how long packets are */
#define BRIDGE_FRAG_NORMAL (1 << 2)	/* tables see no ports of fragments, not of the first either */
#define BRIDGE_FRAG_DROP (1 << 3)	/* fragments end at the first table */
#define BRIDGE_SAMPLES (1 << 4)	/* somebody wants to hear of sampled packets */
#define RESUME_SHIFT 8		/* in the same word: the table that a pass goes on in, plus one */
#define RESUME_BITS (0x1ff << RESUME_SHIFT)
#define WORD_LENGTHS (KEY_WORDS - 1)	/* which of the bridge's lengths a packet exceeds, bit by bit */

struct bridge {
	/* generation << 18 | bridge << 10 | cache mask: one store makes a commit count and cached
	 * paths stale.  A packet reads it once (seen_version()). */
	__u64 version;
	__u64 members;		/* list in `members`: all ports */
	__u64 fdb_age_ns;
	__u32 fdb_limit;
	__u32 fdb_count;	/* added here, subtracted by the daemon when it sweeps */
	__u32 flags;
	__u32 depth;		/* enum parse_depth: no rule looks deeper */
	char name[16];
	__u16 lengths[MAX_LENGTHS];	/* that check_pkt_larger asks about; 0: none */
	__u32 fdb_moves;		/* addresses that were seen elsewhere; written here */
	__u32 pad;
};

/* Written by the daemon (mapped into its memory), read here. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_BRIDGES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct bridge);
} bridges SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_MEMBERS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u32);
} members SEC(".maps");

static __always_inline struct port *port_get(__u32 id)
{
	return bpf_map_lookup_elem(&ports, &id);
}

static __always_inline struct bridge *bridge_get(__u32 id)
{
	return bpf_map_lookup_elem(&bridges, &id);
}

static __always_inline __u32 port_id_of(__u32 bridge, __u32 ofport)
{
	struct ofport_key key = { bridge, ofport };
	__u32 *id = bpf_map_lookup_elem(&port_by_ofport, &key);

	return id ? *id : 0;
}

#endif
