/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Tunnels: ports without a device, and how packets are told to be theirs.
 *
 * A packet that arrives belongs to the port whose settings fit it best, in Open vSwitch's order
 * (ovs-vswitchd.conf.db(5), Interface, "Tunnel Options"): a fixed key before any, a fixed remote
 * before any, a fixed local address before any.  Each such combination in use is a class; the
 * packet is looked up once in each.  Most bridges have one class, so it is one look-up.
 */
#ifndef GOSSAMER_TUNNEL_H
#define GOSSAMER_TUNNEL_H

enum tunnel_kind { TUNNEL_NONE, TUNNEL_VXLAN, TUNNEL_GENEVE, TUNNEL_GRE, TUNNEL_ERSPAN };
enum packet_mode { MODE_LEGACY_L2, MODE_LEGACY_L3, MODE_PTAP };

#define TUNNEL_REMOTE_FLOW	(1 << 0)
#define TUNNEL_LOCAL_FLOW	(1 << 1)
#define TUNNEL_OUT_KEY		(1 << 2)	/* GRE: there is a key */
#define TUNNEL_OUT_KEY_FLOW	(1 << 3)
#define TUNNEL_TTL_INHERIT	(1 << 4)
#define TUNNEL_TOS_INHERIT	(1 << 5)
#define TUNNEL_CSUM		(1 << 6)
#define TUNNEL_DF		(1 << 7)
#define TUNNEL_SEQ		(1 << 8)
#define TUNNEL_GBP		(1 << 9)
#define TUNNEL_GPE		(1 << 10)
#define TUNNEL_VERSION_FLOW	(1 << 11)	/* ERSPAN */
#define TUNNEL_INDEX_FLOW	(1 << 12)
#define TUNNEL_DIRECTION_FLOW	(1 << 13)
#define TUNNEL_HWID_FLOW	(1 << 14)
#define TUNNEL_MARK		(1 << 15)	/* outer packets bear `mark`, not the flow's */

struct tunnel {
	__be32 remote[4];	/* IPv4 as ::ffff:a.b.c.d, here and below */
	__be32 local[4];	/* zero: as the route says */
	__be64 out_key;
	__u32 flags;		/* TUNNEL_* */
	__be16 dst_port;
	__u8 kind;
	__u8 mode;		/* enum packet_mode */
	__u8 ttl, tos;
	__u8 erspan_version, erspan_hwid;
	__u32 erspan_index;
	__u8 erspan_direction;
	__u8 family;		/* 4, 6, or 0 either: which packets are the port's */
	__u16 pad;
	__u32 sequence;		/* of GRE packets; written here */
	__u32 resolved;		/* the second in which the kernel last saw to the neighbour; here */
	__u32 mark;
};

/* By port id.  Written by the daemon, but for what says otherwise. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_PORTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct tunnel);
} tunnels SEC(".maps");

#define WILD_KEY	(1 << 0)	/* in_key=flow */
#define WILD_REMOTE	(1 << 1)
#define WILD_LOCAL_ANY	(1 << 2)
#define WILD_LOCAL_FLOW	(1 << 3)
#define KNOWN_KEY	(1 << 4)	/* some port of this kind has this key, */
#define KNOWN_REMOTE	(1 << 5)	/* this remote: they name what is wrong with a packet */

#define OUTER_IPV6	0x80	/* beside the kind */

struct endpoint {		/* what is wild is zero */
	__be32 local[4];
	__be32 remote[4];
	__be64 key;
	__be16 dst_port;
	__u8 kind;
	__u8 mode;
	__u32 wild;		/* WILD_* */
};

/* Written by the daemon: the port id. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4 * MAX_PORTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct endpoint);
	__type(value, __u32);
} endpoints SEC(".maps");

/* UDP ports that are VXLAN's, then those that are Geneve's: a bit each. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2048);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} tunnel_udp_ports SEC(".maps");

struct tunnel_config {
	__u64 classes;		/* in use: bit 3 * class + mode */
	__u32 relay;		/* ifindex of an internal port, by which copies go */
	__u32 gre;		/* there are tunnels of GRE, or of ERSPAN */
	__u32 cutter;		/* ifindex of the device that sends in fragments (cut.h), 0 none */
	__u32 joins;		/* the host puts fragments together for us */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct tunnel_config);
} tunnel_config SEC(".maps");

