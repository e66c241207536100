/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Where connections lie: a table of ours over arrays, no hash map of the kernel's.
 *
 * A connection is a record of three cache lines in a slot.  Slots are taken one after
 * the other (conntrack_slots.h), so that what a new connection writes lies behind what
 * the one before it wrote.  They come in chunks that the daemon adds while connections
 * become more: memory grows with use.
 *
 * The index finds a slot by its key.  It consists of lines of the cache, each with up to
 * fourteen entries: a slot, and some bits of the key's hash.  A key belongs to a line of
 * those that are few enough to stay in the CPU's cache, and where that is full to one of many more; a
 * tuple belongs where its answer does, marked or not.  So who looks for a connection that is not
 * there, translated or not, reads one or two lines, and who makes it writes to one of them.  With a hash map
 * it was a bucket, what hangs there, an element from the kernel's allocator: 600 ns more
 * for each, with a million of them (Zen 5, 6.18).
 *
 * Nobody takes a lock.  A record is written before its entry is, and loses its key after it;
 * an entry is put where none is by a single instruction.  Where CPUs begin the same connection
 * at the same time each may find the other's; then that in the lowest slot stays (ct_prevails()), and
 * the others' packets go on in it (ct_join()).
 */
#ifndef GOSSAMER_CT_STORE_H
#define GOSSAMER_CT_STORE_H

#define CT_LINE_ENTRIES	14
#define CT_SLOT_MASK	((1u << CT_SLOT_BITS) - 1)

struct ct_record {
	__u32 taken;		/* somebody has the slot, or is about to */
	__u32 pad0;
	struct ct_tuple key;	/* all zero but between ct_make() and ct_remove() */
	struct ct_connection c;
	__u64 pad1;
};

struct ct_line {
	__u32 spilled;		/* keys of this line whose entry is in the other one */
	__u32 pad;
	__u32 entry[CT_LINE_ENTRIES];	/* slot | (bits of the hash, never all zero) << CT_SLOT_BITS */
};

/* Written here; the daemon reads. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CT_HOME_LINES + CT_MORE_LINES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct ct_line);
} ct_index SEC(".maps");

struct ct_chunk {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CT_CHUNK);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__uint(value_size, sizeof(struct ct_record));	/* clang 14 leaves the type out here */
};

/* The daemon adds chunks, one after the other; their records are written here. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, CT_CHUNKS);
	__type(key, __u32);
	__array(values, struct ct_chunk);
} ct_chunks SEC(".maps");

/* Wakes the daemon: there should be more chunks. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ct_room SEC(".maps");

static __always_inline void ct_ask_for_room(__u32 n)
{
	bpf_ringbuf_output(&ct_room, &n, sizeof(n), 0);
}

static __always_inline struct ct_record *ct_record_get(__u32 slot)
{
	__u32 at = slot / CT_CHUNK;
	void *records = bpf_map_lookup_elem(&ct_chunks, &at);

	at = slot % CT_CHUNK;
	return records ? bpf_map_lookup_elem(records, &at) : NULL;
}

/* What a record that is there holds; the compiler must not add to a pointer that may be NULL. */
static __always_inline struct ct_connection *ct_of(struct ct_record *record)
{
	asm volatile("" : "+r"(record));
	return &record->c;
}

/* Where whatever has this tuple is, in either direction: a connection that is not translated, one whose
 * original tuple it is, one whose answers have it.  So one line says of all of them that they are
 * not there.  The tuple is canonical and unmarked.
 *
 * NH, of UMAC (RFC 4418, 5.2.2): whoever does not know the secrets cannot choose tuples that share lines,
 * as any two are hashed alike for one in 2^32 of them.  Then the bits are mixed, for lines are told by some. */
static __always_inline struct ct_place ct_place_of(const struct ct_tuple *key,
						   const struct ct_config *config)
{
	const __u32 *words = (const __u32 *)key, *secrets = config->index_secrets;
	struct ct_place place;
	__u64 hash = 0;

#pragma unroll
	for (int i = 0; i < 10; i += 2) {
		__u32 low = words[i] + secrets[i], high = words[i + 1] + secrets[i + 1];

		hash += (__u64)low * high;
	}
	hash = (hash ^ hash >> 32) * 0xff51afd7ed558ccdull;
	hash ^= hash >> 32;
	place.line = hash & (CT_HOME_LINES - 1);
	place.other = CT_HOME_LINES + (hash >> 24 & (CT_MORE_LINES - 1));
	place.bits = (__u32)(hash >> 32 | 1u << 31) & ~CT_SLOT_MASK;
	return place;
}

static __always_inline bool ct_same_key(const struct ct_tuple *a, const struct ct_tuple *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]) | (x[4] ^ y[4]));
}

/* Have a tuple, a key, or the tuple of answers the same addresses and ports? */
#define ct_same_ends(a, b)                                                                        \
	({                                                                                        \
		const __u64 *x_ = (const __u64 *)(a), *y_ = (const __u64 *)(b);                   \
		!((x_[0] ^ y_[0]) | (x_[1] ^ y_[1]) | (x_[2] ^ y_[2]) | (x_[3] ^ y_[3]) |         \
		  ((a)->ports ^ (b)->ports));                                                     \
	})

