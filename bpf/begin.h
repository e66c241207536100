/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Connections that begin: who may begin one, and how it is put where it belongs (docs/conntrack.md, What ct()
 * does). */
#ifndef GOSSAMER_BEGIN_H
#define GOSSAMER_BEGIN_H

#define CT_BEGIN_TRIES 2	/* where another CPU begins it too, and gives that up; more need more stack than 6.1 has */

enum ct_end { CT_PASSED, CT_DROPPED, CT_HELD };
enum ct_next {
	CT_GOES_ON,
	CT_BEGINS,
	CT_DROPS,
	CT_DONE,
	CT_UNREAD,
	CT_TRANSLATES,
	CT_CLASHES	/* the connection that was to be made is there already */
};

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

/* Enter the connection of the work, whose slot is taken.  Returns CT_*. */
static __always_inline int ct_make_here(struct state *st, struct ct_work *w,
					struct ct_config *config, __u32 level)
{
	struct ct_record *record = ct_record_get(w->connection.slot);
	struct ct_shared *shared = ct_shared_get();
	struct ct_zone *zone = ct_zone_get(w->zone);
	int refused;

	if (!record || !shared || !zone)
		return CT_DROPS;
	record->key = w->key;
	record->c = w->connection;
	w->sought = w->key;
	w->place = w->own_place;
	refused = ct_enter_here(w, w->connection.slot, level);
	if (refused != CT_ENTERED) {
		ct_give_back_slot(record);
		nat_give_back(level);
		if (refused == CT_WAS_THERE)
			return CT_CLASHES;
		/* very many have the same hash */
		count_drop(DROP_CT_FULL);
		return CT_DROPS;
	}
	if (w->expected)
		ct_adopted(w);
	ct_count_in(shared, zone, config);
	ct_count(CT_COUNT_CREATED);
	if (config->flags & CT_TELL_NEW)
		ct_tell(CT_EVENT_NEW, st->in_port, st->now, &w->tuple);
	w->found = 1;
	w->reply = 0;
	ct_fetch_next(w);
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
	/* another CPU may have begun it, and have what it was to have */
	w->victim = w->tuple;
	w->victim.family |= CT_TRANSLATED;
	if (ct_get(w, &w->key, level) || ct_get(w, &w->victim, level))
		return CT_CLASHES;
	ct_count(CT_COUNT_NAT_FULL);
	count_drop(DROP_CT_NAT_FULL);
	return CT_DROPS;
}

/* Put the connection that the packet begins where it belongs.  Returns CT_*; _TRANSLATES where
 * how, or whether it may stay as it is, is to be decided before ct_make(). */
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
	slot = timeouts ? ct_take_next(w, config) : 0;
	if (!slot && timeouts)
		slot = ct_take_slot(level);
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
	if ((w->flags & CT_DO_NAT) || w->crowded)
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

#endif