/* Addresses that tunnels may end on. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_LOCAL_ADDRESSES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __be32[4]);
	__type(value, __u32);
} local_addresses SEC(".maps");

#define UPLINK_CUTS_SUMMED	(1 << 1)	/* it would cut super-packets with an outer checksum wrongly, */
#define UPLINK_CUTS_ALL		(1 << 2)	/* or any */

/* Devices that carry gossamer_uplink(), and UPLINK_* of what leaves by them.  Written by the
 * daemon, and read by the next one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PORTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u32);
} uplinks SEC(".maps");

struct source_key {
	__u32 ifindex;
	__u32 family;		/* 4 or 6 */
};

/* What leaves by a device has this source, where its tunnel names none. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_LOCAL_ADDRESSES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct source_key);
	__type(value, __be32[4]);
} underlay_sources SEC(".maps");

struct option_places {		/* by word of tun_metadata: */
	__be32 head[MAX_OPTIONS];	/* the option that begins there, as on the wire; 0: none */
	__u32 pad[2];
};

/* By bridge (ovs-ofctl(8), add-tlv-map). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_BRIDGES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct option_places);
} tunnel_options SEC(".maps");

#define OPTION_CRITICAL bpf_htonl(1 << 15)	/* of an option's first word (RFC 8926, 3.5) */
#define TUN_OAM bpf_htons(1)	/* tun_flags */

#define GRE_HAS_CSUM 0x8000
#define GRE_HAS_KEY 0x2000
#define GRE_HAS_SEQ 0x1000

#define AF_INET 2
#define AF_INET6 10

static __always_inline struct tunnel_config *tunnel_config_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&tunnel_config, &zero);
}

static __always_inline bool is_v4(const __be32 *address)
{
	return !address[0] && !address[1] && address[2] == bpf_htonl(0xffff);
}

static __always_inline void map_v4(__be32 *to, __be32 address)
{
	to[0] = to[1] = 0;
	to[2] = bpf_htonl(0xffff);
	to[3] = address;
}

static __always_inline bool is_udp_tunnel(__u32 kind, __be16 port)
{
	__u32 at = (kind == TUNNEL_GENEVE ? 1024 : 0) + (bpf_ntohs(port) >> 6);
	__u64 *bits = bpf_map_lookup_elem(&tunnel_udp_ports, &at);

	return bits && (*bits >> (bpf_ntohs(port) & 63)) & 1;
}

/* Make skb->protocol what the frame's ethertype says: the kernel looks there when a VLAN tag is
 * taken out of the frame, so that two are put in and out.  There must be none beside it; one
 * that the frame had inside is beside it afterwards. */
static __always_inline int fix_protocol(struct __sk_buff *skb)
{
	return bpf_skb_vlan_push(skb, bpf_htons(0x8100), 1) ||
	       bpf_skb_vlan_push(skb, bpf_htons(0x8100), 1) || bpf_skb_vlan_pop(skb) ||
	       bpf_skb_vlan_pop(skb) ? -1 : 0;
}

/* Take `bytes` out from behind the Ethernet header. */
static __always_inline int strip(struct __sk_buff *skb, __u32 bytes)
{
	__u32 rest = skb->len - 14 - bytes, least = skb->protocol == bpf_htons(0x0800) ? 20 : 40;

	/* The kernel wants as much to be left as the headers that it takes for the packet's. */
	if (rest < least && bpf_skb_change_tail(skb, 14 + bytes + least, 0))
		return -1;
	if (bpf_skb_adjust_room(skb, -(int)bytes, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return -1;
	if (rest < least)
		bpf_skb_change_tail(skb, 14 + rest, 0);
	return 0;
}

#endif
