/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Outputs to more ports than one, and NORMAL, which finds the port by itself. */
#ifndef GOSSAMER_SPREAD_H
#define GOSSAMER_SPREAD_H

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

#endif
