/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* ct(): which connection a packet belongs to, what it makes of it, and what the pipeline is told
 * (docs/conntrack.md, What ct() does). */
#ifndef GOSSAMER_TRACK_H
#define GOSSAMER_TRACK_H

/* Look for the connection of `victim`, whose canonical tuple is `key`, where bits alone do not tell: its
 * entry, with `key` and `reply` of the work.  0: none. */
__attribute__((noinline)) __u32 ct_find_among(__u32 level)
{
	struct ct_work *w = ct_work_get(level);
	struct state *st = state_get(level);
	struct ct_record *record;
	__u32 entry;

	if (!w || !st)
		return 0;
	w->but = CT_NO_SLOT;
	w->sought = w->key;
	entry = ct_search(level);
	record = entry ? ct_record_get(entry & CT_SLOT_MASK) : NULL;
	if (record && record->c.expires > st->now) {
		w->reply = (record->c.flags & CT_SWAPPED) != w->swapped;
		return entry;
	}
	w->stale |= !!record;
	w->reply = 0;
	w->sought = w->victim;
	w->sought.family |= CT_TRANSLATED;
	entry = ct_search(level);
	record = entry ? ct_record_get(entry & CT_SLOT_MASK) : NULL;
	if (!record || record->c.expires <= st->now) {
		w->stale |= !!record;
		w->reply = 1;
		w->sought.family ^= CT_TRANSLATED | CT_ALIAS;
		entry = ct_search(level);
		record = entry ? ct_record_get(entry & CT_SLOT_MASK) : NULL;
		if (!record || record->c.expires <= st->now) {
			w->reply = 0;
			return 0;
		}
	}
	w->key = record->key;
	return entry;
}

/* The connection that tuple `t` belongs to, with `key` and `reply` of the work.  NULL: none. */
static __always_inline struct ct_connection *ct_find(struct ct_work *w, const struct ct_tuple *t,
						     struct ct_config *config, __u64 now,
						     __u32 level)
{
	struct ct_record *record;
	__u32 entry, n, swapped;

	swapped = ct_canonical(&w->key, t);
	w->own_place = ct_place_of(&w->key, config->index_seed);
	n = ct_hits(&w->own_place, &entry);
	if (!n)
		return NULL;
	if (n > 1) {
		w->swapped = swapped;
		if (t != &w->victim)
			w->victim = *t;
		return ct_of_entry(ct_find_among(level));
	}
	record = ct_record_get(entry & CT_SLOT_MASK);
	if (!record)
		return NULL;
	if (ct_same_key(&record->key, &w->key)) {
		if (record->c.expires > now) {
			w->reply = (record->c.flags & CT_SWAPPED) != swapped;
			return ct_of(record);
		}
		w->stale = 1;
		return NULL;
	}
	if (record->key.kind != (t->kind ^ ct_kind(0, CT_TRANSLATED, 0)))
		return NULL;
	w->reply = !ct_same_ends(&record->key, t);
	if (w->reply && !ct_same_ends(&record->c.reply, t)) {
		w->reply = 0;
		return NULL;
	}
	if (record->c.expires <= now) {
		w->stale |= !w->reply;
		w->reply = 0;
		return NULL;
	}
	w->key = record->key;
	return ct_of(record);
}

/* What a packet of a connection other than TCP makes of it. */
static __always_inline enum ct_move ct_other_move(struct ct_connection *c, struct ct_work *w,
						  __u32 *timeout)
{
	bool query = ct_is_icmp(&w->tuple);

	if (w->reply)
		c->peer[0].state = CT_BIDIRECTIONAL;
	else if (c->peer[0].state == CT_FIRST && !query)
		c->peer[0].state = CT_MULTIPLE;
	if (c->peer[0].state == CT_BIDIRECTIONAL) {
		*timeout = query ? CT_TIMEOUT_ICMP_REPLY : CT_TIMEOUT_UDP_MULTIPLE;
		return CT_MOVE_ESTABLISHED;
	}
	*timeout = query ? CT_TIMEOUT_ICMP_FIRST : CT_TIMEOUT_UDP_SINGLE;
	return CT_MOVE_NEW;
}

