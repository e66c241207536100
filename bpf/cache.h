/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The flow cache: what the whole pipeline came to, for packets seen before.
 *
 * Its key is the words some rule of the bridge looks at (the bridge's cache
 * mask), so a switch that only learns and floods needs one path a port, and a
 * flood of new connections misses only if a rule tells connections apart.
 * One cache a CPU: no locks, and a path's counters are plain additions.  They
 * are credited to each rule of the path when it is replaced; until then the
 * daemon reads them here.
 *
 * Paths are far apart in memory that no core's own cache can hold, so what
 * must be known to miss them is kept apart and close together: tags.  Nor is
 * a path written for each flow.  Where the tables are quickly walked through
 * it is the second packet that gets one; a flood of flows that send one
 * packet each drives no path of others out.
 */
#ifndef GOSSAMER_CACHE_H
#define GOSSAMER_CACHE_H

struct cache_mask {
	__u32 n_words;		/* more than there is room for: they do not tell packets apart */
	__u32 n_pipeline;	/* of them, the first ones: they are no words of the packet */
	struct match_word words[CACHE_WORDS];
};

/* Written by the daemon; a mask in use is never changed. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_MASKS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct cache_mask);
} cache_masks SEC(".maps");

struct path {
	__u64 version;		/* 0: free */
	__u64 packets;
	__u64 bytes;
	__u64 used;
	__u32 hash;
	__u16 n_ops;
	__u8 n_flows;
	__u8 uses_state;
	struct op ops[CACHED_OPS];	/* the first one on the line of what is above */
	__u32 key[CACHE_WORDS];
	struct flow_ref flows[CACHED_FLOWS];
	__u64 learned;		/* when it last told the daemon what to learn */
};

struct path_set {
	struct path way[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CACHE_SETS);
	__type(key, __u32);
	__type(value, struct path_set);
} cache SEC(".maps");

/* Of a set: the upper halves of the hashes of its paths, and of those that were missed last.  Hints
 * only: a path says itself whose it is. */
struct tags_of_set {
	__u16 way[2];
	__u16 missed[2];
};

#define TAGGED_SETS 128		/* in one value, which is a look-up with a pointer of its own */

struct tags_of_sets {
	struct tags_of_set set[TAGGED_SETS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CACHE_SETS / TAGGED_SETS);
	__type(key, __u32);
	__type(value, struct tags_of_sets);
} cache_tags SEC(".maps");

static __always_inline struct tags_of_set *cache_tags_of(__u32 hash)
{
	__u32 slot = hash & (CACHE_SETS - 1), at = slot / TAGGED_SETS;
	struct tags_of_sets *tags = bpf_map_lookup_elem(&cache_tags, &at);

	return tags ? &tags->set[slot & (TAGGED_SETS - 1)] : NULL;
}

#define CHEAP_LOOKUPS 3		/* tables that a path must pass to be kept for a flow's first packet */

/* Is a path to be kept that has just been made?  Not for the first packet of a flow, where to do the
 * same again costs no more than to write it down.  Tests get theirs at once. */
static __always_inline bool worth_keeping(struct state *st)
{
	struct tags_of_set *tags;
	__u16 tag = st->hash >> 16;

	if (!st->cacheable)
		return false;
	if (capturing || st->uses_state || st->n_flows > CHEAP_LOOKUPS)
		return true;
	tags = cache_tags_of(st->hash);
	if (!tags)
		return false;
	/* a path of an earlier version: it was worth it then */
	if (tags->way[0] == tag || tags->way[1] == tag || tags->missed[0] == tag ||
	    tags->missed[1] == tag)
		return true;
	tags->missed[1] = tags->missed[0];
	tags->missed[0] = tag;
	return false;
}

static __always_inline bool path_matches(struct path *path, struct state *st)
{
	if (path->version != st->version || path->hash != st->hash)
		return false;
	for (__u32 i = 0; i < CACHE_WORDS; i++) {
		if (i >= st->n_words)
			break;
		if (path->key[i] != st->words[i])
			return false;
	}
	return true;
}

/* Have the compiler keep a pointer, and not what it was made of, which takes more of the stack. */
#define ONE_POINTER(pointer) asm volatile("" : "+r"(pointer))

/* The path of this packet, NULL where it has none.  No two ways of a set have the same tag. */
static __always_inline struct path *find_path(struct state *st)
{
	struct tags_of_set *tags = cache_tags_of(st->hash);
	__u32 slot = st->hash & (CACHE_SETS - 1), way;
	__u16 tag = st->hash >> 16;
	struct path_set *set;
	struct path *path;

	if (!tags)
		return NULL;
	way = tags->way[0] != tag;
	if (way && tags->way[1] != tag)
		return NULL;
	set = bpf_map_lookup_elem(&cache, &slot);
	if (!set)
		return NULL;
	path = &set->way[way & 1];
	ONE_POINTER(path);
	return path_matches(path, st) ? path : NULL;
}

