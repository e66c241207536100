/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Translation: run the tables and the rules' programs for one packet, and write down
 * what it comes to as a flat path, which execute.h performs and cache.h keeps.
 *
 * Everything a rule decides on is in the bridge's cache mask, so the path is
 * the same for every packet with these bits.  The key changes as the actions
 * say while tables are walked, and is put back afterwards: execution starts
 * from the packet as it came.
 */
#ifndef GOSSAMER_TRANSLATE_H
#define GOSSAMER_TRANSLATE_H

/* The first rule the packet met here, behind misses that go on: what its action set sends up tells of
 * it. */
static __always_inline __u32 first_rule(struct state *st)
{
	for (int i = 0; i < CACHED_FLOWS; i++)
		if (i < st->n_flows && !(st->flows[i].id & TABLE_MISS))
			return st->flows[i].id;
	return TABLE_MISS;
}

static long run_frame(__u32 i, __u32 *level)
{
	struct state *st = state_get(*level);
	struct frame *frame;
	__u32 depth;
	int ended;

	if (!st || st->failure)
		return 1;
	depth = st->n_frames;
	if (!depth) {
		/* It runs once: what its resubmit wrote into it is not executed. */
		if (st->set_done || (!st->set_used && !st->n_set))
			return 1;
		/* An action set without group, output or resubmit drops the packet (5.10). */
		if (!(st->set_used & SET_ENDS))
			return 1;
		st->running = first_rule(st);
		lay_action_set(*level);
		depth = 1;
	}
	frame = frame_at(st, depth - 1);
	if (!frame)
		return 1;
	st->running = frame->flow;
	if (frame->program == SCOPE_PROGRAM) {
		continue_scope(*level);
		return 0;
	}
	if (frame->program == CONTINUE_PROGRAM) {
		st->n_frames = depth - 1;
		enter_table(frame->table, 1, *level);
		return 0;
	}
	if (frame->program == PUNT_PROGRAM) {
		st->n_frames = depth - 1;
		emit_controller(0xffff, REASON_NO_MATCH << 16, frame->table, *level);
		return 0;
	}
	if (!frame->program) {
		st->n_frames = depth - 1;
		return 0;
	}
	ended = run_program(frame->program, frame->op, frame->table, *level);
	if (st->enter) {
		__be32 in_port = key_of(st)->in_port;
		__u32 table = st->enter - 1;

		st->enter = 0;
		if (st->enter_as != OFPP_IN_PORT)
			key_of(st)->in_port = bpf_htonl(st->enter_as);
		enter_table(table, st->enter_goto, *level);
		key_of(st)->in_port = in_port;
	} else if (ended) {
		__u32 now = st->n_frames;

		if (frame->program == ACTION_SET_PROGRAM)
			st->n_set = st->n_laid = 0;
		if (now == depth)
			st->n_frames = depth - 1;
	}
	return 0;
}

static __always_inline void add_writers(struct state *st, struct op *op)
{
	add_writer(st, op->b);
	if (op->c)
		add_writer(st, op->c);
	if (op->d)
		add_writer(st, op->d);
	if (op->flags & 1)
		st->writers.n = MAX_WRITERS + 1;
}

/* The action set that a copy has carried along. */
static long take_along(__u32 i, __u32 *level)
{
	struct state *st = state_get(*level);
	struct pass *pass;
	struct op op;

	if (!st)
		return 1;
	pass = pass_get(*level, st->resumed_set - 1);
	if (!pass || i >= pass->n_set || i >= SET_ROOM)
		return 1;
	op = pass->set[i];
	if (op.code != OP_WROTE) {
		write_action(st, &op);
		return 0;
	}
	add_writers(st, &op);
	return 0;
}

/* What a program does that consists of one operation, an output or a goto; NULL where it is none of
 * these.  Most rules are: to know them spares a look-up and all of run_frame(). */
static __always_inline struct program_memo *simple_program(struct state *st, __u32 program)
{
	struct program_memo *memo = &st->program_memos[program & (MEMOS - 1)];
	struct small_program *small;
	struct op *op;

	if (memo->program == program && memo->version == st->version)
		return memo;
	small = bpf_map_lookup_elem(&small_programs, &program);
	if (!small)
		return NULL;
	memo->version = st->version;
	memo->program = program;
	memo->is_goto = 0;
	memo->code = DO_NOTHING;
	memo->ofport = 0;	/* no port has it */
	memo->operand = 0;
	op = &small->ops[0];
	if (small->n_ops != 1 || op->flags)
		return memo;
	if (op->code == OP_GOTO) {
		memo->is_goto = 1;
		memo->table = op->a;
		return memo;
	}
	if (op->code != OP_OUTPUT || op->b == OFPP_IN_PORT)
		return memo;
	if (op->b == OFPP_NORMAL) {
		memo->code = DO_NORMAL;
	} else if (op->b == OFPP_FLOOD) {
		memo->code = DO_FLOOD;
	} else if (op->b == OFPP_ALL) {
		memo->code = DO_ALL;
	} else {
		memo->ofport = op->b;
		memo->operand = port_id_of(st->bridge, op->b);
		memo->code = DO_OUTPUT;
		if (!memo->operand) {
			memo->code = DO_DROP;
			memo->operand = DROP_NO_PORT;
		}
	}
	return memo;
}

/* Neither an output of the action set nor a queue is chosen yet.  Whether one is chosen already, over
 * a patch port, no path knows. */
static __always_inline void show_none_chosen(struct flow_key *k)
{
	k->actset_output = bpf_htonl(ACTSET_UNSET);
	k->queue = QUEUE_UNKNOWN;
}

