/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Fragments, and what is known of their datagrams (docs/conntrack.md, Fragments). */
#ifndef GOSSAMER_FRAGMENT_H
#define GOSSAMER_FRAGMENT_H

static __always_inline void count_fragment(bool ipv6, __u32 which)
{
	ct_count(CT_COUNT_FRAGMENTS + (ipv6 ? CT_FRAGMENT_COUNTS : 0) + which);
}

struct fragment {		/* the one at hand */
	struct fragment_key key;
	__u32 offset, length;	/* bytes of the datagram */
	__u32 more;
	__u32 transport;	/* protocol in its first header */
	__u32 packet;		/* bytes of the whole IP packet */
};

static long find_fragment(__u32 i, struct extension_walk *walk)
{
	__u8 ext[4];
	__u32 len;

	if (walk->proto == 44 || !is_extension(walk->proto) || walk->left < 8 || walk->off > 0x600 ||
	    load(walk->skb, walk->off, ext, 4))
		return 1;
	len = walk->proto == 51 ? (ext[1] + 2) * 4 : (ext[1] + 1) * 8;
	if (len > walk->left)
		return 1;
	walk->proto = ext[0];
	walk->off += len;
	walk->left -= len;
	return 0;
}

/* Which part of which datagram this is. */
static __always_inline int read_fragment(struct __sk_buff *skb, struct state *st, bool ipv6,
					 struct fragment *f)
{
	struct flow_key *k = key_of(st);

	if (ipv6) {
		struct extension_walk walk = { .skb = skb };
		struct ipv6hdr ip;
		struct {
			__u8 next, reserved;
			__be16 where;
			__be32 id;
		} header;

		if (load(skb, st->l3, &ip, sizeof(ip)))
			return -1;
		walk.off = st->l3 + sizeof(ip);
		walk.left = bpf_ntohs(ip.payload_len);
		walk.proto = ip.nexthdr;
		bpf_loop(MAX_IPV6_EXTENSIONS, find_fragment, &walk, 0);
		if (walk.proto != 44 || walk.left < 8 || load(skb, walk.off, &header, 8))
			return -1;
		f->key.id = header.id;
		f->key.ipv6 = 1;
		f->offset = bpf_ntohs(header.where) & 0xfff8;
		f->more = bpf_ntohs(header.where) & 1;
		f->length = walk.left - 8;
		f->packet = bpf_ntohs(ip.payload_len) + sizeof(ip);
		__builtin_memcpy(f->key.src, k->ipv6_src, 16);
		__builtin_memcpy(f->key.dst, k->ipv6_dst, 16);
	} else {
		struct iphdr ip;

		if (load(skb, st->l3, &ip, sizeof(ip)))
			return -1;
		f->key.id = ip.id;
		f->key.proto = ip.protocol;
		f->offset = (bpf_ntohs(ip.frag_off) & 0x1fff) * 8;
		f->more = bpf_ntohs(ip.frag_off) & 0x2000;
		f->length = bpf_ntohs(ip.tot_len) - ip.ihl * 4;
		f->packet = bpf_ntohs(ip.tot_len);
		f->key.src[0] = k->nw_src;
		f->key.dst[0] = k->nw_dst;
	}
	/* All but the last end on eight bytes (RFC 791, RFC 8200); none reaches beyond the largest. */
	if (!f->length || (f->more && (f->length & 7)) || f->offset + f->length > 65535)
		return -1;
	return 0;
}

struct units {			/* of 8 bytes, being marked as seen */
	struct fragmented *datagram;
	__u32 first, end;
	__u32 n_old;		/* of them seen before */
};

static long see_units(__u32 i, struct units *units)
{
	__u32 word = units->first / 64 + i, begin = word * 64;
	__u64 mask = ~0ull;

	if (begin >= units->end || word >= FRAGMENT_UNITS / 64)
		return 1;
	if (units->first > begin)
		mask <<= (units->first - begin) & 63;
	if (units->end - begin < 64)
		mask &= (1ull << ((units->end - begin) & 63)) - 1;
	units->n_old += __builtin_popcountll(
		__sync_fetch_and_or(&units->datagram->seen[word], mask) & mask);
	return 0;
}

static __always_inline bool fragments_over(struct state *st, struct fragmented *datagram, bool first)
{
	/* one that another CPU is about to fill has no time yet */
	if (!(datagram->flags & FRAGMENT_FIRST))
		return false;
	if (elapsed(st, datagram->begun) > FRAGMENT_TIMEOUT_NS)
		return true;
	/* whole: the next first fragment begins another one, as identifiers come again soon */
	return first && !(datagram->flags & FRAGMENT_BROKEN) && datagram->units_all &&
	       datagram->units_seen == datagram->units_all;
}

static __always_inline __u32 break_datagram(struct fragmented *datagram)
{
	__sync_fetch_and_or(&datagram->flags, FRAGMENT_BROKEN);
	return TRANSPORT_OVERLAP;
}

/* That many more fragments of datagrams begun in an epoch are under way.  Those of an epoch that is over
 * for long count no more, so nobody has to look for what never became whole.  Where two CPUs begin an epoch
 * at once, what the first one counted is lost: so there may be less than none for a while. */
