/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The connection that a packet belongs to: finding it, and what the packet makes of it (docs/conntrack.md,
 * States and bits). */
#ifndef GOSSAMER_BELONG_H
#define GOSSAMER_BELONG_H

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
	w->own_place = ct_place_of(&w->key, config);
	n = ct_hits(&w->own_place, &entry);
	w->crowded = n;
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
	check = !(config->flags & (CT_NO_SEQUENCE_CHECK | CT_INHERITS));
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

#endif
