/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Execution: do to a packet what its path says.
 *
 * An output is held back until the next one (or a header change) comes: the
 * last one of all is the packet itself, moved by bpf_redirect(); only those
 * before it cost a clone.
 */
#ifndef GOSSAMER_EXECUTE_H
#define GOSSAMER_EXECUTE_H

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

#define FLOOD_NO_FLOOD	(1 << 0)	/* leave out ports with no-flood */
#define ANY_VLAN	0xffff		/* tags stay as they are */

struct spread {			/* a copy to each member */
	struct __sk_buff *skb;
	__u32 level;
	__u32 offset;		/* of the bridge's list */
	__u32 flags;		/* FLOOD_* */
	__u32 vlan;		/* only to ports that carry it */
};

static long spread_one(__u32 i, struct spread *spread)
{
	__u32 at = spread->offset + i;
	__u32 *id = bpf_map_lookup_elem(&members, &at);
	struct state *st = state_get(spread->level);
	struct port *port;

	if (!id || !st)
		return 1;
	if (*id == st->in_port)
		return 0;
	port = port_get(*id);
	if (!port)
		return 0;
	if ((spread->flags & FLOOD_NO_FLOOD) && !(port->flags & PORT_FLOOD))
		return 0;
	if (spread->vlan != ANY_VLAN) {
		if (!carries(*id, spread->vlan))
			return 0;
		set_egress_tag(*id, spread->vlan, spread->level);
	}
	st->n_spread++;
	send(spread->skb, *id, spread->level);
	return 0;
}

/* A copy to every port but the ingress one, each once. */
static __always_inline void flood(struct __sk_buff *skb, struct state *st, __u32 flags, __u32 vlan,
				  __u32 level)
{
	struct spread spread = { .skb = skb, .level = level, .flags = flags, .vlan = vlan };
	struct bridge *br;
	__u64 list;

	br = bridge_get(st->bridge);
	if (!br)
		return;
	list = *(volatile __u64 *)&br->members;
	spread.offset = LIST_OFFSET(list);
	/* A count on the stack would look new to the verifier in each round. */
	st->n_spread = 0;
	bpf_loop(list_length(list), spread_one, &spread, 0);
	if (!st->n_spread)
		count_drop(DROP_NO_MEMBER);
}

#define TO_MEMBERS 0xffffffff

/* NORMAL's decision: a port id, TO_MEMBERS, or 0 with the drop counted.  Learns the source. */
__attribute__((noinline)) int switch_normal(__u32 level)
{
	struct state *st = state_get(level);
	struct shortcut *shortcut;
	struct port *in, *out;
	struct flow_key *k;
	struct bridge *br;
	__u32 id, moves;
	int vlan;

	if (!st)
		return 0;
	br = bridge_get(st->bridge);
	in = port_get(st->in_port);
	if (!br || !in)
		return 0;
	k = key_of(st);
	if (st->in_port) {
		vlan = ingress_vlan(in, st->in_port, k->vlan_tci);
	} else {
		/* An action wrote in_port: from the controller, or nowhere, any VLAN is fine. */
		__u32 ofport = bpf_ntohl(k->in_port);
		bool anywhere = ofport == OFPP_CONTROLLER || ofport == OFPP_NONE;

		vlan = anywhere ? bpf_ntohs(k->vlan_tci) & 0xfff : -1;
	}
	/* A tag that was cut short is no tag, but no untagged frame either. */
	if (vlan < 0 || (!k->vlan_tci && is_vlan(k->eth_type))) {
		count_drop(DROP_VLAN_INGRESS);
		return 0;
	}
	if (st->in_port && reserved_mac(k) && !(br->flags & BRIDGE_FORWARD_BPDU)) {
		count_drop(DROP_RESERVED_MAC);
		return 0;
	}
	st->normal_vlan = vlan;
	st->tags.tci = k->vlan_tci;
	st->tags.tpid = k->vlan_tpid;
	st->tags.inner_tci = k->vlan1_tci;
	st->tags.inner_tpid = k->vlan1_tpid;
	shortcut = st->in_port ? shortcut_of(st) : NULL;
	if (shortcut && shortcut->vlan == vlan && shortcut_holds(shortcut, st, br)) {
		set_egress_tag(shortcut->port, vlan, level);
		return shortcut->port;
	}
	if (st->in_port)
		learn(st, br, vlan);
	if (k->eth_dst[0] & 1)
		return TO_MEMBERS;
	moves = *(volatile __u32 *)&br->fdb_moves;
	id = fdb_lookup(st, br, vlan);
	if (!id)
		return TO_MEMBERS;
	if (id == st->in_port) {
		count_drop(DROP_SAME_PORT);
		return 0;
	}
	out = port_get(id);
	if (!out || out->bridge != st->bridge || !carries(id, vlan)) {
		count_drop(DROP_NO_PORT);
		return 0;
	}
	set_egress_tag(id, vlan, level);
	if (shortcut) {
		take_shortcut(shortcut, st, moves, vlan, id);
		shortcut->untagged = !st->tags.tci && !k->vlan_tci;
	}
	return id;
}

