/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* ct(): which connection a packet belongs to, what it makes of it, and what the pipeline is told
 * (docs/conntrack.md, What ct() does). */
#ifndef GOSSAMER_TRACK_H
#define GOSSAMER_TRACK_H

/* The fields of the copy that goes on at a table: those of a connection whose original tuple is `t`, or
 * of a packet that has none. */
static __always_inline void ct_write_fields(struct state *st, struct ct_work *w,
					    const struct ct_tuple *t)
{
	struct flow_key *k = key_of(st);

	/* what an earlier ct() has said is of no use any more */
	ct_forget(st);
	k->ct_state = bpf_htonl(w->ct_state | CT_TRACKED);
	k->ct_zone = bpf_htons(w->zone);
	if (!w->readable)
		return;
	if (w->found) {
		k->ct_mark = w->connection.mark;
		__builtin_memcpy(k->ct_label, w->connection.label, 16);
	} else if (w->expected) {
		k->ct_mark = w->expectation.mark;
		__builtin_memcpy(k->ct_label, w->expectation.label, 16);
	}
	k->ct_nw_proto = t->proto;
	if ((t->family & CT_FAMILY) == CT_IPV4) {
		k->ct_nw_src = t->src[0];
		k->ct_nw_dst = t->dst[0];
	} else {
		__builtin_memcpy(k->ct_ipv6_src, t->src, 16);
		__builtin_memcpy(k->ct_ipv6_dst, t->dst, 16);
	}
	if (ct_is_icmp(t)) {
		k->ct_tp_src = bpf_htons(bpf_ntohs(t->dport) >> 8);
		k->ct_tp_dst = bpf_htons(bpf_ntohs(t->dport) & 0xff);
	} else {
		k->ct_tp_src = t->sport;
		k->ct_tp_dst = t->dport;
	}
}

__attribute__((noinline)) int ct_show(__u32 level)
{
	struct state *st = state_get(level);
	struct ct_work *w = ct_work_get(level);
	struct ct_tuple *t;

	if (!st || !w)
		return 0;
	t = &w->tuple;
	if (w->found) {
		t = NULL;
		if (w->connection.flags & CT_EXPECTED)
			t = bpf_map_lookup_elem(&ct_parents, &w->key);
		if (!t) {
			ct_original(&w->victim, &w->key, w->connection.flags);
			t = &w->victim;
		}
	} else if (w->expected) {
		t = &w->expectation.parent;
	}
	ct_write_fields(st, w, t);
	return 0;
}

/* Most packets: whole TCP segments and UDP datagrams.  What they need is read without a call, which costs as
 * much as ten look-ups in an array; but for options, which only the first packets of a connection have
 * something in. */
static __always_inline bool ct_is_plain(struct state *st)
{
	struct flow_key *k = key_of(st);

	if ((k->nw_frag & FRAG_ANY) || st->l3_type != k->eth_type)
		return false;
	return st->l4_proto == 17 || st->l4_proto == 6;
}

static __always_inline void ct_read_plain(struct __sk_buff *skb, struct state *st,
					  struct transports *tr, struct ct_work *w)
{
	struct tcp_start tcp;

	if (!st->transport_read)
		read_ports(skb, st, tr);
	if (st->l4_proto != 6)
		return;
	if (load(skb, st->l4, &tcp, sizeof(tcp)))
		tr->kind = TRANSPORT_INVALID;
	else
		segment(w, &tcp, st->l4_length);
}

/* Which connection the packet in hand belongs to, and what it makes of it; its transport has been
 * read, unless it is plain.  Returns CT_*: _DONE where nothing else has to be done for ct(),
 * _UNREAD where the segment's options must be read first. */
