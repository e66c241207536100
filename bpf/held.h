/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Packets of a connection with a helper wait for the daemon (docs/conntrack.md, Helpers).
 *
 * Such a packet has got as far as a ct(), which has tracked it.  What is known of it, and the
 * operations that are left to do with it, are kept in a slot; the packet itself goes up.  When the daemon
 * has read it, it enters the program once more (admit_held()) and goes on behind that tracking
 * (go_on_held(), waiting.h): copies that have left do not leave twice, and nothing is counted twice.
 */
#ifndef GOSSAMER_HELD_H
#define GOSSAMER_HELD_H

#define HELD_IDS 0xffffff	/* as many as a punt has room for; 0 is none */

struct held {
	__u32 id;		/* 0 while it is written, or read */
	__u32 first_port;
	__u32 mark;
	__u32 resume, n_saves, passes_begun, sequence;
	__u32 n_ops;
	__u32 pad, wire_transport;
	__u32 came[PACKET_WORDS];
	struct arrival in;
	struct pass pass;	/* all but where it goes on: that is for ct() to say */
	struct ct_work work;
	struct transports transports;
	struct save saves[MAX_SCOPES];
	struct op ops[MAX_HELD_OPS];
};

#define LAST_HELD MAX_HELD	/* of this one `id` alone counts: the last that was given */

/* Written and read only here. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_HELD + 1);
	__type(key, __u32);
	__type(value, struct held);
} held SEC(".maps");

static __always_inline struct held *held_get(__u32 id)
{
	__u32 at = id & (MAX_HELD - 1);

	return bpf_map_lookup_elem(&held, &at);
}

/* Must the packet in hand, which has a connection, wait for what the daemon reads in it? */
static __always_inline bool held_for_helper(struct state *st, struct ct_work *w)
{
	if (!w->connection.alg || w->error || st->arrived_again || w->kind != TRANSPORT_PORTS ||
	    (key_of(st)->nw_frag & FRAG_ANY) || (w->ct_state & CT_INVALID))
		return false;
	if (w->connection.alg == 69)
		return w->tuple.proto == 17 && !w->reply && st->l4_length > 8;
	return w->tuple.proto == 6 && w->payload;
}

/* Keep what is known of the packet; its operations follow, by hold_op(). */
__attribute__((noinline)) int hold(struct __sk_buff *skb, __u32 level)
{
	struct state *st = state_get(level);
	struct ct_work *w = ct_work_get(level);
	struct transports *tr = transports_get(level);
	__u32 id, at = LAST_HELD;
	struct held *h, *last = bpf_map_lookup_elem(&held, &at);
	struct pass *pass;

	if (!st || !w || !tr || !last)
		return -1;
	id = __sync_fetch_and_add(&last->id, 1) % HELD_IDS + 1;
	h = held_get(id);
	pass = pass_get(level, st->pass_tail);
	if (!h || !pass)
		return -1;
	h->id = 0;
	h->first_port = st->first_port;
	h->mark = skb->mark;
	h->resume = st->resume;
	h->passes_begun = st->passes_begun;
	h->sequence = w->seq;
	h->n_ops = 0;
	h->wire_transport = st->touched ? WIRE(st)->transport : key_of(st)->transport;
	__builtin_memcpy(h->came, st->came, sizeof(h->came));
	h->in = st->in;
	h->pass.port = st->in_port;
	h->pass.bridge = st->bridge;
	h->pass.queue = st->queue;
	h->pass.n_set = st->n_carried;
	__builtin_memcpy(h->pass.key, st->key, sizeof(h->pass.key));
	if (st->n_carried)
		__builtin_memcpy(h->pass.set, pass->set, sizeof(h->pass.set));
	h->work = *w;
	h->transports = *tr;
	h->n_saves = st->n_saves;
	for (__u32 n = 0; n < MAX_SCOPES; n++) {
		if (n < st->n_saves)
			h->saves[n] = st->saves[n];
	}
	st->holds = id;
	return 0;
}

/* One more operation that is left to do with the packet that is being held. */
static __always_inline void hold_op(struct state *st, struct op *op)
{
	struct held *h = held_get(st->holds);
	__u32 n;

	if (!h)
		return;
	n = h->n_ops;
	if (n < MAX_HELD_OPS)
		h->ops[n & (MAX_HELD_OPS - 1)] = *op;
	h->n_ops = n + 1;
}

/* Send the packet up, as it is now: with its id, and the tuple that its ct() met. */
__attribute__((noinline)) int send_held(struct __sk_buff *skb, __u32 level)
{
	struct state *st = state_get(level);
	struct held *h;
	struct op op = {};
	__u32 in_port;
	__u16 zone;

	if (!st)
		return 0;
	h = held_get(st->holds);
	op.b = REASON_CT_ALG << 16;
	op.c = st->holds << 8;
	st->holds = 0;
	if (!h)
		return 0;
	if (h->n_ops > MAX_HELD_OPS) {
		count_drop(DROP_TOO_LONG);
		return 0;
	}
	asm volatile("" ::: "memory");
	h->id = op.c >> 8;
	/* it will arrive where it entered the switch, also where a patch port brought it here */
	in_port = st->in_port;
	zone = key_of(st)->ct_zone;
	st->in_port = h->first_port;
	key_of(st)->ct_zone = bpf_htons(h->work.zone);
	if (punt_write(skb, st, &op, 0, level))
		count_drop(DROP_PUNT_FULL);
	key_of(st)->ct_zone = zone;
	st->in_port = in_port;
	st->dirty = 1;
	return 0;
}

#endif
