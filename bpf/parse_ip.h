/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Parsing of IP and what it carries: IPv4, IPv6 and its extension headers, ports, ICMP, neighbour discovery. */
#ifndef GOSSAMER_PARSE_IP_H
#define GOSSAMER_PARSE_IP_H

#define MAX_IPV6_EXTENSIONS 8
#define MAX_ND_OPTIONS 8
#define ETH_NSH 0x894f
#define ETH_TYPE_NONE 0x05ff	/* OpenFlow's name for 'no ethertype' (802.3 without SNAP) */

/* The compiler would add the field's offset to the context pointer early, which the verifier
 * refuses; so these two loads are spelt out. */
static __always_inline void *packet_start(struct __sk_buff *skb)
{
	void *p;

	asm volatile("%0 = *(u32 *)(%1 + %2)"
		     : "=r"(p) : "r"(skb), "i"(offsetof(struct __sk_buff, data)));
	return p;
}

static __always_inline void *packet_end(struct __sk_buff *skb)
{
	void *p;

	asm volatile("%0 = *(u32 *)(%1 + %2)"
		     : "=r"(p) : "r"(skb), "i"(offsetof(struct __sk_buff, data_end)));
	return p;
}

/* Copy bytes of the packet: straight where they are linear, through the helper where not.  Wherever
 * they lie, they are read in words: the compiler, who knows no alignment, would take them byte by
 * byte, and every kernel this runs on allows the other. */
static __always_inline int load(struct __sk_buff *skb, __u32 off, void *to, const __u32 len)
{
	void *data = packet_start(skb);
	void *end = packet_end(skb);

	off &= 0x7ff;
	if (data + off + len <= end) {
		__builtin_memcpy(to, __builtin_assume_aligned(data + off, 8), len);
		return 0;
	}
	return bpf_skb_load_bytes(skb, off, to, len);
}

#define ND_SLL 1	/* types of options (RFC 4861, 4.6.1) */
#define ND_TLL 2

struct nd_walk {
	struct __sk_buff *skb;
	__u32 level;
	__u32 off, left;
	__u32 twice;		/* two of a type */
};

static long nd_option(__u32 i, struct nd_walk *walk)
{
	struct state *st = state_get(walk->level);
	struct flow_key *k;
	__u8 *opt;
	__u32 len;

	/* not on the stack, which trips 6.18's verifier in a callback that may not be called; nor by
	 * load(), which reaches two kilobytes, as a long option may lie before it */
	if (!st || walk->left < 8 || bpf_skb_load_bytes(walk->skb, walk->off, st->header, 8))
		return 1;
	k = key_of(st);
	opt = st->header;
	len = opt[1] * 8;
	if (!len || len > walk->left)
		return 1;
	if (len == 8 && (opt[0] == ND_SLL || opt[0] == ND_TLL)) {
		__u8 *to = opt[0] == ND_SLL ? k->arp_sha : k->arp_tha;

		if (to[0] | to[1] | to[2] | to[3] | to[4] | to[5]) {
			walk->twice = 1;
			return 1;
		}
		__builtin_memcpy(to, opt + 2, 6);
		if (!st->nd_option) {
			st->nd_option = walk->off;
			k->tcp_flags = bpf_htons(opt[0]);
		}
	}
	walk->off += len;
	walk->left -= len;
	return 0;
}

/* Of solicitations and advertisements alike, as Open vSwitch reads them: nd_reserved lies where a
 * backbone header's I-SID does in the key, nd_options_type where TCP's flags do. */
static __always_inline void parse_nd(struct __sk_buff *skb, struct state *st, __u32 l4, __u32 left,
				     __u32 level)
{
	struct flow_key *k = key_of(st);
	struct nd_walk walk = { .skb = skb, .level = level, .off = l4 + 24 };

	load(skb, l4 + 4, &k->pbb_isid, 4);
	if (left < 24 || load(skb, l4 + 8, k->nd_target, 16))
		return;
	walk.left = left - 24;
	bpf_loop(MAX_ND_OPTIONS, nd_option, &walk, 0);
	if (walk.twice) {
		__builtin_memset(k->nd_target, 0, 16);
		__builtin_memset(k->arp_sha, 0, 6);
		__builtin_memset(k->arp_tha, 0, 6);
	}
}

/* Protocol, TOS, TTL and what a fragment is: one word, which is written as it is going to be read. */
static __always_inline void write_network(struct flow_key *k, __u8 proto, __u8 tos, __u8 ttl,
					  __u8 frag)
{
	__u8 word[4] __attribute__((aligned(4))) = { proto, tos, ttl, frag };

	__builtin_memcpy(&k->nw_proto, word, 4);
}