/* After NORMAL: later actions see the packet as it was. */
static __always_inline void put_tags_back(struct state *st)
{
	struct flow_key *k = key_of(st);

	if (!st->touched)
		return;
	k->vlan_tci = st->tags.tci;
	k->vlan_tpid = st->tags.tpid;
	k->vlan1_tci = st->tags.inner_tci;
	k->vlan1_tpid = st->tags.inner_tpid;
}

/* To all members, or as NORMAL decides.  Flooding is inlined, since calls may be eight deep. */
static __always_inline void spread_out(struct __sk_buff *skb, struct state *st, __u32 code,
				       __u32 level)
{
	__u32 flags = code == DO_ALL ? 0 : FLOOD_NO_FLOOD, vlan = ANY_VLAN, id = TO_MEMBERS;

	if (code == DO_NORMAL) {
		id = switch_normal(level);
		vlan = st->normal_vlan;
	}
	if (id == TO_MEMBERS)
		flood(skb, st, flags, vlan, level);
	else if (id)
		send(skb, id, level);
	if (id && code == DO_NORMAL)
		put_tags_back(st);
}

/* A path that is NORMAL and nothing else. */
__attribute__((noinline)) int normal(struct __sk_buff *skb, __u32 level)
{
	struct state *st = state_get(level);

	if (st)
		spread_out(skb, st, DO_NORMAL, level);
	return 0;
}

struct walk {			/* of a path's operations */
	struct __sk_buff *skb;
	struct path *path;	/* NULL: they are in the state */
	__u32 level;
	__u32 n_ops;
	__u32 first;		/* those before it are done */
};

static __always_inline void set_key_word(struct state *st, struct op *op)
{
	__u32 w = op->a;

	if (w >= KEY_WORDS)
		return;
	if (w >= PACKET_WORD)
		touch(st, op->d);
	else
		st->dirty = 1;
	if (w == WORD_IN_PORT)
		st->in_port = port_id_of(st->bridge, bpf_ntohl(op->b));
	st->key[w] = (st->key[w] & ~op->c) | op->b;
}

static __always_inline void controller(struct __sk_buff *skb, struct state *st, struct op *op,
				       __u32 level)
{
	struct port *port = port_get(st->in_port);

	if (!punt_allowed(st, 0)) {
		count_drop(DROP_PUNT_RATE);
		return;
	}
	if ((op->b >> 16) == REASON_NO_MATCH && st->in_port && port &&
	    !(port->flags & PORT_PACKET_IN))
		return;
	st->n_outputs++;
	if (st->touched && differs(st)) {
		flush_pending(skb, st);
		if (commit(skb, st, level)) {
			count_drop(DROP_REWRITE);
			return;
		}
	}
	if ((op->b >> 16) == REASON_SLOW)
		op->b |= st->frame_length & 0xffff;
	if (punt_write(skb, st, op, 0, level))
		count_drop(DROP_PUNT_FULL);
}