enum ct_how { CT_HOW_MOVE, CT_HOW_LATER, CT_HOW_STAY };

/* A packet of an existing connection: 1 where that ends for a new one. */
static __always_inline int ct_belongs(struct state *st, struct ct_work *w, struct ct_config *config,
				      struct ct_connection *c, __u32 how)
{
	__u32 timeout = CT_TIMEOUTS, policy = c->policy;
	__u32 reply = w->reply & 1, flags, zero = 0;
	enum ct_move move = CT_MOVE_NEW;
	struct ct_policy *timeouts;
	bool check, write;

	timeouts = bpf_map_lookup_elem(&ct_timeouts, &policy);
	if (!timeouts)
		timeouts = bpf_map_lookup_elem(&ct_timeouts, &zero);
	if (!timeouts)
		return 0;
	check = !(config->flags & CT_NO_SEQUENCE_CHECK);
	ct_lock(c);
	if (how == CT_HOW_MOVE) {
		if (w->tuple.proto == 6)
			move = tcp_move(&c->peer[reply], &c->peer[1 - reply], w, check, &timeout);
		else
			move = ct_other_move(c, w, &timeout);
		if (timeout < CT_TIMEOUTS)
			c->expires = st->now + timeouts->seconds[timeout] * 1000000000ull;
		if (reply && move == CT_MOVE_ESTABLISHED)
			c->flags |= CT_REPLIED;
	}
	if (how != CT_HOW_STAY) {
		c->packets[reply] += 1;
		c->bytes[reply] += st->length;
	}
	flags = c->flags;
	/* what a helper expected has its parent's, for good */
	write = (w->flags & CT_DO_COMMIT) && !(flags & CT_EXPECTED) && move != CT_MOVE_RESTART;
	if (write) {
		c->mark = (c->mark & ~w->set_mask[0]) | w->set[0];
		for (int i = 0; i < 4; i++)
			c->label[i] = (c->label[i] & ~w->set_mask[1 + i]) | w->set[1 + i];
	}
	w->connection.mark = c->mark;
	__builtin_memcpy(w->connection.label, c->label, 16);
	ct_unlock(c);
	w->connection.flags = flags;
	w->connection.alg = c->alg;
	if (flags & (CT_SRC_NAT | CT_DST_NAT))
		w->connection.reply = c->reply;
	if (move == CT_MOVE_RESTART)
		return 1;
	w->found = 1;
	if (how == CT_HOW_STAY && !w->error)
		return 0;
	if (w->error) {
		w->ct_state |= CT_RELATED | (reply ? CT_REPLY : 0);
	} else if (how == CT_HOW_LATER) {
		w->ct_state |= flags & CT_REPLIED ? CT_ESTABLISHED | (reply ? CT_REPLY : 0) : CT_NEW;
	} else if (move == CT_MOVE_INVALID) {
		w->ct_state = CT_INVALID;
		ct_count(CT_COUNT_INVALID);
		ct_count(tcp_flags_are_wrong(w->tcp_flags) ? CT_COUNT_TCP_FLAGS :
							     CT_COUNT_TCP_SEQUENCE);
	} else {
		if (flags & CT_EXPECTED)
			w->ct_state |= CT_RELATED;
		w->ct_state |= move == CT_MOVE_NEW ? CT_NEW :
						     CT_ESTABLISHED | (reply ? CT_REPLY : 0);
	}
	return 0;
}

enum ct_end { CT_PASSED, CT_DROPPED, CT_HELD };
enum ct_next { CT_GOES_ON, CT_BEGINS, CT_DROPS, CT_DONE, CT_UNREAD, CT_TRANSLATES };

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

static __always_inline bool ct_may_begin(struct ct_work *w)
{
	__u32 type = bpf_ntohs(w->tuple.dport) >> 8;

	if (w->error)
		return false;
	if (w->tuple.proto == 6)
		return w->kind == TRANSPORT_LATER || tcp_may_begin(w->tcp_flags);
	if (!ct_is_icmp(&w->tuple))
		return true;
	return type == 8 || type == 13 || type == 15 || type == 128;
}

