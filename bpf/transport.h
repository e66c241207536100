/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What connection tracking reads of a packet beyond its flow key, and what NAT changes there:
 * the identifier of an ICMP query, the packet that an ICMP error quotes, the ports of a later
 * fragment (those of the first), and TCP's sequence numbers.
 *
 * As with the key, changes are written down first and carried out by commit(): a packet has up to
 * MAX_TRANSPORTS versions of these values, number 0 as it came, and the key's word `transport`
 * says which one holds.  So a copy of the key (patch port, clone, recirculation) brings them back.
 */
#ifndef GOSSAMER_TRANSPORT_H
#define GOSSAMER_TRANSPORT_H

#define MAX_TRANSPORTS 8	/* a power of two */
#define MAX_FRAGMENTED 4096	/* datagrams whose fragments are under way */
#define FRAGMENT_TIMEOUT_NS 15000000000ull
#define FRAGMENT_UNITS 8192	/* of 8 bytes: 64 KB */

enum transport_kind {
	TRANSPORT_PORTS,	/* TCP, UDP: the key has them */
	TRANSPORT_OTHER,	/* a protocol whose ports, if any, say nothing (SCTP too) */
	TRANSPORT_ECHO,		/* an ICMP query; `sport` is its identifier */
	TRANSPORT_QUOTED,	/* an ICMP error: addresses and ports are those it quotes */
	TRANSPORT_LATER,	/* a later fragment; ports (or identifier) of its first */
	TRANSPORT_INVALID,	/* belongs to no connection */
	TRANSPORT_OVERLAP,	/* a fragment over another one: to be dropped */
};

struct transport {
	__be32 src[4], dst[4];	/* IPv4 in the first word */
	__be16 sport, dport;
	__be32 seq, ack;
};

struct transports {
	__u8 kind;
	__u8 proto;		/* of the connection: the quoted one, or that of the first fragment */
	__u8 icmp_type;		/* of the query, quoted or not */
	__u8 icmp_code;
	__u16 quoted_l4;	/* from the ICMP header to the quoted packet's transport header */
	__u16 quoted_check;	/* from there on to its checksum; 0: it is not in the quotation */
	__u32 n;		/* versions there are */
	__u32 pad;
	struct transport as[MAX_TRANSPORTS];
};

/* Of the packet at each level of nesting. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_NESTING);
	__type(key, __u32);
	__type(value, struct transports);
} transports SEC(".maps");

static __always_inline struct transports *transports_get(__u32 level)
{
	return bpf_map_lookup_elem(&transports, &level);
}

struct fragment_key {
	__be32 src[4], dst[4];
	__be32 id;
	__u16 zone;		/* the network that the addresses belong to */
	__u8 proto;		/* 0 for IPv6 */
	__u8 ipv6;
};

#define FRAGMENT_FIRST		(1ull << 0)	/* the first one has come */
#define FRAGMENT_BROKEN		(1ull << 1)	/* some overlapped or was too long: the rest goes too */

struct fragmented {		/* a datagram */
	__u64 begun;		/* ns */
	__u64 flags;		/* FRAGMENT_* */
	__u32 units_seen;	/* of 8 bytes */
	__u32 units_all;	/* 0: the last one has not come */
	__u8 proto, icmp_type, icmp_code, pad;
	__be16 sport, dport;
	__u32 epoch;		/* in which it began */
	__u32 n;		/* fragments that were accepted */
	__u64 seen[FRAGMENT_UNITS / 64];
};

/* Written and read here; the longest unused goes when it is full, and its rest counts as unknown. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_FRAGMENTED);
	__type(key, struct fragment_key);
	__type(value, struct fragmented);
} ct_fragments SEC(".maps");

/* An empty one to begin with: it is too large for the stack.  Nobody writes it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fragmented);
} no_fragments SEC(".maps");

/* Those that are identified by an id: echo and the old IPv4 queries (RFC 792, RFC 4443). */
static __always_inline bool is_query(__u8 type, bool ipv6)
{
	return ipv6 ? type == 128 || type == 129 :
		      type == 0 || type == 8 || (type >= 13 && type <= 16);
}

