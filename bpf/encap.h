/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Into a tunnel: route, outer headers, and the packet inside.
 *
 * prepare() writes the outer headers down when a packet is output; what they hold (tun_*) may be
 * another value when the next output comes.  encapsulate() puts them before the packet when it
 * leaves.  A packet that leaves several times is cloned first, by way of an internal device
 * (`relay`), where our program gets hold of the clone: nothing has to be taken off again.
 */
#ifndef GOSSAMER_ENCAP_H
#define GOSSAMER_ENCAP_H

/* What prepare() asks again of memory, where the verifier knows nothing of it: each constant that it
 * knew would double the ways it follows from there on. */
#define AGAIN(x) (*(volatile typeof(x) *)&(x))

static __always_inline bool is_l3(struct tunnel *t)
{
	return AGAIN(t->mode) == MODE_LEGACY_L3;
}

/* Super-packets leave whole by a device that takes them whole: else they are cut here (cut.h). */
static __always_inline bool must_cut(struct departure *d)
{
	__u32 *how = bpf_map_lookup_elem(&uplinks, &d->ifindex);
	struct tunnel_config *config = tunnel_config_get();

	if (!how || !config || !config->cutter)
		return false;
	return *how & (d->check ? UPLINK_CUTS_SUMMED | UPLINK_CUTS_ALL : UPLINK_CUTS_ALL);
}

#define ENCAP_L2(length) ((__u64)(length) << BPF_ADJ_ROOM_ENCAP_L2_SHIFT)

/* Write down the outer headers of a packet that leaves by tunnel port `id`.  Returns 0, or a drop
 * reason.  What is too big leaves as a complaint to its sender: st->out.mtu. */
