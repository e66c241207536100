/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Outputs.
 *
 * One is held back until the next one (or a header change) comes: the last one of all is the packet
 * itself, moved by bpf_redirect(); only those before it cost a clone.
 */
#ifndef GOSSAMER_SEND_H
#define GOSSAMER_SEND_H

static __always_inline void count_tx(struct __sk_buff *skb, __u32 id)
{
	struct port_counters *c = bpf_map_lookup_elem(&port_counters, &id);

	if (c) {
		c->tx_packets += 1;
		c->tx_bytes += skb->len;
	}
}

/* A clone goes by way of an internal device, where gossamer() takes it into its tunnel. */
static __always_inline void relay(struct __sk_buff *skb, struct state *st)
{
	struct tunnel_config *config = tunnel_config_get();

	if (!config || !config->relay) {
		count_drop(DROP_TUNNEL_COPY);
		return;
	}
	st->mark = skb->mark;
	skb->mark = RELAY_MARK;
	if (bpf_clone_redirect(skb, config->relay, 0))
		count_drop(DROP_REDIRECT);
	skb->mark = st->mark;
}

#define QUEUE_PRIORITY (1 << 16)	/* classes 1:1, 1:2, ... of the port's qdisc */

/* The queue of the output held back, or what the packet came with. */
static __always_inline void set_priority(struct __sk_buff *skb, struct state *st)
{
	__u32 priority = st->pending_queue ? QUEUE_PRIORITY | st->pending_queue : st->priority;

	if (skb->priority != priority)
		skb->priority = priority;
}

/* Send the output held back, as a copy. */
static __always_inline void flush_pending(struct __sk_buff *skb, struct state *st)
{
	struct port *port;
	__u32 zero = 0, *level;

	if (!st->pending)
		return;
	port = port_get(st->pending);
	st->pending = 0;
	set_priority(skb, st);
	level = bpf_map_lookup_elem(&nesting, &zero);
	if (!port || !level)
		return;
	/* The device may bring the copy back to us before the call returns. */
	*level += 1;
	if (port->kind == PORT_TUNNEL)
		relay(skb, st);
	else if (bpf_clone_redirect(skb, port->ifindex,
				    port->kind == PORT_INTERNAL ? BPF_F_INGRESS : 0))
		count_drop(DROP_REDIRECT);
	*level -= 1;
}

/* Queue a copy to enter the bridge at the other end of a patch port. */
static __always_inline void enter_peer(struct __sk_buff *skb, struct state *st, __u32 peer)
{
	struct pass *pass;

	if (st->pass_tail - st->pass_head >= PASS_QUEUE || st->passes_begun >= MAX_PASSES) {
		count_drop(DROP_PASSES);
		return;
	}
	pass = pass_get(st->level, st->pass_tail);
	if (!pass)
		return;
	pass->port = peer;
	pass->resume = 0;
	pass->touched = st->touched;
	pass->queue = st->queue;
	pass->key[WORD_PKT_MARK] = st->key[WORD_PKT_MARK];
	__builtin_memcpy(&pass->key[PACKET_WORD], &st->key[PACKET_WORD], PACKET_WORDS * 4);
	st->pass_tail++;
	st->passes_begun++;
}

/* Bytes of the frame as it is to leave; the kernel holds one tag beside the frame. */
__attribute__((noinline)) int frame_length(struct __sk_buff *skb, __u32 level)
{
	__u32 length = skb->len + (skb->vlan_present ? 4 : 0);
	struct state *st = state_get(level);

	if (st && st->touched)
		length += 4 * (tags_of(key_of(st)) + entries(key_of(st))) -
			  4 * (tags_of(WIRE(st)) + entries(WIRE(st)));
	return length;
}

