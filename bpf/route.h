/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What goes into a tunnel: where its outer packet is routed, and what of the inner one decides that. */
#ifndef GOSSAMER_ROUTE_H
#define GOSSAMER_ROUTE_H

#define IP_DF 0x4000
#define ETH_TEB 0x6558
#define ETH_ERSPAN1 0x88be
#define ETH_ERSPAN2 0x22eb

#define LOOPBACK_IFINDEX 1	/* what the host's own packets are routed as if they came from */

#define UDP_PORT_FIRST 32768	/* source ports, as Open vSwitch chooses them */
#define UDP_PORT_END 61000

#define LEAST_MTU 68		/* RFC 791, 3.2 */
#define FIB_LOOKUP_MARK (1 << 5)	/* BPF_FIB_LOOKUP_MARK, newer than the headers */
#define EINVAL 22

#define OUTER_WORD_MASK 63	/* of departure.words */

/* How many words there are stands in memory, where the verifier knows nothing of it: it would
 * follow each number by itself. */
static __always_inline void put(struct departure *d, __be32 word)
{
	__u32 at = *(volatile __u32 *)&d->n_words;

	asm volatile("%0 &= %1" : "+r"(at) : "i"(OUTER_WORD_MASK));
	d->words[at] = word;
	*(volatile __u32 *)&d->n_words = at + 1;
}

static __always_inline void look_inside(struct __sk_buff *skb, struct state *st,
					struct inner *inner)
{
	__u32 l2 = 14 + 4 * in_band_tags(skb, key_of(st)), at = st->network & 0xff;
	__be16 type = key_of(st)->eth_type;
	__u8 b[10] = {}, offset = 0;

	inner->length = skb->len - l2;
	if (type == bpf_htons(0x0800)) {
		if (load(skb, at, b, 10))
			return;
		inner->tos = b[1];
		inner->ttl = b[8];
		inner->l4 = (b[0] & 15) * 4;
		inner->is_ip = b[0] >> 4 == 4;
	} else if (type == bpf_htons(0x86dd)) {
		if (load(skb, at, b, 10))
			return;
		inner->tos = b[0] << 4 | b[1] >> 4;
		inner->ttl = b[7];
		inner->l4 = 40;
		inner->is_ip = b[0] >> 4 == 6;
		b[9] = b[6];
	}
	if (!inner->is_ip || !skb->gso_size)
		return;
	if (b[9] == 6) {
		load(skb, at + inner->l4 + 12, &offset, 1);
		inner->length = inner->l4 + (offset >> 4) * 4 + skb->gso_size;
	} else {
		inner->length = inner->l4 + 8 + skb->gso_size;
	}
}

static __always_inline bool is_group(const __be32 *address, bool v4)
{
	return v4 ? (address[3] & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) :
		    (address[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
}

/* The next hop of a look-up that found a way.  A group is its own. */
static __always_inline void set_hop(struct bpf_redir_neigh *hop, struct bpf_fib_lookup *fib,
				    const __be32 *remote, bool v4)
{
	bool group = is_group(remote, v4);

	__builtin_memset(hop, 0, sizeof(*hop));
	hop->nh_family = fib->family;
	if (fib->family == AF_INET)
		hop->ipv4_nh = group ? remote[3] : fib->ipv4_dst;
	else
		__builtin_memcpy(hop->ipv6_nh, group && !v4 ? remote : fib->ipv6_dst, 16);
}

/* With the mark where it is not 0 and the kernel takes it: since 6.10. */
static __always_inline long find_route(struct __sk_buff *skb, struct state *st)
{
	long found = -EINVAL;

	if (st->out.mark) {
		__builtin_memcpy(st->fib.smac, &st->out.mark, 4);
		found = bpf_fib_lookup(skb, &st->fib, sizeof(st->fib), FIB_LOOKUP_MARK);
	}
	return found == -EINVAL ? bpf_fib_lookup(skb, &st->fib, sizeof(st->fib), 0) : found;
}

/* Where the packet goes: into st->out.  Returns 0 or a drop reason. */
static __always_inline __u32 route(struct __sk_buff *skb, struct state *st, struct tunnel *t,
				   const __be32 *remote, bool v4, __u32 length, __be16 udp_source)
{
	struct bpf_fib_lookup *fib = &st->fib;
	struct departure *d = &st->out;
	bool group = is_group(remote, v4);
	long found;

	d->resolve = 0;
	d->mtu = 0;
	d->cut = 0;
	if (capturing) {
		d->ifindex = 0;
		__builtin_memset(d->eth, 0, 12);
		return 0;
	}
	__builtin_memset(fib, 0, sizeof(*fib));
	fib->l4_protocol = t->kind >= TUNNEL_GRE ? 47 : 17;
	fib->sport = udp_source;
	fib->dport = t->dst_port;
	fib->tot_len = length > 0xffff ? 0xffff : length;
	fib->ifindex = LOOPBACK_IFINDEX;
	if (v4) {
		fib->family = AF_INET;
		fib->ipv4_src = t->local[3];
		fib->ipv4_dst = remote[3];
	} else {
		fib->family = AF_INET6;
		__builtin_memcpy(fib->ipv6_src, t->local, 16);
		__builtin_memcpy(fib->ipv6_dst, remote, 16);
	}
	found = find_route(skb, st);
	if (found == BPF_FIB_LKUP_RET_FRAG_NEEDED) {
		struct tunnel_config *config = tunnel_config_get();

		if ((t->flags & TUNNEL_DF) || !config || !config->cutter) {
			d->mtu = fib->mtu_result;
			return 0;
		}
		d->cut = 1;
		fib->tot_len = LEAST_MTU;
		found = find_route(skb, st);
	}
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return DROP_TUNNEL_ROUTE;
	d->ifindex = fib->ifindex;
	/* Now and then the kernel does it itself, so that it sees to the neighbour being there.  Not
	 * for a group: its address follows from the group's own, and bpf_redirect_neigh() drops
	 * what is for a group of Ethernet already. */
	if (found == BPF_FIB_LKUP_RET_NO_NEIGH ||
	    (!group && t->resolved != (__u32)(st->now >> 30))) {
		t->resolved = st->now >> 30;
		d->resolve = 1;
		set_hop(&d->hop, fib, remote, v4);
	}
	__builtin_memcpy(d->eth, fib->dmac, 6);
	__builtin_memcpy(d->eth + 6, fib->smac, 6);
	return 0;
}

/* Geneve's options that the packet has in its key. */
static __always_inline void put_options(struct state *st)
{
	__u32 bridge = st->bridge, present = bpf_ntohs(key_of(st)->tun_present);
	struct option_places *places = bpf_map_lookup_elem(&tunnel_options, &bridge);
	struct departure *d = &st->out;

	*(volatile __u32 *)&d->in_option = 0;
	if (!places)
		return;
	for (__u32 w = 0; w < MAX_OPTIONS; w++) {
		__be32 head = places->head[w];

		__u32 left = *(volatile __u32 *)&d->in_option;

		if (head && present >> w & 1) {
			put(d, head);
			if (head & OPTION_CRITICAL)
				*(volatile __u32 *)&d->critical = 1 << 22;
			left = bpf_ntohl(head) & 0x1f;
		}
		if (left) {
			put(d, st->key[WORD_TUN_METADATA + w]);
			left--;
		}
		*(volatile __u32 *)&d->in_option = left;
	}
}

#endif