/* A scope begins to change the packet, or ends: the key is put back, headers follow at the next
 * output. */
static __always_inline void save(struct state *st)
{
	__u32 n = st->n_saves;
	struct save *save;

	if (n >= MAX_SCOPES)
		return;
	save = &st->saves[n & (MAX_SCOPES - 1)];
	__builtin_memcpy(save->packet, &st->key[PACKET_WORD], sizeof(save->packet));
	__builtin_memcpy(save->tunnel, &st->key[WORD_TUN_ID], sizeof(save->tunnel));
	if (st->resume)
		__builtin_memcpy(save->ct, &st->key[WORD_CT_STATE], sizeof(save->ct));
	st->n_saves = n + 1;
}

static __always_inline void restore(struct state *st)
{
	__u32 n = (st->n_saves - 1) & (MAX_SCOPES - 1);

	st->gathered = 0;
	__builtin_memcpy(&st->key[PACKET_WORD], st->saves[n].packet, sizeof(st->saves[n].packet));
	__builtin_memcpy(&st->key[WORD_TUN_ID], st->saves[n].tunnel, sizeof(st->saves[n].tunnel));
	if (st->resume)
		__builtin_memcpy(&st->key[WORD_CT_STATE], st->saves[n].ct, sizeof(st->saves[n].ct));
	st->n_saves = n;
}

#define SAMPLE_ALL 0xffff
#define TOLD_BYTES 14	/* the key says all that counts */

/* Have the daemon learn from this packet: at once when its path is new, then now and again, so
 * that what was learned does not time out.  Or tell it of a sampled one. */
static __always_inline void tell(struct __sk_buff *skb, struct state *st, struct path *path,
				 struct op *op, __u32 level)
{
	__be16 eth_type = key_of(st)->eth_type;
	__u32 share = 0;
	bool hidden;

	if ((op->b >> 16) == REASON_SAMPLE) {
		if (op->a != SAMPLE_ALL && (bpf_get_prandom_u32() & 0xffff) >= op->a)
			return;
		op->a = TOLD_BYTES;
		share = MAX_PORTS;
	} else if (path) {
		if (st->now - path->learned < LEARN_EVERY_NS)
			return;
		path->learned = st->now;
	}
	if (!punt_allowed(st, share)) {
		count_drop(DROP_PUNT_RATE);
		return;
	}
	/* After a pop_mpls that names what is not there, the key tells of no IP. */
	hidden = share && eth_type != st->l3_type &&
		 (eth_type == bpf_htons(0x0800) || eth_type == bpf_htons(0x86dd));
	if (hidden)
		hide(st);
	if (punt_write(skb, st, op, 0, level))
		count_drop(DROP_PUNT_FULL);
	if (hidden)
		__builtin_memcpy(&st->key[WORD_NW_PROTO], st->hidden, sizeof(st->hidden));
}

/* An operation of the action set, for the copy that is made next. */
static __always_inline void carry(struct state *st, struct op *op)
{
	struct pass *pass = pass_get(st->level, st->pass_tail);
	__u32 n = st->n_carried;

	if (!pass || n >= SET_ROOM)
		return;
	pass->set[n] = *op;
	pass->set[n].code &= ~DO_CARRY;
	st->n_carried = n + 1;
}

/* Queue a copy that goes on at a table, knowing its connection. */
__attribute__((noinline)) int resume(__u32 table, __u32 level)
{
	struct state *st = state_get(level);
	struct pass *pass;

	if (!st)
		return 0;
	if (st->pass_tail - st->pass_head >= PASS_QUEUE || st->passes_begun >= MAX_PASSES) {
		count_drop(DROP_PASSES);
		return 0;
	}
	pass = pass_get(level, st->pass_tail);
	if (!pass)
		return 0;
	pass->port = st->in_port;
	pass->bridge = st->bridge;
	pass->resume = table + 1;
	pass->n_set = st->n_carried;
	__builtin_memcpy(pass->key, st->key, sizeof(pass->key));
	st->pass_tail++;
	st->passes_begun++;
	st->n_outputs++;
	return 0;
}

