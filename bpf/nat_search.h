/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The search for an address and port that nobody has (docs/conntrack.md, NAT): candidates, one after the other.
 *
 * Answers are found by an alias of the connection.  Who enters the alias has the address and port; of
 * two CPUs that try the same one at the same time one gets it.
 */
#ifndef GOSSAMER_NAT_SEARCH_H
#define GOSSAMER_NAT_SEARCH_H

#define NAT_TRIES 256		/* candidates, at most; all of a range that has no more */
#define NAT_TRIES_IN_ROW 16	/* of a longer range: so many beginning at each of some places, */
#define NAT_MORE_TRIES 64	/* and then so many at places that are others for each packet */

/* Being decided; one a level. */
struct nat_work {
	struct ct_tuple answer;		/* the candidate; later what a packet's tuple becomes */
	struct ct_tuple key;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_NESTING);
	__type(key, __u32);
	__type(value, struct nat_work);
} nat_works SEC(".maps");

static __always_inline struct nat_work *nat_work_get(__u32 level)
{
	return bpf_map_lookup_elem(&nat_works, &level);
}

static __always_inline bool same_tuple(const struct ct_tuple *a, const struct ct_tuple *b)
{
	return !differ(a, b, sizeof(*a));
}

static __always_inline bool nat_lives(struct ct_work *w, struct ct_tuple *key, __u64 now,
				      __u32 level)
{
	struct ct_connection *conn = ct_get(w, key, level);

	return conn && conn->expires > now;
}

/* Entries that may be of connections with the candidate as a tuple, mostly none, as one line tells; *entry
 * becomes one of them.  `place` of the work becomes that of the candidate. */
static __always_inline __u32 nat_hits(struct ct_work *w, struct nat_work *nw,
				      const struct ct_config *config, __u32 *entry)
{
	w->sought = nw->answer;
	ct_place_sought(w, config);
	return ct_hits(&w->place, entry);
}

/* Is the candidate the alias of the connection of that entry, which lives?  So it mostly is where somebody has
 * it, and many of a range's are had when it is nearly used up. */
static __always_inline bool nat_is_alias(struct ct_work *w, __u32 entry, __u64 now)
{
	struct ct_record *record = ct_record_get(entry & CT_SLOT_MASK);

	w->sought.family |= CT_ALIAS;
	return record && ct_same_alias(record, &w->sought) && record->c.expires > now;
}

/* Is the candidate a tuple of a connection already?  -1: no, but it was the alias of one whose time is
 * up, which is `victim` of the work.  `place` of the work becomes that of the candidate. */
__attribute__((noinline)) int nat_taken(__u32 level)
{
	struct state *st = state_get(level);
	struct nat_work *nw = nat_work_get(level);
	struct ct_config *config = ct_config_get();
	struct ct_work *w = ct_work_get(level);
	struct ct_record *record;
	__u32 entry;

	if (!st || !nw || !w || !config)
		return 1;
	if (!nat_hits(w, nw, config, &entry))
		return 0;
	if (nat_is_alias(w, entry, st->now))
		return 1;
	nw->key = w->unmarked;
	if (nat_lives(w, &nw->key, st->now, level))
		return 1;
	nw->key = nw->answer;
	nw->key.family |= CT_TRANSLATED;
	if (nat_lives(w, &nw->key, st->now, level))
		return 1;
	nw->key = nw->answer;
	nw->key.family |= CT_ALIAS;
	w->sought = nw->key;
	w->but = CT_NO_SLOT;
	entry = ct_search(level);
	record = entry ? ct_record_get(entry & CT_SLOT_MASK) : NULL;
	if (!record)
		return 0;
	if (!ct_is_over(&record->c, st->now))
		return 1;
	w->victim = record->key;
	return -1;
}

enum nat_port { NAT_NO_PORT, NAT_SOURCE_PORT, NAT_DESTINATION_PORT, NAT_IDENTIFIER };

struct nat_search {
	__u32 level;
	__u32 port;		/* enum nat_port: which one varies */
	__u32 first, n;		/* its range */
	__u32 own;		/* where it begins */
	__u32 hash;
	__u32 random;
	__u32 found;
};

/* The i-th candidate port. */
static __always_inline __u32 nat_candidate(struct nat_search *search, __u32 i)
{
	__u32 first = search->first, n = search->n, from = search->own - first;

	if (n > NAT_TRIES && i >= NAT_TRIES_IN_ROW) {
		__u32 at = hash_word(i < NAT_TRIES ? search->hash : search->random,
				     i / NAT_TRIES_IN_ROW);

		return first + (at % n + i % NAT_TRIES_IN_ROW) % n;
	}
	if (from < n)
		return first + (from + i) % n;
	return i ? first + i - 1 : search->own;
}

/* The candidate has this port. */
static __always_inline void nat_give_port(struct nat_search *search, struct nat_work *nw, __u32 port)
{
	if (search->port == NAT_DESTINATION_PORT || search->port == NAT_IDENTIFIER)
		nw->answer.sport = bpf_htons(port);
	else if (search->port != NAT_NO_PORT)
		nw->answer.dport = bpf_htons(port);
}

/* Write what is known of the connection that is to have the candidate, which nobody had.  NULL: its slot
 * is not there. */
static __always_inline struct ct_record *nat_write(struct ct_work *w, struct nat_work *nw)
{
	struct ct_record *record = ct_record_get(w->connection.slot);

	nw->key = w->tuple;
	nw->key.family |= CT_TRANSLATED;
	if (!record)
		return NULL;
	record->key = nw->key;
	__builtin_memcpy(record->c.reply.src, nw->answer.src, 16);
	__builtin_memcpy(record->c.reply.dst, nw->answer.dst, 16);
	record->c.reply.ports = nw->answer.ports;
	w->sought = nw->answer;
	w->sought.family |= CT_ALIAS;
	return record;
}

static long nat_try(__u32 i, struct nat_search *search)
{
	struct nat_work *nw = nat_work_get(search->level);
	struct ct_work *w = ct_work_get(search->level);
	struct state *st = state_get(search->level);
	int taken;

	if (!nw || !w || !st || !search->n)
		return 1;
	nat_give_port(search, nw, nat_candidate(search, i));
	taken = nat_taken(search->level);
	if (taken < 0) {
		ct_remove_expired(st, w, search->level);
		taken = nat_taken(search->level);
	}
	if (taken)
		return 0;
	if (!nat_write(w, nw))
		return 1;
	/* another CPU may have been quicker */
	search->found = ct_enter(w->connection.slot, search->level) == CT_ENTERED;
	return search->found;
}

/* The first candidate, which mostly nobody has; by fewer calls. */
static __always_inline void nat_try_first(struct nat_search *search, struct ct_work *w,
					  struct nat_work *nw, const struct ct_config *config)
{
	__u32 entry;

	if (search->own - search->first >= search->n)
		return;
	nat_give_port(search, nw, search->own);
	if (!nat_hits(w, nw, config, &entry) && nat_write(w, nw))
		search->found = ct_enter(w->connection.slot, search->level) == CT_ENTERED;
}

static __always_inline void nat_search(struct nat_search *search)
{
	__u64 tries = search->n;

	if (search->found)
		return;
	if (search->n > NAT_TRIES) {
		/* A packet that is sent again must not fail for ever where a few are free. */
		search->random = bpf_get_prandom_u32();
		tries = NAT_TRIES + NAT_MORE_TRIES;
	} else if (search->own - search->first >= search->n) {
		tries = search->n + 1;
	}
	bpf_loop(tries, nat_try, search, 0);
}

#endif
