/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Connections of an earlier version's maps: a program that the daemon runs itself, as that of forget.h, with
 * records in its packet that are laid out as ours (src/gossamer/datapath/conntrack/earlier.py). */
#ifndef GOSSAMER_INHERIT_H
#define GOSSAMER_INHERIT_H

#define INHERIT_HEAD 16		/* a word: how many */
#define INHERIT_MOST 16		/* records in a packet, at most; it must fit a page too */

struct inheriting {
	struct __sk_buff *skb;
	__u32 level;
	__u32 n;		/* that are here now */
};

static __always_inline bool ct_is_translated_alike(const struct ct_connection *a,
						   const struct ct_connection *b)
{
	if ((a->flags ^ b->flags) & (CT_SRC_NAT | CT_DST_NAT | CT_SWAPPED))
		return false;
	return !differ(&a->reply, &b->reply, sizeof(a->reply));
}

static __always_inline __u32 later_number(__u32 a, __u32 b)
{
	return (__s32)(a - b) > 0 ? a : b;
}

/* What both versions' programs have seen of one side. */
static __always_inline void ct_blend_peer(struct ct_peer *to, const struct ct_peer *from, bool tcp)
{
	if (tcp && to->state < CT_TCP_SYN_SENT) {
		*to = *from;
		return;
	}
	if (from->state > to->state)
		to->state = from->state;
	if (!tcp || from->state < CT_TCP_SYN_SENT)
		return;
	to->seqlo = later_number(to->seqlo, from->seqlo);
	to->seqhi = later_number(to->seqhi, from->seqhi);
	if (from->max_win > to->max_win)
		to->max_win = from->max_win;
}

/* The connection of the record is here already: it was copied before, and both versions may have moved it since
 * then.  What is further holds. */
static __attribute__((noinline)) int ct_blend(struct ct_record *record, struct ct_work *w)
{
	struct ct_connection *c = &record->c, *from = &w->connection;
	bool tcp = record->key.proto == 6;
	__u32 own, other;

	ct_lock(c);
	own = c->peer[0].state + c->peer[1].state;
	other = from->peer[0].state + from->peer[1].state;
	if (other > own || (other == own && from->expires > c->expires))
		c->expires = from->expires;
	ct_blend_peer(&c->peer[0], &from->peer[0], tcp);
	ct_blend_peer(&c->peer[1], &from->peer[1], tcp);
#pragma unroll
	for (int i = 0; i < 2; i++) {
		if (from->packets[i] > c->packets[i])
			c->packets[i] = from->packets[i];
		if (from->bytes[i] > c->bytes[i])
			c->bytes[i] = from->bytes[i];
	}
	c->mark = from->mark;
	__builtin_memcpy(c->label, from->label, 16);
	c->flags |= from->flags;
	ct_unlock(c);
	return 0;
}

/* Give it a slot, and enter it; 1 where it is here then. */
static __always_inline int ct_place_inherited(struct ct_work *w, struct ct_config *config, __u32 level)
{
	struct ct_shared *shared = ct_shared_get();
	struct nat_work *nw = nat_work_get(level);
	struct ct_zone *zone = ct_zone_get(w->key.zone);
	struct ct_record *record;
	__u32 slot;

	if (!shared || !nw || !zone)
		return 0;
	slot = ct_take_slot(level);
	if (!slot)
		return 0;
	w->connection.slot = --slot;
	w->connection.lock = 0;
	record = ct_record_get(slot);
	if (!record)
		return 0;
	record->key = w->key;
	record->c = w->connection;
	w->sought = w->key;
	ct_place_sought(w, config);
	if (ct_enter(slot, level) != CT_ENTERED) {
		ct_give_back_slot(record);
		return 0;
	}
	if (w->connection.flags & (CT_SRC_NAT | CT_DST_NAT)) {
		nat_answer(&w->key, &w->connection.reply, nw);
		w->sought = nw->answer;
		w->sought.family |= CT_ALIAS;
		ct_place_sought(w, config);
		if (ct_enter(slot, level) != CT_ENTERED) {
			/* somebody was given that address and port meanwhile */
			w->sought = w->key;
			ct_strike(slot, level);
			ct_give_back_slot(record);
			return 0;
		}
	}
	ct_count_in(shared, zone, config);
	return 1;
}

/* Have the connection of the work, `key` and `connection`; 1 where it is here then. */
__attribute__((noinline)) int ct_inherit(__u32 level)
{
	struct ct_config *config = ct_config_get();
	struct ct_work *w = ct_work_get(level);
	struct ct_record *record;
	__u32 entry;

	if (!w || !config)
		return 0;
	w->sought = w->key;
	w->but = CT_NO_SLOT;
	entry = ct_search(level);
	record = entry ? ct_record_get(entry & CT_SLOT_MASK) : NULL;
	if (record) {
		if (record->c.created_s > w->connection.created_s)
			return 1;	/* another one, begun since it was copied */
		if (record->c.created_s == w->connection.created_s &&
		    ct_is_translated_alike(&record->c, &w->connection)) {
			ct_blend(record, w);
			return 1;
		}
		w->victim = w->key;
		ct_remove(level);
	}
	return ct_place_inherited(w, config, level);
}

static long inherit_one(__u32 i, struct inheriting *inheriting)
{
	struct ct_work *w = ct_work_get(inheriting->level);
	__u32 at = INHERIT_HEAD + i * sizeof(struct ct_record);

	if (!w ||
	    bpf_skb_load_bytes(inheriting->skb, at + offsetof(struct ct_record, key), &w->key,
			       sizeof(w->key)) ||
	    bpf_skb_load_bytes(inheriting->skb, at + offsetof(struct ct_record, c), &w->connection,
			       sizeof(w->connection)))
		return 1;
	inheriting->n += ct_inherit(inheriting->level);
	return 0;
}

#endif