/* Is it the alias of a record?  As long as the record is not that of another connection by now. */
static __always_inline bool ct_same_alias(const struct ct_record *record, const struct ct_tuple *alias)
{
	struct ct_tuple kind = { .family = CT_TRANSLATED | CT_ALIAS };

	return record->key.kind == (alias->kind ^ kind.kind) &&
	       ct_same_ends(&record->c.reply, alias);
}

/* All ones for 0, else 0: without a branch, of which the verifier would follow both ways. */
static __always_inline __u32 ones_for_zero(__u32 value)
{
	__u64 sum = value;

	asm volatile("%0 += -1\n%0 s>>= 63" : "+r"(sum));
	return sum;
}

/* The last entry of a line with these bits, 0 none; *n becomes how many there are. */
static __always_inline __u32 ct_scan(const struct ct_line *line, __u32 bits, __u32 *n)
{
	__u32 hit = 0, count = 0;

#pragma unroll
	for (int i = 0; i < CT_LINE_ENTRIES; i++) {
		__u32 entry = *(volatile __u32 *)&line->entry[i];
		__u32 is = ones_for_zero((entry ^ bits) >> CT_SLOT_BITS);

		hit ^= (hit ^ entry) & is;
		count -= is;
		/* else all that was read waits on the stack for the end */
		asm volatile("" : "+r"(hit), "+r"(count));
	}
	*n = count;
	return hit;
}

#define CT_NO_SLOT ~0u

/* Where `sought` of the work is, which may be marked. */
static __always_inline void ct_place_sought(struct ct_work *w, const struct ct_config *config)
{
	ct_canonical(&w->unmarked, &w->sought);
	w->unmarked.family &= CT_FAMILY;
	w->place = ct_place_of(&w->unmarked, config);
}

/* The entry of the key `sought` of the work, 0 none; that of slot `but` of the work does not count.  For
 * those who seldom ask, and where bits alone do not tell. */
__attribute__((noinline)) __u32 ct_search(__u32 level)
{
	struct ct_config *config;
	struct ct_line *line;
	struct ct_work *w;
	__u32 id = level;

	w = bpf_map_lookup_elem(&ct_works, &id);
	id = 0;
	config = bpf_map_lookup_elem(&ct_config, &id);
	if (!w || !config)
		return 0;
	ct_place_sought(w, config);
	id = w->place.line;
	line = bpf_map_lookup_elem(&ct_index, &id);
#pragma nounroll
	for (__u32 i = 0; i < 2 * CT_LINE_ENTRIES; i++) {
		__u32 entry, at = i < CT_LINE_ENTRIES ? i : i - CT_LINE_ENTRIES;
		struct ct_record *record;

		/* nothing is to wait on the stack */
		asm volatile("" ::: "memory");
		if (i == CT_LINE_ENTRIES && line) {
			if (!line->spilled)
				return 0;
			id = w->place.other;
			line = bpf_map_lookup_elem(&ct_index, &id);
		}
		if (!line || at >= CT_LINE_ENTRIES)
			return 0;
		entry = *(volatile __u32 *)&line->entry[at];
		if ((entry ^ w->place.bits) >> CT_SLOT_BITS || (entry & CT_SLOT_MASK) == w->but)
			continue;
		record = ct_record_get(entry & CT_SLOT_MASK);
		if (record && (ct_same_key(&record->key, &w->sought) ||
			       ct_same_alias(record, &w->sought)))
			return entry;
	}
	return 0;
}

static __always_inline struct ct_connection *ct_of_entry(__u32 entry)
{
	struct ct_record *record;

	/* Whatever way it came, to the verifier it is the same from here on. */
	asm volatile("" : "+r"(entry));
	record = entry ? ct_record_get(entry & CT_SLOT_MASK) : NULL;
	return record ? ct_of(record) : NULL;
}

/* The connection of a key, which is no part of the work's `sought`; NULL: there is none. */
static __always_inline struct ct_connection *ct_get(struct ct_work *w, const struct ct_tuple *key,
						    __u32 level)
{
	w->sought = *key;
	w->but = CT_NO_SLOT;
	return ct_of_entry(ct_search(level));
}

int ct_remove(__u32 level);

/* Is the time of a connection up?  One that has none is being made, or given up, by another CPU just now. */
static __always_inline bool ct_is_over(const struct ct_connection *c, __u64 now)
{
	__u64 expires = *(volatile __u64 *)&c->expires;

	return expires && expires <= now;
}

/* Remove the connection that `victim` is, where its time is up. */
static __always_inline void ct_remove_expired(struct state *st, struct ct_work *w, __u32 level)
{
	struct ct_connection *old = ct_get(w, &w->victim, level);

	if (old && ct_is_over(old, st->now)) {
		ct_count(CT_COUNT_EXPIRED);
		ct_remove(level);
	}
}

