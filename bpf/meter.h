/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Meters: a token bucket a band (OpenFlow 1.3.5, 5.7).
 *
 * As in police.h, a packet passes a band while there is any token in it and
 * may take it into debt: the long-run rate is exact whatever the packets' size.
 */
#ifndef GOSSAMER_METER_H
#define GOSSAMER_METER_H

struct meter_key {
	__u32 bridge;
	__u32 meter_id;
};

/* Written by the daemon: the index of a meter in the two arrays below. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_METERS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct meter_key);
	__type(value, __u32);
} meters SEC(".maps");

enum band_type { BAND_DROP = 1, BAND_DSCP_REMARK = 2 };

struct band {
	__u64 rate;		/* bytes, or packets, a second */
	__s64 full;		/* tokens when full: burst times 1,000,000,000 */
	__u64 filling_ns;	/* after which any debt is paid and the bucket full */
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
	struct bpf_spin_lock lock;
	__u32 begun;
	__u64 filled;		/* ns */
	struct count all;
	struct count band[MAX_BANDS];
	__s64 tokens[MAX_BANDS];	/* times 1,000,000,000 */
};

/* Written here; the daemon zeroes a meter's when it is added or changed. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_METERS);
	__type(key, __u32);
	__type(value, struct meter_state);
} meter_states SEC(".maps");

/* RFC 2597: the drop precedence of an assured forwarding class goes up, to 3 at most. */
static __always_inline __u8 remark(__u8 tos, __u32 precedence)
{
	__u8 dscp = tos >> 2, drop = (dscp >> 1) & 3, class = dscp >> 3;
	__u32 raised = drop + precedence;

	if (class < 1 || class > 4 || (dscp & 1) || !drop)
		return tos;
	return class << 5 | (raised > 3 ? 3 : raised) << 3 | (tos & 3);
}

/* Returns 1 where the packet must be dropped. */
__attribute__((noinline)) int meter(struct __sk_buff *skb, __u32 index, __u32 level)
{
	struct meter_bands *m = bpf_map_lookup_elem(&meter_bands, &index);
	struct meter_state *s = bpf_map_lookup_elem(&meter_states, &index);
	struct state *st = state_get(level);
	__u64 now, passed, rate = 0;
	__u32 length, exceeded = MAX_BANDS;
	struct flow_key *k;
	__s64 cost;

	if (!m || !s || !st)
		return 0;
	now = m->coarse ? st->now : bpf_ktime_get_ns();
	length = st->length;
	cost = m->packets ? (skb->gso_segs ? skb->gso_segs : 1) : length;
	cost *= 1000000000ll;
	bpf_spin_lock(&s->lock);
	passed = now - s->filled;
	if ((__s64)passed < 0)
		passed = 0;
	s->filled = now;
	s->all.packets += 1;
	s->all.bytes += length;
	for (__u32 i = 0; i < MAX_BANDS; i++) {
		struct band *b = &m->bands[i];
		__s64 tokens = s->tokens[i];

		if (i >= m->n_bands)
			break;
		tokens += (passed < b->filling_ns ? passed : b->filling_ns) * b->rate;
		if (tokens > b->full || !s->begun)
			tokens = b->full;
		if (tokens > 0) {
			tokens -= cost;
		} else if (b->rate >= rate) {
			rate = b->rate;
			exceeded = i;
		}
		s->tokens[i] = tokens;
	}
	s->begun = 1;
	if (exceeded < MAX_BANDS) {
		s->band[exceeded].packets += 1;
		s->band[exceeded].bytes += length;
	}
	bpf_spin_unlock(&s->lock);
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
