/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Commit of what lies beyond the key: from one version of a packet's transport values to another.
 *
 * Checksums are adjusted, not computed.  An ICMP checksum covers the packet that is quoted, with
 * its own checksums, so each change there counts in it too.
 */
#ifndef GOSSAMER_COMMIT_TRANSPORT_H
#define GOSSAMER_COMMIT_TRANSPORT_H

#define MAX_TCP_OPTIONS 40
#define MAX_SACK_EDGES 8

/* The two bytes at `off`, and the checksum at `check` that covers them. */
static __always_inline int replace_half(struct __sk_buff *skb, __u32 check, __u32 off, __be16 from,
					__be16 to)
{
	if (from == to)
		return 0;
	return bpf_l4_csum_replace(skb, check, from, to, 2) ||
	       bpf_skb_store_bytes(skb, off, &to, 2, 0) ? -1 : 0;
}

static __always_inline int replace_word(struct __sk_buff *skb, __u32 check, __u32 off, __be32 from,
					__be32 to)
{
	if (from == to)
		return 0;
	return bpf_l4_csum_replace(skb, check, from, to, 4) ||
	       bpf_skb_store_bytes(skb, off, &to, 4, 0) ? -1 : 0;
}

/* Change the quoted packet's own transport checksum, and what the ICMP checksum makes of that. */
static __always_inline int quoted_sum(struct __sk_buff *skb, __u32 icmp_check, __u32 check,
				      __s64 diff)
{
	__be16 old, new;

	if (bpf_skb_load_bytes(skb, check, &old, 2) || bpf_l4_csum_replace(skb, check, 0, diff, 0) ||
	    bpf_skb_load_bytes(skb, check, &new, 2))
		return -1;
	return bpf_l4_csum_replace(skb, icmp_check, old, new, 2) ? -1 : 0;
}

/* Addresses and ports of the packet that an ICMP error quotes. */
__attribute__((noinline)) int commit_quoted(struct __sk_buff *skb, __u32 from_at, __u32 to_at,
					    __u32 level)
{
	struct state *st = state_get(level);
	struct transports *tr = transports_get(level);
	struct transport *from, *to;
	__u32 icmp_check, l3, l4, check = 0;
	bool ipv6, icmp;
	__s64 diff = 0;

	if (!st || !tr)
		return -1;
	from = &tr->as[from_at & (MAX_TRANSPORTS - 1)];
	to = &tr->as[to_at & (MAX_TRANSPORTS - 1)];
	ipv6 = st->l4_proto == 58;
	icmp_check = st->l4 + 2;
	l3 = st->l4 + 8;
	l4 = st->l4 + tr->quoted_l4;
	icmp = tr->proto == 1 || tr->proto == 58;
	if (tr->quoted_check) {
		__be16 sum;

		check = l4 + tr->quoted_check;
		if (bpf_skb_load_bytes(skb, check, &sum, 2))
			return -1;
		if (tr->proto == 17 && !sum)
			check = 0;	/* UDP without one */
	}
	if (ipv6) {
		__s64 addresses;

		if (differ(from->src, to->src, 32)) {
			/* source and destination lie side by side, here as there */
			addresses = bpf_csum_diff(from->src, 32, to->src, 32, 0);
			if (bpf_l4_csum_replace(skb, icmp_check, 0, addresses, 0) ||
			    bpf_skb_store_bytes(skb, l3 + 8, to->src, 32, 0))
				return -1;
			if (check && quoted_sum(skb, icmp_check, check, addresses))
				return -1;
		}
	} else {
#pragma unroll
		for (int i = 0; i < 2; i++) {
			__be32 old = i ? from->dst[0] : from->src[0];
			__be32 new = i ? to->dst[0] : to->src[0];

			if (old == new)
				continue;
			/* the quoted IP checksum takes up the change: the ICMP checksum is as it was */
			if (bpf_l3_csum_replace(skb, l3 + 10, old, new, 4) ||
			    bpf_skb_store_bytes(skb, l3 + 12 + 4 * i, &new, 4, 0))
				return -1;
			/* ICMP has no pseudo header */
			diff = bpf_csum_diff(&old, 4, &new, 4, 0);
			if (check && !icmp && quoted_sum(skb, icmp_check, check, diff))
				return -1;
		}
	}
#pragma unroll
	for (int i = 0; i < 2; i++) {
		__be32 old = i ? from->dport : from->sport, new = i ? to->dport : to->sport;

		if (old == new || (icmp && i))
			continue;
		if (replace_half(skb, icmp_check, l4 + (icmp ? 4 : 2 * i), old, new))
			return -1;
		diff = bpf_csum_diff(&old, 4, &new, 4, 0);
		if (check && quoted_sum(skb, icmp_check, check, diff))
			return -1;
	}
	return 0;
}