static __always_inline void found_l4(struct state *st, __u8 proto, __u32 l4, __u32 left)
{
	st->l4 = l4;
	st->l4_length = left;
	st->l4_proto = proto;
}

/* TCP, UDP, SCTP; false for other protocols.  `left`: bytes of the IP payload from l4 on.  Inlined, as a call
 * would take longer. */
static __always_inline bool parse_ports(struct __sk_buff *skb, struct state *st, __u8 proto, __u32 l4,
					__u32 left)
{
	struct flow_key *k = key_of(st);

	if (proto == 6) {
		struct {
			__be32 ports;
			__be32 seq, ack;
			__u8 doff, flags;
			__be16 window, check, urgent;
		} tcp;

		if (left < 20 || load(skb, l4, &tcp, 20))
			return true;
		if ((tcp.doff >> 4) < 5 || (__u32)(tcp.doff >> 4) * 4 > left)
			return true;
		st->key[WORD_TP_SRC] = tcp.ports;
		k->tcp_flags = bpf_htons(((tcp.doff & 0xf) << 8) | tcp.flags);
	} else if (proto == 17 || proto == 132) {
		__be32 ports;

		if (left < (proto == 17 ? 8 : 12) || load(skb, l4, &ports, 4))
			return true;
		st->key[WORD_TP_SRC] = ports;
	} else {
		return false;
	}
	found_l4(st, proto, l4, left);
	return true;
}

__attribute__((noinline)) int parse_icmp(struct __sk_buff *skb, __u32 ipv6, __u32 l4, __u32 left,
					 __u32 level)
{
	struct state *st = state_get(level);
	struct flow_key *k;
	__u8 icmp[2];

	if (!st || left < 8 || load(skb, l4, icmp, 2))
		return 0;
	k = key_of(st);
	k->tp_src = bpf_htons(icmp[0]);
	k->tp_dst = bpf_htons(icmp[1]);
	if (ipv6 && icmp[1] == 0 && (icmp[0] == 135 || icmp[0] == 136))
		parse_nd(skb, st, l4, left, level);
	found_l4(st, ipv6 ? 58 : 1, l4, left);
	return 0;
}

static __always_inline int parse_ipv4(struct __sk_buff *skb, __u32 l3, __u32 level)
{
	struct state *st = state_get(level);
	struct flow_key *k;
	struct iphdr ip;
	__u32 header, total, frag;

	if (!st)
		return 0;
	k = key_of(st);
	if (load(skb, l3, &ip, sizeof(ip)))
		return 0;
	header = ip.ihl * 4;
	total = bpf_ntohs(ip.tot_len);
	if (!total && skb->gso_size)
		total = skb->len - l3;
	if (ip.version != 4 || header < 20 || total < header || l3 + total > skb->len)
		return 0;
	frag = bpf_ntohs(ip.frag_off);
	write_network(k, ip.protocol, ip.tos, ip.ttl,
		      frag & 0x1fff ? FRAG_ANY | FRAG_LATER : frag & 0x3fff ? FRAG_ANY : 0);
	k->nw_src = ip.saddr;
	k->nw_dst = ip.daddr;
	st->l3 = l3;
	st->l3_type = bpf_htons(0x0800);
	if (frag & 0x1fff)
		return 0;
	if (!parse_ports(skb, st, ip.protocol, l3 + header, total - header) && ip.protocol == 1)
		parse_icmp(skb, 0, l3 + header, total - header, level);
	return 0;
}

struct extension_walk {
	struct __sk_buff *skb;
	__u32 off, left;
	__u32 proto;
	__u32 frag;
	__u32 broken;		/* a header is cut short or lies about its length */
	struct extensions *met;
};

static __always_inline bool is_extension(__u32 proto)
{
	return proto == 0 || proto == 43 || proto == 60 || proto == 51 || proto == 44;
}

/* OFPIEH_* (OpenFlow 1.3.5, 7.2.3.7). */
#define EXT_NO_NEXT		(1 << 0)
#define EXT_ESP			(1 << 1)
#define EXT_AUTHENTICATION	(1 << 2)
#define EXT_DESTINATION		(1 << 3)
#define EXT_FRAGMENT		(1 << 4)
#define EXT_ROUTING		(1 << 5)
#define EXT_HOP_BY_HOP		(1 << 6)
#define EXT_REPEATED		(1 << 7)
#define EXT_UNORDERED		(1 << 8)

/* Which bit a next header sets (low half), and its place in the order of RFC 8200, 4.1 (high). */
static __always_inline __u32 extension_kind(__u32 proto)
{
	switch (proto) {
	case 0:
		return EXT_HOP_BY_HOP | 1 << 16;
	case 43:
		return EXT_ROUTING | 3 << 16;
	case 44:
		return EXT_FRAGMENT | 4 << 16;
	case 51:
		return EXT_AUTHENTICATION | 5 << 16;
	case 50:
		return EXT_ESP | 6 << 16;
	case 59:
		return EXT_NO_NEXT | 7 << 16;
	case 60:
		return EXT_DESTINATION | 7 << 16;
	}
	return 0;
}