/* Remember an output of the packet's first bytes; 0 where it is short enough as it is. */
static __always_inline int keep_short(struct __sk_buff *skb, struct state *st, __u32 id)
{
	__u32 n = st->n_short, limit = st->length_limit;
	struct short_copy *copy;

	st->length_limit = 0;
	if ((__u32)frame_length(skb, st->level) <= limit)
		return 0;
	if (n >= MAX_SHORT) {
		count_drop(DROP_PASSES);
		return 1;
	}
	copy = &st->shorts[n & (MAX_SHORT - 1)];
	copy->port = id;
	copy->limit = limit;
	copy->kept = limit + KEPT_BIAS - 4 * (tags_of(key_of(st)) + count_labels(key_of(st)));
	__builtin_memcpy(copy->packet, &st->key[PACKET_WORD], sizeof(copy->packet));
	st->n_short = n + 1;
	return 1;
}

/* Make the packet ready for a tunnel.  Returns -1 with the drop counted where it cannot go there. */
static __always_inline int enter_tunnel(struct __sk_buff *skb, __u32 id, __u32 level)
{
	__u32 reason = prepare(skb, id, level);

	if (!reason && capturing && encapsulate(skb, level))
		reason = DROP_REWRITE;
	if (!reason)
		return 0;
	count_drop(reason);
	return -1;
}

/* Output to a port that exists; `port` may be the ingress port (IN_PORT). */
__attribute__((noinline)) int send(struct __sk_buff *skb, __u32 id, __u32 level)
{
	struct state *st = state_get(level);
	struct port *port = port_get(id);

	if (!st || !port || port->kind == PORT_FREE) {
		count_drop(DROP_NO_PORT);
		return 0;
	}
	if ((port->flags & (PORT_FORWARD | PORT_UP)) != (PORT_FORWARD | PORT_UP)) {
		struct port_counters *c = bpf_map_lookup_elem(&port_counters, &id);

		if (c)
			c->tx_dropped += 1;
		count_drop(DROP_NO_FORWARD);
		return 0;
	}
	st->n_outputs++;
	if (port->kind == PORT_PATCH) {
		if (st->length_limit) {
			/* as in Open vSwitch: who knows what would become of it there */
			st->length_limit = 0;
			count_drop(DROP_NO_PORT);
			return 0;
		}
		count_tx(skb, id);
		enter_peer(skb, st, port->patch_peer);
		return 0;
	}
	if (st->length_limit) {
		/* Cut for good: what is to be short goes last. */
		if (keep_short(skb, st, id))
			return 0;
	}
	flush_pending(skb, st);
	if (st->touched && differs(st) && commit(skb, st, level)) {
		count_drop(DROP_REWRITE);
		return 0;
	}
	if (port->kind == PORT_TUNNEL && enter_tunnel(skb, id, level))
		return 0;
	count_tx(skb, id);
	if (capturing) {
		struct op op = {};

		if (punt_write(skb, st, &op, id, level))
			count_drop(DROP_PUNT_FULL);
		if (port->kind == PORT_TUNNEL && take_off(skb, level))
			count_drop(DROP_REWRITE);
		return 0;
	}
	st->pending = id;
	st->pending_queue = st->queue;
	return 0;
}

/* The same with fewer calls, where nothing else has to be done for it than to remember it, and to change
 * headers: for a packet's first output. */
static __always_inline int send_plain(struct __sk_buff *skb, struct state *st, __u32 id, __u32 level)
{
	struct port *port = port_get(id);

	if (capturing || !port || (port->kind != PORT_DEVICE && port->kind != PORT_INTERNAL) ||
	    (port->flags & (PORT_FORWARD | PORT_UP)) != (PORT_FORWARD | PORT_UP) ||
	    ((st->touched & GROUP_TRANSPORT) | st->pending | st->length_limit))
		return send(skb, id, level);
	st->n_outputs++;
	if (st->touched && commit_key(skb, level)) {
		count_drop(DROP_REWRITE);
		return 0;
	}
	count_tx(skb, id);
	st->pending = id;
	st->pending_queue = st->queue;
	return 0;
}

#endif
