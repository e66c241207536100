/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Checksums of outer headers (UDP, GRE): of what leaves by a tunnel, and of what arrives. */
#ifndef GOSSAMER_OUTER_CHECKSUM_H
#define GOSSAMER_OUTER_CHECKSUM_H

static __always_inline __u16 fold(__s64 sum)
{
	__u32 s = sum;

	s = (s & 0xffff) + (s >> 16);
	s = (s & 0xffff) + (s >> 16);
	return ~s;
}

/* Sum of the packet's bytes from `from` on, `length` of them, in one's complement. */
static __always_inline __s64 sum_packet(struct __sk_buff *skb, struct state *st, __u32 from,
					__u32 length, __s64 sum)
{
	__u32 whole = length / SUM_CHUNK, rest = length % SUM_CHUNK, last;

	for (__u32 i = 0; i < MAX_SUM_CHUNKS; i++) {
		/* 6.1's verifier must see the constant bound, which the compiler would merge */
		asm volatile("" : "+r"(i));
		if (i >= whole || bpf_skb_load_bytes(skb, from, st->sum_words, SUM_CHUNK))
			break;
		sum = bpf_csum_diff(0, 0, st->sum_words, SUM_CHUNK, sum);
		from += SUM_CHUNK;
	}
	if (!rest)
		return sum;
	rest--;
	last = rest / 4;
	asm volatile("%0 &= 127" : "+r"(last));
	st->sum_words[last] = 0;
	asm volatile("%0 &= 511" : "+r"(rest));
	if (bpf_skb_load_bytes(skb, from, st->sum_words, rest + 1))
		return sum;
	return bpf_csum_diff(0, 0, st->sum_words, 4 * (last + 1), sum);
}

/* Sum of what a whole segment of a super-packet has behind the outer L4 header's beginning, with
 * `length` bytes altogether: all its bytes are known but the payload's, and these are in the inner
 * checksum, with which they come to what the inner pseudo header lacks. */
static __always_inline __s64 sum_segment(struct __sk_buff *skb, struct state *st, bool v4, bool udp,
					 __u32 length, __s64 sum)
{
	struct departure *d = &st->out;
	__u32 l3 = 14 + (d->length & 0xff), l4 = v4 ? 5 : 10, bytes;
	__u32 inner = d->inner.length - d->length - d->inner.l4;	/* behind the inner IP header */
	__be32 *from = st->sum_words, *to = from + 4;
	__u8 *b = (__u8 *)(from + 8);	/* not on the stack, which is short */

	if (load(skb, l3, b, 20))
		return sum;
	bytes = (d->length - 4 * l4 + 3) & 0xfc;
	((__be16 *)d->words)[d->length / 2 & 127] = 0;	/* what is summed ends with a word */
	sum = bpf_csum_diff(0, 0, &d->words[l4], bytes, sum);
	if (udp) {
		from[0] = d->words[l4 + 1];
		to[0] = bpf_htonl(length << 16);
		sum = bpf_csum_diff(from, 4, to, 4, sum);
	}
	if (b[0] >> 4 == 4) {
		/* its header comes to nothing */
		from[0] = from[11];
		from[1] = from[12];
		from[2] = bpf_htonl(b[9]);
		from[3] = bpf_htonl(inner);
		return bpf_csum_diff(from, 16, 0, 0, sum);
	}
	/* its addresses are in both headers */
	to[0] = from[8];
	to[1] = bpf_htonl(inner << 16 | b[6] << 8 | b[7]);
	from[0] = bpf_htonl(b[6]);
	from[1] = bpf_htonl(inner);
	return bpf_csum_diff(from, 8, to, 8, sum);
}

/* Whether the inner TCP or UDP checksum is still to be filled in, by a device or the kernel: the
 * field then holds the sum of the pseudo header.  The kernel tells programs nothing of it. */
static __always_inline bool awaits_checksum(struct __sk_buff *skb, struct state *st)
{
	struct departure *d = &st->out;
	__u32 l3 = 14 + (d->length & 0xff), at, size;
	__u32 inner = d->inner.length - d->length - d->inner.l4;
	__be32 *addresses = st->sum_words, *pseudo = addresses + 8;
	__u8 *b = (__u8 *)(addresses + 10);
	__u16 field, sum;

	if (!d->inner.is_ip || load(skb, l3, b, 10))
		return false;
	__builtin_memset(addresses, 0, 32);
	if (b[0] >> 4 == 4) {
		at = l3 + 12;
		size = 8;
	} else {
		at = l3 + 8;
		size = 32;
		b[9] = b[6];
	}
	if ((b[9] != 6 && b[9] != 17) ||
	    (size == 8 ? load(skb, at, addresses, 8) : load(skb, at, addresses, 32)) ||
	    load(skb, l3 + d->inner.l4 + (b[9] == 6 ? 16 : 6), &field, 2))
		return false;
	pseudo[0] = bpf_htonl(inner);
	pseudo[1] = bpf_htonl(b[9]);
	sum = fold(bpf_csum_diff(0, 0, pseudo, 8, bpf_csum_diff(0, 0, addresses, 32, 0)));
	return field == (__u16)~sum;
}