/* Gather words of this packet that rules may look at, and go on hashing with them. */
static __always_inline __u64 gather_words(struct state *st, struct cache_mask *mask, __u32 first,
					  __u32 end, __u64 hash)
{
	for (__u32 i = 0; i < CACHE_WORDS; i++) {
		__u32 n = first + i, at, word;

		/* else the compiler adds `first` to the pointers before it is known to be small */
		asm volatile("" : "+r"(n));
		if (n >= end || n >= CACHE_WORDS)
			break;
		at = mask->words[n].word;
		if (at >= KEY_WORDS)
			break;
		word = st->key[at] & mask->words[n].mask;
		st->words[n] = word;
		hash = (hash ^ word) * 0xff51afd7ed558ccdull;
	}
	return hash;
}

/* Is the table that a pass goes on in among the words?  Its word would be the last one. */
static __always_inline bool tells_resume(struct cache_mask *mask)
{
	__u32 last = *(volatile __u32 *)&mask->n_words - 1;

	return last < CACHE_WORDS && mask->words[last].word == WORD_LENGTHS &&
	       (mask->words[last].mask & bpf_htonl(RESUME_BITS));
}

/* Gather the cache key of this pass.  Where a pass follows another in the same bridge and the packet is
 * still the same, only the other words are gathered again, and the last one, which may be that of
 * lengths. */
static __always_inline int gather_cache_key(struct state *st)
{
	__u32 id = st->version & (MAX_MASKS - 1), last;
	struct cache_mask *mask = bpf_map_lookup_elem(&cache_masks, &id);
	__u64 hash;

	if (!mask)
		return -1;
	st->n_words = mask->n_words;
	last = st->n_words ? st->n_words - 1 : 0;
	/* masks of an earlier version do not say where the packet's begin */
	if (st->gathered != st->version || !mask->n_pipeline) {
		st->gathered = st->version;
		st->packet_hash = gather_words(st, mask, mask->n_pipeline, last,
					       st->bridge * 0x9e3779b97f4a7c15ull);
	}
	hash = gather_words(st, mask, 0, mask->n_pipeline, st->packet_hash);
	if (last >= mask->n_pipeline)
		hash = gather_words(st, mask, last, st->n_words, hash);
	st->hash = hash >> 32;
	st->exact = st->n_words <= CACHE_WORDS;
	/* A pass that goes on after a ct() may only use paths that were made for such ones. */
	if (st->resume)
		st->exact = tells_resume(mask);
	return 0;
}

/* A path's counters go to the rules it passed; it is this CPU's own, nobody else writes it. */
static __always_inline void retire(struct path *path)
{
	if (!path->packets)
		return;
	for (int i = 0; i < CACHED_FLOWS; i++) {
		if (i >= path->n_flows)
			break;
		credit(path->flows[i], path->packets, path->bytes, path->used);
	}
	path->packets = 0;
	path->bytes = 0;
}

/* Keep what translation came to, in the way of the same tag or the less recently used one. */
__attribute__((noinline)) int cache_insert(__u32 level)
{
	struct state *st = state_get(level);
	struct tags_of_set *tags;
	struct path_set *set;
	struct path *path;
	__u32 slot, way;
	__u16 tag;

	if (!st)
		return 0;
	slot = st->hash & (CACHE_SETS - 1);
	tag = st->hash >> 16;
	set = bpf_map_lookup_elem(&cache, &slot);
	tags = cache_tags_of(st->hash);
	if (!set || !tags)
		return 0;
	if (tags->way[0] == tag)
		way = 0;
	else if (tags->way[1] == tag)
		way = 1;
	else
		way = set->way[0].version == st->version &&
		      (set->way[1].version != st->version || set->way[1].used < set->way[0].used);
	tags->way[way & 1] = tag;
	path = &set->way[way & 1];
	ONE_POINTER(path);
	retire(path);
	path->version = 0;
	path->hash = st->hash;
	path->n_ops = st->n_ops;
	path->n_flows = st->n_flows;
	path->uses_state = st->uses_state;
	path->used = st->now;
	path->learned = st->now;
	/* Only what it has: the rest of it is memory that no CPU has at hand. */
	for (__u32 i = 0; i < CACHE_WORDS && i < st->n_words; i++)
		path->key[i] = st->words[i];
	for (__u32 i = 0; i < CACHED_OPS && i < st->n_ops; i++)
		path->ops[i] = st->ops[i];
	for (__u32 i = 0; i < CACHED_FLOWS && i < st->n_flows; i++)
		path->flows[i] = st->flows[i];
	path->version = st->version;
	return 0;
}

#endif
