/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Connections that the daemon removes: a program that it runs itself (BPF_PROG_TEST_RUN), so that
 * nobody but the kernel writes where connections lie, and all that refers to one goes with it. */
#ifndef GOSSAMER_FORGET_H
#define GOSSAMER_FORGET_H

#define FORGET_HEAD 16		/* a word: how many; one: enum forget */
#define FORGET_MOST 80		/* keys in a packet, which must fit a page */

enum forget { FORGET_ALL, FORGET_EXPIRED };

struct forgetting {
	struct __sk_buff *skb;
	__u32 level;
	__u32 which;		/* enum forget */
	__u32 n;		/* removed */
};

static long forget_one(__u32 i, struct forgetting *forgetting)
{
	struct ct_work *w = ct_work_get(forgetting->level);
	struct state *st = state_get(forgetting->level);
	struct ct_connection *c;

	if (!w || !st || bpf_skb_load_bytes(forgetting->skb, FORGET_HEAD + i * sizeof(w->victim),
					    &w->victim, sizeof(w->victim)))
		return 1;
	c = ct_get(w, &w->victim, forgetting->level);
	if (c && (forgetting->which != FORGET_EXPIRED || c->expires <= st->now))
		forgetting->n += ct_remove(forgetting->level);
	return 0;
}

#endif
