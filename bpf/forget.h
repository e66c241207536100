/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Connections that the daemon removes: a program that it runs itself (BPF_PROG_TEST_RUN), so that
 * nobody but the kernel writes where connections lie, and all that refers to one goes with it.
 * It is told their keys, or slots that it is to look at.  Its CPU takes no packets meanwhile, so that one
 * run is short: 128 connections of three million take 0.15 ms, those that stay a tenth of that. */
#ifndef GOSSAMER_FORGET_H
#define GOSSAMER_FORGET_H

#define FORGET_HEAD 16		/* words: how many, enum forget, the first slot, the zone */
#define FORGET_MOST 80		/* keys in a packet, which must fit a page */
#define FORGET_SLOTS_MOST 128
#define FORGET_LAST_SHIFT 16	/* of what is returned: above it, how many slots end with the last in use */
#define FORGET_ALL_ZONES ~0u

enum forget { FORGET_KEYS, FORGET_SLOTS, FORGET_EXPIRED_SLOTS };

struct forgetting {
	struct __sk_buff *skb;
	__u32 level;
	__u32 which;		/* enum forget */
	__u32 slot;		/* the first */
	__u32 zone;
	__u32 n;		/* removed */
	__u32 last;		/* slots up to the last that is in use */
};

static long forget_key(__u32 i, struct forgetting *forgetting)
{
	struct ct_work *w = ct_work_get(forgetting->level);

	if (!w || bpf_skb_load_bytes(forgetting->skb, FORGET_HEAD + i * sizeof(w->victim),
				     &w->victim, sizeof(w->victim)))
		return 1;
	forgetting->n += ct_remove(forgetting->level);
	return 0;
}

static long forget_slot(__u32 i, struct forgetting *forgetting)
{
	struct ct_work *w = ct_work_get(forgetting->level);
	struct state *st = state_get(forgetting->level);
	struct ct_record *record = ct_record_get(forgetting->slot + i);

	if (!w || !st || !record)
		return 1;
	if (!record->taken)
		return 0;
	forgetting->last = i + 1;
	if (!record->key.family)
		return 0;	/* about to be made */
	if (forgetting->which == FORGET_EXPIRED_SLOTS) {
		forgetting->n += ct_expire(record, st, w, forgetting->level);
	} else if (forgetting->zone == FORGET_ALL_ZONES || forgetting->zone == record->key.zone) {
		w->victim = record->key;
		forgetting->n += ct_remove(forgetting->level);
	}
	return 0;
}

#endif
