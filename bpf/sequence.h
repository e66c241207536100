/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Connections with a helper (docs/conntrack.md, Helpers): where it made a text longer or shorter, the
 * sequence numbers that follow are moved.  How their packets wait for it is in held.h. */
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

#endif