__attribute__((noinline)) int ct_look(struct __sk_buff *skb, __u32 level)
{
	struct state *st = state_get(level);
	struct ct_work *w = ct_work_get(level);
	struct transports *tr = transports_get(level);
	struct ct_config *config = ct_config_get();
	const struct ct_tuple *original;
	struct ct_connection *c;
	__u32 before, natted, how;
	struct flow_key *k;
	int begins;

	if (!st || !w || !tr || !config)
		return CT_DROPS;
	k = key_of(st);
	if (w->plain)
		ct_read_plain(skb, st, tr, w);
	before = bpf_ntohl(k->ct_state);
	if (!(before & CT_TRACKED) || bpf_ntohs(k->ct_zone) != w->zone)
		before = 0;
	w->found = 0;
	w->removes = 0;
	w->readable = 0;
	w->reply = 0;
	w->ct_state = CT_INVALID;
	w->kind = tr->kind;
	w->error = 0;
	if (tr->kind == TRANSPORT_PORTS && has_ports(k)) {
		tuple_begin(&w->tuple, k, k->nw_proto, w->zone);
		w->tuple.ports = st->key[WORD_TP_SRC];
	} else if (tr->kind == TRANSPORT_OVERLAP) {
		count_drop(DROP_CT_FRAGMENT);
		return CT_DROPS;
	} else if (tr->kind == TRANSPORT_PORTS || tr->kind == TRANSPORT_INVALID ||
		   transport_tuple(level)) {
		ct_count(CT_COUNT_INVALID);
		return CT_GOES_ON;
	}
	w->readable = 1;
	w->ct_state = before;
	natted = before & (CT_SNAT | CT_DNAT);
	/* translated, it is not looked for by the tuple that it would begin a connection with */
	w->stale = !!natted;
	original = &w->tuple;
	if (natted) {
		ct_reverse(&w->victim, &w->tuple);
		original = &w->victim;
	}
	c = ct_find(w, original, config, st->now, level);
	if (c && w->plain && (w->tcp_flags & TCP_FLAG_SYN))
		return CT_UNREAD;
	if (natted)
		w->reply ^= !!c;
	if (c && (w->flags & CT_DO_FORCE) && w->reply) {
		w->victim = w->key;
		w->removes = 1;
		c = NULL;
		w->reply = 0;
	}
	begins = !c;
	if (c) {
		how = w->error || (before & CT_TRACKED)	? CT_HOW_STAY :
		      w->kind == TRANSPORT_LATER	? CT_HOW_LATER :
							  CT_HOW_MOVE;
		begins = ct_belongs(st, w, config, c, how);
		if (begins) {
			w->victim = w->key;
			w->removes = 1;
			w->reply = 0;
		}
	}
	if (begins) {
		struct ct_shared *shared;
		int next = ct_begin(w);

		if (next != CT_GOES_ON || w->ct_state != CT_NEW || w->removes)
			return next;
		shared = ct_shared_get();
		if (!shared || shared->n_expectations)
			return next;
		if (w->flags & CT_DO_TABLE)
			ct_write_fields(st, w, &w->tuple);
		return CT_DONE;
	}
	if (!w->found || natted || w->connection.alg || (w->ct_state & CT_INVALID) ||
	    (w->connection.flags & CT_EXPECTED))
		return CT_GOES_ON;
	original = &w->tuple;
	if (w->connection.flags & (CT_SRC_NAT | CT_DST_NAT)) {
		if (w->kind != TRANSPORT_PORTS)
			return CT_GOES_ON;
		original = &w->key;
		if (w->flags & CT_DO_NAT)
			nat_ports(st, w);
	} else if (w->reply) {
		ct_reverse(&w->victim, &w->tuple);
		original = &w->victim;
	}
	if (w->flags & CT_DO_TABLE)
		ct_write_fields(st, w, original);
	return CT_DONE;
}

/* The same of what is no IP, or not seen to be: what was read before it was labelled is of no use. */
__attribute__((noinline)) int ct_look_past(__u32 level)
{
	struct ct_work *w = ct_work_get(level);

	if (!w)
		return CT_DROPS;
	w->found = w->removes = w->readable = 0;
	w->reply = w->error = 0;
	w->ct_state = CT_INVALID;
	w->kind = TRANSPORT_INVALID;
	ct_count(CT_COUNT_INVALID);
	return CT_GOES_ON;
}

/* Another CPU has begun the connection that the packet was to begin, at the same moment: it goes on in that one, by
 * the translation decided there.  Returns CT_*; _BEGINS where there is none after all. */
static __always_inline int ct_join(struct __sk_buff *skb, struct ct_work *w, __u32 level)
{
	w->plain = 0;
	ct_read_segment(skb, level);
	return ct_look(skb, level);
}

/* What exec() wrote was for one ct(). */
static __always_inline void ct_spend_sets(struct ct_work *w)
{
	if (!w->sets)
		return;
	__builtin_memset(w->set, 0, sizeof(w->set) + sizeof(w->set_mask));
	w->sets = 0;
}

__attribute__((noinline)) int ct_tell_invalid(__u32 level)
{
	struct ct_config *config = ct_config_get();
	struct ct_work *w = ct_work_get(level);
	struct state *st = state_get(level);

	if (st && w && config && (config->flags & CT_TELL_INVALID) && w->readable)
		ct_tell(CT_EVENT_INVALID, st->in_port, st->now, &w->tuple);
	return 0;
}

