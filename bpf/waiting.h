/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What has waited goes on: packets that were held for a helper, copies on their way into other bridges, truncated
 * copies. */
#ifndef GOSSAMER_WAITING_H
#define GOSSAMER_WAITING_H

/* What is known of a packet that was held, put back: of its slot alone, and of the packet what the daemon may
 * have changed.  Returns -1 where the slot has another packet's by now. */
__attribute__((noinline)) int take_held(struct __sk_buff *skb, __u32 id, __u32 level)
{
	struct state *st = state_get(level);
	struct ct_work *w = ct_work_get(level);
	struct transports *tr = transports_get(level);
	struct held *h = held_get(id);
	__u32 moved;

	if (!st || !w || !tr || !h)
		return -1;
	/* what was parsed just now is what the headers are */
	touch(st, ~0u);
	WIRE(st)->transport = h->wire_transport;
	__builtin_memcpy(st->key, h->pass.key, sizeof(st->key) - 16 * 4);
	__builtin_memcpy(st->came, h->came, sizeof(st->came));
	st->in = h->in;
	st->in_port = h->pass.port;
	st->bridge = h->pass.bridge;
	st->queue = h->pass.queue;
	st->resume = h->resume;
	st->passes_begun = h->passes_begun;
	st->n_carried = h->pass.n_set;
	st->n_saves = h->n_saves;
	st->dirty = st->ct_dirty = 1;
	*w = h->work;
	*tr = h->transports;
	st->transport_read = 1;
	if (st->n_carried) {
		struct pass *pass = pass_get(level, st->pass_tail);

		if (pass)
			__builtin_memcpy(pass->set, h->pass.set, sizeof(pass->set));
	}
	for (__u32 n = 0; n < MAX_SCOPES; n++) {
		if (n < st->n_saves)
			st->saves[n] = h->saves[n];
	}
	/* One that was long goes on as several. */
	if (!ct_read_segment(skb, level)) {
		moved = w->seq - h->sequence;
		for (int n = 0; n < MAX_TRANSPORTS; n++)
			tr->as[n].seq = bpf_htonl(bpf_ntohl(tr->as[n].seq) + moved);
	}
	st->n_ops = h->n_ops;
	for (__u32 n = 0; n < MAX_HELD_OPS; n++) {
		if (n >= h->n_ops)
			break;
		st->ops[n] = h->ops[n];
	}
	asm volatile("" ::: "memory");
	return *(volatile __u32 *)&h->id == id ? 0 : -1;
}

/* A packet that the daemon has read goes on behind the tracking of the ct() where it was held. */
__attribute__((noinline)) int go_on_held(struct __sk_buff *skb, __u32 id, __u32 level)
{
	struct walk walk = { .skb = skb, .level = level };
	struct state *st = state_get(level);
	struct ct_work *w = ct_work_get(level);
	struct bridge *br;

	if (!st || !w)
		return 0;
	if (take_held(skb, id, level)) {
		count_drop(DROP_HELD);
		return 0;
	}
	br = bridge_get(st->bridge);
	if (!br)
		return 0;
	st->version = *(volatile __u64 *)&br->version;
	st->skipping = 0;
	if (ct_translate(st, w, level)) {
		if (!st->n_saves)
			return 0;
		st->skipping = 1;
	} else if (w->flags & CT_DO_TABLE) {
		resume(w->table, level);
	}
	st->n_carried = 0;
	ct_forget(st);
	walk.n_ops = st->n_ops;
	bpf_loop(walk.n_ops, do_op, &walk, 0);
	return 0;
}

struct queue {
	struct __sk_buff *skb;
	__u32 level;
};

