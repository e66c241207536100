/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Out of a tunnel: which port a packet came by, what its outer headers said, and the packet inside.
 *
 * Nothing is changed before the packet is known to be ours: all else goes on to the host as it
 * came.  UDP packets to a tunnel's port and one of our addresses are ours, and dropped under a
 * name where they are wrong; GRE may be the host's own, so that it goes on to the host unless its
 * sender is a tunnel's remote.
 */
#ifndef GOSSAMER_DECAP_H
#define GOSSAMER_DECAP_H

#define NOT_OURS 0		/* port ids begin at 1 */
#define DROPPED -1

/* Might this be a tunnel's packet?  The host's traffic pays for this look. */
static __always_inline bool is_candidate(struct __sk_buff *skb)
{
	__be16 ports[2];
	__u8 proto;
	__u32 l4;

	if (skb->vlan_present)
		return false;
	if (skb->protocol == bpf_htons(0x0800)) {
		if (load(skb, 14 + 9, &proto, 1))
			return false;
		l4 = 34;
	} else if (skb->protocol == bpf_htons(0x86dd)) {
		if (load(skb, 14 + 6, &proto, 1))
			return false;
		l4 = 54;
	} else {
		return false;
	}
	if (proto == 17)
		return !load(skb, l4, ports, 4) && (is_udp_tunnel(TUNNEL_VXLAN, ports[1]) ||
						    is_udp_tunnel(TUNNEL_GENEVE, ports[1]));
	if (proto == 47) {
		struct tunnel_config *config = tunnel_config_get();

		return config && config->gre;
	}
	return false;
}