/* Remove the connection that `victim` is, where its time is up. */
static __always_inline void ct_remove_expired(struct state *st, struct ct_work *w, __u32 level)
{
	struct ct_connection *old = ct_get(w, &w->victim, level);

	if (old && old->expires <= st->now) {
		ct_count(CT_COUNT_EXPIRED);
		ct_remove(level);
	}
}

/* Enter the connection of the work, whose slot is taken.  Returns CT_*. */
static __always_inline int ct_make_here(struct state *st, struct ct_work *w,
					struct ct_config *config, __u32 level)
{
	struct ct_record *record = ct_record_get(w->connection.slot);
	struct ct_shared *shared = ct_shared_get();
	struct ct_zone *zone = ct_zone_get(w->zone);
	int refused;
	__u32 n;

	if (!record || !shared || !zone)
		return CT_DROPS;
	record->key = w->key;
	record->c = w->connection;
	w->sought = w->key;
	w->place = w->own_place;
	refused = ct_enter(w->connection.slot, level);
	if (refused != CT_ENTERED) {
		/* Another CPU was quicker with the same connection, or very many have the same hash. */
		ct_give_back_slot(record);
		nat_give_back(level);
		count_drop(refused == CT_WAS_THERE ? DROP_CT_INVALID : DROP_CT_FULL);
		return CT_DROPS;
	}
	if (w->expected)
		ct_adopted(w);
	n = __sync_fetch_and_add(&shared->n_connections, 1) + 1;
	if (n == config->room_at)
		ct_ask_for_room(n);
	__sync_fetch_and_add(&zone->count, 1);
	ct_count(CT_COUNT_CREATED);
	if (config->flags & CT_TELL_NEW)
		ct_tell(CT_EVENT_NEW, st->in_port, st->now, &w->tuple);
	w->found = 1;
	w->reply = 0;
	return CT_GOES_ON;
}

/* The same when its translation has been decided; `refused` where it could not be. */
__attribute__((noinline)) int ct_make(__u32 refused, __u32 level)
{
	struct state *st = state_get(level);
	struct ct_work *w = ct_work_get(level);
	struct ct_config *config = ct_config_get();
	struct ct_record *record;

	if (!st || !w || !config)
		return CT_DROPS;
	if (!refused)
		return ct_make_here(st, w, config, level);
	record = ct_record_get(w->connection.slot);
	if (record)
		ct_give_back_slot(record);
	ct_count(CT_COUNT_NAT_FULL);
	count_drop(DROP_CT_NAT_FULL);
	return CT_DROPS;
}

/* Put the connection that the packet begins where it belongs.  Returns CT_*; _TRANSLATES where that is
 * to be decided before ct_make(). */
__attribute__((noinline)) int ct_commit(__u32 level)
{
	struct state *st = state_get(level);
	struct ct_work *w = ct_work_get(level);
	struct ct_config *config = ct_config_get();
	__u32 timeout, policy, slot, zero = 0;
	struct ct_policy *timeouts;
	struct ct_zone *zone;

	if (!st || !w || !config)
		return CT_DROPS;
	zone = ct_zone_get(w->zone);
	if (!zone)
		return CT_DROPS;
	if (ct_zone_is_full(zone, config) && ct_zone_stays_full(w->zone, level)) {
		ct_count(CT_COUNT_ZONE_FULL);
		count_drop(DROP_CT_ZONE_LIMIT);
		return CT_DROPS;
	}
	policy = zone->policy;
	timeouts = bpf_map_lookup_elem(&ct_timeouts, &policy);
	if (!timeouts)
		timeouts = bpf_map_lookup_elem(&ct_timeouts, &zero);
	slot = timeouts ? ct_take_slot(level) : 0;
	if (!slot || !timeouts) {
		ct_count(CT_COUNT_FULL);
		count_drop(DROP_CT_FULL);
		return CT_DROPS;
	}
	__builtin_memset(&w->connection, 0, sizeof(w->connection));
	w->swapped = ct_canonical(&w->key, &w->tuple);
	w->connection.slot = slot - 1;
	w->connection.policy = policy;
	w->connection.flags = w->swapped ? CT_SWAPPED : 0;
	w->connection.alg = w->flags & CT_DO_FTP ? 21 : w->flags & CT_DO_TFTP ? 69 : 0;
	w->connection.created_s = st->now / 1000000000;
	w->connection.packets[0] = 1;
	w->connection.bytes[0] = st->length;
	w->connection.mark = w->set[0];
	__builtin_memcpy(w->connection.label, &w->set[1], 16);
	if (w->expected)
		ct_adopt(w);
	if (w->tuple.proto == 6) {
		tcp_begin(&w->connection.peer[0], &w->connection.peer[1], w);
		timeout = CT_TIMEOUT_TCP_SYN_SENT;
	} else {
		timeout = ct_is_icmp(&w->tuple) ? CT_TIMEOUT_ICMP_FIRST : CT_TIMEOUT_UDP_FIRST;
	}
	w->connection.expires = st->now + timeouts->seconds[timeout] * 1000000000ull;
	/* what was there before goes first: its alias may be what the new one will have */
	if (w->stale) {
		w->victim = w->key;
		ct_remove_expired(st, w, level);
		w->victim = w->tuple;
		w->victim.family |= CT_TRANSLATED;
		ct_remove_expired(st, w, level);
	}
	if (w->flags & CT_DO_NAT)
		return CT_TRANSLATES;
	return ct_make_here(st, w, config, level);
}