/* Look up a table whose rule may be of one operation: the table to go on in, plus one; 0 where the
 * path is written down, or a frame is laid for translate(). */
__attribute__((noinline)) int walk_table(__u32 table_id, __u32 level)
{
	struct state *st = state_get(level);
	struct program_memo *memo;
	__u32 table;

	if (!st || table_id > 255)
		return 0;
	table = st->bridge * 256 + table_id;
	st->n_alternatives = 0;
	if (search_table(table, level)) {
		if (st->n_alternatives)
			goto conjunctive;
		credit_flow(st, st->found.id, st->found.generation);
		if (!st->found_program)
			return 0;
		memo = simple_program(st, st->found_program);
		if (memo && memo->is_goto)
			return 1 + memo->table;
		if (!memo || !memo->code) {
			st->running = st->found.id;
			lay_frame(st, st->found_program, table_id);
		} else if (bpf_htonl(memo->ofport) != key_of(st)->in_port)
			emit_simple(st, memo->code, 0, memo->operand);
		return 0;
	}
	if (!st->n_alternatives) {
		credit_flow(st, TABLE_MISS | table, 0);
		st->running = TABLE_MISS | table;
		lay_miss(st, table_id, table);
		return 0;
	}
conjunctive:
	enter_table(table_id, 1, level);
	return 0;
}

/* Walk through tables as long as the rules found are of one operation.  1 where that was all; else
 * translate() goes on from there. */
__attribute__((noinline)) int walk_tables(__u32 level)
{
	struct state *st = state_get(level);
	__be32 actset_output;
	struct flow_key *k;
	__u32 next;
	__be16 queue;

	if (!st)
		return 0;
	k = key_of(st);
	st->failure = 0;
	st->n_frames = 0;
	st->n_ops = 0;
	st->n_flows = 0;
	st->set_used = 0;
	st->uses_state = 0;
	st->cacheable = st->exact;
	if (st->resumed_set || is_mpls(k->eth_type) || k->nw_frag)
		return 0;
	actset_output = k->actset_output;
	queue = k->queue;
	show_none_chosen(k);
	next = st->resume ? st->resume : 1;
	for (int i = 0; i < 256; i++) {
		next = walk_table(next - 1, level);
		if (!next)
			break;
	}
	k->actset_output = actset_output;
	k->queue = queue;
	if (st->n_frames)
		return 0;
	if (!st->n_ops)
		emit_simple(st, DO_DROP, 0, DROP_BY_RULE);
	if (st->n_flows == 1)
		credit(st->flows[0], 1, st->length, st->now);
	else
		credit_all(level);
	return 1;
}

/* Fill st->ops with what becomes of the packet in st->bridge, of which walk_tables() has seen the
 * beginning. */
__attribute__((noinline)) int translate(__u32 level)
{
	struct state *st = state_get(level);

	if (!st)
		return 0;
	__builtin_memcpy(st->saved, st->key, sizeof(st->saved));
	__builtin_memset(&st->key[KEY_WORDS], 0, 16 * 4);
	if (out_of_sight(st))
		hide(st);
	st->came_by = key_of(st)->in_port;
	st->told_in_port = st->came_by;
	show_none_chosen(key_of(st));
	st->told_queue = QUEUE_UNKNOWN;
	st->n_resubmits = 0;
	st->enter = 0;
	st->n_set = 0;
	st->n_laid = 0;
	st->writers.n = 0;
	st->set_done = 0;
	st->n_skip = 0;
	st->n_scopes = 0;
	st->n_saved = 0;
	st->n_stack = 0;
	st->stack_base = 0;
	st->clone = 0;
	st->n_buckets = 0;
	st->n_sets_aside = 0;
	st->shown[0] = st->shown[1] = 0;
	if (st->resumed_set) {
		st->cacheable = 0;
		bpf_loop(SET_ROOM, take_along, &level, 0);
		st->brought = st->writers;
	}
	if (!st->n_flows)
		enter_table(st->resume ? st->resume - 1 : 0, 1, level);
	bpf_loop(2 * MAX_RESUBMITS + 2, run_frame, &level, 0);
	/* Nobody sees what is put back last. */
	if (st->n_ops && st->n_ops <= PATH_OPS && st->ops[st->n_ops - 1].code == DO_RESTORE)
		st->n_ops--;
	/* The daemon makes an action set again that a ct()'s copy has carried along, from its rules. */
	if (st->failure == SLOW_PATH && st->resumed_set && st->brought.n > MAX_WRITERS)
		st->failure = DROP_SLOW_SET;
	if (st->failure == SLOW_PATH) {
		struct op op = { .code = DO_CONTROLLER, .c = st->resume & 0xff };

		/* not a constant, which would be one more map */
		op.b = REASON_SLOW << 16;
		/* the daemon credits those that it leads the packet past, these once more */
		st->n_flows = 0;
		st->n_ops = 0;
		emit_op(st, &op);
	} else if (st->failure) {
		/* Too deep or too long: the whole packet is dropped, nothing half done. */
		st->n_ops = 0;
		emit_simple(st, DO_DROP, 0, st->failure);
	} else if (!st->n_ops) {
		emit_simple(st, DO_DROP, 0, DROP_BY_RULE);
	}
	credit_all(level);
	if (st->n_ops > CACHED_OPS)
		st->cacheable = 0;
	__builtin_memcpy(st->key, st->saved, sizeof(st->saved));
	return 0;
}

#endif