static __always_inline void load_fragments(__u32 epoch, __u32 more)
{
	struct ct_shared *shared = ct_shared_get();
	struct ct_load *load;

	if (!shared)
		return;
	load = &shared->fragments[epoch & (CT_FRAGMENT_EPOCHS - 1)];
	if (load->epoch != epoch) {
		load->n = 0;
		load->epoch = epoch;
	}
	__sync_fetch_and_add(&load->n, more);
}

static __always_inline bool fragments_full(struct ct_config *config, __u64 now)
{
	struct ct_shared *shared = ct_shared_get();
	__u32 epoch = now / CT_FRAGMENT_EPOCH_NS;
	__s32 n = 0;

	if (!shared)
		return true;
#pragma unroll
	for (int i = 0; i < CT_FRAGMENT_EPOCHS; i++)
		if (epoch - shared->fragments[i].epoch < CT_FRAGMENT_EPOCHS)
			n += shared->fragments[i].n;
	return n >= (__s32)config->max_fragments;
}

/* What is under way by the key of a fragment; NULL: nothing, or it is over and forgotten. */
static __always_inline struct fragmented *datagram_by_key(struct state *st, struct fragment *f)
{
	struct fragmented *datagram = bpf_map_lookup_elem(&ct_fragments, &f->key);

	if (!datagram || !fragments_over(st, datagram, !f->offset))
		return datagram;
	bpf_map_delete_elem(&ct_fragments, &f->key);
	return NULL;
}

/* The datagram of a fragment, whose key becomes that; NULL: there is none.  A datagram may come again by
 * another port, from who took it out of the switch and sends it on, while its later fragments come for the first
 * time. */
static __always_inline struct fragmented *find_datagram(struct state *st, struct fragment *f)
{
	struct fragmented *datagram = datagram_by_key(st, f), *own;

	if (datagram ? !(datagram->flags & FRAGMENT_FIRST) || datagram->port == st->first_port :
		       !f->offset)
		return datagram;
	f->key.port = st->first_port;
	own = datagram_by_key(st, f);
	if (own || !f->offset)
		return own;
	f->key.port = 0;
	return datagram;
}

/* Enter a fragment into its datagram; what it is then: `kind`, or TRANSPORT_LATER, _INVALID or
 * _OVERLAP. */
static __always_inline __u32 enter_fragment(struct state *st, struct transports *tr,
					    struct fragment *f, __u32 kind)
{
	struct fragmented *datagram = find_datagram(st, f);
	struct units units = {};
	__u32 zero = 0, n_units, all;

	if (!datagram) {
		void *none = bpf_map_lookup_elem(&no_fragments, &zero);

		if (f->offset || !none)
			return TRANSPORT_INVALID;
		bpf_map_update_elem(&ct_fragments, &f->key, none, BPF_NOEXIST);
		datagram = bpf_map_lookup_elem(&ct_fragments, &f->key);
		if (!datagram)
			return TRANSPORT_INVALID;
	}
	if (datagram->flags & FRAGMENT_BROKEN)
		return TRANSPORT_OVERLAP;
	if (f->offset && !(datagram->flags & FRAGMENT_FIRST))
		return TRANSPORT_INVALID;
	units.datagram = datagram;
	units.first = f->offset / 8;
	units.end = (f->offset + f->length + 7) / 8;
	n_units = units.end - units.first;
	bpf_loop(n_units / 64 + 2, see_units, &units, 0);
	if (units.n_old)
		/* the very same again is only left out */
		return units.n_old < n_units ? break_datagram(datagram) : TRANSPORT_OVERLAP;
	units.n_old = __sync_fetch_and_add(&datagram->units_seen, n_units) + n_units;
	all = datagram->units_all;
	if (!f->more && !all)
		all = datagram->units_all = units.end;
	if (all && (units.end > all || (!f->more && units.end != all)))
		return break_datagram(datagram);
	if (!f->offset)
		datagram->epoch = st->now / CT_FRAGMENT_EPOCH_NS;
	n_units = __sync_fetch_and_add(&datagram->n, 1);
	if (all && units.n_old == all) {
		count_fragment(f->key.ipv6, CT_FRAGMENT_COMPLETED);
		load_fragments(datagram->epoch, -n_units);
	} else {
		load_fragments(datagram->epoch, 1);
	}
	if (f->offset) {
		tr->proto = datagram->proto;
		tr->icmp_type = datagram->icmp_type;
		tr->icmp_code = datagram->icmp_code;
		tr->as[0].sport = datagram->sport;
		tr->as[0].dport = datagram->dport;
		return TRANSPORT_LATER;
	}
	datagram->proto = tr->proto;
	datagram->icmp_type = tr->icmp_type;
	datagram->icmp_code = tr->icmp_code;
	if (kind == TRANSPORT_ECHO) {
		datagram->sport = tr->as[0].sport;
	} else if (kind == TRANSPORT_PORTS) {
		datagram->sport = key_of(st)->tp_src;
		datagram->dport = key_of(st)->tp_dst;
	}
	datagram->begun = st->now;
	datagram->port = st->first_port;
	__sync_fetch_and_or(&datagram->flags, FRAGMENT_FIRST);
	return kind;
}

#endif
