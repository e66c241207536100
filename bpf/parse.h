/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Packet headers into the flow key.
 *
 * The rules are those at the top of src/gossamer/pipeline/packet.py, whose
 * parser this one must match byte for byte: a header that is not wholly
 * there, or lies about its length, leaves its own fields and all deeper ones
 * zero.
 */
#ifndef GOSSAMER_PARSE_H
#define GOSSAMER_PARSE_H

static __always_inline int parse_arp(struct __sk_buff *skb, struct state *st, __u32 l3)
{
	struct arp_header *arp = (struct arp_header *)st->header;
	struct flow_key *k = key_of(st);

	if (load(skb, l3, arp, sizeof(*arp)))
		return -1;
	if (arp->htype != bpf_htons(1) || arp->ptype != bpf_htons(0x0800) || arp->hlen != 6 ||
	    arp->plen != 4)
		return -1;
	st->l3 = l3;
	st->l3_type = k->eth_type;
	if (bpf_ntohs(arp->op) <= 0xff)
		k->nw_proto = bpf_ntohs(arp->op);
	__builtin_memcpy(&k->nw_src, arp->spa, 4);
	__builtin_memcpy(&k->nw_dst, arp->tpa, 4);
	__builtin_memcpy(k->arp_sha, arp->sha, 6);
	__builtin_memcpy(k->arp_tha, arp->tha, 6);
	return 0;
}

/* Up to three labels; below the last, IP as its first four bits say, or ARP that is whole. */
__attribute__((noinline)) int parse_mpls(struct __sk_buff *skb, __u32 off, __u32 level)
{
	struct state *st = state_get(level);
	struct flow_key *k;
	__be32 bottom = bpf_htonl(0x100), lse;
	__u8 version;

	if (!st)
		return 0;
	k = key_of(st);
	if (load(skb, off, &lse, 4))
		return 0;
	k->mpls_lse0 = lse;
	off += 4;
	if (!(lse & bottom)) {
		if (load(skb, off, &lse, 4))
			return 0;
		k->mpls_lse1 = lse;
		off += 4;
	}
	if (!(lse & bottom)) {
		if (load(skb, off, &lse, 4))
			return 0;
		k->mpls_lse2 = lse;
		off += 4;
	}
	if (!(lse & bottom) || load(skb, off, &version, 1))
		return 0;
	if (version >> 4 == 4)
		parse_ipv4(skb, off, level);
	else if (version >> 4 == 6)
		parse_ipv6(skb, off, level);
	else if (version == 0 && !parse_arp(skb, st, off))
		st->l3_type = bpf_htons(0x0806);
	return 0;
}

#define NSH_MD_CONTEXT 1	/* MD type with four words of context */

/* A network service header (RFC 8300), in the place of IPv6 addresses: flags, TTL, MD type, next
 * protocol, path and index; context. */
__attribute__((noinline)) int parse_nsh(struct __sk_buff *skb, __u32 off, __u32 level)
{
	struct state *st = state_get(level);
	__u32 first, length;
	__u8 *base;

	if (!st || off + 8 > skb->len)
		return 0;
	base = (__u8 *)&st->key[WORD_IPV6_SRC];
	if (load(skb, off, base, 8))
		return 0;
	first = base[0] << 8 | base[1];
	length = (first & 0x3f) * 4;
	if (first >> 14 || length < 8 || off + length > skb->len ||
	    (base[2] == NSH_MD_CONTEXT && length != 24)) {
		st->key[WORD_IPV6_SRC] = st->key[WORD_IPV6_SRC + 1] = 0;
		return 0;
	}
	base[0] = first >> 12 & 3;
	base[1] = first >> 6 & 0x3f;
	if (base[2] == NSH_MD_CONTEXT)
		load(skb, off + 8, &st->key[WORD_IPV6_DST], 16);
	/* Labels hide it as they hide IP. */
	st->l3 = off;
	st->l3_type = bpf_htons(ETH_NSH);
	return 0;
}

