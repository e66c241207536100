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

struct sack_walk {
	struct __sk_buff *skb;
	__u32 at, end;		/* of the options, in the packet */
	__u32 check;
	__u32 shift;		/* added to each edge */
	__u32 failed;
};

/* One option after the other; SACK's edges move as the acknowledgement does (RFC 2018). */
static long sack_option(__u32 i, struct sack_walk *walk)
{
	__u8 option[2];
	__u32 length;

	if (walk->at + 1 > walk->end || bpf_skb_load_bytes(walk->skb, walk->at, option, 1) || !option[0])
		return 1;
	if (option[0] == 1) {
		walk->at++;
		return 0;
	}
	if (walk->at + 2 > walk->end || bpf_skb_load_bytes(walk->skb, walk->at, option, 2))
		return 1;
	length = option[1];
	if (length < 2 || walk->at + length > walk->end)
		return 1;
	if (option[0] == 5) {
		for (__u32 edge = 0; edge < MAX_SACK_EDGES; edge++) {
			__u32 at = walk->at + 2 + 4 * edge;
			__be32 from, to;

			if (4 * edge + 6 > length)
				break;
			if (bpf_skb_load_bytes(walk->skb, at, &from, 4)) {
				walk->failed = 1;
				return 1;
			}
			to = bpf_htonl(bpf_ntohl(from) + walk->shift);
			/* An odd place in the checksum's 16-bit grid counts the bytes the other way. */
			if ((walk->check ^ at) & 1) {
				__be32 a = __builtin_bswap32(from), b = __builtin_bswap32(to);

				a = a >> 16 | a << 16;
				b = b >> 16 | b << 16;
				if (bpf_l4_csum_replace(walk->skb, walk->check, a, b, 4))
					walk->failed = 1;
			} else if (bpf_l4_csum_replace(walk->skb, walk->check, from, to, 4)) {
				walk->failed = 1;
			}
			if (bpf_skb_store_bytes(walk->skb, at, &to, 4, 0))
				walk->failed = 1;
		}
	}
	walk->at += length;
	return 0;
}

/* Sequence and acknowledgement numbers, and the edges of SACK. */
__attribute__((noinline)) int commit_sequence(struct __sk_buff *skb, __u32 from_at, __u32 to_at,
					      __u32 level)
{
	struct state *st = state_get(level);
	struct transports *tr = transports_get(level);
	struct sack_walk walk = { .skb = skb };
	struct transport *from, *to;
	__u32 l4;
	__u8 doff;

	if (!st || !tr)
		return -1;
	from = &tr->as[from_at & (MAX_TRANSPORTS - 1)];
	to = &tr->as[to_at & (MAX_TRANSPORTS - 1)];
	l4 = st->l4;
	walk.check = l4 + 16;
	if (replace_word(skb, walk.check, l4 + 4, from->seq, to->seq) ||
	    replace_word(skb, walk.check, l4 + 8, from->ack, to->ack))
		return -1;
	walk.shift = bpf_ntohl(to->ack) - bpf_ntohl(from->ack);
	if (!walk.shift || bpf_skb_load_bytes(skb, l4 + 12, &doff, 1))
		return 0;
	walk.at = l4 + 20;
	walk.end = l4 + (doff >> 4) * 4;
	bpf_loop(MAX_TCP_OPTIONS, sack_option, &walk, 0);
	return walk.failed ? -1 : 0;
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
