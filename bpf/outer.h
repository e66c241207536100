/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Outer headers of what may come out of a tunnel of ours. */
#ifndef GOSSAMER_OUTER_H
#define GOSSAMER_OUTER_H

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

#endif