/* With what UDP's pseudo-header has behind the addresses. */
static __always_inline __s64 sum_udp_header(__u32 length, __s64 sum)
{
	__be32 tail[2] = { bpf_htonl(length), bpf_htonl(17) };

	return bpf_csum_diff(0, 0, tail, 8, sum);
}

/* The outer checksum of the packet as it stands.  What the kernel will still cut into segments gets
 * it then, where that happens here (sum_again()); elsewhere it has none in UDP over IPv4, or that
 * of a whole segment. */
static __always_inline int fill_checksum(struct __sk_buff *skb, struct state *st)
{
	struct departure *d = &st->out;
	bool v4 = d->type == bpf_htons(0x0800), udp = d->flags & BPF_F_ADJ_ROOM_ENCAP_L4_UDP;
	__u32 l4 = v4 ? 34 : 54, length = skb->len - l4;
	bool whole = !skb->gso_size;
	__s64 sum = 0;
	__u16 check;

	if (!whole && d->cut) {
		check = 0xffff;
		return bpf_skb_store_bytes(skb, 14 + d->check, &check, 2, 0);
	}
	if (!whole && v4 && udp)
		return 0;
	if (!whole)
		length = d->inner.length - (l4 - 14);
	if (udp) {
		sum = v4 ? bpf_csum_diff(0, 0, &d->words[3], 8, 0) :
			   bpf_csum_diff(0, 0, &d->words[2], 32, 0);
		sum = sum_udp_header(length, sum);
	}
	sum = whole && !awaits_checksum(skb, st) ? sum_packet(skb, st, l4, length, sum) :
		      sum_segment(skb, st, v4, udp, length, sum);
	check = fold(sum);
	if (udp && !check)
		check = 0xffff;
	return bpf_skb_store_bytes(skb, 14 + d->check, &check, 2, 0);
}

/* Write the outer checksum of a packet that has one, as the packet stands: the kernel has cut it from
 * a larger one.  Returns 0, or -1. */
__attribute__((noinline)) int sum_again(struct __sk_buff *skb, __u32 level)
{
	bool v4 = skb->protocol == bpf_htons(0x0800);
	__u32 l4 = v4 ? 34 : 54, length = skb->len - l4, at;
	struct state *st = state_get(level);
	__be16 check = 0;
	__s64 sum = 0;
	__u8 proto;

	if (!st || load(skb, v4 ? 14 + 9 : 14 + 6, &proto, 1))
		return -1;
	if (proto == 17) {
		at = l4 + 6;
		if (load(skb, at, &check, 2))
			return -1;
		if (!check)
			return 0;
		if (v4 ? load(skb, 14 + 12, st->sum_words, 8) : load(skb, 14 + 8, st->sum_words, 32))
			return -1;
		sum = v4 ? bpf_csum_diff(0, 0, st->sum_words, 8, 0) :
			   bpf_csum_diff(0, 0, st->sum_words, 32, 0);
		sum = sum_udp_header(length, sum);
	} else {
		at = l4 + 4;
		if (load(skb, l4, &check, 2))
			return -1;
		if (!(check & bpf_htons(GRE_HAS_CSUM)))
			return 0;
	}
	check = 0;
	if (bpf_skb_store_bytes(skb, at, &check, 2, 0))
		return -1;
	check = fold(sum_packet(skb, st, l4, length & 0xffff, sum));
	if (proto == 17 && !check)
		check = 0xffff;
	return bpf_skb_store_bytes(skb, at, &check, 2, 0) ? -1 : 0;
}

/* Has nobody looked at the packet's first checksum yet?  Programs are not shown skb->ip_summed,
 * but bpf_csum_level() tells what a device has checked, and a level more turns "not checked" into
 * "checked" for a moment, where it leaves alone what a sender on this host has not filled in yet
 * (CHECKSUM_PARTIAL).  bpf_csum_update() works only where a device has summed the packet up. */
static __always_inline bool is_unchecked(struct __sk_buff *skb)
{
	if (bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) >= 0)
		return false;
	bpf_csum_level(skb, BPF_CSUM_LEVEL_INC);
	if (bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) >= 0) {
		bpf_csum_level(skb, BPF_CSUM_LEVEL_DEC);
		return true;
	}
	return bpf_csum_update(skb, 0) >= 0;
}

/* Is the outer checksum of what arrived wrong?  It covers `length` bytes from `at` on, UDP's the
 * addresses too. */
__attribute__((noinline)) int is_corrupt(struct __sk_buff *skb, __u32 at, __u32 length, __u32 level)
{
	struct state *st = state_get(level);
	__s64 sum = 0;

	if (!st || skb->gso_size || !is_unchecked(skb))
		return 0;
	if (st->in.kind < TUNNEL_GRE) {
		bool v4 = is_v4(st->in.local);

		sum = v4 ? bpf_csum_diff(0, 0, &st->in.local[3], 4, 0) :
			   bpf_csum_diff(0, 0, st->in.local, 16, 0);
		sum = v4 ? bpf_csum_diff(0, 0, &st->in.remote[3], 4, sum) :
			   bpf_csum_diff(0, 0, st->in.remote, 16, sum);
		sum = sum_udp_header(length, sum);
	}
	return fold(sum_packet(skb, st, at, length & 0xffff, sum)) != 0;
}

#endif
