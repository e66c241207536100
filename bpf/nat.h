/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Translation of packets: as it was decided for their connection (nat_decide.h), and what their tuples are. */
#ifndef GOSSAMER_NAT_H
#define GOSSAMER_NAT_H

/* The tuple of the answers of a connection that is translated, into `answer` of the work. */
static __always_inline void nat_answer(const struct ct_tuple *key, const struct ct_reply *reply,
				       struct nat_work *nw)
{
	__builtin_memcpy(nw->answer.src, reply->src, 16);
	__builtin_memcpy(nw->answer.dst, reply->dst, 16);
	nw->answer.sport = reply->sport;
	nw->answer.dport = reply->dport;
	nw->answer.proto = key->proto;
	nw->answer.family = key->family & CT_FAMILY;
	nw->answer.zone = key->zone;
}

/* A connection goes, or was not made after all: its alias, `answer` of the work, with it. */
static __always_inline void nat_release(struct ct_work *w, struct nat_work *nw, __u32 slot,
					__u32 level)
{
	w->sought = nw->answer;
	w->sought.family |= CT_ALIAS;
	ct_strike(slot, level);
}

/* What was decided for the connection of the work is not used: it could not be made. */
__attribute__((noinline)) int nat_give_back(__u32 level)
{
	struct nat_work *nw = nat_work_get(level);
	struct ct_work *w = ct_work_get(level);

	if (nw && w && (w->connection.flags & (CT_SRC_NAT | CT_DST_NAT))) {
		nat_answer(&w->key, &w->connection.reply, nw);
		nat_release(w, nw, w->connection.slot, level);
	}
	return 0;
}

/* Answers to a translated source have their destination translated, and so on. */
static __always_inline bool nat_is_of_source(struct ct_work *w)
{
	return !!(w->connection.flags & CT_SRC_NAT) != !!w->reply;
}

/* Translate a segment or datagram of the connection in `w`: its tuple becomes the reversal of the
 * connection's other one. */
static __always_inline void nat_ports(struct state *st, struct ct_work *w)
{
	const struct ct_reply *other = &w->connection.reply;
	struct flow_key *k = key_of(st);

	if (w->reply)
		other = (const struct ct_reply *)&w->key;
	w->ct_state |= nat_is_of_source(w) ? CT_SNAT : CT_DNAT;
	touch(st, GROUP_L3 | GROUP_L4);
	if (k->eth_type == bpf_htons(0x86dd)) {
		__builtin_memcpy(k->ipv6_src, other->dst, 16);
		__builtin_memcpy(k->ipv6_dst, other->src, 16);
	} else {
		k->nw_src = other->dst[0];
		k->nw_dst = other->src[0];
	}
	k->tp_src = other->dport;
	k->tp_dst = other->sport;
}

/* What the packet's tuple becomes, into `answer` of the work: the reversal of the connection's
 * other tuple. */
static __always_inline void nat_target(struct ct_work *w, struct nat_work *nw)
{
	struct ct_connection *conn = &w->connection;

	nw->key = w->key;
	nw->key.family &= CT_FAMILY;
	if (!w->reply) {
		__builtin_memcpy(nw->key.src, conn->reply.src, 16);
		__builtin_memcpy(nw->key.dst, conn->reply.dst, 16);
		nw->key.sport = conn->reply.sport;
		nw->key.dport = conn->reply.dport;
	}
	ct_reverse(&nw->answer, &nw->key);
}

static __always_inline void nat_write_source(struct state *st, const struct ct_tuple *to)
{
	struct flow_key *k = key_of(st);

	if (to->family == CT_IPV4)
		k->nw_src = to->src[0];
	else
		__builtin_memcpy(k->ipv6_src, to->src, 16);
}

static __always_inline void nat_write_destination(struct state *st, const struct ct_tuple *to)
{
	struct flow_key *k = key_of(st);

	if (to->family == CT_IPV4)
		k->nw_dst = to->dst[0];
	else
		__builtin_memcpy(k->ipv6_dst, to->dst, 16);
}

/* Translate the packet in hand by its connection (`connection`, `key`, `reply` and `error` of the
 * work), and say so in `ct_state`.  Returns 0, or -1 where it cannot be. */