/* An edge of SACK moves as the acknowledgement does (RFC 2018). */
static __always_inline int move_edge(struct __sk_buff *skb, __u32 check, __u32 at, __u32 shift)
{
	__be32 from, to, a, b;

	if (bpf_skb_load_bytes(skb, at, &from, 4))
		return -1;
	to = bpf_htonl(bpf_ntohl(from) + shift);
	a = from;
	b = to;
	/* At an odd place in the checksum's grid of 16 bits, bytes count the other way. */
	if ((check ^ at) & 1) {
		a = __builtin_bswap32(a);
		b = __builtin_bswap32(b);
		a = a >> 16 | a << 16;
		b = b >> 16 | b << 16;
	}
	return bpf_l4_csum_replace(skb, check, a, b, 4) ||
	       bpf_skb_store_bytes(skb, at, &to, 4, 0) ? -1 : 0;
}

/* Sequence and acknowledgement numbers, and the edges of SACK. */
__attribute__((noinline)) int commit_sequence(struct __sk_buff *skb, __u32 from_at, __u32 to_at,
					      __u32 level)
{
	struct state *st = state_get(level);
	struct transports *tr = transports_get(level);
	struct transport *from, *to;
	__u32 l4, check, shift, at, end, sack = 0;
	__u8 doff;

	if (!st || !tr)
		return -1;
	from = &tr->as[from_at & (MAX_TRANSPORTS - 1)];
	to = &tr->as[to_at & (MAX_TRANSPORTS - 1)];
	l4 = st->l4;
	check = l4 + 16;
	if (replace_word(skb, check, l4 + 4, from->seq, to->seq) ||
	    replace_word(skb, check, l4 + 8, from->ack, to->ack))
		return -1;
	shift = bpf_ntohl(to->ack) - bpf_ntohl(from->ack);
	if (!shift || bpf_skb_load_bytes(skb, l4 + 12, &doff, 1))
		return 0;
	at = l4 + 20;
	end = l4 + (doff >> 4) * 4;
	for (int i = 0; i < MAX_TCP_OPTIONS; i++) {
		__u8 option[2] = {};

		if (at + 2 > end || bpf_skb_load_bytes(skb, at, option, 2) || !option[0])
			break;
		if (option[0] == 1) {
			at++;
			continue;
		}
		if (option[1] < 2)
			break;
		if (option[0] == 5) {
			sack = option[1];
			break;
		}
		at += option[1];
	}
	if (at + sack > end)
		return 0;
	for (__u32 edge = 0; edge < MAX_SACK_EDGES; edge++) {
		if (4 * edge + 6 > sack)
			break;
		if (move_edge(skb, check, at + 2 + 4 * edge, shift))
			return -1;
	}
	return 0;
}

/* The packet has version `from` of its transport values; give it `to`. */
static __always_inline int commit_transport(struct __sk_buff *skb, struct state *st, __u32 from,
					    __u32 to)
{
	struct transports *tr = transports_get(st->level);

	if (!tr)
		return -1;
	from &= MAX_TRANSPORTS - 1;
	to &= MAX_TRANSPORTS - 1;
	switch (tr->kind) {
	case TRANSPORT_ECHO:
		return replace_half(skb, st->l4 + 2, st->l4 + 4, tr->as[from].sport,
				    tr->as[to].sport);
	case TRANSPORT_QUOTED:
		return commit_quoted(skb, from, to, st->level);
	case TRANSPORT_PORTS:
		return st->l4_proto == 6 ? commit_sequence(skb, from, to, st->level) : 0;
	default:
		return 0;	/* a later fragment shows none of it */
	}
}

#endif
