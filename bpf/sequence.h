/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Connections with a helper (docs/conntrack.md, Helpers): their packets are held for the daemon, and
 * where it made a text longer or shorter, the sequence numbers that follow are moved. */
#ifndef GOSSAMER_SEQUENCE_H
#define GOSSAMER_SEQUENCE_H

static __always_inline __s32 sequence_shift(const struct ct_sequence *s, __u32 number)
{
	return (__s32)(number - s->until) > 0 ? s->after : s->before;
}

#define TCP_ACK 0x10

/* Move the numbers of the segment in hand, which belongs to the connection of the work.  Returns 0,
 * or -1 where it cannot be. */
__attribute__((noinline)) int move_sequence(__u32 level)
{
	struct state *st = state_get(level);
	struct ct_work *w = ct_work_get(level);
	struct transports *tr = transports_get(level);
	const struct ct_sequence *own, *other;
	struct ct_sequences *moved;
	struct transport *from, *to;
	__u32 ack;

	if (!st || !w || !tr)
		return -1;
	if (tr->kind != TRANSPORT_PORTS || w->tuple.proto != 6)
		return 0;
	moved = bpf_map_lookup_elem(&ct_sequences, &w->key);
	if (!moved)
		return 0;
	own = &moved->of[w->reply & 1];
	other = &moved->of[!(w->reply & 1)];
	from = &tr->as[key_of(st)->transport & (MAX_TRANSPORTS - 1)];
	if (!key_of(st)->transport) {
		/* nobody has asked for them before */
		from->seq = bpf_htonl(w->seq);
		from->ack = bpf_htonl(w->ack);
	}
	ack = bpf_ntohl(from->ack);
	to = change_transport(st, tr);
	if (!to)
		return -1;
	to->seq = bpf_htonl(bpf_ntohl(from->seq) + sequence_shift(own, bpf_ntohl(from->seq)));
	/* what is acknowledged was moved before it arrived */
	if (w->tcp_flags & TCP_ACK)
		to->ack = bpf_htonl(ack - sequence_shift(other, ack - other->before));
	return 0;
}

/* Must the packet in hand, which has a connection, wait for what the daemon reads in it?  One whose
 * headers were changed for an output before cannot: it could not arrive again as it came. */
static __always_inline bool held_for_helper(struct state *st, struct ct_work *w)
{
	if (!w->connection.alg || w->error || st->arrived_again || st->committed ||
	    w->kind != TRANSPORT_PORTS || (key_of(st)->nw_frag & FRAG_ANY) ||
	    (w->ct_state & CT_INVALID))
		return false;
	if (w->connection.alg == 69)
		return w->tuple.proto == 17 && !w->reply && st->l4_length > 8;
	return w->tuple.proto == 6 && w->payload;
}

static __always_inline void enter_key(struct state *st);

/* Send the packet up as it came; it will arrive again, so what waits of it now must not go on.
 * Returns 0, or -1 where the daemon is not there or has no room. */
__attribute__((noinline)) int hold_for_helper(struct __sk_buff *skb, __u32 level)
{
	struct state *st = state_get(level);
	struct ct_work *w = ct_work_get(level);
	struct op op = {};
	struct port *port;
	__u16 zone;
	int lost;

	if (!st || !w)
		return -1;
	/* it will arrive where it entered the switch, also where a patch port brought it here */
	st->in_port = st->first_port;
	port = port_get(st->in_port);
	if (port && port->kind == PORT_TUNNEL)
		enter_key(st);
	op.b = REASON_CT_ALG << 16;
	op.c = w->zone << 8;
	st->pass_head = st->pass_tail;
	st->n_short = 0;
	st->dirty = 1;
	zone = key_of(st)->ct_zone;
	key_of(st)->ct_zone = bpf_htons(w->zone);
	lost = punt_write(skb, st, &op, 0, level);
	key_of(st)->ct_zone = zone;
	if (lost)
		count_drop(DROP_PUNT_FULL);
	return lost;
}

#endif
