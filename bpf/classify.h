/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Classification: which rule of a table has the highest priority and matches?
 *
 * The rules of a table that look at the same bits form a subtable; one hash
 * lookup of the packet's bits finds the best of them.  A table lists its
 * subtables by their highest priority, so the search ends as soon as no later
 * one can win.  The cost grows with the number of masks, never with that of
 * rules, and masks come from rules only: no packet can add one.
 *
 * A subtable's key is its number followed by the words it looks at, gathered
 * and masked; four hash maps hold short to long keys, since hashing costs by
 * the byte.
 *
 * These maps have room for a million rules each, so a key that is not there
 * costs a miss of every cache: 200 ns.  Most keys of most packets are not
 * there.  A small filter for each subtable (Bloom, blocked by 64 bits) says so
 * of all but a few of them.
 */
#ifndef GOSSAMER_CLASSIFY_H
#define GOSSAMER_CLASSIFY_H

struct match_word {
	__u16 word;
	__u16 pad;
	__u32 mask;
};

struct subtable {
	__u32 id;
	__u16 n_words;
	__u8 key_class;		/* 0..3: which of the maps below */
	__u8 conjunctive;	/* its rules are alternatives of conjunctions (conjunction.h) */
	__u64 filter;		/* list in `rule_filters`, of a power of two words; 0: none */
	struct match_word words[MATCH_WORDS];
};

/* Written by the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SUBTABLES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct subtable);
} subtables SEC(".maps");

/* Two bits are set for each key that the kernel holds of a subtable, in one word.  Written by the
 * daemon, bits of a key before the key; rule_filters.py has the rules. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FILTER_WORDS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} rule_filters SEC(".maps");

#define FILTER_PRIME 0xff51afd7ed558ccdull	/* odd, its bits mixed: MurmurHash3's */

/* Surely not among a subtable's keys, by the hash of the key. */
static __always_inline bool filtered_out(__u64 filter, __u64 hash)
{
	__u64 wanted = 1ull << (hash >> 58) | 1ull << (hash >> 52 & 63), *bits;
	__u32 at = (filter >> 32) + ((hash >> 32) & ((__u32)filter - 1));

	if (!filter)
		return false;
	bits = bpf_map_lookup_elem(&rule_filters, &at);
	return bits && (*bits & wanted) != wanted;
}

struct table {
	__u64 subtables;	/* list in `table_index` */
	__u32 miss;		/* enum table_miss */
	__u32 pad;
};

enum table_miss { MISS_DROP, MISS_CONTROLLER, MISS_CONTINUE };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_TABLES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct table);
} tables SEC(".maps");

/* subtable | highest priority + 1 << 32 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_TABLE_INDEX);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} table_index SEC(".maps");

/* A key's rule, from some version of its bridge on. */
struct rule_state {
	struct flow_ref flow;
	__u32 program;		/* 0: drop */
	__u32 priority;		/* plus one; 0: there is none */
};

/* What a commit changes is written beside what it was, and counts from the version on that the
 * bridge gets when all of it is there: no packet sees half of a commit.  A bridge's next commit
 * but one may overwrite `before` when no packet of that version is under way any more. */
struct rule {
	__u64 since;
	struct rule_state now, before;
};

#define RULES(name, words)                                  \
	struct name##_key {                                 \
		__u32 subtable;                             \
		__u32 word[words];                          \
	};                                                  \
	struct {                                            \
		__uint(type, BPF_MAP_TYPE_HASH);            \
		__uint(max_entries, MAX_FLOWS);             \
		__uint(map_flags, BPF_F_NO_PREALLOC);       \
		__type(key, struct name##_key);             \
		__type(value, struct rule);                 \
	} name SEC(".maps")

/* Written by the daemon. */
RULES(rules_3, 3);
RULES(rules_7, 7);
RULES(rules_15, 15);
RULES(rules_48, MATCH_WORDS);

/* What each flow has seen: added to here when a cached path retires, read by the daemon. */
struct flow_counters {
	__u64 packets;
	__u64 bytes;
	__u64 used;		/* coarse monotonic ns */
	__u32 generation;	/* set by the daemon when the id gets a new flow */
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_FLOWS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct flow_counters);
} flow_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_TABLES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} table_misses SEC(".maps");

static __always_inline void credit(struct flow_ref ref, __u64 packets, __u64 bytes, __u64 used)
{
	if (ref.id & TABLE_MISS) {
		__u32 id = ref.id & ~TABLE_MISS;
		__u64 *n = bpf_map_lookup_elem(&table_misses, &id);

		if (n)
			__sync_fetch_and_add(n, packets);
	} else {
		struct flow_counters *c = bpf_map_lookup_elem(&flow_counters, &ref.id);

		if (!c || c->generation != ref.generation)
			return;
		__sync_fetch_and_add(&c->packets, packets);
		__sync_fetch_and_add(&c->bytes, bytes);
		if (used > c->used)
			c->used = used;
	}
}