/* `met` lies in a map: on the stack the verifier would walk through each value it may have. */
static __always_inline void meet_extension(struct extensions *met, __u32 proto)
{
	__u32 kind = extension_kind(proto);
	__u32 bit = kind & 0xffff, place = kind >> 16;
	bool again = met->bits & bit;

	if (!bit)
		return;
	if (bit == EXT_DESTINATION) {
		/* Twice is right: before the routing header, and last. */
		met->destinations += 1;
		again = met->destinations > 2;
		if (met->place < 2)
			place = 2;
	}
	if (again)
		met->bits |= EXT_REPEATED;
	else if (place < met->place)
		met->bits |= EXT_UNORDERED;
	met->bits |= bit;
	if (place > met->place)
		met->place = place;
}

static __always_inline struct extensions *extensions_begin(struct state *st)
{
	__builtin_memset(&st->extensions, 0, sizeof(st->extensions));
	return &st->extensions;
}

static long ipv6_extension(__u32 i, struct extension_walk *walk)
{
	__u8 ext[4];
	__u32 len;

	meet_extension(walk->met, walk->proto);
	if (!is_extension(walk->proto))
		return 1;
	walk->broken = 1;
	if (walk->left < 8 || walk->off > 0x600 || load(walk->skb, walk->off, ext, 4))
		return 1;
	if (walk->proto == 44) {
		__u16 fragment = (ext[2] << 8) | ext[3];

		len = 8;
		if (fragment & 0xfff9) {
			walk->frag = FRAG_ANY;
			if (fragment & 0xfff8) {
				/* What follows is data: the protocol stays 'fragment'. */
				walk->frag |= FRAG_LATER;
				walk->broken = 0;
				return 1;
			}
		}
	} else if (walk->proto == 51) {
		len = (ext[1] + 2) * 4;
	} else {
		len = (ext[1] + 1) * 8;
	}
	if (len > walk->left)
		return 1;
	walk->broken = 0;
	walk->proto = ext[0];
	walk->off += len;
	walk->left -= len;
	return 0;
}

__attribute__((noinline)) int parse_ipv6(struct __sk_buff *skb, __u32 l3, __u32 level)
{
	struct state *st = state_get(level);
	struct flow_key *k;
	struct ipv6hdr ip;
	struct extension_walk walk = { .skb = skb };
	__u32 left;

	if (!st)
		return 0;
	k = key_of(st);
	if (load(skb, l3, &ip, sizeof(ip)))
		return 0;
	left = bpf_ntohs(ip.payload_len);
	if (!left && skb->gso_size)
		left = skb->len - l3 - sizeof(ip);
	if (ip.version != 6 || l3 + sizeof(ip) + left > skb->len)
		return 0;
	walk.off = l3 + sizeof(ip);
	walk.left = left;
	walk.proto = ip.nexthdr;
	if (extension_kind(walk.proto)) {
		walk.met = extensions_begin(st);
		bpf_loop(MAX_IPV6_EXTENSIONS, ipv6_extension, &walk, 0);
		k->ipv6_exthdr = bpf_htons(walk.met->bits);
	}
	/* A chain that is broken hides the protocol: nothing above the addresses is known. */
	if (!walk.broken) {
		k->nw_proto = walk.proto;
		k->nw_frag = walk.frag;
	}
	{
		__be32 first;

		__builtin_memcpy(&first, &ip, 4);
		first = bpf_ntohl(first);
		k->nw_tos = first >> 20;
		k->ipv6_label = bpf_htonl(first & 0xfffff);
	}
	k->nw_ttl = ip.hop_limit;
	__builtin_memcpy(k->ipv6_src, &ip.saddr, 16);
	__builtin_memcpy(k->ipv6_dst, &ip.daddr, 16);
	st->l3 = l3;
	st->l3_type = bpf_htons(0x86dd);
	if (walk.broken || (walk.frag & FRAG_LATER) || walk.off > 0x600)
		return 0;
	if (!parse_ports(skb, st, walk.proto, walk.off, walk.left) && walk.proto == 58)
		parse_icmp(skb, 1, walk.off, walk.left, level);
	return 0;
}

struct arp_header {
	__be16 htype, ptype;
	__u8 hlen, plen;
	__be16 op;
	__u8 sha[6];
	__u8 spa[4];
	__u8 tha[6];
	__u8 tpa[4];
} __attribute__((packed));

#endif
