/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The action set: gathered on the way, run at its end (OpenFlow 1.3.5, 5.10). */
#ifndef GOSSAMER_ACTION_SET_H
#define GOSSAMER_ACTION_SET_H

/* Slots of the action set (OpenFlow 1.3.5, 5.10), in the order they are executed. */
enum set_slot {
	SET_COPY_TTL_IN,
	SET_POP_VLAN,
	SET_POP_MPLS,
	SET_PUSH_MPLS,
	SET_PUSH_VLAN,
	SET_COPY_TTL_OUT,
	SET_DEC_TTL,
	SET_DEC_MPLS_TTL,
	SET_FIRST_LAST,		/* one of those that follow comes last: the first there is */
	SET_GROUP = SET_FIRST_LAST,
	SET_OUTPUT,
	SET_RESUBMIT,
	SET_CT_CLEAR,
	SET_CT,			/* goes on in the program of that ct() */
	SET_SLOTS,
	SET_CHANGES = 15	/* all of them are executed, in the order they were written in */
};
#define SET_ENDS ((1 << SET_SLOTS) - (1 << SET_FIRST_LAST))

/* The frame of that number, NULL where there is none.  One check on a value the compiler cannot
 * rewrite: 6.1 does not learn a bound from "not zero". */
static __always_inline struct frame *frame_at(struct state *st, __u32 n)
{
	asm volatile("" : "+r"(n));
	if (n >= MAX_DEPTH)
		return NULL;
	asm volatile("%0 &= %1" : "+r"(n) : "i"(MAX_DEPTH - 1));
	return &st->frames[n];
}

static __always_inline void lay_frame(struct state *st, __u32 program, __u32 table_id)
{
	__u32 n = st->n_frames;

	if (n >= MAX_DEPTH) {
		st->failure = DROP_TOO_DEEP;
		return;
	}
	st->frames[n].program = program;
	st->frames[n].op = 0;
	st->frames[n].table = table_id;
	st->frames[n].flow = st->running;
	st->n_frames = n + 1;
}

static __always_inline void clear_set(struct state *st)
{
	st->set_used = 0;
	st->n_set = 0;
	st->n_laid = 0;
	st->writers.n = 0;
}

/* A rule has written the action set. */
static __always_inline void add_writer(struct state *st, __u32 rule)
{
	__u32 n = st->writers.n;

	asm volatile("" : "+r"(n));
	if (n > MAX_WRITERS)
		return;
	if (n < MAX_WRITERS)
		st->writers.rules[n] = rule;
	st->writers.n = n + 1;
}

/* A clone's action set is its own: the one around it is put aside when it is first written to. */
__attribute__((noinline)) int put_set_aside(__u32 level)
{
	struct state *st = state_get(level);
	struct action_set *aside;
	struct scope *scope;
	__u32 n;

	if (!st || !st->clone)
		return 0;
	scope = &st->scopes[(st->clone - 1) & (MAX_SCOPES - 1)];
	if (scope->own_set != OWN_SET_NONE)
		return 0;
	n = st->n_sets_aside;
	if (n >= MAX_SETS_ASIDE) {
		st->failure = DROP_TOO_DEEP;
		return 0;
	}
	aside = set_aside_get(level, n);
	if (!aside)
		return 0;
	aside->writers = st->writers;
	aside->used = st->set_used;
	aside->n_set = st->n_set;
	aside->n_laid = st->n_laid;
	__builtin_memcpy(aside->slots, st->slots, sizeof(aside->slots));
	__builtin_memcpy(aside->set, st->set, sizeof(aside->set));
	st->n_sets_aside = n + 1;
	clear_set(st);
	scope->own_set = OWN_SET_WRITTEN;
	scope->set_was_done = st->set_done;
	return 0;
}