__attribute__((noinline)) int nat_packet(__u32 level)
{
	struct state *st = state_get(level);
	struct ct_work *w = ct_work_get(level);
	struct nat_work *nw = nat_work_get(level);
	struct transports *tr = transports_get(level);
	struct transport *to;
	struct ct_tuple *t;
	bool source;

	if (!st || !w || !nw || !tr)
		return -1;
	if (!(w->connection.flags & (CT_SRC_NAT | CT_DST_NAT)))
		return 0;
	if (tr->kind == TRANSPORT_PORTS) {
		nat_ports(st, w);
		return 0;
	}
	source = nat_is_of_source(w);
	w->ct_state |= source ? CT_SNAT : CT_DNAT;
	nat_target(w, nw);
	t = &nw->answer;
	touch(st, GROUP_L3 | GROUP_L4);
	if (tr->kind == TRANSPORT_QUOTED) {
		/* where it comes from stays, unless it is the translated side that speaks */
		if (source)
			nat_write_source(st, t);
		else
			nat_write_destination(st, t);
		to = change_transport(st, tr);
		if (!to)
			return -1;
		__builtin_memcpy(to->src, t->dst, 16);
		__builtin_memcpy(to->dst, t->src, 16);
		to->sport = ct_is_icmp(t) ? t->sport : t->dport;
		to->dport = t->sport;
		return 0;
	}
	nat_write_source(st, t);
	nat_write_destination(st, t);
	if (tr->kind == TRANSPORT_ECHO || tr->kind == TRANSPORT_LATER) {
		if (tr->as[key_of(st)->transport & (MAX_TRANSPORTS - 1)].sport == t->sport &&
		    tr->as[key_of(st)->transport & (MAX_TRANSPORTS - 1)].dport == t->dport)
			return 0;
		to = change_transport(st, tr);
		if (!to)
			return -1;
		to->sport = t->sport;
		to->dport = t->dport;
	}
	return 0;
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define FIRST_HALF(word) ((__u64)(word))
#else
#define FIRST_HALF(word) ((__u64)(word) << 32)
#endif

/* Addresses and what is not the ports' of the packet's tuple.  In words of 64 bits, as they are going to
 * be read. */
static __always_inline void tuple_begin(struct ct_tuple *t, struct flow_key *k, __u8 proto, __u16 zone)
{
	__u64 *src = (__u64 *)t->src, *dst = (__u64 *)t->dst;

	if (k->eth_type == bpf_htons(0x86dd)) {
		__builtin_memcpy(t->src, k->ipv6_src, 16);
		__builtin_memcpy(t->dst, k->ipv6_dst, 16);
		t->kind = ct_kind(proto, CT_IPV6, zone);
	} else {
		src[0] = FIRST_HALF(k->nw_src);
		src[1] = 0;
		dst[0] = FIRST_HALF(k->nw_dst);
		dst[1] = 0;
		t->kind = ct_kind(proto, CT_IPV4, zone);
	}
	t->ports = 0;
}

/* The tuple of a packet that is more than addresses and ports: `as` lies beyond the key.  Of an ICMP error
 * it is that of an answer to the packet it quotes.  The transport must have been read. */
__attribute__((noinline)) int transport_tuple(__u32 level)
{
	struct state *st = state_get(level);
	struct ct_work *w = ct_work_get(level);
	struct transports *tr = transports_get(level);
	struct transport *as;
	struct ct_tuple *t;

	if (!st || !w || !tr)
		return -1;
	t = &w->tuple;
	as = &tr->as[key_of(st)->transport & (MAX_TRANSPORTS - 1)];
	tuple_begin(t, key_of(st), tr->proto, w->zone);
	if (tr->kind == TRANSPORT_QUOTED) {
		w->error = 1;
		__builtin_memcpy(t->src, as->dst, 16);
		__builtin_memcpy(t->dst, as->src, 16);
		if (ct_is_icmp(t)) {
			t->sport = as->sport;
			t->dport = bpf_htons(icmp_reversed(tr->icmp_type, t->family) << 8);
		} else {
			t->sport = as->dport;
			t->dport = as->sport;
		}
	} else if (ct_is_icmp(t)) {
		t->sport = as->sport;
		t->dport = bpf_htons(tr->icmp_type << 8 | tr->icmp_code);
	} else if (tr->kind == TRANSPORT_LATER) {
		t->sport = as->sport;
		t->dport = as->dport;
	}
	return 0;
}

#endif