/* Returns what ct() does. */
static __always_inline int do_ct(struct __sk_buff *skb, struct state *st, struct op *op, __u32 level)
{
	int end = ct(skb, st, op, level);

	if (end == CT_PASSED && (op->flags & CT_DO_TABLE))
		resume(op->c, level);
	st->n_carried = 0;
	/* the original goes on as one that was never tracked */
	ct_forget(st);
	return end;
}

/* A ct() after which there is nothing more to do here: the packet itself goes on at its table, and
 * nothing is copied. */
static __always_inline bool ends_with_ct(struct state *st, struct op *op)
{
	return (op->flags & CT_DO_TABLE) && st->pass_head == st->pass_tail && !st->n_carried &&
	       !st->n_saves && st->passes_begun < MAX_PASSES;
}

/* Such a ct(), which is in `doing`.  1 where the packet goes no further. */
static __always_inline int go_straight_on(struct __sk_buff *skb, struct state *st, __u32 level)
{
	int end;

	st->goes_on = 0;
	end = ct(skb, st, &st->doing, level);
	if (end == CT_HELD)
		send_held(skb, level);
	if (end != CT_PASSED)
		return 1;
	st->stays = 1;
	st->resume = st->doing.c + 1;
	st->resumed_set = 0;
	st->ct_dirty = 1;
	st->passes_begun++;
	st->n_outputs++;
	return 0;
}

static long do_op(__u32 i, struct walk *walk)
{
	struct state *st = state_get(walk->level);
	struct op *op;

	i += walk->first;
	if (!st || i >= walk->n_ops)
		return 1;
	if (walk->path) {
		if (i >= CACHED_OPS)
			return 1;
		st->doing = walk->path->ops[i];
	} else {
		if (i >= PATH_OPS)
			return 1;
		st->doing = st->ops[i];
	}
	op = &st->doing;
	if (st->skipping) {
		if (st->skipping == HOLDING)
			hold_op(st, op);
		else if (op->code == DO_SAVE)
			st->skipping++;
		else if (op->code == DO_RESTORE && !--st->skipping)
			restore(st);
		return 0;
	}
	if (op->code & DO_CARRY) {
		carry(st, op);
		return 0;
	}
	switch (op->code) {
	case DO_OUTPUT:
		send(walk->skb, op->b, walk->level);
		break;
	case DO_NORMAL:
	case DO_FLOOD:
	case DO_ALL:
		spread_out(walk->skb, st, op->code, walk->level);
		break;
	case DO_SET:
		set_key_word(st, op);
		break;
	case DO_PUSH_VLAN:
		touch(st, GROUP_VLAN);
		key_push_vlan(key_of(st), op->a);
		break;
	case DO_POP_VLAN:
		touch(st, GROUP_VLAN);
		key_pop_vlan(key_of(st));
		break;
	case DO_PUSH_MPLS:
		touch(st, GROUP_MPLS);
		key_push_label(key_of(st), op->a, st->l3_type);
		break;
	case DO_POP_MPLS:
		touch(st, GROUP_MPLS);
		key_pop_label(key_of(st), op->a);
		break;
	case DO_CONTROLLER:
		controller(walk->skb, st, op, walk->level);
		break;
	case DO_DROP:
		count_drop(op->b);
		if (key_of(st)->ct_state)
			ct_tell_denied(walk->level);
		break;
	case DO_METER:
		if (meter(walk->skb, op->b, walk->level)) {
			if (!st->n_saves)
				return 1;
			st->skipping = 1;
		}
		break;
	case DO_TRUNCATE:
		st->length_limit = op->b;
		break;
	case DO_CT_SET: {
		struct ct_work *w = ct_work_get(walk->level);

		if (w && op->a < 5) {
			w->sets = 1;
			w->set[op->a] = (w->set[op->a] & ~op->c) | op->b;
			w->set_mask[op->a] |= op->c;
		}
		break;
	}
	case DO_CT:
		if (i + 1 == walk->n_ops && ends_with_ct(st, op)) {
			st->goes_on = 1;
			return 1;
		}
		switch (do_ct(walk->skb, st, op, walk->level)) {
		case CT_HELD:
			st->skipping = HOLDING;
			break;
		case CT_DROPPED:
			if (!st->n_saves)
				return 1;
			st->skipping = 1;
			break;
		}
		break;
	case DO_CT_CLEAR:
		ct_forget(st);
		break;
	case DO_QUEUE:
		st->queue = op->b;
		break;
	case DO_TELL:
		tell(walk->skb, st, walk->path, op, walk->level);
		break;
	case DO_SAVE:
		save(st);
		break;
	case DO_RESTORE:
		restore(st);
		break;
	}
	return 0;
}