/* The outer IP header.  Returns the offset of what follows, 0 for what is not ours, or -1. */
static __always_inline int outer_ip(struct __sk_buff *skb, struct arrival *a, __u32 *end,
				    __u8 *proto)
{
	if (skb->protocol == bpf_htons(0x0800)) {
		struct iphdr ip;
		__u32 total;

		if (load(skb, 14, &ip, sizeof(ip)))
			return 0;
		map_v4(a->local, ip.daddr);
		map_v4(a->remote, ip.saddr);
		if (!bpf_map_lookup_elem(&local_addresses, a->local))
			return 0;
		*proto = ip.protocol;
		total = bpf_ntohs(ip.tot_len);
		if (!total && skb->gso_size)
			total = skb->len - 14;
		if (ip.version != 4 || ip.ihl != 5 || total < 20 || 14 + total > skb->len ||
		    fold(bpf_csum_diff(0, 0, (__be32 *)&ip, sizeof(ip), 0)))
			return -DROP_TUNNEL_MALFORMED;
		if (ip.frag_off & bpf_htons(0x3fff))
			return -DROP_TUNNEL_FRAGMENT;
		/* a source that none can have: nobody, a group, everybody */
		if (!ip.saddr || (ip.saddr & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) ||
		    ip.saddr == 0xffffffff)
			return -DROP_TUNNEL_SPOOFED;
		a->tos = ip.tos;
		a->ttl = ip.ttl;
		*end = 14 + total;
		return 34;
	} else {
		struct ipv6hdr ip;
		__u32 length;
		__be32 first;

		if (load(skb, 14, &ip, sizeof(ip)))
			return 0;
		__builtin_memcpy(a->local, &ip.daddr, 16);
		__builtin_memcpy(a->remote, &ip.saddr, 16);
		if (!bpf_map_lookup_elem(&local_addresses, a->local))
			return 0;
		*proto = ip.nexthdr;
		length = bpf_ntohs(ip.payload_len);
		if (!length && skb->gso_size)
			length = skb->len - 54;
		if (ip.version != 6 || 54 + length > skb->len)
			return -DROP_TUNNEL_MALFORMED;
		if (!(a->remote[0] | a->remote[1] | a->remote[2] | a->remote[3]) ||
		    (a->remote[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000))
			return -DROP_TUNNEL_SPOOFED;
		__builtin_memcpy(&first, &ip, 4);
		a->tos = bpf_ntohl(first) >> 20;
		a->ttl = ip.hop_limit;
		*end = 54 + length;
		return 54;
	}
}

/* The tunnel's own header at `at`: fills a->key and the like.  Returns where the packet inside
 * begins, or a drop reason, negative. */
static __always_inline int outer_vxlan(struct __sk_buff *skb, struct arrival *a, __u32 at)
{
	__be32 h[2];
	__u32 flags, vni;

	if (load(skb, at, h, 8))
		return -DROP_TUNNEL_MALFORMED;
	flags = bpf_ntohl(h[0]);
	vni = bpf_ntohl(h[1]);
	if (flags & 0x80000000) {
		a->extensions |= TUNNEL_GBP;
		a->gbp_flags = flags >> 16 & 0x48;
		a->gbp_id = bpf_htons(flags);
		flags &= ~0x8048ffffu;
	} else if (flags & 0x04000000) {
		__u8 next = flags;

		a->extensions |= TUNNEL_GPE;
		if (next == 1 || next == 2)
			a->type = next == 1 ? bpf_htons(0x0800) : bpf_htons(0x86dd);
		else if (next != 3)
			return -DROP_TUNNEL_TYPE;
		flags &= ~0x040000ffu;
	}
	if (flags != 0x08000000 || (vni & 0xff))
		return -DROP_TUNNEL_MALFORMED;
	a->key = bpf_cpu_to_be64(vni >> 8);
	return at + 8;
}

static __always_inline int outer_geneve(struct __sk_buff *skb, struct arrival *a, __u32 at)
{
	__be32 h[2];
	__u32 first, vni;

	if (load(skb, at, h, 8))
		return -DROP_TUNNEL_MALFORMED;
	first = bpf_ntohl(h[0]);
	vni = bpf_ntohl(h[1]);
	if (first >> 30)
		return -DROP_TUNNEL_MALFORMED;	/* version */
	a->options = (first >> 24 & 0x3f) * 4;
	if (first & 1 << 23)
		a->flags |= TUN_OAM;
	if ((first & 0xffff) != ETH_TEB) {
		a->type = bpf_htons(first & 0xffff);
		if (a->type != bpf_htons(0x0800) && a->type != bpf_htons(0x86dd))
			return -DROP_TUNNEL_TYPE;
	}
	a->key = bpf_cpu_to_be64(vni >> 8);
	return at + 8 + a->options;
}

static __always_inline int outer_gre(struct __sk_buff *skb, struct arrival *a, __u32 at)
{
	__be32 word;
	__u32 first, type;

	if (load(skb, at, &word, 4))
		return -DROP_TUNNEL_MALFORMED;
	first = bpf_ntohl(word);
	type = first & 0xffff;
	at += 4;
	if (type == ETH_ERSPAN1 || type == ETH_ERSPAN2) {
		__u32 version;

		a->kind = TUNNEL_ERSPAN;
		if (first >> 16 & ~GRE_HAS_SEQ)
			return -DROP_TUNNEL_MALFORMED;
		/* without a sequence number it is type I, which has no header of its own */
		if (!(first >> 16 & GRE_HAS_SEQ) || load(skb, at + 4, &word, 4))
			return -DROP_TUNNEL_MALFORMED;
		version = bpf_ntohl(word) >> 28;
		a->key = bpf_cpu_to_be64(bpf_ntohl(word) & 0x3ff);
		a->erspan_version = version;
		if (version == 1 && type == ETH_ERSPAN1) {
			if (load(skb, at + 8, &word, 4))
				return -DROP_TUNNEL_MALFORMED;
			a->erspan = bpf_htonl((bpf_ntohl(word) & 0xfffff) << 8);
			return at + 12;
		}
		if (version == 2 && type == ETH_ERSPAN2) {
			if (load(skb, at + 12, &word, 4))
				return -DROP_TUNNEL_MALFORMED;
			first = bpf_ntohl(word);
			a->erspan = bpf_htonl((first >> 4 & 0x3f) | (first >> 3 & 1) << 6);
			/* an eight-byte platform header may follow */
			return at + 16 + (first & 1 ? 8 : 0);
		}
		return -DROP_TUNNEL_MALFORMED;
	}
	a->kind = TUNNEL_GRE;
	if (first >> 16 & ~(GRE_HAS_CSUM | GRE_HAS_KEY | GRE_HAS_SEQ))
		return -DROP_TUNNEL_MALFORMED;
	if (first >> 16 & GRE_HAS_CSUM) {
		a->summed = 1;
		at += 4;
	}
	if (first >> 16 & GRE_HAS_KEY) {
		if (load(skb, at, &word, 4))
			return -DROP_TUNNEL_MALFORMED;
		a->key = bpf_cpu_to_be64(bpf_ntohl(word));
		at += 4;
	}
	if (first >> 16 & GRE_HAS_SEQ)
		at += 4;
	if (type != ETH_TEB) {
		a->type = bpf_htons(type);
		if (type != 0x0800 && type != 0x86dd)
			return -DROP_TUNNEL_TYPE;
	}
	return at;
}

/* The port that this packet is for, 0 none. */
__attribute__((noinline)) int find_tunnel(__u32 level)
{
	struct state *st = state_get(level);
	struct tunnel_config *config = tunnel_config_get();
	struct endpoint e = {};
	struct arrival *a;
	__u64 classes;
	__u32 *id;

	if (!st || !config)
		return 0;
	a = &st->in;
	classes = config->classes;
	e.kind = a->kind | (is_v4(a->local) ? 0 : OUTER_IPV6);
	e.dst_port = a->dst_port;
	for (__u32 i = 0; i < 24; i++) {
		__u32 class = i >> 1, local = class % 3;
		__u32 mode = i & 1 ? MODE_PTAP : a->type ? MODE_LEGACY_L3 : MODE_LEGACY_L2;

		if (!(classes >> (3 * class + mode) & 1))
			continue;
		e.mode = mode;
		e.wild = 0;
		e.key = a->key;
		__builtin_memcpy(e.remote, a->remote, 16);
		__builtin_memset(e.local, 0, 16);
		if (class >= 6) {
			e.wild |= WILD_KEY;
			e.key = 0;
		}
		if (class / 3 & 1) {
			e.wild |= WILD_REMOTE;
			__builtin_memset(e.remote, 0, 16);
		}
		if (local == 0)
			__builtin_memcpy(e.local, a->local, 16);
		else
			e.wild |= local == 1 ? WILD_LOCAL_ANY : WILD_LOCAL_FLOW;
		id = bpf_map_lookup_elem(&endpoints, &e);
		if (id)
			return *id;
	}
	return 0;
}

/* Why there is none. */
static __always_inline __u32 why_unknown(struct arrival *a)
{
	struct endpoint e = { .dst_port = a->dst_port };

	e.kind = a->kind | (is_v4(a->local) ? 0 : OUTER_IPV6);
	e.wild = KNOWN_REMOTE;
	__builtin_memcpy(e.remote, a->remote, 16);
	if (bpf_map_lookup_elem(&endpoints, &e))
		return DROP_TUNNEL_KEY;
	e.wild = KNOWN_KEY;
	__builtin_memset(e.remote, 0, 16);
	e.key = a->key;
	if (bpf_map_lookup_elem(&endpoints, &e))
		return DROP_TUNNEL_SPOOFED;
	return DROP_TUNNEL_NO_PORT;
}

struct option_walk {
	struct __sk_buff *skb;
	__u32 level;
	__u32 bridge;
	__u32 at, left;
	__u32 failure;
	__u32 to, words;	/* the option being copied */
};

static long option_word(__u32 i, struct option_walk *walk)
{
	struct state *st = state_get(walk->level);
	__u32 to = (walk->to + i) & 15;

	return !st || i >= walk->words ||
	       load(walk->skb, walk->at + 4 + 4 * i, &st->in.metadata[to], 4);
}

static long take_option(__u32 i, struct option_walk *walk)
{
	struct state *st = state_get(walk->level);
	struct option_places *places;
	__be32 head;

	if (!st || !walk->left)
		return 1;
	walk->failure = DROP_TUNNEL_MALFORMED;
	if (walk->left < 4 || load(walk->skb, walk->at, &head, 4))
		return 1;
	head &= bpf_htonl(0xffffff1f);	/* three bits are reserved */
	walk->words = bpf_ntohl(head) & 0x1f;
	if (walk->left < 4 + 4 * walk->words)
		return 1;
	places = bpf_map_lookup_elem(&tunnel_options, &walk->bridge);
	if (!places)
		return 1;
	walk->failure = 0;
	walk->to = MAX_OPTIONS;
	for (__u32 n = 0; n < MAX_OPTIONS; n++)
		if (places->head[n] == head)
			*(volatile __u32 *)&walk->to = n;
	if (walk->to < MAX_OPTIONS) {
		st->in.present |= bpf_htons(1u << (walk->to & 15));
		bpf_loop(MAX_OPTIONS, option_word, walk, 0);
	} else if (head & OPTION_CRITICAL) {
		walk->failure = DROP_TUNNEL_OPTION;
		return 1;
	}
	walk->at += 4 + 4 * walk->words;
	walk->left -= 4 + 4 * walk->words;
	return 0;
}

/* How deep tunnels lie in each other, from the packet at hand on; no deeper than it matters. */
static __always_inline __u32 nested_tunnels(struct __sk_buff *skb)
{
	__u32 at = 12, depth = 0;

	for (int i = 0; i < MAX_TUNNELS_NESTED; i++) {
		__be16 type, ports[2];
		__u8 proto, flags;

		if (at > 0x600 || load(skb, at, &type, 2))
			break;
		at += 2;
		if (type == bpf_htons(0x0800)) {
			if (load(skb, at + 9, &proto, 1))
				break;
			at += 20;
		} else if (type == bpf_htons(0x86dd)) {
			if (load(skb, at + 6, &proto, 1))
				break;
			at += 40;
		} else {
			break;
		}
		if (proto == 17) {
			if (load(skb, at, ports, 4))
				break;
			if (is_udp_tunnel(TUNNEL_VXLAN, ports[1])) {
				at += 16;
			} else if (is_udp_tunnel(TUNNEL_GENEVE, ports[1])) {
				if (load(skb, at + 8, &flags, 1))
					break;
				at += 16 + (flags & 0x3f) * 4;
			} else {
				break;
			}
		} else if (proto == 47) {
			if (load(skb, at, &flags, 1))
				break;
			at += 4 + (flags & 0x80 ? 4 : 0) + (flags & 0x20 ? 4 : 0) +
			      (flags & 0x10 ? 4 : 0);
		} else {
			break;
		}
		depth++;
		at += 12;
	}
	return depth;
}

/* What congestion bits the packet goes on with (RFC 6040, 4.2): those of its own header and of
 * the outer one together.  Returns a drop reason where they contradict each other. */
static __always_inline __u32 merge_ecn(struct __sk_buff *skb, __u8 outer)
{
	__u8 b[2], own, next;
	__be16 type;

	if (!(outer & 3) || load(skb, 12, &type, 2))
		return 0;
	if (type == bpf_htons(0x0800)) {
		if (load(skb, 14, b, 2))
			return 0;
		own = b[1];
	} else if (type == bpf_htons(0x86dd)) {
		if (load(skb, 14, b, 2))
			return 0;
		own = b[1] >> 4;
	} else {
		return 0;
	}
	next = own;
	if ((outer & 3) == 3) {
		if (!(own & 3))
			return DROP_TUNNEL_ECN;
		next |= 3;
	} else if ((outer & 3) == 1 && (own & 3) == 2) {
		next = (own & 0xfc) | 1;
	}
	if (next == own)
		return 0;
	if (type == bpf_htons(0x0800)) {
		if (bpf_l3_csum_replace(skb, 24, bpf_htons(own), bpf_htons(next), 2) ||
		    bpf_skb_store_bytes(skb, 15, &next, 1, 0))
			return DROP_TUNNEL_MALFORMED;	/* a header that is cut short */
	} else {
		b[1] = (b[1] & 0xf) | next << 4;
		if (bpf_skb_store_bytes(skb, 15, &b[1], 1, BPF_F_RECOMPUTE_CSUM))
			return DROP_REWRITE;
	}
	return 0;
}

/* Read and take off the outer headers.  Returns the tunnel port's id, NOT_OURS with the packet as
 * it came, or DROPPED, with the reason counted. */
__attribute__((noinline)) int decapsulate(struct __sk_buff *skb, __u32 level)
{
	struct state *st = state_get(level);
	struct tunnel *t;
	struct port *port;
	struct arrival *a;
	__u32 end = 0, reason, take, id;
	__u8 proto = 0;
	int at, inside, found;
	__be16 type;

	if (!st)
		return DROPPED;
	a = &st->in;
	__builtin_memset(a, 0, sizeof(*a));
	at = outer_ip(skb, a, &end, &proto);
	if (!at)
		return NOT_OURS;
	if (proto == 17) {
		__be16 udp[4];

		if (at < 0) {
			struct tunnel_config *config = tunnel_config_get();

			reason = -at;
			/* they come again as one packet (devices/joining.py) */
			if (reason == DROP_TUNNEL_FRAGMENT && config && config->joins)
				return NOT_OURS;
			goto drop;
		}
		if (load(skb, at, udp, 8)) {
			reason = DROP_TUNNEL_MALFORMED;
			goto drop;
		}
		a->dst_port = udp[1];
		a->kind = is_udp_tunnel(TUNNEL_VXLAN, udp[1]) ? TUNNEL_VXLAN : TUNNEL_GENEVE;
		if (at + bpf_ntohs(udp[2]) != end && !skb->gso_size) {
			reason = DROP_TUNNEL_MALFORMED;
			goto drop;
		}
		a->summed = udp[3] != 0;
		inside = a->kind == TUNNEL_VXLAN ? outer_vxlan(skb, a, at + 8) :
						   outer_geneve(skb, a, at + 8);
	} else {
		/* GRE of others goes to the host: it is ours where it comes from a remote of ours */
		if (at < 0)
			return NOT_OURS;
		inside = outer_gre(skb, a, at);
	}
	found = inside < 0 ? 0 : find_tunnel(level);
	if (!found) {
		reason = why_unknown(a);
		if (a->kind >= TUNNEL_GRE && reason != DROP_TUNNEL_KEY)
			return NOT_OURS;
		if (inside < 0)
			reason = -inside;
		goto drop;
	}
	id = found;
	t = bpf_map_lookup_elem(&tunnels, &id);
	port = port_get(id);
	if (!t || !port || port->kind != PORT_TUNNEL) {
		reason = DROP_TUNNEL_NO_PORT;
		goto drop;
	}
	if (a->extensions & ~t->flags) {
		reason = DROP_TUNNEL_MALFORMED;
		goto drop;
	}
	/* wholly there: the tunnel's headers, and an Ethernet header where one is inside */
	if (inside + (a->type ? 1 : 14) > end) {
		reason = DROP_TUNNEL_MALFORMED;
		goto drop;
	}
	if (bpf_map_lookup_elem(&local_addresses, a->remote)) {
		reason = DROP_TUNNEL_LOOP;	/* our own packet has come back */
		goto drop;
	}
	if (a->summed && is_corrupt(skb, at, end - at, level)) {
		reason = DROP_TUNNEL_CHECKSUM;
		goto drop;
	}
	if (a->options) {
		struct option_walk walk = {
			.skb = skb, .level = level, .bridge = port->bridge,
			.at = inside - a->options, .left = a->options,
		};

		bpf_loop(MAX_OPTIONS_WALKED, take_option, &walk, 0);
		if (walk.failure) {
			reason = walk.failure;
			goto drop;
		}
	}
	reason = DROP_REWRITE;
	/* what pads the outer packet is not the inner one's */
	if (end < skb->len && !skb->gso_size && bpf_skb_change_tail(skb, end, 0))
		goto drop;
	if (a->type) {
		/* IP without Ethernet: the outer header becomes its own, without addresses */
		__be16 eth[7] = {};

		eth[6] = a->type;
		if (strip(skb, inside - 14) || bpf_skb_store_bytes(skb, 0, eth, 14, 0))
			goto drop;
	} else {
		__u8 eth[14];

		take = inside;
		if (load(skb, take, eth, 14) || strip(skb, take) ||
		    bpf_skb_store_bytes(skb, 0, eth, 14, 0))
			goto drop;
	}
	if (load(skb, 12, &type, 2) || (type != skb->protocol && fix_protocol(skb))) {
		reason = DROP_TUNNEL_MALFORMED;	/* a VLAN tag that is cut short */
		goto drop;
	}
	if (nested_tunnels(skb) >= MAX_TUNNELS_NESTED) {
		reason = DROP_TUNNEL_LOOP;
		goto drop;
	}
	reason = merge_ecn(skb, a->tos);
	if (reason)
		goto drop;
	return id;
drop:
	count_drop(reason);
	return DROPPED;
}

/* What the outer headers said, into the key: after receive(), which clears it. */
static __always_inline void enter_key(struct state *st)
{
	struct flow_key *k = key_of(st);
	struct arrival *a = &st->in;

	k->tun_id = a->key;
	if (is_v4(a->remote)) {
		k->tun_src = a->remote[3];
		k->tun_dst = a->local[3];
	} else {
		__builtin_memcpy(k->tun_ipv6_src, a->remote, 16);
		__builtin_memcpy(k->tun_ipv6_dst, a->local, 16);
	}
	k->tun_flags = a->flags;
	k->tun_gbp_id = a->gbp_id;
	k->tun_gbp_flags = a->gbp_flags;
	k->tun_erspan_ver = a->erspan_version;
	k->tun_ttl = a->ttl;
	k->tun_tos = a->tos;
	k->tun_erspan = a->erspan;
	k->tun_present = a->present;
	__builtin_memcpy(k->tun_metadata, a->metadata, sizeof(k->tun_metadata));
	st->dirty = 1;
}

#endif
