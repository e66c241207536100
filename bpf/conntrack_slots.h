/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Room for connections: removing them, counting them, and finding a slot for a new one. */
#ifndef GOSSAMER_CONNTRACK_SLOTS_H
#define GOSSAMER_CONNTRACK_SLOTS_H

#define CT_TRIES 256		/* slots looked at while there are free ones somewhere */
#define CT_TRIES_FULL 16	/* once all are taken: enough to find one that can go */

static __always_inline struct ct_zone *ct_zone_get(__u32 zone)
{
	return bpf_map_lookup_elem(&ct_zones, &zone);
}

/* The tuple of the packet that made a connection, from its key. */
static __always_inline void ct_original(struct ct_tuple *to, const struct ct_tuple *key,
					__u32 flags)
{
	if (flags & CT_SWAPPED) {
		ct_reverse(to, key);
	} else {
		*to = *key;
		to->family &= CT_FAMILY;
	}
}

static __always_inline void ct_tell(__u32 type, __u32 in_port, __u64 now,
				    const struct ct_tuple *tuple)
{
	struct ct_event *event = bpf_ringbuf_reserve(&ct_events, sizeof(*event), 0);

	if (!event)
		return;	/* nobody reads: what is not told is not kept either */
	__builtin_memset(event, 0, sizeof(*event));
	event->now = now;
	event->type = type;
	event->in_port = in_port;
	event->tuple = *tuple;
	bpf_ringbuf_submit(event, 0);
}

static __always_inline void ct_tell_gone(const struct ct_tuple *key, struct ct_connection *c,
					 __u64 now)
{
	struct ct_event *event = bpf_ringbuf_reserve(&ct_events, sizeof(*event), 0);

	if (!event)
		return;
	event->now = now;
	event->type = CT_EVENT_GONE;
	event->in_port = 0;
	ct_original(&event->tuple, key, c->flags);
	event->mark = c->mark;
	event->flags = c->flags;
	event->packets[0] = c->packets[0];
	event->packets[1] = c->packets[1];
	event->bytes[0] = c->bytes[0];
	event->bytes[1] = c->bytes[1];
	bpf_ringbuf_submit(event, 0);
}

/* A slot whose connection is gone, or was not made after all.  Who takes it next writes a key before all
 * the rest: until then it has no time, so that nobody takes the one before for what is there. */
static __always_inline void ct_give_back_slot(struct ct_record *record)
{
	record->c.expires = 0;
	record->key.kind = 0;
	__sync_lock_test_and_set(&record->taken, 0);
}

/* A connection is there now. */
static __always_inline void ct_count_in(struct ct_shared *shared, struct ct_zone *zone,
					struct ct_config *config)
{
	__u32 n = __sync_fetch_and_add(&shared->n_connections, 1) + 1;

	if (n == config->room_at)
		ct_ask_for_room(n);
	__sync_fetch_and_add(&zone->count, 1);
}

/* Remove the connection that `victim` of the work is, with all that refers to it; 1 where it was
 * there.  (6.1 takes no key that was passed by its address.) */
__attribute__((noinline)) int ct_remove(__u32 level)
{
	struct ct_shared *shared = ct_shared_get();
	struct ct_config *config = ct_config_get();
	struct nat_work *nw = nat_work_get(level);
	struct ct_work *w = ct_work_get(level);
	struct state *st = state_get(level);
	struct ct_connection *c;
	struct ct_tuple *key;
	struct ct_zone *zone;
	struct ct_record *record;
	__u32 slot, flags, alg;

	if (!w || !shared || !config || !nw || !st)
		return 0;
	key = &w->victim;
	c = ct_get(w, key, level);
	if (!c || !c->expires)
		return 0;	/* not there, or another CPU is making it */
	if (config->flags & CT_TELL_GONE)
		ct_tell_gone(key, c, st->now);
	slot = c->slot;
	alg = c->alg;
	flags = c->flags;
	if (flags & (CT_SRC_NAT | CT_DST_NAT))
		nat_answer(key, &c->reply, nw);
	w->sought = *key;
	if (!ct_strike(slot, level))
		return 0;
	if (flags & (CT_SRC_NAT | CT_DST_NAT))
		nat_release(w, nw, slot, level);
	record = ct_record_get(slot);
	if (record)
		ct_give_back_slot(record);
	if (alg)
		bpf_map_delete_elem(&ct_sequences, key);
	if (flags & CT_EXPECTED)
		bpf_map_delete_elem(&ct_parents, key);
	__sync_fetch_and_add(&shared->n_connections, -1);
	zone = ct_zone_get(key->zone);
	if (zone)
		__sync_fetch_and_add(&zone->count, -1);
	return 1;
}