__attribute__((noinline)) int prepare(struct __sk_buff *skb, __u32 id, __u32 level)
{
	struct tunnel *t = bpf_map_lookup_elem(&tunnels, &id);
	struct state *st = state_get(level);
	__u32 n, l3_words, reason;
	__be16 udp_source = 0;
	struct departure *d;
	struct inner *inner;
	struct flow_key *k;
	__be32 *remote, *local;
	__u64 tun_id;
	__u8 tos, ttl;
	bool v4;

	if (!t || !st || !t->kind)
		return DROP_NO_PORT;
	d = &st->out;
	k = key_of(st);
	d->port = id;
	remote = d->remote;
	local = d->local;
	inner = &d->inner;
	__builtin_memset(inner, 0, sizeof(*inner));
	__builtin_memcpy(remote, t->remote, 16);
	if (t->flags & TUNNEL_REMOTE_FLOW) {
		__builtin_memcpy(remote, k->tun_ipv6_dst, 16);
		if (k->tun_dst)
			map_v4(remote, k->tun_dst);
	}
	if (!(remote[0] | remote[1] | remote[2] | remote[3]))
		return DROP_TUNNEL_ROUTE;
	v4 = is_v4(remote);
	/* no kernel cuts what has labels inside a tunnel */
	if (skb->gso_size && count_labels(k))
		return DROP_REWRITE;
	if (is_l3(t) && (k->vlan_tci || (k->eth_type != bpf_htons(0x0800) &&
					 k->eth_type != bpf_htons(0x86dd))))
		return DROP_TUNNEL_TYPE;
	look_inside(skb, st, inner);
	d->tags = tags_of(k);
	d->tags_in_band = in_band_tags(skb, k);
	d->inner_l2 = is_l3(t) ? 0 : 14 + 4 * d->tags;

	ttl = t->ttl;
	if ((t->flags & TUNNEL_TTL_INHERIT) && inner->is_ip)
		ttl = inner->ttl;
	tos = t->tos;
	if ((t->flags & TUNNEL_TOS_INHERIT) && inner->is_ip)
		tos = inner->tos;
	if (inner->is_ip)	/* RFC 6040, 4.1: congestion bits are copied */
		tos = (tos & 0xfc) | (inner->tos & 3);
	tun_id = bpf_be64_to_cpu(t->flags & TUNNEL_OUT_KEY_FLOW ? k->tun_id : t->out_key);

	if (t->kind < TUNNEL_GRE)
		udp_source = bpf_htons(UDP_PORT_FIRST +
				       (((__u64)bpf_get_hash_recalc(skb) *
					 (UDP_PORT_END - UDP_PORT_FIRST)) >> 32));
	/* The outer IP header comes last: it holds the length of all that follows. */
	l3_words = v4 ? 5 : 10;
	d->n_words = l3_words;
	d->check = 0;
	switch (t->kind) {
	case TUNNEL_VXLAN: {
		__u32 flags = 0x08000000;

		d->n_words = l3_words + 2;
		if ((t->flags & TUNNEL_GBP) && (k->tun_gbp_id || k->tun_gbp_flags))
			flags |= 0x80000000 | (__u32)(k->tun_gbp_flags & 0x48) << 16 |
				 bpf_ntohs(k->tun_gbp_id);
		if (t->flags & TUNNEL_GPE)
			flags |= 0x04000000 | (!is_l3(t) ? 3 : k->eth_type == bpf_htons(0x0800) ? 1 : 2);
		put(d, bpf_htonl(flags));
		put(d, bpf_htonl(tun_id << 8));
		break;
	}
	case TUNNEL_GENEVE:
		d->n_words = l3_words + 2;
		put(d, 0);
		put(d, bpf_htonl(tun_id << 8));
		*(volatile __u32 *)&d->critical = 0;
		if (k->tun_present)
			put_options(st);
		d->words[l3_words + 2] =
			bpf_htonl((d->n_words - l3_words - 4) << 24 |
				  (k->tun_flags & TUN_OAM ? 1 << 23 : 0) | d->critical |
				  (is_l3(t) ? bpf_ntohs(k->eth_type) : ETH_TEB));
		break;
	case TUNNEL_GRE: {
		bool has_key = t->flags & (TUNNEL_OUT_KEY | TUNNEL_OUT_KEY_FLOW);

		put(d, bpf_htonl((t->flags & TUNNEL_CSUM ? GRE_HAS_CSUM << 16u : 0) |
				     (has_key ? GRE_HAS_KEY << 16 : 0) |
				     (t->flags & TUNNEL_SEQ ? GRE_HAS_SEQ << 16 : 0) |
				     (is_l3(t) ? bpf_ntohs(k->eth_type) : ETH_TEB)));
		if (AGAIN(t->flags) & TUNNEL_CSUM) {
			d->check = 4 * d->n_words;
			put(d, 0);
		}
		if (has_key)
			put(d, bpf_htonl(tun_id));
		if (t->flags & TUNNEL_SEQ)
			put(d, bpf_htonl(__sync_fetch_and_add(&t->sequence, 1)));
		break;
	}
	case TUNNEL_ERSPAN: {
		__u32 index = bpf_ntohl(k->tun_erspan) >> 8, bits = bpf_ntohl(k->tun_erspan) & 0x7f;
		__u32 version = t->flags & TUNNEL_VERSION_FLOW ? k->tun_erspan_ver :
								 t->erspan_version;

		if (tun_id > 0x3ff || (version != 1 && version != 2))
			return DROP_TUNNEL_TYPE;
		put(d, bpf_htonl(GRE_HAS_SEQ << 16 |
				     (version == 1 ? ETH_ERSPAN1 : ETH_ERSPAN2)));
		put(d, bpf_htonl(__sync_fetch_and_add(&t->sequence, 1)));
		put(d, bpf_htonl(version << 28 | (__u32)tun_id));
		if (version == 1) {
			put(d, bpf_htonl(t->flags & TUNNEL_INDEX_FLOW ? index :
								t->erspan_index));
		} else {
			__u32 hwid = t->flags & TUNNEL_HWID_FLOW ? bits & 0x3f : t->erspan_hwid;
			__u32 direction = t->flags & TUNNEL_DIRECTION_FLOW ? bits >> 6 :
									     t->erspan_direction;

			/* a time stamp in units of 100 us, by whose clock nobody says */
			put(d, capturing ? 0 : bpf_htonl(st->now / 100000));
			put(d, bpf_htonl((hwid & 0x3f) << 4 | (direction & 1) << 3));
		}
		break;
	}
	}
	n = d->n_words & OUTER_WORD_MASK;
	d->l4 = 4 * l3_words;
	d->length = 4 * n + d->inner_l2;
	inner->length += 4 * n + d->inner_l2;	/* of the outer packet, or of a segment of it */
	d->mark = t->flags & TUNNEL_MARK ? t->mark : bpf_ntohl(k->pkt_mark);
	reason = route(skb, st, t, remote, v4, inner->length, udp_source);
	if (reason)
		return reason;
	if (d->mtu) {
		count_drop(DROP_TUNNEL_TOO_BIG);
		d->mtu -= d->length;
		return d->mtu < 68 || d->mtu > 0xffff ? DROP_TUNNEL_ROUTE : 0;
	}

	__builtin_memcpy(local, t->local, 16);
	if (t->flags & TUNNEL_LOCAL_FLOW) {
		__builtin_memcpy(local, k->tun_ipv6_src, 16);
		if (v4)
			map_v4(local, k->tun_src);
	} else if (!(local[0] | local[1] | local[2] | local[3]) && !capturing) {
		struct source_key key = { .ifindex = d->ifindex, .family = v4 ? 4 : 6 };
		__be32 *source = bpf_map_lookup_elem(&underlay_sources, &key);

		if (!source)
			return DROP_TUNNEL_ROUTE;
		__builtin_memcpy(local, source, 16);
	}

	if (t->kind < TUNNEL_GRE) {
		__be16 *udp = (__be16 *)&d->words[l3_words];

		udp[0] = udp_source;
		udp[1] = t->dst_port;
		/* of what is there; segments get their own from the kernel */
		udp[2] = bpf_htons(d->length - 4 * l3_words + skb->len - 14 - 4 * AGAIN(d->tags_in_band));
		udp[3] = 0;
		if (!v4 || (AGAIN(t->flags) & TUNNEL_CSUM))
			d->check = 4 * l3_words + 6;
	}
	{
		__u32 total = d->length + skb->len - 14 - 4 * AGAIN(d->tags_in_band);
		__u32 proto = t->kind < TUNNEL_GRE ? 17 : 47;

		if (v4) {
			__u32 id = !capturing && !(t->flags & TUNNEL_DF) ? bpf_get_prandom_u32() : 0;

			d->words[0] = bpf_htonl(0x45000000 | (__u32)tos << 16 | (total & 0xffff));
			d->words[1] = bpf_htonl(id << 16 | (t->flags & TUNNEL_DF ? IP_DF : 0));
			d->words[2] = bpf_htonl((__u32)ttl << 24 | proto << 16);
			d->words[3] = local[3];
			d->words[4] = remote[3];
			((__u16 *)d->words)[5] = fold(bpf_csum_diff(0, 0, d->words, 20, 0));
		} else {
			d->words[0] = bpf_htonl(6u << 28 | (__u32)tos << 20);
			d->words[1] = bpf_htonl((total - 40) << 16 | proto << 8 | ttl);
			__builtin_memcpy(&d->words[2], local, 16);
			__builtin_memcpy(&d->words[6], remote, 16);
		}
	}
	if (skb->gso_size && !capturing && must_cut(d))
		d->cut = 1;
	d->type = v4 ? bpf_htons(0x0800) : bpf_htons(0x86dd);
	d->flags = BPF_F_ADJ_ROOM_FIXED_GSO |
		   (v4 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV6) |
		   (t->kind < TUNNEL_GRE ? BPF_F_ADJ_ROOM_ENCAP_L4_UDP : BPF_F_ADJ_ROOM_ENCAP_L4_GRE);
	if (!is_l3(t)) {
		__be16 *half = (__be16 *)d->words;
		__be16 type;

		d->flags |= BPF_F_ADJ_ROOM_ENCAP_L2_ETH | ENCAP_L2(d->inner_l2);
		/* what stands in the packet: a length, where it is no ethertype */
		if (load(skb, 12 + 4 * AGAIN(d->tags_in_band), &type, 2))
			return DROP_REWRITE;
#define HALF(i) half[(2 * n + (i)) & 127]
		for (int i = 0; i < 6; i++)
			HALF(i) = ((__be16 *)k->eth_dst)[i];
		HALF(6) = AGAIN(d->tags) ? k->vlan_tpid : type;
		HALF(7) = k->vlan_tci & bpf_htons(0xefff);
		HALF(8) = AGAIN(d->tags) > 1 ? k->vlan1_tpid : type;
		HALF(9) = k->vlan1_tci & bpf_htons(0xefff);
		HALF(10) = type;
	}
	return 0;
}

