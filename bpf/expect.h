/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Connections that a helper read of in another one (docs/conntrack.md, Helpers): they are related,
 * and have the mark, the label and the translation that the daemon wrote down for them. */
#ifndef GOSSAMER_EXPECT_H
#define GOSSAMER_EXPECT_H

/* Is the new connection that the packet may begin expected?  Then `expectation` of the work says
 * how. */
__attribute__((noinline)) int ct_expect(__u32 level)
{
	struct ct_shared *shared = ct_shared_get();
	struct ct_work *w = ct_work_get(level);
	struct ct_expectation *e;

	/* the daemon counts those it ever wrote: where there are none, nobody pays for them */
	if (!w || !shared || !shared->n_expectations)
		return 0;
	w->victim = w->tuple;
	w->victim.sport = 0;
	e = bpf_map_lookup_elem(&ct_expectations, &w->victim);
	if (!e) {
		__builtin_memset(w->victim.src, 0, 16);
		e = bpf_map_lookup_elem(&ct_expectations, &w->victim);
	}
	if (!e)
		return 0;
	w->expected = 1;
	w->expectation = *e;
	w->expectation_key = w->victim;
	w->ct_state |= CT_RELATED;
	return 0;
}

/* The connection being made is the one expected. */
static __always_inline void ct_adopt(struct ct_work *w)
{
	w->connection.flags |= CT_EXPECTED;
	w->connection.mark = w->expectation.mark;
	__builtin_memcpy(w->connection.label, w->expectation.label, 16);
}

/* It was made: nobody else is expected in its place. */
static __always_inline void ct_adopted(struct ct_work *w)
{
	bpf_map_update_elem(&ct_parents, &w->key, &w->expectation.parent, BPF_ANY);
	bpf_map_delete_elem(&ct_expectations, &w->expectation_key);
}

#endif
