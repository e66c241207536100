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

/* Of a TCP segment or UDP datagram.  Whether it has ports is for ct_look() to see, as actions write them. */
static __always_inline __u32 ports_kind(struct __sk_buff *skb, struct state *st)
{
	return st->l4_proto == 17 && udp_length_lies(skb, st) ? TRANSPORT_INVALID : TRANSPORT_PORTS;
}

static __always_inline bool has_ports(struct flow_key *k)
{
	return k->tp_src && k->tp_dst;
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
		/* of a first fragment, which others follow, they are seen once */
		return has_ports(k) ? ports_kind(skb, st) : TRANSPORT_INVALID;
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
