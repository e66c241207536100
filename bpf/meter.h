/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Meters: a bucket a band (OpenFlow 1.3.5, 5.7), as the time at which it will be full.
 *
 * That is one word, so that CPUs need no lock (the generic cell rate algorithm,
 * ITU-T I.371, in its virtual scheduling form).  As in police.h, a packet
 * passes a band while there is any token in it and may take it into debt: the
 * long-run rate is exact whatever the packets' size.
 */
#ifndef GOSSAMER_METER_H
#define GOSSAMER_METER_H

struct meter_key {
	__u32 bridge;
	__u32 meter_id;
};

struct meter {			/* as struct rule */
	__u64 since;
	__u32 now, before;	/* index in the arrays below, plus one; 0: there is no such meter */
};

/* Written by the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_METERS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct meter_key);
	__type(value, struct meter);
} meters SEC(".maps");

enum band_type { BAND_DROP = 1, BAND_DSCP_REMARK = 2 };

#define METER_SHIFT 7	/* times are in 1/128 ns */

struct band {
	__u64 rate;		/* bytes, or packets, a second; 0: nothing passes */
	__u64 cost;		/* time that a byte, or packet, takes to fill */
	__u64 burst;		/* time that fills an empty bucket */
	__u32 type;
	__u32 precedence;
};

struct meter_bands {
	__u8 n_bands;
	__u8 packets;		/* counts packets, not bytes */
	__u8 coarse;		/* bursts are long: the coarse clock will do */
	__u8 pad[5];
	struct band bands[MAX_BANDS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_METERS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct meter_bands);
} meter_bands SEC(".maps");

struct count {
	__u64 packets;
	__u64 bytes;
};

struct meter_state {
	__u64 full_at[MAX_BANDS];	/* 0: it has not begun */
};

/* Written here; the daemon zeroes a meter's when it is added or changed. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_METERS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct meter_state);
} meter_states SEC(".maps");

struct meter_counts {
	struct count all;
	struct count band[MAX_BANDS];
};

/* Written here, summed by the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_METERS);
	__type(key, __u32);
	__type(value, struct meter_counts);
} meter_counts SEC(".maps");

/* RFC 2597: the drop precedence of an assured forwarding class goes up, to 3 at most. */
static __always_inline __u8 remark(__u8 tos, __u32 precedence)
{
	__u8 dscp = tos >> 2, drop = (dscp >> 1) & 3, class = dscp >> 3;
	__u32 raised = drop + precedence;

	if (class < 1 || class > 4 || (dscp & 1) || !drop)
		return tos;
	return class << 5 | (raised > 3 ? 3 : raised) << 3 | (tos & 3);
}

/* Take what a packet costs out of a bucket; false where there is nothing in it. */
static __always_inline bool take(__u64 *full_at, struct band *b, __u64 now, __u64 amount)
{
	for (int i = 0; i < 4; i++) {
		__u64 was = *(volatile __u64 *)full_at, from = was;

		if (!was || (__s64)(was - now) < 0)
			from = now;
		else if ((__s64)(was - now) >= (__s64)b->burst)
			return false;
		if (__sync_val_compare_and_swap(full_at, was, from + amount * b->cost) == was)
			return true;
	}
	return true;	/* four other CPUs were faster: one packet too many */
}

/* Returns 1 where the packet must be dropped. */
__attribute__((noinline)) int meter(struct __sk_buff *skb, __u32 index, __u32 level)
{
	struct meter_bands *m = bpf_map_lookup_elem(&meter_bands, &index);
	struct meter_state *s = bpf_map_lookup_elem(&meter_states, &index);
	struct meter_counts *c = bpf_map_lookup_elem(&meter_counts, &index);
	struct state *st = state_get(level);
	__u32 length, amount, exceeded = MAX_BANDS;
	struct flow_key *k;
	__u64 now, rate = 0;

	if (!m || !s || !c || !st)
		return 0;
	now = (m->coarse ? st->now : bpf_ktime_get_ns()) << METER_SHIFT;
	length = st->length;
	amount = m->packets ? (skb->gso_segs ? skb->gso_segs : 1) : length;
	c->all.packets += 1;
	c->all.bytes += length;
	for (__u32 i = 0; i < MAX_BANDS; i++) {
		struct band *b = &m->bands[i];

		if (i >= m->n_bands)
			break;
		if (b->rate && take(&s->full_at[i], b, now, amount))
			continue;
		if (b->rate >= rate) {
			rate = b->rate;
			exceeded = i;
		}
	}
	if (exceeded < MAX_BANDS) {
		c->band[exceeded].packets += 1;
		c->band[exceeded].bytes += length;
	}
	if (exceeded >= MAX_BANDS)
		return 0;
	if (m->bands[exceeded].type != BAND_DSCP_REMARK) {
		count_drop(DROP_METER);
		return 1;
	}
	k = key_of(st);
	if (k->eth_type == bpf_htons(0x0800) || k->eth_type == bpf_htons(0x86dd)) {
		touch(st, GROUP_L3);
		k->nw_tos = remark(k->nw_tos, m->bands[exceeded].precedence);
	}
	return 0;
}

#endif