/* Labels that were pushed stand in front of what the kernel still takes for the start of layer 3
 * (add_labels()): it makes and takes room behind them.  Read them before, at `from`, and put them
 * where they belong after, at `to`; what lay behind them has come right.  Returns their bytes. */
static __always_inline __u32 hold_labels(struct __sk_buff *skb, struct state *st, __u32 from)
{
	__u32 bytes = 4 * count_labels(key_of(st)), n = bytes - 1;

	if (!bytes)
		return 0;
	asm volatile("%0 &= 15" : "+r"(n));
	return bpf_skb_load_bytes(skb, from, st->header, n + 1) ? 0 : bytes;
}

static __always_inline int put_labels(struct __sk_buff *skb, struct state *st, __u32 to, __u32 bytes)
{
	__u32 n = bytes - 1;

	if (!bytes)
		return 0;
	asm volatile("%0 &= 15" : "+r"(n));
	return bpf_skb_store_bytes(skb, to, st->header, n + 1, BPF_F_RECOMPUTE_CSUM) ? -1 : 0;
}

/* Put the packet inside.  Returns 0, or -1 where the kernel refuses. */
__attribute__((noinline)) int encapsulate(struct __sk_buff *skb, __u32 level)
{
	struct state *st = state_get(level);
	struct departure *d;
	__u32 n, length, labels;
	__u64 flags;

	if (!st)
		return -1;
	d = &st->out;
	/* The tags are inside already, as written down. */
	if (d->tags && bpf_skb_vlan_pop(skb))
		return -1;
	if (d->tags > 1 && bpf_skb_vlan_pop(skb))
		return -1;
	length = d->length;
	if (length < 20 || length > 252)
		return -1;
	/* The kernel makes room before IP only: what is none looks like it meanwhile. */
	if (skb->protocol != bpf_htons(0x0800) && skb->protocol != bpf_htons(0x86dd) &&
	    (bpf_skb_store_bytes(skb, 12, &d->type, 2, 0) || fix_protocol(skb)))
		return -1;
	labels = hold_labels(skb, st, 14);
	/* The kernel trims nothing that is marked as inside a tunnel; super-packets lose the mark when
	 * they become segments. */
	flags = d->cut && !skb->gso_size ? BPF_F_ADJ_ROOM_FIXED_GSO : d->flags;
	/* What came out of a tunnel is marked as inside one for good, and refuses to be marked again;
	 * its marks still fit. */
	if (bpf_skb_adjust_room(skb, length, BPF_ADJ_ROOM_MAC, flags) &&
	    bpf_skb_adjust_room(skb, length, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return -1;
	if (put_labels(skb, st, 14 + length, labels))
		return -1;
	n = length - 1;
	asm volatile("%0 &= 255" : "+r"(n));
	if (bpf_skb_store_bytes(skb, 14, d->words, n + 1, BPF_F_RECOMPUTE_CSUM) ||
	    bpf_skb_store_bytes(skb, 0, d->eth, 12, BPF_F_RECOMPUTE_CSUM) ||
	    bpf_skb_store_bytes(skb, 12, &d->type, 2, BPF_F_RECOMPUTE_CSUM))
		return -1;
	if (skb->protocol != d->type && fix_protocol(skb))
		return -1;
	if (d->check && fill_checksum(skb, st))
		return -1;
	return 0;
}

/* Undo it: when outputs are captured, the same packet goes on to the next. */
__attribute__((noinline)) int take_off(struct __sk_buff *skb, __u32 level)
{
	struct state *st = state_get(level);
	struct departure *d;
	struct flow_key *k;
	__u32 labels;
	__be16 type;

	if (!st)
		return -1;
	d = &st->out;
	k = key_of(st);
	labels = hold_labels(skb, st, 14 + (d->length & 0xff));
	if (d->inner_l2) {
		if (bpf_skb_load_bytes(skb, 14 + (d->length & 0xff) - 2, &type, 2))
			return -1;
	} else {
		type = k->eth_type;
	}
	if (strip(skb, d->length & 0xff) || put_labels(skb, st, 14, labels) ||
	    bpf_skb_store_bytes(skb, 0, k->eth_dst, 12, 0) || bpf_skb_store_bytes(skb, 12, &type, 2, 0))
		return -1;
	if (type != d->type && fix_protocol(skb))
		return -1;
	if (d->tags > 1 && push_tag(skb, k->vlan1_tpid, k->vlan1_tci))
		return -1;
	if (d->tags && push_tag(skb, k->vlan_tpid, k->vlan_tci))
		return -1;
	move_offsets(st, (int)(in_band_tags(skb, k) - d->tags_in_band) * 4);
	return 0;
}

/* The packet, or a clone of it, leaves by the tunnel it was prepared for. */
static __always_inline int depart(struct __sk_buff *skb, __u32 level)
{
	struct state *st = state_get(level);
	struct tunnel_config *config;

	if (!st)
		return TC_ACT_SHOT;
	if (encapsulate(skb, level)) {
		count_drop(DROP_REWRITE);
		return TC_ACT_SHOT;
	}
	if (st->out.mark)
		skb->mark = st->out.mark;
	if (st->out.cut) {
		config = tunnel_config_get();
		if (!config)
			return TC_ACT_SHOT;
		skb->mark = CUT_MARK;
		return bpf_redirect(config->cutter, 0);
	}
	if (st->out.resolve)
		return bpf_redirect_neigh(st->out.ifindex, &st->out.hop, sizeof(st->out.hop), 0);
	return bpf_redirect(st->out.ifindex, 0);
}

#endif
