/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* A packet enters the switch: it is counted, policed, read, and where its path is known goes through the
 * first bridge.
 */
#ifndef GOSSAMER_ENTER_H
#define GOSSAMER_ENTER_H

/* The coarse clock goes on with the kernel's ticks: to look for one costs nothing, a call 19 ns. */
static __always_inline void read_clock(struct state *st)
{
	__u64 ticks = bpf_jiffies64();

	if (st->ticks != ticks) {
		st->ticks = ticks;
		st->now = bpf_ktime_get_coarse_ns();
	}
	if (capturing) {
		__u32 zero = 0;
		struct ct_config *config = bpf_map_lookup_elem(&ct_config, &zero);

		if (config && config->test_now) {
			st->now = config->test_now;
			st->ticks = 0;
		}
	}
}

/* Nothing is known yet of a packet that came by a port. */
static __always_inline void begin(struct __sk_buff *skb, struct state *st, struct port *port, __u32 id,
				  __u32 level)
{
	if (st->dirty) {
		/* some earlier packet's registers */
		__builtin_memset(st->key, 0, PACKET_WORD * 4);
		st->dirty = st->ct_dirty = 0;
	} else if (st->ct_dirty) {
		ct_forget(st);
		st->ct_dirty = 0;
	}
	st->level = level;
	read_clock(st);
	__builtin_memset(st->fresh, 0, sizeof(st->fresh));
	st->in_port = id;
	st->first_port = id;
	st->bridge = port->bridge;
	st->priority = skb->priority;
	st->length = skb->len;
	st->frame_length = skb->len + (skb->vlan_present ? 4 : 0);
	st->at_ingress = port->kind == PORT_DEVICE || port->kind == PORT_TUNNEL;
	key_of(st)->in_port = bpf_htonl(port->ofport);
}

/* A packet enters the switch, and is read.  Returns 0 to go on, or -1 to drop. */
static __always_inline int receive(struct __sk_buff *skb, struct state *st, __u32 id, __u32 level)
{
	struct port *port = port_get(id);
	struct port_counters *c = bpf_map_lookup_elem(&port_counters, &id);

	if (!port || !c)
		return -1;
	c->rx_packets += 1;
	c->rx_bytes += skb->len;
	if ((port->flags & (PORT_RECEIVE | PORT_UP)) != (PORT_RECEIVE | PORT_UP)) {
		c->rx_dropped += 1;
		count_drop(DROP_NO_RECEIVE);
		return -1;
	}
	if ((port->flags & PORT_POLICED) && !police(port, id, skb->len)) {
		c->rx_dropped += 1;
		count_drop(DROP_POLICED);
		return -1;
	}
	begin(skb, st, port, id, level);
	if (read_packet(skb, st, level)) {
		count_drop(DROP_PARSE);
		return -1;
	}
	return 0;
}

/* A packet enters that was held for a connection's helper, and has been counted before.  The same. */
__attribute__((noinline)) int admit_held(struct __sk_buff *skb, __u32 id, __u32 level)
{
	struct state *st = state_get(level);
	struct held *h = held_get(id);
	struct port *port;

	if (!st || !h || h->id != id) {
		count_drop(DROP_HELD);
		return -1;
	}
	port = port_get(h->first_port);
	if (!port || port->kind == PORT_FREE) {
		count_drop(DROP_UNKNOWN_PORT);
		return -1;
	}
	skb->mark = h->mark;
	begin(skb, st, port, h->first_port, level);
	if (parse(skb, level)) {
		count_drop(DROP_PARSE);
		return -1;
	}
	return 0;
}

/* A packet enters by port `id`, and goes through its first bridge where its path is known and simple; else
 * `looked` says that pass() is to do it.  Where `id` is 0, one goes on by the ct() in `doing`, and after it by
 * the same code, as to fetch it costs more than to run it.  Returns 0 to go on, or -1 to drop.  Not inlined: what it keeps on the
 * stack would lie below everything that follows, and all frames together have 512 bytes. */
__attribute__((noinline)) int enter(struct __sk_buff *skb, __u32 id, __u32 level)
{
	struct state *st = state_get(level);

	if (!st)
		return -1;
	if (id) {
		if (receive(skb, st, id, level))
			return -1;
		if (st->came_through)
			enter_key(st);
		remember(st);
	} else if (go_straight_on(skb, st, level)) {
		return 0;
	}
	if (st->then) {
		id = st->then;
		st->then = 0;
		send_plain(skb, st, id, level);
	} else {
		perform_known(skb, st, level);
	}
	return 0;
}

#endif
