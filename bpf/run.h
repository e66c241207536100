/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The programs of rules: one operation after the other, which lays operations of the path, changes the key, or
 * goes on to other tables. */
#ifndef GOSSAMER_RUN_H
#define GOSSAMER_RUN_H

/* What the bridge wants tables to see of a fragment (ofp_config_flags).  -1: it ends here. */
static __always_inline int show_fragment(struct state *st)
{
	struct bridge *br;

	st->hides_ports = 0;
	if (!(key_of(st)->nw_frag & FRAG_ANY))
		return 0;
	br = bridge_get(st->bridge);
	if (!br)
		return 0;
	if (br->flags & BRIDGE_FRAG_DROP) {
		if (!st->n_ops && !st->set_used)
			emit_simple(st, DO_DROP, 0, DROP_FRAGMENT);
		return -1;
	}
	if (br->flags & BRIDGE_FRAG_NORMAL) {
		st->hides_ports = 1;
		st->hidden_ports = st->key[WORD_TP_SRC];
		st->key[WORD_TP_SRC] = 0;
	}
	return 0;
}

static __always_inline void show_ports(struct state *st)
{
	if (st->hides_ports)
		st->key[WORD_TP_SRC] = st->hidden_ports;
}

/* What a table says of packets that it has no rule for. */
static __always_inline void lay_miss(struct state *st, __u32 table_id, __u32 table)
{
	struct table *t = bpf_map_lookup_elem(&tables, &table);

	if (!t)
		return;
	if (t->miss == MISS_CONTROLLER)
		lay_frame(st, PUNT_PROGRAM, table_id);
	else if (t->miss == MISS_CONTINUE && table_id < 254)
		lay_frame(st, CONTINUE_PROGRAM, table_id + 1);
	else if (!st->n_ops && !st->set_used)
		emit_simple(st, DO_DROP, 0, DROP_NO_RULE);
}

/* Look up `table_id` and lay a frame for what is found there.  A resubmit that finds nothing does
 * nothing (`honour_miss` 0); otherwise the table says what becomes of the packet. */
__attribute__((noinline)) int enter_table(__u32 table_id, __u32 honour_miss, __u32 level)
{
	struct state *st = state_get(level);
	__u32 table;
	int found;

	if (!st || table_id > 255)
		return 0;
	table = st->bridge * 256 + table_id;
	if (show_fragment(st))
		return 0;
	found = look_up(table, level);
	show_ports(st);
	if (found) {
		credit_flow(st, st->found.id, st->found.generation);
		st->running = st->found.id;
		lay_frame(st, st->found_program, table_id);
		return 0;
	}
	credit_flow(st, TABLE_MISS | table, 0);
	st->running = TABLE_MISS | table;
	if (honour_miss)
		lay_miss(st, table_id, table);
	return 0;
}

struct run {			/* of one frame, until it ends or calls */
	__u32 level;
	__u32 first;		/* operation to begin with */
	__u32 table;
	__u32 ended;		/* the frame is done */
	struct operations of;
};

#define TCP_FIN	1
#define TCP_RST	4

static __always_inline int dec_ttl(struct state *st, struct run *run, struct op *op)
{
	struct flow_key *k = key_of(st);
	bool ipv6 = k->eth_type == bpf_htons(0x86dd);
	struct flow_key set = {}, mask = {};

	if (k->eth_type != bpf_htons(0x0800) && !ipv6)
		return 0;
	if (k->nw_ttl <= 1) {
		__u64 ids = (__u64)op->c << 32 | op->b;

		for (int i = 0; i < MAX_TTL_CONTROLLERS; i++) {
			if (i >= op->a)
				break;
			emit_controller(0xffff, (ids & 0xffff) | (REASON_INVALID_TTL << 16),
					run->table, run->level);
			ids >>= 16;
		}
		return -1;
	}
	set.nw_ttl = k->nw_ttl - 1;
	mask.nw_ttl = 0xff;
	set_word(st, WORD_NW_TTL, ((__u32 *)&set)[WORD_NW_TTL], ((__u32 *)&mask)[WORD_NW_TTL],
		 GROUP_L3);
	return 0;
}

/* That of a network service header, which lies beside its flags where IPv6 has its source.  -1: it has
 * run out, or there is none, and the rule ends. */
static __always_inline int dec_nsh_ttl(struct state *st, struct run *run)
{
	__u32 ttl;

	if (key_of(st)->eth_type != bpf_htons(ETH_NSH))
		return -1;
	ttl = bpf_ntohl(st->key[WORD_IPV6_SRC]) >> 16 & 0xff;
	if (ttl > 1) {
		set_word(st, WORD_IPV6_SRC, bpf_htonl((ttl - 1) << 16), bpf_htonl(0xff0000), GROUP_L3);
		return 0;
	}
	emit_controller(0xffff, REASON_INVALID_TTL << 16, run->table, run->level);
	return -1;
}