static __always_inline bool is_error(__u8 type, bool ipv6)
{
	return ipv6 ? type >= 1 && type <= 4 :
		      type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

static __always_inline int quoted_network(struct __sk_buff *skb, struct state *st, bool ipv6, struct transport *t,
					  struct extension_walk *walk)
{
	if (ipv6) {
		struct ipv6hdr ip;

		if (walk->left < sizeof(ip) || load(skb, walk->off, &ip, sizeof(ip)) ||
		    ip.version != 6)
			return -1;
		__builtin_memcpy(t->src, &ip.saddr, 16);
		__builtin_memcpy(t->dst, &ip.daddr, 16);
		walk->proto = ip.nexthdr;
		walk->met = extensions_begin(st);
		walk->off += sizeof(ip);
		walk->left -= sizeof(ip);
		if (is_extension(walk->proto))
			bpf_loop(MAX_IPV6_EXTENSIONS, ipv6_extension, walk, 0);
		return walk->broken || walk->frag ? -1 : 0;
	} else {
		struct iphdr ip;

		if (walk->left < sizeof(ip) || load(skb, walk->off, &ip, sizeof(ip)) ||
		    ip.version != 4 || ip.ihl < 5 || ip.ihl * 4 > walk->left ||
		    (ip.frag_off & bpf_htons(0x3fff)))
			return -1;
		t->src[0] = ip.saddr;
		t->dst[0] = ip.daddr;
		walk->proto = ip.protocol;
		walk->off += ip.ihl * 4;
		walk->left -= ip.ihl * 4;
		return 0;
	}
}

/* The packet that an ICMP error quotes: to whom it went wrong is whom the error goes to. */
__attribute__((noinline)) int transport_quoted(struct __sk_buff *skb, __u32 ipv6, __u32 level)
{
	struct state *st = state_get(level);
	struct transports *tr = transports_get(level);
	struct extension_walk walk = { .skb = skb };
	struct transport *t;
	__be16 ports[2];

	if (!st || !tr || st->l4_length < 8)
		return -1;
	t = &tr->as[0];
	walk.off = st->l4 + 8;
	walk.left = st->l4_length - 8;
	if (quoted_network(skb, st, ipv6, t, &walk))
		return -1;
	if (ipv6 ? differ(t->src, key_of(st)->ipv6_dst, 16) : t->src[0] != key_of(st)->nw_dst)
		return -1;
	tr->proto = walk.proto;
	tr->quoted_l4 = walk.off - st->l4;
	tr->quoted_check = 0;
	/* An IPv4 error need not quote more than eight bytes (RFC 792), an IPv6 one does. */
	switch (walk.proto) {
	case 6:
		if (ipv6 && walk.left < 20)
			return -1;
		tr->quoted_check = walk.left >= 18 ? 16 : 0;
		break;
	case 17:
		tr->quoted_check = 6;
		break;
	case 1:
	case 58: {
		__u8 icmp[6];

		if ((walk.proto == 58) != !!ipv6)
			return 0;
		if (walk.left < 8 || load(skb, walk.off, icmp, 6) || !is_query(icmp[0], ipv6) || icmp[1])
			return -1;
		tr->icmp_type = icmp[0];
		tr->icmp_code = icmp[1];
		tr->quoted_check = 2;
		__builtin_memcpy(&t->sport, icmp + 4, 2);
		return 0;
	}
	default:
		return 0;
	}
	if (walk.left < 8 || load(skb, walk.off, ports, 4) || !ports[0] || !ports[1])
		return -1;
	t->sport = ports[0];
	t->dport = ports[1];
	return 0;
}

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
 * for long count no more, so nobody has to look for what never became whole. */
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
	__u32 epoch = now / CT_FRAGMENT_EPOCH_NS, n = 0;

	if (!shared)
		return true;
#pragma unroll
	for (int i = 0; i < CT_FRAGMENT_EPOCHS; i++)
		if (epoch - shared->fragments[i].epoch < CT_FRAGMENT_EPOCHS)
			n += shared->fragments[i].n;
	return n >= config->max_fragments;
}