/* How many entries at a place have its bits, in both lines; *entry becomes the last of them. */
static __always_inline __u32 ct_hits(const struct ct_place *place, __u32 *entry)
{
	struct ct_line *line = bpf_map_lookup_elem(&ct_index, &place->line);
	__u32 n, more, last;

	*entry = 0;
	if (!line)
		return 0;
	*entry = ct_scan(line, place->bits, &n);
	if (!line->spilled)
		return n;
	line = bpf_map_lookup_elem(&ct_index, &place->other);
	if (!line)
		return n;
	last = ct_scan(line, place->bits, &more);
	if (more)
		*entry = last;
	return n + more;
}

#define CT_PUT_TRIES 4		/* other CPUs may be quicker so often */

/* Put an entry where none is; 0, or -1 where the line is full. */
static __always_inline int ct_put(struct ct_line *line, __u32 entry)
{
	for (int try = 0; try < CT_PUT_TRIES; try++) {
		__u32 at = CT_LINE_ENTRIES;

#pragma unroll
		for (int i = CT_LINE_ENTRIES - 1; i >= 0; i--) {
			at ^= (at ^ i) & ones_for_zero(line->entry[i]);
			asm volatile("" : "+r"(at));
		}
		if (at >= CT_LINE_ENTRIES)
			return -1;
		if (!__sync_val_compare_and_swap(&line->entry[at], 0, entry))
			return 0;
	}
	return -1;
}

/* Take the entry of a slot out of a line; false where it is not there. */
static __always_inline int ct_erase(__u32 line_id, __u32 slot)
{
	struct ct_line *line = bpf_map_lookup_elem(&ct_index, &line_id);

	if (!line)
		return 0;
#pragma nounroll
	for (__u32 i = 0; i < CT_LINE_ENTRIES; i++) {
		__u32 entry = *(volatile __u32 *)&line->entry[i];

		if (entry && (entry & CT_SLOT_MASK) == slot)
			return __sync_val_compare_and_swap(&line->entry[i], entry, 0) == entry;
	}
	return 0;
}

enum ct_entering { CT_ENTERED, CT_WAS_THERE, CT_NO_PLACE };

#define CT_CONTEND_TRIES 32	/* about 1 us: longer than another CPU takes to see an entry and withdraw its own */

/* The entry of that slot, which was put, is to be that of `sought` of the work: 0 where another one was there, or
 * begins just now on another CPU and lies lower.  One that lies higher withdraws as soon as it sees this one,
 * unless it was there before. */
static __always_inline bool ct_prevails(__u32 slot, __u32 level)
{
#pragma nounroll
	for (int try = 0; try < CT_CONTEND_TRIES; try++) {
		__u32 entry = ct_search(level);

		if (!entry)
			return true;
		if ((entry & CT_SLOT_MASK) < slot)
			return false;
	}
	return false;
}

/* Enter `sought` of the work, whose place is `place`: a key or the alias of a slot that was taken, whose
 * record says so already. */
static __always_inline int ct_enter_here(struct ct_work *w, __u32 slot, __u32 level)
{
	struct ct_line *line, *other;
	struct ct_place place;
	__u32 entry, home;

	place = w->place;
	home = place.line;
	line = bpf_map_lookup_elem(&ct_index, &place.line);
	if (!line)
		return CT_NO_PLACE;
	w->but = slot;
	if (ct_put(line, place.bits | slot)) {
		home = place.other;
		other = bpf_map_lookup_elem(&ct_index, &home);
		if (!other || ct_put(other, place.bits | slot))
			return CT_NO_PLACE;
		__sync_fetch_and_add(&line->spilled, 1);
	}
	if (ct_hits(&w->place, &entry) == 1 || ct_prevails(slot, level))
		return CT_ENTERED;
	if (!ct_erase(home, slot))
		return CT_ENTERED;	/* and removed by somebody since, who has counted it out */
	if (home != place.line)
		__sync_fetch_and_add(&line->spilled, -1);
	return CT_WAS_THERE;
}

__attribute__((noinline)) int ct_enter(__u32 slot, __u32 level)
{
	struct ct_work *w = ct_work_get(level);

	return w ? ct_enter_here(w, slot, level) : CT_NO_PLACE;
}

/* Take `sought` of the work, a key or an alias of that slot, out of the index; 1 where it was there. */
__attribute__((noinline)) int ct_strike(__u32 slot, __u32 level)
{
	struct ct_config *config = ct_config_get();
	struct ct_work *w = ct_work_get(level);
	struct ct_place place;
	struct ct_line *line;

	if (!config || !w)
		return 0;
	ct_place_sought(w, config);
	place = w->place;
	if (ct_erase(place.line, slot))
		return 1;
	line = bpf_map_lookup_elem(&ct_index, &place.line);
	if (!line || !line->spilled || !ct_erase(place.other, slot))
		return 0;
	__sync_fetch_and_add(&line->spilled, -1);
	return 1;
}

#endif
