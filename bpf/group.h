/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Groups and clones: actions on a copy of the packet (OpenFlow 1.3.5, 5.6; ovs-actions(7), clone).
 *
 * Nothing is copied: a scope remembers the key, and puts it back at its end.
 * A select group's bucket is chosen while translating, by the bits of the key
 * it hashes, which are in the bridge's cache mask.  The choice is that of
 * src/gossamer/pipeline/group.py, bit by bit.
 */
#ifndef GOSSAMER_GROUP_H
#define GOSSAMER_GROUP_H

enum group_type { GROUP_ALL, GROUP_SELECT, GROUP_INDIRECT, GROUP_FAST_FAILOVER };

struct group_key {
	__u32 bridge;
	__u32 group_id;
};

struct group_state {		/* from some version of its bridge on */
	__u64 buckets;		/* list in `buckets` */
	__u32 type;
	__u32 basis;
	struct flow_ref counter;	/* id 0: there is no such group */
	__u32 n_words;
	__u32 pad;
	struct match_word words[GROUP_WORDS];	/* what a select group hashes */
};

struct group {			/* as struct rule */
	__u64 since;
	struct group_state now, before;
};

/* Written by the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_GROUPS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct group_key);
	__type(value, struct group);
} groups SEC(".maps");

struct bucket {
	__u32 program;
	__u32 id;
	__u32 weight;
	__u32 live;		/* what it watches is up; kept true by the daemon */
	struct flow_ref counter;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_BUCKETS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct bucket);
} buckets SEC(".maps");

/* One round of the hash: 64 bits of state, 32 bits of data. */
static __always_inline __u64 hash_word(__u64 h, __u32 word)
{
	h = (h ^ word) * 0xff51afd7ed558ccdull;
	return h ^ (h >> 32);
}

/* -log2(number / 2^32) in 1/65536ths; 0 counts as 1. */
static __always_inline __u32 minus_log2(__u32 number)
{
	__u32 x = number | 1, whole = 31, fraction = 0;
	__u64 mantissa;

#pragma unroll
	for (int s = 16; s; s >>= 1) {
		if (!(x >> (32 - s))) {
			x <<= s;
			whole -= s;
		}
	}
	mantissa = x;
#pragma unroll
	for (int i = 0; i < 16; i++) {
		__u32 carry;

		mantissa = mantissa * mantissa >> 31;
		carry = mantissa >> 32;
		mantissa >>= carry;
		fraction = fraction << 1 | carry;
	}
	return (32u << 16) - (whole << 16 | fraction);
}

struct choice {			/* of a bucket */
	__u32 level;
	__u32 offset;		/* of the group's list */
	__u32 select;		/* by weight; else the first that is live */
};

static long weigh_bucket(__u32 i, struct choice *choice)
{
	struct state *st = state_get(choice->level);
	__u32 at = choice->offset + i, log;
	struct bucket *bucket = bpf_map_lookup_elem(&buckets, &at);

	if (!st || !bucket)
		return 1;
	if (!bucket->live)
		return 0;
	if (!choice->select) {
		st->best_bucket = at;
		st->best_weight = 1;
		return 1;
	}
	if (!bucket->weight)
		return 0;
	log = minus_log2(hash_word(hash_word(hash_word(0, st->group_hash), bucket->id), 0));
	if (!st->best_weight ||
	    (__u64)bucket->weight * st->best_log > (__u64)st->best_weight * log) {
		st->best_weight = bucket->weight;
		st->best_log = log;
		st->best_bucket = at;
	}
	return 0;
}

/* Actions whose changes end with them: those of `list`, or of one program. */
__attribute__((noinline)) int open_scope(__u64 list, __u32 program, __u32 table, __u32 level)
{
	struct state *st = state_get(level);
	struct scope *scope;
	__u32 n;

	if (!st)
		return 0;
	n = st->n_scopes;
	if (n >= MAX_SCOPES || st->n_frames >= MAX_DEPTH) {
		st->failure = DROP_TOO_DEEP;
		return 0;
	}
	scope = &st->scopes[n & (MAX_SCOPES - 1)];
	scope->buckets = list;
	scope->program = program;
	scope->table = table;
	scope->frame = st->n_frames;
	scope->begun = 0;
	scope->is_clone = program != 0;
	scope->stack_base = st->stack_base;
	scope->own_set = OWN_SET_NONE;
	scope->clone_around = st->clone;
	if (program) {
		st->clone = n + 1;
		st->stack_base = st->n_stack;
	} else {
		st->n_buckets++;
	}
	__builtin_memcpy(scope->key, st->key, sizeof(scope->key));
	__builtin_memcpy(scope->hidden, st->hidden, sizeof(scope->hidden));
	st->n_scopes = n + 1;
	lay_frame(st, SCOPE_PROGRAM, table);
	return 0;
}

static __always_inline void close_scope(struct state *st, struct scope *scope)
{
	if (!scope->is_clone) {
		st->n_buckets--;
		return;
	}
	if (scope->own_set != OWN_SET_NONE) {
		st->set_done = scope->set_was_done;
		take_set_back(st->level);
	}
	st->clone = scope->clone_around;
	st->n_stack = st->stack_base;
	st->stack_base = scope->stack_base;
}