/* The clone ends: back to the set around it. */
__attribute__((noinline)) int take_set_back(__u32 level)
{
	struct state *st = state_get(level);
	struct action_set *aside;
	__u32 n;

	if (!st || !st->n_sets_aside)
		return 0;
	n = (st->n_sets_aside - 1) & (MAX_SETS_ASIDE - 1);
	aside = set_aside_get(level, n);
	if (!aside)
		return 0;
	st->writers = aside->writers;
	st->set_used = aside->used;
	st->n_set = aside->n_set;
	st->n_laid = aside->n_laid;
	__builtin_memcpy(st->slots, aside->slots, sizeof(aside->slots));
	__builtin_memcpy(st->set, aside->set, sizeof(aside->set));
	st->n_sets_aside = n;
	return 0;
}

/* Into the action set: one of a kind, the last one counts. */
static __always_inline void write_action(struct state *st, struct op *op)
{
	__u32 slot = OP_SLOT(op->flags), used, n;

	if (st->clone)
		put_set_aside(st->level);
	used = st->set_used;
	n = st->n_set;
	if (op->flags & OP_WRITES)
		add_writer(st, st->running);
	op->flags &= ~(OP_WRITE | OP_WRITES);
	if (slot == SET_CHANGES) {
		if (n >= (st->n_laid ? SET_ROOM : SET_OPS)) {
			st->failure = DROP_TOO_LONG;
			return;
		}
		st->set[n] = *op;
		st->n_set = n + 1;
		return;
	}
	if (slot == SET_GROUP) {
		key_of(st)->actset_output = bpf_htonl(ACTSET_UNSET);
	} else if (slot == SET_OUTPUT && !(used & (1 << SET_GROUP))) {	/* the group overrules it */
		if (op->code == OP_OUTPUT)
			key_of(st)->actset_output = bpf_htonl(op->b);
		else if (op->code == OP_CONTROLLER && (op->flags & 1))
			key_of(st)->actset_output = bpf_htonl(OFPP_CONTROLLER);
	}
	st->slots[slot] = *op;
	st->set_used = used | 1 << slot;
}

/* The action set, put in order behind its set operations, becomes the last frame.  Without a branch
 * for each operation, of which the verifier would follow both ways; and not inlined, for its sake too. */
__attribute__((noinline)) int lay_action_set(__u32 level)
{
	struct state *st = state_get(level);
	struct op nothing = { .code = OP_SET };
	__u32 n, sets, last = SET_FIRST_LAST;

	if (!st)
		return 0;
	sets = st->n_set;
	if (sets > SET_OPS)
		sets = SET_OPS;
	/* Room for those that come first; what is behind the last is moved for nothing.  One by one:
	 * the compiler would read all before it writes, to a stack that has no room for them. */
	for (int i = SET_OPS - 1; i >= 0; i--) {
		st->set[i + SET_FIRST_LAST] = st->set[i];
		asm volatile("" ::: "memory");
	}
#pragma unroll
	for (int s = 0; s < SET_FIRST_LAST; s++) {
		__u32 *to = (__u32 *)&st->set[s], *from = (__u32 *)&st->slots[s];
		__u32 used = -(st->set_used >> s & 1);

#pragma unroll
		for (__u32 w = 0; w < sizeof(struct op) / 4; w++)
			to[w] = (from[w] & used) | (((__u32 *)&nothing)[w] & ~used);
	}
	n = sets + SET_FIRST_LAST;
	/* 6.1 loses the bound on the way through the loop: a mask it can see, and the compiler not. */
	asm volatile("%0 &= %1" : "+r"(n) : "i"(SET_ROOM - 1));
	while (last < SET_CT && !(st->set_used >> last & 1))
		last++;
	st->set[n] = st->slots[last];
	/* what it leads to writes another one, which a ct() sends along */
	st->set_used = 0;
	st->writers.n = 0;
	st->set_done = 1;
	st->n_set = n + 1;
	st->n_laid = n + 1;
	lay_frame(st, ACTION_SET_PROGRAM, 0);
	return 0;
}

#endif
