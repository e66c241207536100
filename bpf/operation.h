/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The operations of a path, one by one. */
#ifndef GOSSAMER_OPERATION_H
#define GOSSAMER_OPERATION_H

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

/* Such a ct(), which is in `doing`, or one after which there is `then`.  1 where the packet goes no
 * further. */
static __always_inline int go_straight_on(struct __sk_buff *skb, struct state *st, __u32 level)
{
	int end;

	st->goes_on = 0;
	end = ct(skb, st, &st->doing, level);
	if (end == CT_HELD) {
		if (st->then) {
			st->doing.code = DO_OUTPUT;
			st->doing.b = st->then;
			hold_op(st, &st->doing);
		}
		send_held(skb, level);
	}
	if (end != CT_PASSED) {
		st->then = 0;
		return 1;
	}
	if (st->then) {
		ct_forget(st);
		return 0;
	}
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

#endif