/* The packet leaves this bridge, perhaps to come back: then it must find the same rules. */
static __always_inline void note_version(struct state *st)
{
	__u32 n = st->n_seen;

	for (__u32 i = 0; i < MAX_SEEN; i++)
		if (i < n && st->seen[i].bridge == st->bridge)
			return;
	if (n >= MAX_SEEN)
		return;
	st->seen[n & (MAX_SEEN - 1)].bridge = st->bridge;
	st->seen[n & (MAX_SEEN - 1)].version = st->version;
	st->n_seen = n + 1;
}

/* The version of the bridge: the one the packet found there before, so that all its passes, after
 * a ct() or around patch ports, are of one version; else the current one. */
static __always_inline __u64 seen_version(struct state *st, struct bridge *br)
{
	if (st->n_seen) {
		for (__u32 i = 0; i < MAX_SEEN; i++)
			if (i < st->n_seen && st->seen[i].bridge == st->bridge)
				return st->seen[i].version;
	}
	return *(volatile __u64 *)&br->version;
}

#define FIRST_WORDS 8

/* The words that a path sets before anything else: each would be a call. */
static __always_inline void set_first_words(struct state *st, struct path *path)
{
	__u32 n;

	for (n = 0; n < FIRST_WORDS; n++) {
		struct op *op = &path->ops[n];

		if (n >= path->n_ops || op->code != DO_SET || op->a == WORD_IN_PORT)
			break;
		set_key_word(st, op);
	}
	st->words_set = n;
}

/* Gather what tells the packet's path, in this pass. */
static __always_inline int look_anew(struct state *st)
{
	struct bridge *br = bridge_get(st->bridge);

	if (!br)
		return -1;
	if (!st->stays)
		st->version = seen_version(st, br);
	st->stays = 0;
	if ((br->flags & BRIDGE_LENGTHS) || st->resume) {
		__u32 bits = st->resume << RESUME_SHIFT;

		if (br->flags & BRIDGE_LENGTHS)
			for (int i = 0; i < MAX_LENGTHS; i++)
				bits |= (st->frame_length > br->lengths[i]) << i;
		st->key[WORD_LENGTHS] = bpf_htonl(bits);
	}
	return gather_cache_key(st);
}

/* Operations at a path's beginning that set words of the key. */
static __always_inline __u32 count_first_words(struct path *path)
{
	__u32 n;

	for (n = 0; n < FIRST_WORDS; n++) {
		struct op *op = &path->ops[n];

		if (n >= path->n_ops || op->code != DO_SET || op->a == WORD_IN_PORT)
			break;
	}
	return n;
}

/* One bridge, where there is a path that sets words and comes to one operation then, which takes no walk
 * through it.  Else `looked` tells pass(), which is to go on, what was looked for already. */