/* Ethertype and outer tag, one word too. */
static __always_inline void write_type(struct flow_key *k, __be16 type)
{
	__be16 word[2] __attribute__((aligned(4))) = { type, k->vlan_tci };

	__builtin_memcpy(&k->eth_type, word, 4);
}

static __always_inline bool is_vlan(__be16 type)
{
	return type == bpf_htons(0x8100) || type == bpf_htons(0x88a8);
}

/* Fill the key's packet part, and what the state says of headers, which is zero yet.  Returns 0, or -1 for
 * what is no Ethernet frame. */
static __always_inline int read_packet(struct __sk_buff *skb, struct state *st, __u32 level)
{
	struct flow_key *k = key_of(st);
	__u32 off = 14;
	struct bridge *br = bridge_get(st->bridge);
	__be16 type;

	if (!br)
		return -1;
	__builtin_memset(&st->key[PACKET_WORD], 0, PACKET_WORDS * 4);
	st->network = 14;
	/* addresses and type lie in the key as they do in the frame */
	if (load(skb, 0, &st->key[WORD_ETH_DST], 14))
		return -1;
	type = k->eth_type;
	/* The outer tag may have been taken out of the frame by the kernel. */
	if (skb->vlan_present) {
		k->vlan_tci = bpf_htons((skb->vlan_tci & 0xefff) | VLAN_CFI);
		k->vlan_tpid = (__be16)skb->vlan_proto;
	} else if (is_vlan(type)) {
		__be16 tag[2];

		if (load(skb, off, tag, 4))
			goto out;
		k->vlan_tpid = type;
		k->vlan_tci = (tag[0] & bpf_htons(0xefff)) | bpf_htons(VLAN_CFI);
		type = tag[1];
		off += 4;
	}
	if (k->vlan_tci && is_vlan(type)) {
		__be16 tag[2];

		if (load(skb, off, tag, 4))
			goto out;
		k->vlan1_tpid = type;
		k->vlan1_tci = (tag[0] & bpf_htons(0xefff)) | bpf_htons(VLAN_CFI);
		type = tag[1];
		off += 4;
	}
	st->network = off;
	st->wire_type = type;
	if (bpf_ntohs(type) < 0x600) {
		/* 802.3: a length.  SNAP with OUI 0 names an ethertype. */
		struct {
			__u8 dsap, ssap, control, oui[3];
			__be16 type;
		} llc;

		if (!load(skb, off, &llc, 8) && llc.dsap == 0xaa && llc.ssap == 0xaa &&
		    llc.control == 3 && !llc.oui[0] && !llc.oui[1] && !llc.oui[2] &&
		    bpf_ntohs(llc.type) >= 0x600) {
			type = llc.type;
			st->wire_type = type;
			off += 8;
		} else {
			k->eth_type = bpf_htons(ETH_TYPE_NONE);
			return 0;
		}
	}
	write_type(k, type);
	st->network = off;
	if (br->depth == PARSE_L2)
		return 0;
	if (type == bpf_htons(0x0800)) {
		parse_ipv4(skb, off, level);
	} else if (type == bpf_htons(0x86dd)) {
		parse_ipv6(skb, off, level);
	} else if (type == bpf_htons(0x0806) || type == bpf_htons(0x8035)) {
		parse_arp(skb, st, off);
	} else if (type == bpf_htons(0x8847) || type == bpf_htons(0x8848)) {
		parse_mpls(skb, off, level);
	} else if (type == bpf_htons(ETH_NSH)) {
		parse_nsh(skb, off, level);
	} else if (type == bpf_htons(0x88e7) && off + 16 <= skb->len) {
		load(skb, off, &k->pbb_isid, 4);
	}
	return 0;
out:
	/* A tag cut short: its ethertype is all that is known. */
	k->eth_type = type;
	return 0;
}

/* The same of a packet that was changed. */
__attribute__((noinline)) int parse(struct __sk_buff *skb, __u32 level)
{
	struct state *st = state_get(level);

	if (!st)
		return -1;
	st->l3 = st->l4 = st->nd_option = 0;
	st->l4_proto = 0;
	st->l3_type = 0;
	st->transport_read = 0;
	return read_packet(skb, st, level);
}

#endif
