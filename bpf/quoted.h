/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What the key has no place for of a packet's transport, and the packet that an ICMP error quotes. */
#ifndef GOSSAMER_QUOTED_H
#define GOSSAMER_QUOTED_H

#define MAX_TRANSPORTS 8	/* a power of two */
#define MAX_FRAGMENTED 4096	/* datagrams whose fragments are under way */
#define FRAGMENT_TIMEOUT_NS 15000000000ull
#define FRAGMENT_UNITS 8192	/* of 8 bytes: 64 KB */

enum transport_kind {
	TRANSPORT_PORTS,	/* TCP, UDP: the key has them */
	TRANSPORT_OTHER,	/* a protocol whose ports, if any, say nothing (SCTP too) */
	TRANSPORT_ECHO,		/* an ICMP query; `sport` is its identifier */
	TRANSPORT_QUOTED,	/* an ICMP error: addresses and ports are those it quotes */
	TRANSPORT_LATER,	/* a later fragment; ports (or identifier) of its first */
	TRANSPORT_INVALID,	/* belongs to no connection */
	TRANSPORT_OVERLAP,	/* a fragment over another one: to be dropped */
};

struct transport {
	__be32 src[4], dst[4];	/* IPv4 in the first word */
	__be16 sport, dport;
	__be32 seq, ack;
};

struct transports {
	__u8 kind;
	__u8 proto;		/* of the connection: the quoted one, or that of the first fragment */
	__u8 icmp_type;		/* of the query, quoted or not */
	__u8 icmp_code;
	__u16 quoted_l4;	/* from the ICMP header to the quoted packet's transport header */
	__u16 quoted_check;	/* from there on to its checksum; 0: it is not in the quotation */
	__u32 n;		/* versions there are */
	__u32 pad;
	struct transport as[MAX_TRANSPORTS];
};

/* Of the packet at each level of nesting. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_NESTING);
	__type(key, __u32);
	__type(value, struct transports);
} transports SEC(".maps");

static __always_inline struct transports *transports_get(__u32 level)
{
	return bpf_map_lookup_elem(&transports, &level);
}

/* Those that are identified by an id: echo and the old IPv4 queries (RFC 792, RFC 4443). */
static __always_inline bool is_query(__u8 type, bool ipv6)
{
	return ipv6 ? type == 128 || type == 129 :
		      type == 0 || type == 8 || (type >= 13 && type <= 16);
}

static __always_inline bool is_error(__u8 type, bool ipv6)
{
	return ipv6 ? type >= 1 && type <= 4 :
		      type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

static __always_inline int quoted_network(struct __sk_buff *skb, struct state *st, bool ipv6, struct transport *t,
					  struct extension_walk *walk)
{
	if (ipv6) {
		struct ipv6hdr ip;

		if (walk->left < sizeof(ip) || load(skb, walk->off, &ip, sizeof(ip)) ||
		    ip.version != 6)
			return -1;
		__builtin_memcpy(t->src, &ip.saddr, 16);
		__builtin_memcpy(t->dst, &ip.daddr, 16);
		walk->proto = ip.nexthdr;
		walk->met = extensions_begin(st);
		walk->off += sizeof(ip);
		walk->left -= sizeof(ip);
		if (is_extension(walk->proto))
			bpf_loop(MAX_IPV6_EXTENSIONS, ipv6_extension, walk, 0);
		return walk->broken || walk->frag ? -1 : 0;
	} else {
		struct iphdr ip;

		if (walk->left < sizeof(ip) || load(skb, walk->off, &ip, sizeof(ip)) ||
		    ip.version != 4 || ip.ihl < 5 || ip.ihl * 4 > walk->left ||
		    (ip.frag_off & bpf_htons(0x3fff)))
			return -1;
		t->src[0] = ip.saddr;
		t->dst[0] = ip.daddr;
		walk->proto = ip.protocol;
		walk->off += ip.ihl * 4;
		walk->left -= ip.ihl * 4;
		return 0;
	}
}

/* The packet that an ICMP error quotes: to whom it went wrong is whom the error goes to. */
__attribute__((noinline)) int transport_quoted(struct __sk_buff *skb, __u32 ipv6, __u32 level)
{
	struct state *st = state_get(level);
	struct transports *tr = transports_get(level);
	struct extension_walk walk = { .skb = skb };
	struct transport *t;
	__be16 ports[2];

	if (!st || !tr || st->l4_length < 8)
		return -1;
	t = &tr->as[0];
	walk.off = st->l4 + 8;
	walk.left = st->l4_length - 8;
	if (quoted_network(skb, st, ipv6, t, &walk))
		return -1;
	if (ipv6 ? differ(t->src, key_of(st)->ipv6_dst, 16) : t->src[0] != key_of(st)->nw_dst)
		return -1;
	tr->proto = walk.proto;
	tr->quoted_l4 = walk.off - st->l4;
	tr->quoted_check = 0;
	/* Behind long options, in a jumbo frame, is what load() does not reach.
	 * An IPv4 error need not quote more than eight bytes (RFC 792), an IPv6 one does. */
	switch (walk.proto) {
	case 6:
		if (ipv6 && walk.left < 20)
			return -1;
		tr->quoted_check = walk.left >= 18 ? 16 : 0;
		break;
	case 17:
		tr->quoted_check = 6;
		break;
	case 1:
	case 58: {
		__u8 icmp[6];

		if ((walk.proto == 58) != !!ipv6)
			return 0;
		if (walk.left < 8 || bpf_skb_load_bytes(skb, walk.off, icmp, 6) ||
		    !is_query(icmp[0], ipv6) || icmp[1])
			return -1;
		tr->icmp_type = icmp[0];
		tr->icmp_code = icmp[1];
		tr->quoted_check = 2;
		__builtin_memcpy(&t->sport, icmp + 4, 2);
		return 0;
	}
	default:
		return 0;
	}
	if (walk.left < 8 || bpf_skb_load_bytes(skb, walk.off, ports, 4) || !ports[0] || !ports[1])
		return -1;
	t->sport = ports[0];
	t->dport = ports[1];
	return 0;
}

struct fragment_key {
	__be32 src[4], dst[4];
	__be32 id;
	__u16 zone;		/* the network that the addresses belong to */
	__u8 proto;		/* 0 for IPv6 */
	__u8 ipv6;
	__u32 port;		/* 0: of several on their way at a time the one that began first */
};

#define FRAGMENT_FIRST		(1ull << 0)	/* the first one has come */
#define FRAGMENT_BROKEN		(1ull << 1)	/* some overlapped or was too long: the rest goes too */

struct fragmented {		/* a datagram */
	__u64 begun;		/* ns */
	__u64 flags;		/* FRAGMENT_* */
	__u32 units_seen;	/* of 8 bytes */
	__u32 units_all;	/* 0: the last one has not come */
	__u8 proto, icmp_type, icmp_code, pad;
	__be16 sport, dport;
	__u32 epoch;		/* in which it began */
	__u32 n;		/* fragments that were accepted */
	__u32 port;		/* by which the first one entered the switch */
	__u32 pad2;
	__u64 seen[FRAGMENT_UNITS / 64];
};

/* Written and read here; the longest unused goes when it is full, and its rest counts as unknown. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_FRAGMENTED);
	__type(key, struct fragment_key);
	__type(value, struct fragmented);
} ct_fragments SEC(".maps");

/* An empty one to begin with: it is too large for the stack.  Nobody writes it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fragmented);
} no_fragments SEC(".maps");

#endif
