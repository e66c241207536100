/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Commit of tags and labels: what the key says of them, made so in the packet. */
#ifndef GOSSAMER_COMMIT_L2_H
#define GOSSAMER_COMMIT_L2_H

#ifndef BPF_F_PSEUDO_HDR
#define BPF_F_PSEUDO_HDR (1ULL << 4)
#define BPF_F_MARK_MANGLED_0 (1ULL << 5)
#endif

#define WIRE(st) ((struct flow_key *)((void *)(st)->wire - PACKET_WORD * 4))

static __always_inline __u32 tags_of(struct flow_key *k)
{
	return nonzero(k->vlan_tci) + nonzero(k->vlan1_tci);
}

static __always_inline __u32 in_band_tags(struct __sk_buff *skb, struct flow_key *k)
{
	__u32 tags = tags_of(k);

	return tags - (nonzero(tags) & skb->vlan_present);
}

static __always_inline int push_tag(struct __sk_buff *skb, __be16 tpid, __be16 tci)
{
	return bpf_skb_vlan_push(skb, tpid, bpf_ntohs(tci) & 0xefff);
}

/* The headers behind layer 2 have moved. */
static __always_inline void move_offsets(struct state *st, int shift)
{
	st->network += shift;
	if (st->l3)
		st->l3 += shift;
	if (st->l4)
		st->l4 += shift;
	if (st->nd_option)
		st->nd_option += shift;
}

/* Pop down to the innermost tags both have, push what is new. */
static __always_inline int commit_vlan(struct __sk_buff *skb, struct state *st)
{
	struct flow_key *k = key_of(st), *w = WIRE(st);
	__u32 have = (w->vlan_tci ? 1 : 0) + (w->vlan1_tci ? 1 : 0);
	__u32 want = (k->vlan_tci ? 1 : 0) + (k->vlan1_tci ? 1 : 0);
	/* innermost and next, of each */
	__be16 have_tci[2] = { have == 2 ? w->vlan1_tci : w->vlan_tci, w->vlan_tci };
	__be16 have_tpid[2] = { have == 2 ? w->vlan1_tpid : w->vlan_tpid, w->vlan_tpid };
	__be16 want_tci[2] = { want == 2 ? k->vlan1_tci : k->vlan_tci, k->vlan_tci };
	__be16 want_tpid[2] = { want == 2 ? k->vlan1_tpid : k->vlan_tpid, k->vlan_tpid };
	__u32 before = in_band_tags(skb, w), after;
	__u32 keep = 0;

	if (have >= 1 && want >= 1 && have_tci[0] == want_tci[0] && have_tpid[0] == want_tpid[0]) {
		keep = 1;
		if (have == 2 && want == 2 && have_tci[1] == want_tci[1] &&
		    have_tpid[1] == want_tpid[1])
			keep = 2;
	}
	if (have == keep && want == keep)
		return 0;
	st->vlan_changed = 1;
	if (have > keep && bpf_skb_vlan_pop(skb))
		return -1;
	if (have > keep + 1 && bpf_skb_vlan_pop(skb))
		return -1;
	if (want > keep && keep == 0 && push_tag(skb, want_tpid[0], want_tci[0]))
		return -1;
	if (want == 2 && keep < 2 && push_tag(skb, want_tpid[1], want_tci[1]))
		return -1;
	after = in_band_tags(skb, k);
	move_offsets(st, (int)(after - before) * 4);
	return 0;
}

/* Copy `length` bytes (an even number, 2 to 46) of the packet to another place in it. */
static __always_inline int move_header(struct __sk_buff *skb, struct state *st, __u32 from, __u32 to,
				       __u32 length)
{
	__u32 n = length - 1;

	asm volatile("%0 &= %1" : "+r"(n) : "i"(63));
	return bpf_skb_load_bytes(skb, from, st->header, n + 1) ||
	       bpf_skb_store_bytes(skb, to, st->header, n + 1, 0) ? -1 : 0;
}

/* Room for labels behind layer 2: in front of the packet, from where layer 2 moves up. */
static __always_inline int add_labels(struct __sk_buff *skb, struct state *st, __u32 bytes)
{
	__u32 network = st->network & 63;

	return bpf_skb_change_head(skb, bytes, 0) || move_header(skb, st, bytes, 0, network) ? -1 : 0;
}

/* Take a label out.  The kernel takes only VLAN tags out of a packet, so that it becomes one:
 * what stands between the addresses and the label moves over it, and in its old place a tag is
 * made.  It is popped with the kernel's own tag beside the packet, which must be there. */
static __always_inline int remove_label(struct __sk_buff *skb, struct state *st, __be16 eth_type)
{
	__be16 tag[2] = { bpf_htons(0x8100), bpf_htons(1) };
	bool beside = skb->vlan_present;
	__u32 network = st->network & 63;

	if (!beside && bpf_skb_vlan_push(skb, bpf_htons(0x8100), 1))
		return -1;
	/* this one puts the tag that was beside the packet into it */
	if (bpf_skb_vlan_push(skb, bpf_htons(0x8100), 1))
		return -1;
	network += 4;
	if (bpf_skb_store_bytes(skb, network - 2, &eth_type, 2, 0) ||
	    move_header(skb, st, 12, 16, network - 12) || bpf_skb_store_bytes(skb, 12, tag, 4, 0))
		return -1;
	if (bpf_skb_vlan_pop(skb) || bpf_skb_vlan_pop(skb))
		return -1;
	return !beside && bpf_skb_vlan_pop(skb) ? -1 : 0;
}

/* Labels and ethertype as the key has them. */
static __always_inline int commit_labels(struct __sk_buff *skb, struct state *st)
{
	struct flow_key *k = key_of(st), *w = WIRE(st);
	__u32 have = entries(w), want = entries(k), in_band;
	__be16 eth_type = k->eth_type;

	if (eth_type == bpf_htons(0x05ff))
		eth_type = st->wire_type;	/* the length that it was */
	if (have == want && k->eth_type == w->eth_type && !differ(&k->mpls_lse0, &w->mpls_lse0, 12))
		return 0;
	st->vlan_changed = 1;
	if (want > have) {
		if (add_labels(skb, st, 4 * (want - have)))
			return -1;
	} else {
		in_band = in_band_tags(skb, k);
		for (int i = 0; i < 3; i++) {
			if (i >= have - want)
				break;
			if (remove_label(skb, st, eth_type))
				return -1;
			/* the pops may have left another tag beside the packet */
			move_offsets(st, 4 * (int)(in_band_tags(skb, k) - in_band));
			in_band = in_band_tags(skb, k);
		}
	}
	/* offsets count from the packet's start: what is above the labels did not move */
	{
		__u16 network = st->network;

		move_offsets(st, 4 * (int)(want - have));
		st->network = network;
	}
	if (bpf_skb_store_bytes(skb, (st->network & 63) - 2, &eth_type, 2, 0))
		return -1;
	if (want && bpf_skb_store_bytes(skb, st->network & 63, &k->mpls_lse0, 4, 0))
		return -1;
	if (want > 1 && bpf_skb_store_bytes(skb, (st->network & 63) + 4, &k->mpls_lse1, 4, 0))
		return -1;
	if (want > 2 && bpf_skb_store_bytes(skb, (st->network & 63) + 8, &k->mpls_lse2, 4, 0))
		return -1;
	return 0;
}

#endif
