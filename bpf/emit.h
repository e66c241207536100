/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The path being written: operations, and the rules to credit. */
#ifndef GOSSAMER_EMIT_H
#define GOSSAMER_EMIT_H

static __always_inline void emit_op(struct state *st, struct op *op)
{
	__u32 n = st->n_ops;

	if (n >= PATH_OPS) {
		st->failure = DROP_TOO_LONG;
		return;
	}
	st->ops[n] = *op;
	st->n_ops = n + 1;
}

static __always_inline void emit_simple(struct state *st, __u8 code, __u16 a, __u32 b)
{
	struct op op = { .code = code, .a = a, .b = b };

	emit_op(st, &op);
}

/* Noted for the path, and credited with this packet when all of it is known (credit_all()), since the
 * daemon credits what it takes through itself.  What is too much even for that is credited at once. */
static __always_inline void credit_flow(struct state *st, __u32 id, __u32 generation)
{
	struct flow_ref ref = { .id = id, .generation = generation };
	__u32 n;

	n = st->n_flows;
	if (n >= CACHED_FLOWS)
		st->cacheable = 0;
	if (n < NOTED_FLOWS) {
		st->flows[n] = ref;
		st->n_flows = n + 1;
	} else {
		credit(ref, 1, st->length, st->now);
	}
}

static long credit_noted(__u32 i, __u32 *level)
{
	struct state *st = state_get(*level);

	if (!st || i >= NOTED_FLOWS || i >= st->n_flows)
		return 1;
	credit(st->flows[i], 1, st->length, st->now);
	return 0;
}

/* Not inlined: translate() has the deepest calls, and no stack left. */
__attribute__((noinline)) int credit_all(__u32 level)
{
	bpf_loop(NOTED_FLOWS, credit_noted, &level, 0);
	return 0;
}

/* The same, where the stack is short. */
__attribute__((noinline)) int pass_flow(__u32 id, __u32 generation, __u32 level)
{
	struct state *st = state_get(level);

	if (st)
		credit_flow(st, id, generation);
	return 0;
}

static long emit_state_word(__u32 i, __u32 *level)
{
	struct state *st = state_get(*level);
	__u32 w = i + 2;	/* in_port and packet_type are always there */

	if (!st || w >= PACKET_WORD)
		return 1;
	if (w == WORD_ACTSET_OUTPUT && st->key[w] == bpf_htonl(ACTSET_UNSET))
		return 0;	/* nobody is told of it */
	if ((w >= WORD_CT_STATE && w < WORD_CT_STATE + CT_WORDS) ||
	    (w >= WORD_TUN_ID && w <= WORD_PKT_MARK))
		return 0;	/* the key has them when the path is carried out */
	if (st->key[w] != st->saved[w] || (st->shown[w >> 6 & 1] & (1ull << (w & 63)))) {
		struct op op = { .code = DO_SET, .a = w, .b = st->key[w], .c = 0xffffffff };

		emit_op(st, &op);
		st->shown[w >> 6 & 1] |= 1ull << (w & 63);
	}
	return 0;
}

/* What a scope changes is changed back at its end: the path saves the packet before the first
 * change in each. */
__attribute__((noinline)) int save_scopes(__u32 level)
{
	struct state *st = state_get(level);

	if (!st)
		return 0;
	for (int i = 0; i < MAX_SCOPES; i++) {
		if (st->n_saved >= st->n_scopes)
			break;
		emit_simple(st, DO_SAVE, 0, 0);
		st->n_saved++;
	}
	return 0;
}

static __always_inline void before_change(struct state *st)
{
	if (st->n_saved < st->n_scopes)
		save_scopes(st->level);
}

/* Floods, NORMAL and packet-ins go by the in_port that actions may have written. */
static __always_inline void emit_in_port(struct state *st)
{
	__be32 in_port = key_of(st)->in_port;
	struct op op = { .code = DO_SET, .a = WORD_IN_PORT, .b = in_port, .c = 0xffffffff };

	if (in_port == st->told_in_port)
		return;
	emit_op(st, &op);
	st->told_in_port = in_port;
}

/* An output goes to the queue that is chosen by then. */
static __always_inline void emit_queue(struct state *st)
{
	__be16 queue = key_of(st)->queue;

	if (queue == st->told_queue)
		return;
	emit_simple(st, DO_QUEUE, 0, bpf_ntohs(queue));
	st->told_queue = queue;
}

/* A packet-in shows registers and metadata as they are here: the path sets them first. */
__attribute__((noinline)) int emit_controller(__u32 max_len, __u32 who, __u32 where, __u32 level)
{
	struct state *st = state_get(level);
	struct op op = { .code = DO_CONTROLLER, .a = max_len, .b = who, .c = where };

	if ((who >> 16) >= REASON_LEARN)
		op.code = DO_TELL;

	if (!st)
		return 0;
	st->uses_state = 1;
	emit_in_port(st);
	bpf_loop(PACKET_WORD - 2, emit_state_word, &level, 0);
	op.d = st->running;
	emit_op(st, &op);
	return 0;
}

static __always_inline void emit_output(struct state *st, __u32 ofport)
{
	__u32 in_ofport = bpf_ntohl(key_of(st)->in_port);
	__u32 id;

	emit_queue(st);
	switch (ofport) {
	case OFPP_NORMAL:
		emit_in_port(st);
		emit_simple(st, DO_NORMAL, 0, 0);
		return;
	case OFPP_FLOOD:
		emit_in_port(st);
		emit_simple(st, DO_FLOOD, 0, 0);
		return;
	case OFPP_ALL:
		emit_in_port(st);
		emit_simple(st, DO_ALL, 0, 0);
		return;
	case OFPP_IN_PORT:
		id = port_id_of(st->bridge, in_ofport);
		break;
	default:
		if (ofport == in_ofport)
			return;	/* only IN_PORT goes back (OpenFlow 1.3.5, 7.2.5) */
		id = port_id_of(st->bridge, ofport);
	}
	emit_simple(st, id ? DO_OUTPUT : DO_DROP, 0, id ? id : DROP_NO_PORT);
}

/* Why output:CONTROLLER sends a packet up (OpenFlow 1.4, 7.4.1). */
static __always_inline __u32 output_reason(struct state *st)
{
	if (st->n_scopes) {
		struct scope *scope = &st->scopes[(st->n_scopes - 1) & (MAX_SCOPES - 1)];

		/* in the bucket's own list, not in a rule it resubmits to */
		if (!scope->is_clone && scope->frame + 2 == st->n_frames)
			return REASON_GROUP;
	}
	return st->set_done ? REASON_ACTION_SET : REASON_ACTION;
}

/* Registers hold port numbers as OpenFlow 1.0 writes them, in 16 bits (ovs-actions(7)). */
static __always_inline void emit_output_reg(struct state *st, __u32 port, __u32 max_len,
					    __u32 table, __u32 level)
{
	if (port > 0xffff)
		return;
	if (port >= 0xff00)
		port |= 0xffff0000;
	if (port == OFPP_CONTROLLER)
		emit_controller(max_len ? max_len : 0xffff, output_reason(st) << 16, table, level);
	else if (port != OFPP_TABLE && port != OFPP_NONE)
		emit_output(st, port);
}

#endif