static long run_op(__u32 i, struct run *run)
{
	struct state *st = state_get(run->level);
	__u32 at = run->first + i;
	struct frame *top;
	struct op op = {};

	if (!st || st->failure)
		goto end;
	if (at >= run->of.n_ops)
		goto end;
	if (at >= run->of.room)
		goto end;
	op = run->of.ops[at];
	if (st->n_skip && op.code != OP_CHAIN) {
		st->n_skip--;
		return 0;
	}
	if (op.flags & OP_WRITE) {
		write_action(st, &op);
		return 0;
	}
	switch (op.code) {
	case OP_OUTPUT:
		emit_output(st, op.b);
		return 0;
	case OP_OUTPUT_REG:
		emit_output_reg(st, read_bits(st, op.a, op.b & 0xff, (op.b >> 8) & 0xff), op.c,
				run->table & 0xff, run->level);
		return 0;
	case OP_SET:
		set_word(st, op.a, op.b, op.c, op.d);
		return 0;
	case OP_MOVE: {
		__u32 bits = (op.b >> 16) & 0xff;
		__u32 v = read_bits(st, op.a & 0xff, op.b & 0xff, bits);
		__u32 m = bits >= 32 ? 0xffffffff : (1u << bits) - 1;
		__u32 shift = (op.b >> 8) & 31;

		set_word(st, op.a >> 8, bpf_htonl(v << shift), bpf_htonl(m << shift), op.d);
		return 0;
	}
	case OP_PUSH_VLAN:
		if (key_push_vlan(key_of(st), op.a)) {
			st->failure = DROP_VLAN_STACK;
			return 0;
		}
		before_change(st);
		emit_simple(st, DO_PUSH_VLAN, op.a, 0);
		return 0;
	case OP_POP_VLAN:
		key_pop_vlan(key_of(st));
		before_change(st);
		emit_simple(st, DO_POP_VLAN, 0, 0);
		return 0;
	case OP_SET_VLAN:
		set_vlan(st, &op);
		return 0;
	case OP_DEC_TTL:
		if (dec_ttl(st, run, &op))
			goto end;
		return 0;
	case OP_CONTROLLER:
		if (op.flags & 1)
			op.b = (op.b & 0xffff) | output_reason(st) << 16;
		emit_controller(op.a, op.b, (run->table & 0xff) | (op.c << 8), run->level);
		return 0;
	case OP_SKIP:
		if (!has(key_of(st), op.b))
			st->n_skip = op.a;
		return 0;
	case OP_FIX_TAG:
		fix_tag(st);
		return 0;
	case OP_RESUBMIT:
		if (++st->n_resubmits > MAX_RESUBMITS) {
			st->failure = DROP_TOO_DEEP;
			return 1;
		}
		/* the frame below must know where to return to before the new one is laid on it */
		top = frame_at(st, st->n_frames - 1);
		if (top)
			top->op = at + 1;
		st->enter = 1 + (op.a == 0xff ? run->table : op.a);
		st->enter_as = op.b;
		st->enter_goto = 0;
		return 1;
	case OP_GOTO:
		/* A goto ends this rule whether or not the next table knows the packet. */
		if (st->n_frames)
			st->n_frames--;
		st->enter = 1 + op.a;
		st->enter_as = OFPP_IN_PORT;
		st->enter_goto = 1;
		return 1;
	case OP_CLEAR_ACTIONS:
		if (st->clone)
			put_set_aside(run->level);
		clear_set(st);
		key_of(st)->actset_output = bpf_htonl(ACTSET_UNSET);
		return 0;
	case OP_EXIT:
		if (leave_bucket(run->level))
			return 1;
		st->n_frames = 0;
		clear_set(st);
		return 1;
	case OP_GROUP:
	case OP_CLONE:
		top = frame_at(st, st->n_frames - 1);
		if (top)
			top->op = at + 1;
		if (op.code == OP_GROUP)
			run->ended = enter_group(op.b, run->table, run->level);
		else
			open_scope(0, op.b, run->table, run->level);
		return 1;
	case OP_PUSH_MPLS:
	case OP_POP_MPLS:
		if (!relabel(op.code, op.a, op.b, run->level))
			return 0;
		/* in a bucket only that copy is lost */
		if (leave_bucket(run->level))
			return 1;
		st->failure = DROP_MPLS_STACK;
		return 0;
	case OP_DEC_MPLS_TTL: {
		struct flow_key *k = key_of(st);
		__u32 ttl = bpf_ntohl(k->mpls_lse0) & 0xff;

		if (is_mpls(k->eth_type) && ttl > 1) {
			set_word(st, WORD_MPLS_LSE0, bpf_htonl(ttl - 1), bpf_htonl(0xff), GROUP_MPLS);
			return 0;
		}
		if (is_mpls(k->eth_type))
			emit_controller(0xffff, REASON_INVALID_TTL << 16, run->table, run->level);
		goto end;
	}
	case OP_DEC_NSH_TTL:
		if (dec_nsh_ttl(st, run))
			goto end;
		return 0;
	case OP_COPY_TTL_OUT:
	case OP_COPY_TTL_IN:
		copy_ttl(op.code, run->level);
		return 0;
	case OP_MULTIPATH:
		multipath(op.a, op.b, op.c, op.d, run->level);
		return 0;
	case OP_BUNDLE:
		begin_bundle(op.a, op.b, run->level);
		return 0;
	case OP_MEMBER:
		weigh_member(st, &op);
		return 0;
	case OP_SEND: {
		__u32 port = word_of(st, CHOSEN_WORD);

		if (port != OFPP_NONE && port != OFPP_TABLE)
			emit_output(st, port);
		return 0;
	}
	case OP_LARGER:
		st->key[CHOSEN_WORD] = bpf_htonl(st->frame_length > op.b);
		return 0;
	case OP_METER: {
		struct meter_key key = { .bridge = st->bridge, .meter_id = op.b };
		struct meter *meter = bpf_map_lookup_elem(&meters, &key);
		__u32 place = 0;

		if (meter)
			place = st->version >= meter->since ? meter->now : meter->before;
		if (place) {
			/* what it drops is the copy of the scope it is in, whose end must show */
			before_change(st);
			emit_simple(st, DO_METER, 0, place - 1);
		}
		return 0;
	}
	case OP_TRUNCATE:
		emit_simple(st, DO_TRUNCATE, 0, op.b);
		return 0;
	case OP_LEARN:
		emit_controller(14, REASON_LEARN << 16, (run->table & 0xff) | op.b << 8, run->level);
		return 0;
	case OP_SAMPLE: {
		struct bridge *br = bridge_get(st->bridge);

		if (!br || !(br->flags & BRIDGE_SAMPLES))
			return 0;
		emit_in_port(st);
		op.code = DO_TELL;
		op.flags = 0;
		op.c = (run->table & 0xff) | op.b << 8;
		op.b = REASON_SAMPLE << 16;
		emit_op(st, &op);
		return 0;
	}
	case OP_FIN:
		if (key_of(st)->tcp_flags & bpf_htons(TCP_FIN | TCP_RST))
			emit_controller(14, REASON_FIN << 16, run->table & 0xff, run->level);
		return 0;
	case OP_SLOW:
		st->failure = SLOW_PATH;
		return 0;
	case OP_CT_SET:
		emit_ct_set(st, &op);
		return 0;
	case OP_CT:
		emit_ct(&op, st);
		return 0;
	case OP_CT_CLEAR:
		ct_forget(st);
		emit_simple(st, DO_CT_CLEAR, 0, 0);
		return 0;
	case OP_PUSH:
		push_stack(st);
		return 0;
	case OP_POP:
		if (pop_stack(st))
			st->n_skip = op.a;
		return 0;
	case OP_CHAIN:
		top = frame_at(st, st->n_frames - 1);
		if (top) {
			top->program = op.b;
			top->op = 0;
		}
		return 1;
	default:
		return 0;
	}
end:
	run->ended = 1;
	return 1;
}

/* A rule's program, or the action set, from operation `first` on, until it ends (1) or calls (0).  Not
 * inlined, so that the verifier walks through all operations once, not for each way that leads here. */
__attribute__((noinline)) int run_program(__u32 program, __u32 first, __u32 table, __u32 level)
{
	struct run run = { .level = level, .first = first, .table = table };
	struct state *st = state_get(level);

	if (!st)
		return 0;
	if (program == ACTION_SET_PROGRAM) {
		run.of.ops = st->set;
		run.of.n_ops = st->n_laid;
		run.of.room = SET_ROOM;
	} else if (!find_program(program, &run.of)) {
		st->failure = DROP_PROGRAM;
		return 0;
	}
	bpf_loop(run.of.room + 1, run_op, &run, 0);
	return run.ended != 0;
}

#endif
