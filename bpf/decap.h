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