/* How little a connection is missed; 0: it must stay. */
static __always_inline __u32 ct_dispensable(const struct ct_tuple *key, struct ct_connection *c)
{
	if (key->proto == 6) {
		if (c->peer[0].state == CT_TCP_ESTABLISHED && c->peer[1].state == CT_TCP_ESTABLISHED)
			return 0;
		if (c->peer[0].state >= CT_TCP_CLOSING || c->peer[1].state >= CT_TCP_CLOSING)
			return 2;
		return 1;
	}
	return c->flags & CT_REPLIED ? 0 : 1;
}

struct slot_search {
	__u32 level;
	__u32 max;
	__u32 full;		/* as many as there may be: one must go, or none comes */
	__u32 slot;		/* looked at last */
	__u32 found;		/* it can be taken */
};

/* As many connections as there may be. */
static __always_inline __u32 ct_most(struct ct_config *config)
{
	return config->max_connections < config->n_slots ? config->max_connections : config->n_slots;
}

static __always_inline bool begin_search(struct slot_search *search)
{
	struct ct_config *config = ct_config_get();
	struct ct_shared *shared = ct_shared_get();
	__u32 n, reach, most;

	if (!config || !shared)
		return false;
	n = shared->n_connections;
	reach = shared->reach;
	most = ct_most(config);
	search->full = n >= most;
	/* few connections lie close together: where they are is in the cache */
	if (reach < CT_LEAST_REACH)
		shared->reach = reach = CT_LEAST_REACH;
	if (n > reach / 2 && reach < most)
		shared->reach = reach *= 2;
	search->max = reach < most ? reach : most;
	return search->max;
}

#define CT_LOST_NS 1000000000ull	/* longer than anybody takes to remove a connection */

/* Is there a connection in it, all written? */
static __always_inline bool ct_is_made(const struct ct_record *record)
{
	return record->key.family && *(volatile __u64 *)&record->c.expires;
}

/* Take a slot that was free when it was looked at; false where another CPU was quicker. */
static __always_inline bool ct_claim(struct ct_record *record)
{
	return !__sync_lock_test_and_set(&record->taken, 1);
}

#define CT_TOP_TRIES 4		/* other CPUs may be quicker so often */

/* The slot that the clock's hand points to, of `max`.  Each CPU has a stretch of them, so that what it writes
 * lies together, and the hand is not moved by all of them at once.  Where another one has the same stretch,
 * since a packet that was held brought it along, who claims a slot has it. */
static __always_inline __u32 ct_next_slot(struct ct_shared *shared, struct ct_work *w, __u32 max)
{
	__u32 slot = w->next_slot, end, top;

	if (slot % CT_STRETCH && slot < max) {
		w->next_slot = slot + 1;
		return slot;
	}
	slot = __sync_fetch_and_add(&shared->hand, CT_STRETCH) % max & ~(CT_STRETCH - 1);
	w->next_slot = slot + 1;
	end = slot + CT_STRETCH;
	top = shared->top;
	for (int try = 0; try < CT_TOP_TRIES; try++) {
		if (top >= end)
			break;
		top = __sync_val_compare_and_swap(&shared->top, top, end);
	}
	return slot;
}

/* The same, NULL where there is none. */
static __always_inline struct ct_record *next_slot(struct slot_search *search, struct ct_work *w)
{
	struct ct_shared *shared = ct_shared_get();

	if (!shared)
		return NULL;
	search->slot = ct_next_slot(shared, w, search->max);
	return ct_record_get(search->slot);
}

/* Remove the connection of a slot where its time is up; 1 where it was. */
static __always_inline int ct_expire(struct ct_record *record, struct state *st, struct ct_work *w,
				     __u32 level)
{
	if (!record->key.family || !ct_is_over(&record->c, st->now))
		return 0;
	w->victim = record->key;
	if (ct_remove(level)) {
		ct_count(CT_COUNT_EXPIRED);
		return 1;
	}
	/* Nobody finds it, as happens to what is written while a CPU that held a lock is away. */
	if (record->taken && record->c.expires + CT_LOST_NS <= st->now)
		ct_give_back_slot(record);
	return 0;
}