/* Back in the scope on top: undo what was changed, run what is next. */
__attribute__((noinline)) int continue_scope(__u32 level)
{
	struct state *st = state_get(level);
	struct scope *scope;
	struct bucket *bucket;
	__u32 n, at, program = 0;

	if (!st)
		return 0;
	n = st->n_scopes - 1;
	asm volatile("%0 &= %1" : "+r"(n) : "i"(MAX_SCOPES - 1));
	scope = &st->scopes[n];
	if (scope->own_set == OWN_SET_WRITTEN) {	/* it runs on the clone as it is now */
		scope->own_set = OWN_SET_RUN;
		if (st->set_used & SET_ENDS) {
			lay_action_set(level);
			return 0;
		}
	}
	if (scope->begun) {
		__builtin_memcpy(st->key, scope->key, sizeof(scope->key));
		__builtin_memcpy(st->hidden, scope->hidden, sizeof(scope->hidden));
		/* those of clones that an exit has left, too */
		for (int i = 0; i < MAX_SCOPES; i++) {
			if (st->n_saved <= n)
				break;
			emit_simple(st, DO_RESTORE, 0, 0);
			st->n_saved--;
		}
	}
	scope->begun = 1;
	if (list_length(scope->buckets)) {
		at = LIST_OFFSET(scope->buckets);
		bucket = bpf_map_lookup_elem(&buckets, &at);
		scope->buckets += (1ull << 32) - 1;	/* without its first */
		if (bucket) {
			pass_flow(bucket->counter.id, bucket->counter.generation, level);
			program = bucket->program;
		}
		lay_frame(st, program, scope->table);
		return 0;
	}
	program = scope->program;
	scope->program = 0;
	if (program) {
		lay_frame(st, program, scope->table);
		return 0;
	}
	close_scope(st, scope);
	st->n_scopes = n;
	st->n_frames = scope->frame;
	return 0;
}

/* An exit: out of the bucket it is in, no further; out of everything (0) where it is in none. */
__attribute__((noinline)) int leave_bucket(__u32 level)
{
	struct state *st = state_get(level);

	if (!st || !st->n_buckets)
		return 0;
	for (int i = 0; i < MAX_SCOPES; i++) {
		__u32 n = (st->n_scopes - 1) & (MAX_SCOPES - 1);
		struct scope *scope = &st->scopes[n];

		if (!scope->is_clone) {
			st->n_frames = scope->frame + 1;
			break;
		}
		close_scope(st, scope);
		st->n_scopes = n;
	}
	return 1;
}

/* A scope for what a group comes to for this packet; 1 where the rule ends, for want of it. */
__attribute__((noinline)) int enter_group(__u32 group_id, __u32 table, __u32 level)
{
	struct state *st = state_get(level);
	struct group_key key = { .group_id = group_id };
	struct choice choice = { .level = level };
	struct group *there;
	struct group_state *group = NULL;
	__u64 list, h;

	if (!st)
		return 0;
	key.bridge = st->bridge;
	there = bpf_map_lookup_elem(&groups, &key);
	if (there)
		group = st->version >= there->since ? &there->now : &there->before;
	if (!group || !group->counter.id) {
		emit_simple(st, DO_DROP, 0, DROP_NO_GROUP);
		return 1;
	}
	pass_flow(group->counter.id, group->counter.generation, level);
	list = *(volatile __u64 *)&group->buckets;
	if (group->type == GROUP_SELECT || group->type == GROUP_FAST_FAILOVER) {
		choice.offset = LIST_OFFSET(list);
		choice.select = group->type == GROUP_SELECT;
		if (choice.select) {
			h = hash_word(0, group->basis);
			for (__u32 i = 0; i < GROUP_WORDS; i++) {
				__u32 at;

				if (i >= group->n_words)
					break;
				at = group->words[i].word;
				if (at >= KEY_WORDS)
					break;
				h = hash_word(h, bpf_ntohl(st->key[at] & group->words[i].mask));
			}
			st->group_hash = h;
		}
		st->best_weight = 0;
		bpf_loop(list_length(list), weigh_bucket, &choice, 0);
		if (!st->best_weight) {
			emit_simple(st, DO_DROP, 0, DROP_NO_BUCKET);
			return 0;
		}
		list = (__u64)st->best_bucket << 32 | 1;
	}
	open_scope(list, 0, table, level);
	return 0;
}

/* The stack of push: and pop:, through the scratch words (ovs-actions(7)). */
static __always_inline void push_stack(struct state *st)
{
	__u32 n = st->n_stack;

	if (n >= MAX_STACK) {
		st->failure = DROP_TOO_DEEP;
		return;
	}
	__builtin_memcpy(st->stack[n & (MAX_STACK - 1)], &st->key[STACK_WORD], 16);
	st->n_stack = n + 1;
}

static __always_inline int pop_stack(struct state *st)
{
	__u32 n = st->n_stack;

	if (n <= st->stack_base)
		return -1;
	n = (n - 1) & (MAX_STACK - 1);
	__builtin_memcpy(&st->key[STACK_WORD], st->stack[n], 16);
	st->n_stack = n;
	return 0;
}

#endif
