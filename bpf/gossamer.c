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
#include "state.h"
#include "port.h"
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
#include "ct_store.h"
#include "emit_ct.h"
#include "conjunction.h"
#include "translate.h"
#include "transport.h"
#include "commit_transport.h"
#include "commit.h"
#include "punt.h"
#include "nat.h"
#include "conntrack_slots.h"
#include "conntrack_tcp.h"
#include "expect.h"
#include "sequence.h"
#include "held.h"
#include "track.h"
#include "normal.h"
#include "outer_checksum.h"
#include "encap.h"
#include "decap.h"
#include "execute.h"
#include "too_big.h"
#include "police.h"
#include "cut.h"
#include "forget.h"

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
 * `looked` says that pass() is to do it.  Where `id` is 0, one goes on after a ct(): by the same code, as to
 * fetch it costs more than to run it.  Returns 0 to go on, or -1 to drop.  Not inlined: what it keeps on the
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
	}
	perform_known(skb, st, level);
	return 0;
}

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
	if (st->goes_on && !go_straight_on(skb, st, level))
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

/* The daemon's: its packet has keys of connections; how many were removed. */
SEC("tc")
int gossamer_forget(struct __sk_buff *skb)
{
	struct forgetting forgetting = { .skb = skb, .level = visits() };
	struct state *st = state_get(forgetting.level);
	__u32 head[2];

	if (!st || bpf_skb_load_bytes(skb, 0, head, sizeof(head)) || head[0] > FORGET_MOST)
		return 0;
	read_clock(st);
	forgetting.which = head[1];
	bpf_loop(head[0], forget_one, &forgetting, 0);
	return forgetting.n;
}

char _license[] SEC("license") = "Dual BSD/GPL";