/* A packet that was tracked, and is valid, has met rules that send it nowhere. */
__attribute__((noinline)) int ct_tell_denied(__u32 level)
{
	struct ct_config *config = ct_config_get();
	struct ct_work *w = ct_work_get(level);
	struct state *st = state_get(level);
	struct ct_tuple *t;
	struct flow_key *k;
	__u32 state;

	if (!st || !w || !config || !(config->flags & CT_TELL_INVALID))
		return 0;
	k = key_of(st);
	state = bpf_ntohl(k->ct_state);
	if (!(state & CT_TRACKED) || (state & CT_INVALID))
		return 0;
	t = &w->victim;
	__builtin_memset(t, 0, sizeof(*t));
	t->family = k->eth_type == bpf_htons(0x86dd) ? CT_IPV6 : CT_IPV4;
	t->proto = k->nw_proto;
	t->zone = bpf_ntohs(k->ct_zone);
	if (t->family == CT_IPV6) {
		__builtin_memcpy(t->src, k->ipv6_src, 16);
		__builtin_memcpy(t->dst, k->ipv6_dst, 16);
	} else {
		t->src[0] = k->nw_src;
		t->dst[0] = k->nw_dst;
	}
	if (ct_is_icmp(t)) {
		t->dport = bpf_htons(bpf_ntohs(k->tp_src) << 8 | (bpf_ntohs(k->tp_dst) & 0xff));
	} else {
		t->sport = k->tp_src;
		t->dport = k->tp_dst;
	}
	ct_tell(CT_EVENT_DENIED, st->in_port, st->now, t);
	return 0;
}

/* What a ct() does with a packet that has been tracked.  Returns CT_DROPPED where it must be dropped. */
static __always_inline int ct_translate(struct state *st, struct ct_work *w, __u32 level)
{
	/* once in a zone */
	if (w->found && (w->flags & CT_DO_NAT) && !(w->ct_state & (CT_SNAT | CT_DNAT)) &&
	    (nat_packet(level) || (w->connection.alg && move_sequence(level)))) {
		count_drop(DROP_REWRITE);
		return CT_DROPPED;
	}
	if (w->flags & CT_DO_TABLE)
		ct_show(level);
	return CT_PASSED;
}

/* Is it known of a packet that it begins a connection, as the ct() before, in the same zone, has found
 * nothing, and nobody has written to what that looked at? */
static __always_inline bool ct_begins_still(struct state *st, struct ct_work *w, struct op *op)
{
	struct flow_key *k = key_of(st);

	return st->begins && w->plain && (op->flags & CT_DO_COMMIT) && w->zone == op->a &&
	       k->ct_state == bpf_htonl(CT_NEW | CT_TRACKED) && k->ct_zone == bpf_htons(op->a) &&
	       !(st->touched & ~GROUP_ETH);
}

/* A ct() on the packet in hand; its key has the fields of the copy that goes on at a table then.
 * CT_DROPPED: the packet must be dropped; CT_HELD: it waits for a helper, and hold_op() is to be told what
 * is left to do with it.  Its parts are called beside each other, for the stack's sake. */
static __always_inline int ct(struct __sk_buff *skb, struct state *st, struct op *op, __u32 level)
{
	struct ct_work *w = ct_work_get(level);
	int next = CT_BEGINS;
	bool begins;

	if (!w)
		return CT_DROPPED;
	begins = ct_begins_still(st, w, op);
	w->zone = op->a;
	w->flags = op->flags;
	w->nat_rule = op->b;
	w->table = op->c;
	if (!begins) {
		st->begins = 0;
		w->expected = 0;
		w->tcp_flags = 0;
		w->plain = ct_is_plain(st);
		if (!w->plain) {
			read_transport(skb, st, w->zone, level);
			if (key_of(st)->nw_proto == 6)
				ct_read_segment(skb, level);
		}
		next = w->plain || ip_is_seen(st) ? ct_look(skb, level) : ct_look_past(level);
	}
	if (next == CT_UNREAD) {
		w->plain = 0;
		ct_read_segment(skb, level);
		next = ct_look(skb, level);
	}
	if (next == CT_DONE) {
		st->begins = !w->found;
		ct_spend_sets(w);
		return CT_PASSED;
	}
	if (w->removes)
		ct_remove(level);
	if (!begins && w->ct_state == CT_NEW && !w->found && w->kind != TRANSPORT_LATER)
		ct_expect(level);
	if (next == CT_BEGINS) {
		st->begins = 0;
		if (w->plain && w->has_options && (w->tcp_flags & TCP_FLAG_SYN))
			ct_read_segment(skb, level);
		for (int try = 0; try < CT_BEGIN_TRIES && next == CT_BEGINS; try++) {
			next = ct_commit(level);
			if (next == CT_TRANSLATES)
				next = ct_make(w->expected ? nat_expected(level) : nat_decide(level),
					       level);
			if (next == CT_CLASHES)
				next = ct_join(skb, w, level);
		}
		if (next == CT_BEGINS) {
			count_drop(DROP_CT_INVALID);
			next = CT_DROPS;
		}
	}
	ct_spend_sets(w);
	if (next == CT_DROPS)
		return CT_DROPPED;
	if (w->ct_state & CT_INVALID)
		ct_tell_invalid(level);
	if (w->found && held_for_helper(st, w))
		return hold(skb, level) ? CT_DROPPED : CT_HELD;
	return ct_translate(st, w, level);
}

#endif