/* Enter a fragment into its datagram; what it is then: `kind`, or TRANSPORT_LATER, _INVALID or
 * _OVERLAP. */
static __always_inline __u32 enter_fragment(struct state *st, struct transports *tr,
					    struct fragment *f, __u32 kind)
{
	struct fragmented *datagram = bpf_map_lookup_elem(&ct_fragments, &f->key);
	struct units units = {};
	__u32 zero = 0, n_units, all;

	if (datagram && fragments_over(st, datagram, !f->offset)) {
		bpf_map_delete_elem(&ct_fragments, &f->key);
		datagram = NULL;
	}
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
	__sync_fetch_and_or(&datagram->flags, FRAGMENT_FIRST);
	return kind;
}

static __always_inline bool has_transport_header(__u8 proto, bool ipv6)
{
	return proto == 6 || proto == 17 || proto == 132 || proto == (ipv6 ? 58 : 1);
}

/* UDP's own length must be within the packet; a first fragment has only the beginning of it. */
static __always_inline bool udp_length_lies(struct __sk_buff *skb, struct state *st)
{
	__be16 length;

	if (load(skb, st->l4 + 4, &length, 2))
		return true;
	if (!length && skb->gso_size)
		return false;
	return bpf_ntohs(length) < 8 ||
	       (bpf_ntohs(length) > st->l4_length && !(key_of(st)->nw_frag & FRAG_ANY));
}

static __always_inline void begin_transport(struct state *st, struct transports *tr)
{
	st->transport_read = 1;
	__builtin_memset(tr, 0, offsetof(struct transports, n));
	tr->n = 1;
	tr->proto = key_of(st)->nw_proto;
}

/* Of a TCP segment or UDP datagram. */
static __always_inline __u32 ports_kind(struct __sk_buff *skb, struct state *st)
{
	struct flow_key *k = key_of(st);

	if (!k->tp_src || !k->tp_dst || (st->l4_proto == 17 && udp_length_lies(skb, st)))
		return TRANSPORT_INVALID;
	return TRANSPORT_PORTS;
}

/* The same as read_transport() for those that are whole: the key says it all. */
static __always_inline void read_ports(struct __sk_buff *skb, struct state *st, struct transports *tr)
{
	begin_transport(st, tr);
	tr->kind = ports_kind(skb, st);
}

static __always_inline __u32 read_header(struct __sk_buff *skb, struct state *st,
					 struct transports *tr, bool ipv6)
{
	struct flow_key *k = key_of(st);
	__u8 type = bpf_ntohs(k->tp_src), code = bpf_ntohs(k->tp_dst);

	if (!has_transport_header(k->nw_proto, ipv6))
		/* IPv6: a chain of headers that is broken hides the protocol */
		return ipv6 && !k->nw_proto ? TRANSPORT_INVALID : TRANSPORT_OTHER;
	if (!st->l4_proto)
		return TRANSPORT_INVALID;
	if (st->l4_proto == 132)
		return TRANSPORT_OTHER;
	if (st->l4_proto == 6 || st->l4_proto == 17)
		return ports_kind(skb, st);
	tr->icmp_type = type;
	tr->icmp_code = code;
	if (is_query(type, ipv6))
		return code || load(skb, st->l4 + 4, &tr->as[0].sport, 2) ? TRANSPORT_INVALID :
									    TRANSPORT_ECHO;
	return is_error(type, ipv6) ? TRANSPORT_QUOTED : TRANSPORT_INVALID;
}

/* The headers of the packet: what it is but for fragments, and for what an error quotes. */
__attribute__((noinline)) int read_headers(struct __sk_buff *skb, __u32 level)
{
	struct state *st = state_get(level);
	struct transports *tr = transports_get(level);
	struct flow_key *k;
	__u32 kind;

	if (!st || !tr)
		return TRANSPORT_INVALID;
	k = key_of(st);
	begin_transport(st, tr);
	__builtin_memset(&tr->as[0], 0, sizeof(tr->as[0]));
	if (k->nw_frag & FRAG_LATER)
		kind = TRANSPORT_LATER;
	else
		kind = read_header(skb, st, tr, k->eth_type == bpf_htons(0x86dd));
	tr->kind = kind;
	return kind;
}

