/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Commit: make the packet's headers say what the key says.
 *
 * Actions change only the key; headers follow when the packet is about to
 * leave.  So a copy that went another way (patch port, flood over VLANs) is
 * undone by restoring the key, never by copying packets.  Checksums are
 * adjusted, not computed (RFC 1624): a wrong one stays wrong.
 */
#ifndef GOSSAMER_COMMIT_H
#define GOSSAMER_COMMIT_H

/* Offset of the checksum in the L4 header, 0 where there is none to adjust. */
static __always_inline __u32 l4_check(struct state *st, __u64 *flags)
{
	*flags = 0;
	switch (st->l4_proto) {
	case 6:
		return st->l4 + 16;
	case 17:
		*flags = BPF_F_MARK_MANGLED_0;
		return st->l4 + 6;
	case 1:
	case 58:
		return st->l4 + 2;
	default:
		return 0;	/* SCTP's CRC covers no pseudo header; its ports are handled apart */
	}
}

/* `from` becomes `to` in what a sum is over (RFC 1624, equation 3). */
static __always_inline __u64 sum_change(__u64 sum, __be32 from, __be32 to)
{
	return sum + (__u32)~from + to;
}

static __always_inline __u32 fold_to_word(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

/* All of the header at once: a call for each field would take several times as long. */
static __always_inline int commit_ipv4(struct __sk_buff *skb, struct state *st)
{
	struct flow_key *k = key_of(st), *w = WIRE(st);
	struct iphdr *ip = (struct iphdr *)st->header;
	__u16 *half = (__u16 *)st->header;
	__u32 l3 = st->l3 & 0x7ff, check, sum;
	__u64 flags, addresses = 0;

	if (k->nw_src == w->nw_src && k->nw_dst == w->nw_dst && k->nw_tos == w->nw_tos &&
	    k->nw_ttl == w->nw_ttl)
		return 0;
	if (load(skb, l3, ip, sizeof(*ip)))
		return -1;
	addresses = sum_change(addresses, ip->saddr, k->nw_src);
	addresses = sum_change(addresses, ip->daddr, k->nw_dst);
	check = l4_check(st, &flags);
	/* ICMP has no pseudo header */
	if (check && st->l4_proto != 1 && (k->nw_src != w->nw_src || k->nw_dst != w->nw_dst) &&
	    bpf_l4_csum_replace(skb, check, 0, fold_to_word(addresses), flags | BPF_F_PSEUDO_HDR))
		return -1;
	/* version and TOS, TTL and protocol share a half each; ~0 is 0, but stays what it is */
	addresses += 0xffff + (__u16)~ip->check + (__u16)~half[0] + (__u16)~half[4];
	ip->tos = k->nw_tos;
	ip->ttl = k->nw_ttl;
	ip->saddr = k->nw_src;
	ip->daddr = k->nw_dst;
	sum = fold_to_word(addresses + half[0] + half[4]);
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = ~((sum & 0xffff) + (sum >> 16));
	return bpf_skb_store_bytes(skb, l3, ip, sizeof(*ip), 0) ? -1 : 0;
}

static __always_inline int commit_ipv6(struct __sk_buff *skb, struct state *st)
{
	struct flow_key *k = key_of(st), *w = WIRE(st);
	__u32 l3 = st->l3 & 0x7ff, check;
	/* source and destination lie side by side, in the key as in the header */
	__be32 *from = (__be32 *)w->ipv6_src, *to = (__be32 *)k->ipv6_src;
	__u64 flags;

	check = l4_check(st, &flags);
	if (differ(from, to, 32)) {
		__s64 diff = bpf_csum_diff(from, 32, to, 32, 0);

		if (check && bpf_l4_csum_replace(skb, check, 0, diff, flags | BPF_F_PSEUDO_HDR))
			return -1;
		if (bpf_skb_store_bytes(skb, l3 + 8, to, 32, BPF_F_RECOMPUTE_CSUM))
			return -1;
	}
	if (k->nw_tos != w->nw_tos || k->ipv6_label != w->ipv6_label) {
		__be32 first = bpf_htonl(6u << 28 | (__u32)k->nw_tos << 20) |
			       (k->ipv6_label & bpf_htonl(0xfffff));

		if (bpf_skb_store_bytes(skb, l3, &first, 4, BPF_F_RECOMPUTE_CSUM))
			return -1;
	}
	if (k->nw_ttl != w->nw_ttl) {
		__u8 ttl = k->nw_ttl;

		if (bpf_skb_store_bytes(skb, l3 + 7, &ttl, 1, BPF_F_RECOMPUTE_CSUM))
			return -1;
	}
	return 0;
}

#define CRC32C 0x82f63b78u	/* bits reversed (RFC 3309) */

/* The product of two polynomials modulo CRC32C's, bits reversed; no branches, of which the verifier
 * would follow both ways, and not inlined, so that it does so once. */
__attribute__((noinline)) int crc_multiply(__u32 a, __u32 b)
{
	__u32 product = 0;

	for (int i = 0; i < 32; i++) {
		product ^= b & -(a >> 31);
		a <<= 1;
		b = (b >> 1) ^ (CRC32C & -(b & 1));
	}
	return product;
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LE32(x) (x)
#else
#define LE32(x) __builtin_bswap32(x)
#endif

/* SCTP's checksum after the ports, its first four bytes, changed by `diff`: the CRC is linear, and
 * each byte multiplies what came before by x^8. */
static __always_inline int adjust_sctp(struct __sk_buff *skb, struct state *st, __u32 diff)
{
	__u32 at = (st->l4 & 0xfff) + 8, sum;
	__u32 shift = 0x80000000, power = 0x00800000;	/* 1, x^8 */

	for (int i = 0; i < 16; i++) {
		__u32 more = crc_multiply(shift, power), bit = -((__u32)st->l4_length >> i & 1);

		shift = (shift & ~bit) | (more & bit);
		power = crc_multiply(power, power);
	}
	diff = LE32(crc_multiply(shift, LE32(diff)));
	if (bpf_skb_load_bytes(skb, at, &sum, 4))
		return -1;
	sum ^= diff;
	return bpf_skb_store_bytes(skb, at, &sum, 4, 0) ? -1 : 0;
}

static __always_inline int commit_l4(struct __sk_buff *skb, struct state *st)
{
	struct flow_key *k = key_of(st), *w = WIRE(st);
	__u32 l4 = st->l4 & 0xfff, check;
	__be32 from, to;	/* both ports */
	__u64 flags;

	check = l4_check(st, &flags);
	if (st->l4_proto == 1 || st->l4_proto == 58) {
		__be16 was = bpf_htons((bpf_ntohs(w->tp_src) << 8) | (bpf_ntohs(w->tp_dst) & 0xff));
		__be16 is = bpf_htons((bpf_ntohs(k->tp_src) << 8) | (bpf_ntohs(k->tp_dst) & 0xff));

		if (was == is)
			return 0;
		return bpf_l4_csum_replace(skb, check, was, is, 2) ||
		       bpf_skb_store_bytes(skb, l4, &is, 2, 0) ? -1 : 0;
	}
	from = st->wire[WORD_TP_SRC - PACKET_WORD];
	to = st->key[WORD_TP_SRC];
	if (from == to)
		return 0;
	if (st->l4_proto == 132 ? adjust_sctp(skb, st, from ^ to) :
				  check && bpf_l4_csum_replace(skb, check, from, to, flags | 4))
		return -1;
	return bpf_skb_store_bytes(skb, l4, &to, 4, 0) ? -1 : 0;
}

/* A network service header, as parse_nsh() has read it. */
static __always_inline int commit_nsh(struct __sk_buff *skb, struct state *st)
{
	__be32 *to = &st->key[WORD_IPV6_SRC], *from = (__be32 *)WIRE(st) + WORD_IPV6_SRC;
	__u32 l3 = st->l3 & 0x7ff, first = bpf_ntohl(to[0]);
	__u8 *base = st->header;

	if (differ(from, to, 8)) {
		__be16 start;

		if (load(skb, l3, base, 8))
			return -1;
		start = bpf_htons((first >> 24 & 3) << 12 | (first >> 16 & 0x3f) << 6 | (base[1] & 0x3f));
		__builtin_memcpy(base, &start, 2);
		__builtin_memcpy(base + 2, (__u8 *)to + 2, 6);
		if (bpf_skb_store_bytes(skb, l3, base, 8, 0))
			return -1;
	}
	if (((__u8 *)to)[2] == NSH_MD_CONTEXT && differ(from + 4, to + 4, 16) &&
	    bpf_skb_store_bytes(skb, l3 + 8, to + 4, 16, 0))
		return -1;
	return 0;
}

static __always_inline int commit_arp(struct __sk_buff *skb, struct state *st)
{
	struct flow_key *k = key_of(st);
	__u32 l3 = st->l3 & 0x7ff;
	__be16 op = bpf_htons(k->nw_proto);

	/* An opcode above 255 shows as 0 in the key and must survive. */
	if (k->nw_proto != WIRE(st)->nw_proto && bpf_skb_store_bytes(skb, l3 + 6, &op, 2, 0))
		return -1;
	return bpf_skb_store_bytes(skb, l3 + 8, k->arp_sha, 6, 0) ||
	       bpf_skb_store_bytes(skb, l3 + 14, &k->nw_src, 4, 0) ||
	       bpf_skb_store_bytes(skb, l3 + 18, k->arp_tha, 6, 0) ||
	       bpf_skb_store_bytes(skb, l3 + 24, &k->nw_dst, 4, 0) ? -1 : 0;
}

/* The first option with an address: its type, then the address that the key has for that type. */
static __always_inline int commit_nd_option(struct __sk_buff *skb, struct state *st, __u32 check)
{
	struct flow_key *k = key_of(st), *w = WIRE(st);
	__u32 off = st->nd_option & 0xfff;
	__be32 *old = (__be32 *)st->header, *new = old + 2;
	__u8 *b = (__u8 *)new;

	if (bpf_skb_load_bytes(skb, off, old, 8))
		return -1;
	new[0] = old[0];
	new[1] = old[1];
	if (k->tcp_flags != w->tcp_flags)
		b[0] = bpf_ntohs(k->tcp_flags);
	if (b[0] == ND_SLL && differ(k->arp_sha, w->arp_sha, 6))
		__builtin_memcpy(b + 2, k->arp_sha, 6);
	if (b[0] == ND_TLL && differ(k->arp_tha, w->arp_tha, 6))
		__builtin_memcpy(b + 2, k->arp_tha, 6);
	if (old[0] == new[0] && old[1] == new[1])
		return 0;
	return bpf_l4_csum_replace(skb, check, 0, bpf_csum_diff(old, 8, new, 8, 0), 0) ||
	       bpf_skb_store_bytes(skb, off, new, 8, 0) ? -1 : 0;
}

static __always_inline int commit_nd(struct __sk_buff *skb, struct state *st)
{
	struct flow_key *k = key_of(st), *w = WIRE(st);
	__u32 l4 = st->l4 & 0xfff, check = l4 + 2;
	__be32 *from = (__be32 *)w->nd_target, *to = (__be32 *)k->nd_target;

	if (w->pbb_isid != k->pbb_isid &&
	    (bpf_l4_csum_replace(skb, check, w->pbb_isid, k->pbb_isid, 4) ||
	     bpf_skb_store_bytes(skb, l4 + 4, &k->pbb_isid, 4, 0)))
		return -1;
	if (st->l4_length >= 24 && differ(from, to, 16) &&
	    (bpf_l4_csum_replace(skb, check, 0, bpf_csum_diff(from, 16, to, 16, 0), 0) ||
	     bpf_skb_store_bytes(skb, l4 + 8, to, 16, 0)))
		return -1;
	return st->nd_option ? commit_nd_option(skb, st, check) : 0;
}

static __always_inline bool differs(struct state *st)
{
	__u64 *k = (__u64 *)&st->key[PACKET_WORD], *w = (__u64 *)st->wire, d = 0;

#pragma unroll
	for (int i = 0; i < PACKET_WORDS / 2; i++)
		d |= k[i] ^ w[i];
	return d != 0;
}

/* All but what lies beyond the key. */
__attribute__((noinline)) int commit_key(struct __sk_buff *skb, __u32 level)
{
	struct state *st = state_get(level);
	struct flow_key *k, *w;

	if (!st)
		return -1;
	k = key_of(st);
	w = WIRE(st);
	if ((st->touched & GROUP_VLAN) && commit_vlan(skb, st))
		return -1;
	if ((st->touched & GROUP_ETH) && differ(k->eth_dst, w->eth_dst, 12) &&
	    bpf_skb_store_bytes(skb, 0, k->eth_dst, 12, 0))
		return -1;
	if ((st->touched & GROUP_MPLS) && commit_labels(skb, st))
		return -1;
	if (st->l3) {
		if (st->l3_type == bpf_htons(0x0800)) {
			if ((st->touched & GROUP_L3) && commit_ipv4(skb, st))
				return -1;
		} else if (st->l3_type == bpf_htons(0x86dd)) {
			if ((st->touched & GROUP_L3) && commit_ipv6(skb, st))
				return -1;
		} else if (st->l3_type == bpf_htons(ETH_NSH)) {
			if ((st->touched & GROUP_L3) && commit_nsh(skb, st))
				return -1;
		} else if ((st->touched & (GROUP_L3 | GROUP_ARP_ND)) && commit_arp(skb, st)) {
			return -1;
		}
	}
	if (st->l4) {
		if ((st->touched & GROUP_L4) && commit_l4(skb, st))
			return -1;
		if ((st->touched & GROUP_ARP_ND) && st->l4_proto == 58 && commit_nd(skb, st))
			return -1;
	}
	__builtin_memcpy(st->wire, &st->key[PACKET_WORD], sizeof(st->wire));
	return 0;
}

/* Returns 0, or -1 where the kernel refused: the packet must go no further.  Two calls from here
 * take less of the stack than one within the other. */
static __always_inline int commit(struct __sk_buff *skb, struct state *st, __u32 level)
{
	__u16 have = WIRE(st)->transport, want = key_of(st)->transport;

	if (st->l4 && (st->touched & GROUP_TRANSPORT) && have != want &&
	    commit_transport(skb, st, have, want))
		return -1;
	return commit_key(skb, level);
}

#endif
