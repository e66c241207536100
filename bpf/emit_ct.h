/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* ct() in the path: with what its exec() writes before it, and, where a copy goes on at a table, all
 * that the copy takes along. */
#ifndef GOSSAMER_EMIT_CT_H
#define GOSSAMER_EMIT_CT_H

static __always_inline void emit_ct_set(struct state *st, struct op *rule)
{
	struct op op = { .code = DO_CT_SET, .a = rule->a, .b = rule->b, .c = rule->c };
	__u32 from = rule->d;

	if (from && from <= KEY_WORDS + 16) {
		from -= 1;
		BOUND_WORD(from);
		op.b = st->key[from] & op.c;
	}
	emit_op(st, &op);
}

/* One operation of the action set: first the slots, then those that set fields. */
static long emit_carried(__u32 i, __u32 *level)
{
	struct state *st = state_get(*level);
	struct op op;

	if (!st)
		return 1;
	if (i < 16) {
		if (!(st->set_used & (1 << i)))
			return 0;
		op = st->slots[i];
	} else {
		i -= 16;
		if (i >= st->n_set || i >= SET_ROOM)
			return 1;
		if (i < st->n_laid)
			return 0;
		op = st->set[i];
	}
	op.code |= DO_CARRY;
	emit_op(st, &op);
	return 0;
}

/* Who wrote it, for the daemon. */
static __always_inline void emit_writers(struct state *st)
{
	struct op op = { .code = OP_WROTE | DO_CARRY };
	__u32 n = st->writers.n;

	op.flags = n > MAX_WRITERS;
#pragma unroll
	for (__u32 i = 0; i < MAX_WRITERS; i += 3) {
		op.b = st->writers.rules[i];
		op.c = i + 1 < n ? st->writers.rules[i + 1] : 0;
		op.d = i + 2 < n ? st->writers.rules[i + 2] : 0;
		if (i < n)
			emit_op(st, &op);
	}
}

/* Whether the action set is that of the clone at hand, if any: one that has written none has none. */
static __always_inline bool has_own_set(struct state *st)
{
	return !st->clone ||
	       st->scopes[(st->clone - 1) & (MAX_SCOPES - 1)].own_set != OWN_SET_NONE;
}

__attribute__((noinline)) int emit_carry(__u32 level)
{
	struct state *st = state_get(level);

	if (!st)
		return 0;
	st->uses_state = 1;
	bpf_loop(PACKET_WORD - 2, emit_state_word, &level, 0);
	if (has_own_set(st) && (st->set_used || st->n_set > st->n_laid)) {
		bpf_loop(16 + SET_ROOM, emit_carried, &level, 0);
		emit_writers(st);
	}
	return 0;
}

static __always_inline void emit_ct(struct op *rule, struct state *st)
{
	struct op op = { .code = DO_CT, .flags = rule->flags & ~CT_ZONE_IN_WORD, .a = rule->a,
			 .b = rule->b, .c = rule->c & 0xff };

	if (rule->flags & CT_ZONE_IN_WORD)
		op.a = read_bits(st, rule->a & 0xff, rule->a >> 8, rule->c >> 8 & 0xff);
	/* it may change the packet, or drop it: the end of its scope must show */
	before_change(st);
	if (op.flags & CT_DO_TABLE) {
		emit_in_port(st);
		emit_carry(st->level);
	}
	emit_op(st, &op);
	ct_forget(st);
}

#endif