/* No connection has the packet: it is new, or invalid.  Whether it begins one. */
static __always_inline int ct_begin(struct ct_work *w)
{
	if (!ct_may_begin(w)) {
		w->ct_state = CT_INVALID;
		ct_count(CT_COUNT_INVALID);
		return CT_GOES_ON;
	}
	w->ct_state = CT_NEW;
	return (w->flags & CT_DO_COMMIT) && w->kind != TRANSPORT_LATER ? CT_BEGINS : CT_GOES_ON;
}

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
	if (tr->kind == TRANSPORT_PORTS) {
		tuple_begin(&w->tuple, k, k->nw_proto, w->zone);
		w->tuple.ports = st->key[WORD_TP_SRC];
	} else if (tr->kind == TRANSPORT_OVERLAP) {
		count_drop(DROP_CT_FRAGMENT);
		return CT_DROPS;
	} else if (tr->kind == TRANSPORT_INVALID || transport_tuple(level)) {
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

/* What exec() wrote was for one ct(). */
static __always_inline void ct_spend_sets(struct ct_work *w)
{
	if (!w->sets)
		return;
	__builtin_memset(w->set, 0, sizeof(w->set) + sizeof(w->set_mask));
	w->sets = 0;
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

/* A ct() on the packet in hand; its key has the fields of the copy that goes on at a table then.
 * CT_DROPPED: the packet must be dropped; CT_HELD: it waits for a helper, and hold_op() is to be told what
 * is left to do with it.  Its parts are called beside each other, for the stack's sake. */
static __always_inline int ct(struct __sk_buff *skb, struct state *st, struct op *op, __u32 level)
{
	struct ct_work *w = ct_work_get(level);
	int next;

	if (!w)
		return CT_DROPPED;
	w->zone = op->a;
	w->flags = op->flags;
	w->nat_rule = op->b;
	w->table = op->c;
	w->expected = 0;
	w->tcp_flags = 0;
	w->plain = ct_is_plain(st);
	if (!w->plain) {
		read_transport(skb, st, w->zone, level);
		if (key_of(st)->nw_proto == 6)
			ct_read_segment(skb, level);
	}
	next = w->plain || ip_is_seen(st) ? ct_look(skb, level) : ct_look_past(level);
	if (next == CT_UNREAD) {
		w->plain = 0;
		ct_read_segment(skb, level);
		next = ct_look(skb, level);
	}
	if (next == CT_DONE) {
		ct_spend_sets(w);
		return CT_PASSED;
	}
	if (w->removes)
		ct_remove(level);
	if (w->ct_state == CT_NEW && !w->found && w->kind != TRANSPORT_LATER)
		ct_expect(level);
	if (next == CT_BEGINS) {
		if (w->plain && (w->tcp_flags & TCP_FLAG_SYN))
			ct_read_segment(skb, level);
		next = ct_commit(level);
		if (next == CT_TRANSLATES)
			next = ct_make(w->expected ? nat_expected(level) : nat_decide(level), level);
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