/* A rule that is an alternative of conjunctions: decided when the search is over. */
static __always_inline void note_alternative(struct state *st, struct rule_state *rule)
{
	__u32 n = st->n_alternatives;

	if (n >= MAX_ALTERNATIVES || !rule->priority)
		return;
	st->alternatives[n & (MAX_ALTERNATIVES - 1)].program = rule->program;
	st->alternatives[n & (MAX_ALTERNATIVES - 1)].priority = rule->priority;
	st->n_alternatives = n + 1;
}

struct search {
	__u32 level;
	__u32 offset;		/* of the table's list */
};

/* The rule of a subtable for this packet, NULL where it has none. */
static __always_inline struct rule *find_rule(struct state *st, struct subtable *sub)
{
	__u64 hash = 0, filter = *(volatile __u64 *)&sub->filter;
	struct rule *there;

	st->gather[0] = sub->id;
	/* Words beyond those it looks at have empty masks. */
#define GATHER_ALL(n)                                                               \
	for (int w = 0; w < (n); w++) {                                             \
		__u32 word = st->key[sub->words[w].word & WORD_MASK] & sub->words[w].mask; \
                                                                                    \
		st->gather[1 + w] = word;                                           \
		hash = (hash ^ word) * FILTER_PRIME;                                \
	}                                                                           \
	if (filtered_out(filter, hash))                                             \
		return NULL;
	/* Apart, or the compiler makes one call of four, which the kernel cannot inline then. */
#define LOOK_UP(rules)                                                              \
	there = bpf_map_lookup_elem(&rules, st->gather);                            \
	asm volatile("" : "+r"(there));
	switch (sub->key_class) {
	case 0:
		GATHER_ALL(3);
		LOOK_UP(rules_3);
		return there;
	case 1:
		GATHER_ALL(7);
		LOOK_UP(rules_7);
		return there;
	case 2:
		GATHER_ALL(15);
		LOOK_UP(rules_15);
		return there;
	default:
		GATHER_ALL(MATCH_WORDS);
		LOOK_UP(rules_48);
		return there;
	}
}

static __always_inline void found(struct state *st, struct flow_ref flow, __u32 program,
				  __u32 priority)
{
	st->found = flow;
	st->found_program = program;
	st->found_priority = priority;
}

static long search_subtable(__u32 i, struct search *search)
{
	struct state *st = state_get(search->level);
	__u32 at = search->offset + i;
	__u64 *ref = bpf_map_lookup_elem(&table_index, &at);
	struct rule_memo *memo;
	struct subtable *sub;
	struct rule *there;
	struct rule_state *rule;
	__u32 id;

	if (!st || !ref)
		return 1;
	if (st->found_priority >= (__u32)(*ref >> 32))
		return 1;	/* priorities are stored plus one; 0: nothing found yet */
	id = (__u32)*ref;
	/* What looks at nothing has the same rule for all packets of a version. */
	memo = &st->rule_memos[id & (MEMOS - 1)];
	if (memo->subtable == id && memo->version == st->version) {
		if (memo->priority > st->found_priority)
			found(st, memo->flow, memo->program, memo->priority);
		return 0;
	}
	sub = bpf_map_lookup_elem(&subtables, &id);
	if (!sub)
		return 1;
	there = find_rule(st, sub);
	if (!there)
		return 0;
	rule = st->version >= there->since ? &there->now : &there->before;
	if (sub->conjunctive) {
		note_alternative(st, rule);
		return 0;
	}
	if (!sub->n_words) {
		memo->version = st->version;
		memo->subtable = id;
		memo->flow = rule->flow;
		memo->program = rule->program;
		memo->priority = rule->priority;
	}
	if (rule->priority > st->found_priority)
		found(st, rule->flow, rule->program, rule->priority);
	return 0;
}

/* Search table `table` (bridge * 256 + table_id).  Returns 1 with st->found set, 0 on a miss. */
static __always_inline int search_table(__u32 table, __u32 level)
{
	struct table *t = bpf_map_lookup_elem(&tables, &table);
	struct state *st = state_get(level);
	struct search search = { .level = level };
	__u64 list;

	if (!t || !st)
		return 0;
	list = *(volatile __u64 *)&t->subtables;
	search.offset = LIST_OFFSET(list);
	st->found_priority = 0;
	st->found_program = 0;
	bpf_loop(list_length(list), search_subtable, &search, 0);
	return st->found_priority != 0;
}

/* The same where it is one of several. */
__attribute__((noinline)) int classify(__u32 table, __u32 level)
{
	return search_table(table, level);
}

#endif