/* Take the copy that has waited longest to enter a bridge.  Returns 0, or -1 where it cannot. */
static __always_inline int take_waiting(struct __sk_buff *skb, struct state *st, __u32 level)
{
	struct pass *waiting = pass_get(level, st->pass_head);
	struct port_counters *c;
	struct port *port;
	__u32 id;

	if (!waiting)
		return -1;
	note_version(st);
	st->pass_head++;
	id = waiting->port;
	st->resume = waiting->resume;
	st->resumed_set = 0;
	st->gathered = 0;
	if (waiting->resume) {
		__builtin_memcpy(st->key, waiting->key, sizeof(waiting->key));
		st->dirty = 1;
		st->in_port = id;
		st->bridge = waiting->bridge;
		if (waiting->n_set)
			st->resumed_set = st->pass_head;	/* of this one, plus one */
		return 0;
	}
	port = port_get(id);
	if (!port || port->kind != PORT_PATCH) {
		count_drop(DROP_NO_PORT);
		return -1;
	}
	if ((port->flags & (PORT_RECEIVE | PORT_UP)) != (PORT_RECEIVE | PORT_UP)) {
		count_drop(DROP_NO_RECEIVE);
		return -1;
	}
	if (st->dirty || st->ct_dirty) {
		/* registers and a tunnel's values end with the bridge */
		__builtin_memset(&st->key[2], 0, (PACKET_WORD - 2) * 4);
		st->dirty = st->ct_dirty = 0;
	}
	if (waiting->key[WORD_PKT_MARK]) {
		st->key[WORD_PKT_MARK] = waiting->key[WORD_PKT_MARK];
		st->dirty = 1;
	}
	/* The key is the copy's; the headers are still as the last commit left them. */
	if (st->touched)
		__builtin_memcpy(&st->key[PACKET_WORD], &waiting->key[PACKET_WORD],
				 PACKET_WORDS * 4);
	/* where the pass before went on after a ct() tells nothing of this one */
	st->key[WORD_LENGTHS] = 0;
	key_of(st)->in_port = bpf_htonl(port->ofport);
	key_of(st)->actset_output = 0;
	st->in_port = id;
	st->bridge = port->bridge;
	st->queue = waiting->queue;
	c = bpf_map_lookup_elem(&port_counters, &id);
	if (c) {
		c->rx_packets += 1;
		c->rx_bytes += skb->len;
	}
	return 0;
}

/* What goes on in the same bridge, or the next copy that waits to enter one. */
static long next_pass(__u32 i, struct queue *queue)
{
	struct state *st = state_get(queue->level);

	if (!st)
		return 1;
	if (st->goes_on) {
		if (go_straight_on(queue->skb, st, queue->level))
			return 0;
	} else if (st->pass_head == st->pass_tail) {
		return 1;
	} else if (take_waiting(queue->skb, st, queue->level)) {
		return 0;
	}
	perform(queue->skb, queue->level);
	return 0;
}

/* Of the truncated copies that wait the one that keeps most of the packet: only now, because it
 * stays cut.  A tagged copy of the same length keeps less than one without a tag. */
static long send_short(__u32 i, struct queue *queue)
{
	struct state *st = state_get(queue->level);
	struct __sk_buff *skb = queue->skb;
	__u32 at = 0, kept = 0, limit;
	struct port *port;

	if (!st || i >= st->n_short)
		return 1;
#pragma unroll
	for (__u32 n = 0; n < MAX_SHORT; n++) {
		if (n < st->n_short && st->shorts[n].kept > kept) {
			kept = st->shorts[n].kept;
			at = n;
		}
	}
	limit = st->shorts[at].limit;
	flush_pending(skb, st);
	__builtin_memcpy(&st->key[PACKET_WORD], st->shorts[at].packet, sizeof(st->shorts[at].packet));
	st->shorts[at].kept = 0;
	if ((st->touched && differs(st) && commit(skb, st, queue->level)) ||
	    bpf_skb_change_tail(skb, limit - (skb->vlan_present ? 4 : 0), 0)) {
		count_drop(DROP_REWRITE);
		return 0;
	}
	port = port_get(st->shorts[at].port);
	if (!port || (port->kind == PORT_TUNNEL &&
		      enter_tunnel(skb, st->shorts[at].port, queue->level)))
		return 0;
	count_tx(skb, st->shorts[at].port);
	if (capturing) {
		struct op op = {};

		if (punt_write(skb, st, &op, st->shorts[at].port, queue->level))
			count_drop(DROP_PUNT_FULL);
		if (port->kind == PORT_TUNNEL && take_off(skb, queue->level))
			count_drop(DROP_REWRITE);
		return 0;
	}
	st->pending = st->shorts[at].port;
	st->pending_queue = st->queue;
	return 0;
}

#endif