static __always_inline void perform_known(struct __sk_buff *skb, struct state *st, __u32 level)
{
	struct path *path = NULL;
	__u32 n = 0, id;
	struct op *op;

	st->looked = LOOKED_NOT;
	if (look_anew(st))
		return;
	if (st->exact)
		path = find_path(st);
	st->looked = path ? LOOKED_GATHERED : LOOKED_MISSED;
	if (!path)
		return;
	if (path->n_ops != 1)
		n = count_first_words(path);
	if (path->n_ops != n + 1 || n >= CACHED_OPS)
		return;
	op = &path->ops[n];
	if (op->code == DO_CT) {
		st->n_saves = 0;
		st->n_carried = 0;
		if (!ends_with_ct(st, op))
			return;
		st->doing = *op;
		st->goes_on = 1;
	} else if (op->code != DO_OUTPUT && op->code != DO_NORMAL) {
		return;
	}
	st->looked = LOOKED_NOT;
	path->packets += 1;
	path->bytes += st->length;
	path->used = st->now;
	if (n)
		set_first_words(st, path);
	if (op->code == DO_CT)
		return;
	id = op->code == DO_OUTPUT ? op->b : untagged_shortcut(st);
	if (id || op->code == DO_OUTPUT)
		send_plain(skb, st, id, level);
	else
		normal(skb, level);
}

/* One bridge: find the packet's path, or make it, and perform it.  Inlined where a pass follows
 * another, since calls may be eight deep and no deeper. */
static __always_inline int perform(struct __sk_buff *skb, __u32 level)
{
	struct state *st = state_get(level);
	struct walk walk = { .skb = skb, .level = level };
	struct path *path = NULL;
	struct op *first;
	__u32 looked;

	if (!st)
		return 0;
	looked = st->looked;
	st->looked = LOOKED_NOT;
	if (!looked && look_anew(st))
		return 0;
	if (looked != LOOKED_MISSED && !st->resumed_set && st->exact)
		path = find_path(st);
	if (path) {
		path->packets += 1;
		path->bytes += st->length;
		path->used = st->now;
		walk.n_ops = path->n_ops;
		if (path->ops[0].code == DO_SET)
			set_first_words(st, path);
		else
			st->words_set = 0;
		walk.first = st->words_set;
		if (walk.first >= CACHED_OPS)
			return 0;
		first = &path->ops[walk.first];
		if (walk.n_ops == 2 && path->ops[0].code == DO_METER &&
		    path->ops[1].code == DO_OUTPUT) {
			if (meter(skb, path->ops[0].b, level))
				return 0;
			return send(skb, path->ops[1].b, level);
		}
		/* the last one there is: what follows in the path is some older one's */
		if (walk.n_ops == walk.first + 1 && first->code == DO_NORMAL) {
			__u32 id = untagged_shortcut(st);

			return id ? send_plain(skb, st, id, level) : normal(skb, level);
		}
		if (walk.n_ops == walk.first + 1 && first->code == DO_OUTPUT)
			return send_plain(skb, st, first->b, level);
		st->n_saves = 0;
		st->n_carried = 0;
		if (walk.n_ops == walk.first + 1 && first->code == DO_CT &&
		    ends_with_ct(st, first)) {
			st->doing = *first;
			st->goes_on = 1;
			return 0;
		}
		walk.path = path;
	} else {
		if (!walk_tables(level))
			translate(level);
		if (worth_keeping(st))
			cache_insert(level);
		if (st->n_ops == 1 && st->ops[0].code == DO_OUTPUT)
			return send(skb, st->ops[0].b, level);
		if (st->n_ops == 1 && st->ops[0].code == DO_NORMAL)
			return normal(skb, level);
		walk.n_ops = st->n_ops;
	}
	st->n_saves = 0;
	st->n_carried = 0;
	st->skipping = 0;
	bpf_loop(walk.n_ops, do_op, &walk, 0);
	if (st->skipping == HOLDING)
		send_held(skb, level);
	return 0;
}

__attribute__((noinline)) int pass(struct __sk_buff *skb, __u32 level)
{
	return perform(skb, level);
}

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
