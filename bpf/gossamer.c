// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* Gossamer's datapath: one program on every port of every bridge.
 *
 * Ports that are devices run it at TC ingress; an internal port, through
 * which the host itself talks, runs it at TC egress of its device.
 *
 *   receive -> parse -> pass (a bridge): cache, or translate -> execute
 *                          ^                                      |
 *                          `--------- patch port: next bridge ----'
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#ifndef memcpy
#define memcpy __builtin_memcpy
#endif

/* Set before loading: outputs go to the ring instead of devices, and the
 * ingress port is named by skb->mark (tests, generated traces). */
const volatile __u32 capturing = 0;

#include "limits.h"
#include "flow_key.h"
#include "drop.h"
#include "compare.h"
#include "wrapping.h"
#include "state.h"
#include "port.h"
#include "parse_ip.h"
#include "parse.h"
#include "tunnel.h"
#include "program.h"
#include "classify.h"
#include "cache.h"
#include "emit.h"
#include "change.h"
#include "action_set.h"
#include "group.h"
#include "labels.h"
#include "links.h"
#include "meter.h"
#include "conntrack.h"
#include "ct_work.h"
#include "ct_store.h"
#include "emit_ct.h"
#include "conjunction.h"
#include "run.h"
#include "translate.h"
#include "quoted.h"
#include "fragment.h"
#include "transport.h"
#include "commit_transport.h"
#include "commit_l2.h"
#include "commit.h"
#include "punt.h"
#include "nat_search.h"
#include "nat_decide.h"
#include "nat.h"
#include "conntrack_slots.h"
#include "conntrack_tcp.h"
#include "expect.h"
#include "sequence.h"
#include "held.h"
#include "belong.h"
#include "begin.h"
#include "track.h"
#include "normal.h"
#include "outer_checksum.h"
#include "route.h"
#include "encap.h"
#include "outer.h"
#include "decap.h"
#include "send.h"
#include "spread.h"
#include "operation.h"
#include "execute.h"
#include "waiting.h"
#include "too_big.h"
#include "police.h"
#include "cut.h"
#include "forget.h"
#include "inherit.h"
#include "enter.h"

/* The last output is the packet itself. */
static __always_inline int finish(struct __sk_buff *skb, __u32 level)
{
	struct state *st = state_get(level);
	struct port *port;

	if (!st || !st->pending)
		return TC_ACT_SHOT;
	port = port_get(st->pending);
	if (!port)
		return TC_ACT_SHOT;
	set_priority(skb, st);
	if (port->kind == PORT_INTERNAL)
		return bpf_redirect(port->ifindex, BPF_F_INGRESS);
	if (port->kind == PORT_TUNNEL)
		return st->out.mtu ? send_back(skb, st) : depart(skb, st->level);
	/* Straight into the other namespace, past the veth's queue: only for the one address
	 * that is known to be its own, so that nothing else is taken for 'to this host'. */
	if ((port->flags & PORT_PEER_MAC) && st->at_ingress && !st->vlan_changed &&
	    !differ(key_of(st)->eth_dst, port->peer_mac, 6)) {
		if (skb->pkt_type != 0 && bpf_skb_change_type(skb, 0))
			return TC_ACT_SHOT;
		return bpf_redirect_peer(port->ifindex, 0);
	}
	return bpf_redirect(port->ifindex, 0);
}

/* A packet that has been in the bridge it came to: through others, and out. */
static __always_inline int forward(struct __sk_buff *skb, struct state *st, __u32 level)
{
	struct queue queue = { .skb = skb, .level = level };

	if (st->pass_tail || st->goes_on)
		bpf_loop(MAX_PASSES, next_pass, &queue, 0);
	if (st->n_short)
		bpf_loop(MAX_SHORT, send_short, &queue, 0);
	if (st->arrived_again) {
		/* A test run redirects nothing. */
		flush_pending(skb, st);
		return TC_ACT_SHOT;
	}
	return finish(skb, level);
}

/* What enters the switch by a port with a device. */
SEC("tc")
int gossamer(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex, id, *known, level = visits(), held_id = 0;
	struct state *st;
	struct port *port;

	if (level >= MAX_NESTING) {
		count_drop(DROP_NESTED);
		return TC_ACT_SHOT;
	}
	st = state_get(level);
	if (!st)
		return TC_ACT_SHOT;
	id = st->through;
	st->came_through = id;
	st->through = 0;
	if (id) {
		st->arrived_again = arrives_again(skb);
	} else if (capturing) {
		id = skb->mark & CAPTURE_PORT;
		st->arrived_again = !!(skb->mark & CAPTURE_ARRIVED);
	} else {
		st->arrived_again = arrives_again(skb);
		/* apart, or the compiler makes one call of two, which the kernel cannot inline then */
		if (ifindex < LOW_IFINDEXES) {
			known = bpf_map_lookup_elem(&port_by_low_ifindex, &ifindex);
			asm volatile("" : "+r"(known));
		} else {
			known = bpf_map_lookup_elem(&port_by_ifindex, &ifindex);
		}
		id = known ? *known : 0;
	}
	if (st->arrived_again) {
		held_id = skb->cb[0];
		skb->cb[0] = 0;
	}
	if (held_id) {
		if (admit_held(skb, held_id, level))
			return TC_ACT_SHOT;
		remember(st);
		go_on_held(skb, held_id, level);
		goto entered;
	}
	port = port_get(id);
	if (!id || !port || port->kind == PORT_FREE) {
		count_drop(DROP_UNKNOWN_PORT);
		return TC_ACT_SHOT;
	}
	if (port->kind == PORT_INTERNAL && skb->mark == INJECT_MARK)
		return bpf_redirect(ifindex, BPF_F_INGRESS);	/* from the daemon, to the host */
	if (port->kind == PORT_INTERNAL && skb->mark == RELAY_MARK && level) {
		/* a clone that flush_pending() has sent this way */
		st = state_get(level - 1);
		skb->mark = st ? st->mark : 0;
		return st && st->out.mtu ? send_copy_back(skb, st, level) : depart(skb, level - 1);
	}
	if (enter(skb, id, level))
		return TC_ACT_SHOT;
#pragma nounroll
	for (int n = 0; n < STRAIGHT_CTS && st->goes_on; n++)
		enter(skb, 0, level);
	if (st->looked)
		pass(skb, level);
entered:
	return forward(skb, st, level);
}

/* gossamer() itself, for gossamer_uplink() to go on there: written when programs are loaded. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} entrances SEC(".maps");

/* What arrives at a device that tunnels run over: theirs enters the switch, all else goes on. */
SEC("tc")
int gossamer_uplink(struct __sk_buff *skb)
{
	__u32 level = visits();
	struct state *st;
	int id;

	if (!is_candidate(skb))
		return TC_ACT_UNSPEC;
	st = level < MAX_NESTING ? state_get(level) : NULL;
	if (!st) {
		count_drop(DROP_NESTED);
		return TC_ACT_SHOT;
	}
	id = decapsulate(skb, level);
	if (id == NOT_OURS)
		return TC_ACT_UNSPEC;
	if (id < 0)
		return TC_ACT_SHOT;
	st->through = id;
	bpf_tail_call(skb, &entrances, 0);
	st->through = 0;
	count_drop(DROP_NESTED);
	return TC_ACT_SHOT;
}

/* The daemon's: a test run takes no packet larger than a page, so of one whose headers alone count it
 * gets the beginning, and the length in `cb`.  The rest of it is zeros. */
SEC("tc")
int gossamer_grow(struct __sk_buff *skb)
{
	__u32 length = skb->cb[0];

	skb->cb[0] = 0;
	if (bpf_skb_change_tail(skb, length, 0)) {
		count_drop(DROP_REWRITE);
		return TC_ACT_SHOT;
	}
	bpf_tail_call(skb, &entrances, 0);
	count_drop(DROP_NESTED);
	return TC_ACT_SHOT;
}

/* The daemon's: its packet says which connections; how many were removed, and where the last one was. */
SEC("tc")
int gossamer_forget(struct __sk_buff *skb)
{
	struct forgetting forgetting = { .skb = skb, .level = visits() };
	struct state *st = state_get(forgetting.level);
	__u32 head[FORGET_HEAD / 4];

	if (!st || bpf_skb_load_bytes(skb, 0, head, sizeof(head)))
		return 0;
	read_clock(st);
	forgetting.which = head[1];
	forgetting.slot = head[2];
	forgetting.zone = head[3];
	if (forgetting.which == FORGET_KEYS) {
		if (head[0] <= FORGET_MOST)
			bpf_loop(head[0], forget_key, &forgetting, 0);
	} else if (head[0] <= FORGET_SLOTS_MOST) {
		bpf_loop(head[0], forget_slot, &forgetting, 0);
	}
	return forgetting.n | forgetting.last << FORGET_LAST_SHIFT;
}

/* The daemon's: its packet has connections that another version kept; how many of them are here now. */
SEC("tc")
int gossamer_inherit(struct __sk_buff *skb)
{
	struct inheriting inheriting = { .skb = skb, .level = visits() };
	struct state *st = state_get(inheriting.level);
	__u32 n;

	if (!st || bpf_skb_load_bytes(skb, 0, &n, sizeof(n)) || n > INHERIT_MOST)
		return 0;
	read_clock(st);
	bpf_loop(n, inherit_one, &inheriting, 0);
	return inheriting.n;
}

char _license[] SEC("license") = "Dual BSD/GPL";