/* Is it one that is not tracked, as ct_config says? */
static __always_inline bool fragment_refused(struct state *st, struct fragment *f, bool ipv6)
{
	__u32 zero = 0;
	struct ct_config *config = bpf_map_lookup_elem(&ct_config, &zero);

	if (!config || (config->flags & (ipv6 ? CT_NO_IPV6_FRAGMENTS : CT_NO_IPV4_FRAGMENTS)))
		return true;
	if (fragments_full(config, st->now))
		return true;
	if (!f->more || f->packet >= (ipv6 ? config->min_fragment[1] : config->min_fragment[0]))
		return false;
	count_fragment(ipv6, CT_FRAGMENT_SHORT);
	return true;
}

__attribute__((noinline)) int read_fragments(struct __sk_buff *skb, __u32 zone, __u32 level)
{
	struct state *st = state_get(level);
	struct transports *tr = transports_get(level);
	struct fragment f = {};
	bool ipv6;

	if (!st || !tr)
		return 0;
	f.key.zone = zone;
	ipv6 = key_of(st)->eth_type == bpf_htons(0x86dd);
	if (read_fragment(skb, st, ipv6, &f) || fragment_refused(st, &f, ipv6)) {
		tr->kind = TRANSPORT_INVALID;
		return 0;
	}
	tr->kind = enter_fragment(st, tr, &f, tr->kind);
	count_fragment(ipv6, tr->kind == TRANSPORT_OVERLAP ? CT_FRAGMENT_OVERLAP :
			     tr->kind == TRANSPORT_INVALID ? CT_FRAGMENT_UNKNOWN :
							     CT_FRAGMENT_ACCEPTED);
	return 0;
}

/* Is the packet IP, and none that labels are in front of? */
static __always_inline bool ip_is_seen(struct state *st)
{
	__be16 eth_type = key_of(st)->eth_type;

	return st->l3 && st->l3_type == eth_type &&
	       (eth_type == bpf_htons(0x0800) || eth_type == bpf_htons(0x86dd));
}

/* Read what there is, once a packet, as soon as it is IP that is seen; its kind is left in the level's
 * `transports`.  A fragment belongs to `zone`, the first on its way.  The three calls are beside each
 * other, as one within the other they need more of the stack than there is. */
static __always_inline void read_transport(struct __sk_buff *skb, struct state *st, __u32 zone,
					   __u32 level)
{
	bool ipv6 = key_of(st)->eth_type == bpf_htons(0x86dd);
	struct transports *tr = transports_get(level);
	__u32 kind;

	if (!tr || st->transport_read || !ip_is_seen(st))
		return;
	kind = read_headers(skb, level);
	if (kind == TRANSPORT_QUOTED) {
		if (transport_quoted(skb, ipv6, level))
			tr->kind = TRANSPORT_INVALID;
	} else if (kind != TRANSPORT_INVALID && (key_of(st)->nw_frag & FRAG_ANY)) {
		/* nobody could tell to which error later fragments of one belong */
		read_fragments(skb, zone, level);
	}
}

/* A further version of the values, for a change; NULL: there were too many. */
static __always_inline struct transport *change_transport(struct state *st, struct transports *tr)
{
	__u32 from = key_of(st)->transport & (MAX_TRANSPORTS - 1), to = tr->n;

	if (to >= MAX_TRANSPORTS)
		return NULL;
	touch(st, GROUP_TRANSPORT);
	tr->as[to & (MAX_TRANSPORTS - 1)] = tr->as[from];
	tr->n = to + 1;
	key_of(st)->transport = to;
	return &tr->as[to & (MAX_TRANSPORTS - 1)];
}

#endif
