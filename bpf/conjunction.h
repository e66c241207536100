/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Conjunctive matches (ovs-fields(7), "Conjunctive Match Fields").
 *
 * Rules with conjunction actions lie in subtables of their own.  The search
 * notes those it hits; if they cover all clauses of a conjunction at a
 * priority above the ordinary match, the table is searched once more with
 * conj_id set.
 */
#ifndef GOSSAMER_CONJUNCTION_H
#define GOSSAMER_CONJUNCTION_H

static __always_inline void add_clause(struct state *st, struct op *op)
{
	__u32 n = st->n_conjunctions, clauses = op->a >> 8, at;
	__u64 all = clauses >= 64 ? ~0ull : (1ull << clauses) - 1;

	for (at = 0; at < MAX_CONJUNCTIONS; at++)
		if (at >= n || st->conjunctions[at].id == op->b)
			break;
	if (at >= MAX_CONJUNCTIONS)
		return;
	asm volatile("%0 &= %1" : "+r"(at) : "i"(MAX_CONJUNCTIONS - 1));
	if (at >= n) {
		st->conjunctions[at].id = op->b;
		st->conjunctions[at].found = 0;
		st->n_conjunctions = at + 1;
	}
	st->conjunctions[at].found |= 1ull << (op->a & 63);
	if (st->conjunctions[at].found == all)
		st->conjunction_id = op->b;
}

/* One operation of one alternative. */
static long walk_alternative(__u32 i, __u32 *level)
{
	struct state *st = state_get(*level);
	struct alternative *alternative;
	struct operations found;
	struct op op;
	__u32 at;

	if (!st || st->conjunction_id || st->at_alternative >= st->n_alternatives)
		return 1;
	alternative = &st->alternatives[st->at_alternative & (MAX_ALTERNATIVES - 1)];
	at = st->at_op;
	if (alternative->priority != st->alternative_priority ||
	    !find_program(alternative->program, &found) || at >= found.n_ops || at >= found.room) {
		st->at_alternative++;
		st->at_op = 0;
		return 0;
	}
	op = found.ops[at];
	if (op.code == OP_CONJUNCTION)
		add_clause(st, &op);
	st->at_op = at + 1;
	return 0;
}

/* The id of a conjunction above `priority` (plus one) and below what was tried before, 0 none. */
__attribute__((noinline)) int next_conjunction(__u32 priority, __u32 level)
{
	struct state *st = state_get(level);
	__u32 best = 0;

	if (!st)
		return 0;
	for (__u32 i = 0; i < MAX_ALTERNATIVES; i++) {
		if (i >= st->n_alternatives)
			break;
		if (st->alternatives[i].priority < st->alternative_priority &&
		    st->alternatives[i].priority > best)
			best = st->alternatives[i].priority;
	}
	if (best <= priority)
		return 0;
	st->alternative_priority = best;
	st->at_alternative = 0;
	st->at_op = 0;
	st->n_conjunctions = 0;
	st->conjunction_id = 0;
	bpf_loop(MAX_ALTERNATIVES * (LARGE_OPS + 1), walk_alternative, &level, 0);
	return 1;
}

#define MAX_TRIES 8	/* priorities at which conjunctions may fail */

/* As classify(), conjunctions included. */
static __always_inline int look_up(__u32 table, __u32 level)
{
	struct state *st = state_get(level);
	struct flow_ref flow;
	__u32 program, priority;
	int hit;

	if (!st)
		return 0;
	st->n_alternatives = 0;
	hit = classify(table, level);
	if (!st->n_alternatives)
		return hit;
	flow = st->found;
	program = st->found_program;
	priority = hit ? st->found_priority : 0;
	st->alternative_priority = ~0u;
	for (int i = 0; i < MAX_TRIES; i++) {
		__u32 n;

		if (!next_conjunction(priority, level))
			break;
		if (!st->conjunction_id)
			continue;
		n = st->n_alternatives;
		key_of(st)->conj_id = bpf_htonl(st->conjunction_id);
		hit = classify(table, level);
		key_of(st)->conj_id = 0;
		st->n_alternatives = n;
		if (hit)
			return 1;
	}
	st->found = flow;
	st->found_program = program;
	st->found_priority = priority;
	return priority != 0;
}

#endif