static long ct_try_slot(__u32 i, struct slot_search *search)
{
	struct ct_work *w = ct_work_get(search->level);
	struct state *st = state_get(search->level);
	struct ct_record *record;
	__u32 how;

	if (!w || !st)
		return 1;
	record = next_slot(search, w);
	if (!record)
		return 1;
	if (!record->taken) {
		search->found = !search->full && ct_claim(record);
		return search->found;
	}
	if (ct_expire(record, st, w, search->level)) {
		search->found = ct_claim(record);
		return search->found;
	}
	if (!ct_is_made(record))
		return 0;
	how = ct_dispensable(&record->key, &record->c);
	if (how > w->best || (how && how == w->best && record->c.expires < w->best_expires)) {
		w->best = how;
		w->best_expires = record->c.expires;
		w->best_slot = search->slot;
	}
	/* while there is room elsewhere nobody has to go */
	return search->full && w->best && i >= CT_TRIES_FULL;
}

/* Have the memory of the next slot come nearer while this packet goes its way: who writes does not wait for it,
 * unless by an instruction that locks, and the first of a new connection would wait for all of it.  What is
 * written nobody reads. */
static __always_inline void ct_fetch_next(struct ct_work *w)
{
	__u32 slot = w->next_slot;
	struct ct_record *next = slot % CT_STRETCH ? ct_record_get(slot) : NULL;

	if (!next)
		return;
	*(volatile __u32 *)&next->pad0 = 0;
	*(volatile __u64 *)&next->pad1 = 0;
}

/* The next slot where that is free, taken then, plus one; 0: ct_take_slot() is to look for one. */
static __always_inline __u32 ct_take_next(struct ct_work *w, struct ct_config *config)
{
	struct ct_shared *shared = ct_shared_get();
	struct ct_record *record;
	__u32 n, reach, most, slot;

	if (!shared)
		return 0;
	n = shared->n_connections;
	reach = shared->reach;
	most = ct_most(config);
	/* as begin_search(), which is where any of this changes */
	if (reach < CT_LEAST_REACH || n >= most || (n > reach / 2 && reach < most))
		return 0;
	slot = ct_next_slot(shared, w, reach < most ? reach : most);
	record = ct_record_get(slot);
	return record && !record->taken && ct_claim(record) ? slot + 1 : 0;
}

/* A slot for a new connection, which is taken then, plus one; 0: all that were looked at are taken by others that must
 * stay. */
__attribute__((noinline)) int ct_take_slot(__u32 level)
{
	struct slot_search search = { .level = level };
	struct ct_work *w = ct_work_get(level);
	struct ct_record *record;

	if (!w || !begin_search(&search))
		return 0;
	w->best = 0;
	bpf_loop(CT_TRIES, ct_try_slot, &search, 0);
	if (search.found)
		return search.slot + 1;
	if (!w->best)
		return 0;
	record = ct_record_get(w->best_slot);
	if (!record)
		return 0;
	w->victim = record->key;
	if (!ct_remove(level))
		return 0;
	ct_count(CT_COUNT_EVICTED);
	return ct_claim(record) ? w->best_slot + 1 : 0;
}

/* A zone has as many connections as it may; those whose time is up are in the way until somebody
 * looks at them. */
static long ct_expire_one(__u32 i, struct slot_search *search)
{
	struct ct_work *w = ct_work_get(search->level);
	struct state *st = state_get(search->level);
	struct ct_record *record;

	if (!w || !st)
		return 1;
	record = next_slot(search, w);
	if (!record)
		return 1;
	ct_expire(record, st, w, search->level);
	return 0;
}

static __always_inline bool ct_zone_is_full(struct ct_zone *zone, struct ct_config *config)
{
	__u32 limit = zone->flags & CT_ZONE_LIMITED ? zone->limit : config->default_limit;

	return limit && zone->count >= limit;
}

/* 1 where a zone that is full has none whose time is up among those that are looked at. */
__attribute__((noinline)) int ct_zone_stays_full(__u32 zone_id, __u32 level)
{
	struct slot_search search = { .level = level };
	struct ct_zone *zone = ct_zone_get(zone_id);
	struct ct_config *config = ct_config_get();

	if (!zone || !config || !begin_search(&search))
		return 1;
	bpf_loop(CT_TRIES, ct_expire_one, &search, 0);
	return ct_zone_is_full(zone, config);
}

#endif
