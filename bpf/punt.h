/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Punts: packets for the daemon, with where they stood; and captures, for tests and traces. */
#ifndef GOSSAMER_PUNT_H
#define GOSSAMER_PUNT_H

struct punt {
	__u32 bridge;
	__u32 in_port;		/* port id */
	__u32 who;		/* controller id | reason << 16 */
	__u32 where;		/* table | userdata id << 8 */
	__u32 flow;		/* id of the rule, TABLE_MISS set for none */
	__u32 max_len;
	__u32 total_len;
	__u32 captured;		/* bytes of data that follow */
	__u32 to_port;		/* capture mode: port id of this output; else 0 */
	__be16 vlan_tci;	/* a tag the kernel holds beside the frame, */
	__be16 vlan_tpid;	/* 0: it holds none */
	__u32 gso_size;		/* a train of segments of this many bytes, 0: one packet */
	__u32 wrote[MAX_WRITERS];	/* with REASON_SLOW: rules whose writing is the action set that
					 * the packet has brought; 0: no more */
	__u32 key[KEY_WORDS];
	__u8 data[];
};

/* Read by the daemon; what it does not read in time is dropped and counted. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, PUNT_RING_BYTES);
} punts SEC(".maps");

/* Packet-ins a port may cause, and behind those of all ports its samples: refilled with time,
 * written here. */
struct punt_bucket {
	__u64 filled;
	__u64 tokens;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * MAX_PORTS);
	__type(key, __u32);
	__type(value, struct punt_bucket);
} punt_buckets SEC(".maps");

/* `share`: 0, or MAX_PORTS for samples. */
static __always_inline bool punt_allowed(struct state *st, __u32 share)
{
	__u32 at = st->in_port + share;
	struct punt_bucket *b = bpf_map_lookup_elem(&punt_buckets, &at);
	__u64 passed, filled;

	if (!b)
		return false;
	/* CPUs may race here: the limit is approximate, never unbounded. */
	passed = elapsed(st, b->filled);
	if (passed > 1000000000ull)
		passed = 1000000000ull;
	filled = b->tokens + passed * PUNTS_PER_SECOND / 1000000000ull;
	if (filled > b->tokens) {
		b->filled = st->now;
		b->tokens = filled > PUNTS_PER_SECOND ? PUNTS_PER_SECOND : filled;
	}
	if (!b->tokens)
		return false;
	b->tokens -= 1;
	return true;
}

/* The ring takes records of constant size only: one function a size class, each verified by
 * itself (merged by the compiler, they confuse the bounds). */
#define PUNT_OF_SIZE(name, size)                                                            \
	__attribute__((noinline)) int name(struct __sk_buff *skb, __u32 take, __u32 to_port, \
					   __u32 level)                                     \
	{                                                                                   \
		struct state *st = state_get(level);                                        \
		struct punt *p;                                                             \
		__u64 n;                                                                    \
                                                                                            \
		if (!st || take < 1 || take > (size))                                       \
			return -1;                                                          \
		p = bpf_ringbuf_reserve(&punts, sizeof(*p) + (size), 0);                    \
		if (!p)                                                                     \
			return -1;                                                          \
		p->bridge = st->bridge;                                                     \
		p->in_port = st->in_port;                                                   \
		p->who = st->punt.b;                                                        \
		p->where = st->punt.c;                                                      \
		p->flow = st->punt.d;                                                       \
		p->max_len = st->punt.a;                                                    \
		p->total_len = skb->len;                                                    \
		p->captured = take;                                                         \
		p->to_port = to_port;                                                       \
		p->vlan_tci = 0;                                                            \
		p->vlan_tpid = 0;                                                           \
		p->gso_size = skb->gso_size;                                                \
		if (skb->vlan_present) {                                                    \
			p->vlan_tci = bpf_htons(skb->vlan_tci);                     \
			p->vlan_tpid = skb->vlan_proto;                                     \
		}                                                                           \
		for (int i = 0; i < MAX_WRITERS; i++)                                       \
			p->wrote[i] = st->resumed_set && i < st->brought.n ?                \
					      st->brought.rules[i] : 0;                     \
		__builtin_memcpy(p->key, st->key, sizeof(p->key));                          \
		/* 1..size in a form that 6.1's verifier follows: "not zero" teaches it nothing */ \
		n = take - 1;                                                               \
		asm volatile("%0 &= %1" : "+r"(n) : "i"((size) - 1));                       \
		if (bpf_skb_load_bytes(skb, 0, p->data, n + 1)) {                            \
			bpf_ringbuf_discard(p, 0);                                          \
			return -1;                                                          \
		}                                                                           \
		bpf_ringbuf_submit(p, 0);                                                   \
		return 0;                                                                   \
	}

PUNT_OF_SIZE(punt_256, 256)
PUNT_OF_SIZE(punt_2048, 2048)
PUNT_OF_SIZE(punt_65536, 65536)

/* Put the packet, as its headers are now, into the ring.  Returns 0, or -1 when it is full. */
static __always_inline int punt_write(struct __sk_buff *skb, struct state *st, struct op *op,
				      __u32 to_port, __u32 level)
{
	__u32 take = skb->len;

	if (op->a && take > op->a)
		take = op->a;
	st->punt = *op;
	if (take <= 256)
		return punt_256(skb, take, to_port, level);
	if (take <= 2048)
		return punt_2048(skb, take, to_port, level);
	return punt_65536(skb, take, to_port, level);
}

#endif
