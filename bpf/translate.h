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

/* Slots of the action set (OpenFlow 1.3.5, 5.10), in the order they are executed. */
enum set_slot { SET_POP_VLAN, SET_PUSH_VLAN, SET_DEC_TTL, SET_OUTPUT, SET_RESUBMIT, SET_SLOTS };

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

/* The packet's own credit is given at once; the path remembers whom to credit later. */
__attribute__((noinline)) int pass_flow(__u32 id, __u32 generation, __u32 level)
{
	struct flow_ref ref = { .id = id, .generation = generation };
	struct state *st = state_get(level);
	__u32 n;

	if (!st)
		return 0;
	credit(ref, 1, st->length, st->now);
	n = st->n_flows;
	if (n < CACHED_FLOWS) {
		st->flows[n] = ref;
		st->n_flows = n + 1;
	} else {
		st->cacheable = 0;
	}
	return 0;
}

static long emit_state_word(__u32 i, __u32 *level)
{
	struct state *st = state_get(*level);
	__u32 w = i + 2;	/* in_port and packet_type are always there */

	if (!st || w >= PACKET_WORD)
		return 1;
	if (st->key[w] || (st->shown & (1ull << w))) {
		struct op op = { .code = DO_SET, .a = w, .b = st->key[w], .c = 0xffffffff };

		emit_op(st, &op);
		st->shown |= 1ull << w;
	}
	return 0;
}

/* A packet-in shows registers and metadata as they are here: the path sets them first. */
__attribute__((noinline)) int emit_controller(__u32 max_len, __u32 who, __u32 where, __u32 level)
{
	struct state *st = state_get(level);
	struct op op = { .code = DO_CONTROLLER, .a = max_len, .b = who, .c = where };
	__u32 n;

	if (!st)
		return 0;
	st->uses_state = 1;
	bpf_loop(PACKET_WORD - 2, emit_state_word, &level, 0);
	n = st->n_flows;
	if (n && n <= CACHED_FLOWS)
		op.d = st->flows[n - 1].id;
	emit_op(st, &op);
	return 0;
}

static __always_inline void emit_output(struct state *st, __u32 ofport)
{
	__u32 in_ofport = bpf_ntohl(key_of(st)->in_port);
	__u32 id;

	switch (ofport) {
	case OFPP_NORMAL:
		emit_simple(st, DO_NORMAL, 0, 0);
		return;
	case OFPP_FLOOD:
		emit_simple(st, DO_FLOOD, 0, 0);
		return;
	case OFPP_ALL:
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

static __always_inline __u32 read_bits(struct state *st, __u32 word, __u32 shift, __u32 bits)
{
	__u32 v;

	if (word >= KEY_WORDS + 16)
		return 0;
	v = bpf_ntohl(st->key[word]) >> (shift & 31);
	return bits >= 32 ? v : v & ((1u << bits) - 1);
}

/* Set masked bits of a key word, and say so in the path where packets show them. */
static __always_inline void set_word(struct state *st, __u32 word, __u32 value, __u32 mask,
				     __u32 groups)
{
	if (word >= KEY_WORDS + 16)
		return;
	st->key[word] = (st->key[word] & ~mask) | value;
	if (word >= PACKET_WORD && word < KEY_WORDS) {
		struct op op = { .code = DO_SET, .a = word, .b = value, .c = mask, .d = groups };

		emit_op(st, &op);
	}
}

/* Push: the new tag's VID and PCP are those of the tag it covers (OpenFlow 1.3.5, 5.12.1). */
static __always_inline int key_push_vlan(struct flow_key *k, __u16 tpid)
{
	if (k->vlan1_tci)
		return -1;
	k->vlan1_tci = k->vlan_tci;
	k->vlan1_tpid = k->vlan_tpid;
	k->vlan_tci |= bpf_htons(VLAN_CFI);
	k->vlan_tpid = tpid;
	return 0;
}

static __always_inline void key_pop_vlan(struct flow_key *k)
{
	k->vlan_tci = k->vlan1_tci;
	k->vlan_tpid = k->vlan1_tpid;
	k->vlan1_tci = 0;
	k->vlan1_tpid = 0;
}

/* Does the packet have what a field needs?  (NEEDS_*) */
static __always_inline bool has(struct flow_key *k, __u32 needs)
{
	if ((needs & NEEDS_TAG) && !(k->vlan_tci & bpf_htons(VLAN_CFI)))
		return false;
	if ((needs & NEEDS_L4) && (k->nw_frag & FRAG_LATER))
		return false;
	if (needs & (NEEDS_ND | NEEDS_ND_SOLICIT | NEEDS_ND_ADVERT)) {
		bool solicit = k->tp_src == bpf_htons(135), advert = k->tp_src == bpf_htons(136);

		if (k->tp_dst || (!solicit && !advert))
			return false;
		if (((needs & NEEDS_ND_SOLICIT) && !solicit) || ((needs & NEEDS_ND_ADVERT) && !advert))
			return false;
	}
	return true;
}

/* After bits of vlan_tci were written: the 'present' bit makes a tag, or takes it off. */
static __always_inline void fix_tag(struct state *st)
{
	struct flow_key *k = key_of(st);
	struct {
		__be16 outer, inner;
	} tpid = { .outer = bpf_htons(0x8100) }, mask = { .outer = 0xffff };
	__u32 value, bits;

	if (!(k->vlan_tci & bpf_htons(VLAN_CFI))) {
		key_pop_vlan(k);
		emit_simple(st, DO_POP_VLAN, 0, 0);
	} else if (!k->vlan_tpid) {
		__builtin_memcpy(&value, &tpid, 4);
		__builtin_memcpy(&bits, &mask, 4);
		set_word(st, WORD_VLAN_TPID, value, bits, GROUP_VLAN);
	}
}

/* Into the action set: one of a kind, the last one counts. */
static __always_inline void write_action(struct state *st, struct op *op)
{
	__u32 slot;

	switch (op->code) {
	case OP_POP_VLAN:
		slot = SET_POP_VLAN;
		break;
	case OP_PUSH_VLAN:
		slot = SET_PUSH_VLAN;
		break;
	case OP_DEC_TTL:
		slot = SET_DEC_TTL;
		break;
	case OP_OUTPUT:
	case OP_OUTPUT_REG:
	case OP_CONTROLLER:
		slot = SET_OUTPUT;
		break;
	case OP_RESUBMIT:
		slot = SET_RESUBMIT;
		break;
	case OP_SET:
	case OP_MOVE:
	case OP_SET_VLAN:
	case OP_SKIP:
	case OP_FIX_TAG: {
		__u32 n = st->n_set;

		if (n >= SET_OPS) {
			st->failure = DROP_TOO_LONG;
			return;
		}
		st->set[n] = *op;
		st->set[n].flags &= ~OP_WRITE;
		st->n_set = n + 1;
		return;
	}
	default:
		return;
	}
	st->slots[slot] = *op;
	st->slots[slot].flags &= ~OP_WRITE;
	st->set_used |= 1 << slot;
}

/* The frame of that number, NULL where there is none.  One check on a value the compiler cannot
 * rewrite: 6.1 does not learn a bound from "not zero". */
static __always_inline struct frame *frame_at(struct state *st, __u32 n)
{
	asm volatile("" : "+r"(n));
	if (n >= MAX_DEPTH)
		return NULL;
	asm volatile("%0 &= %1" : "+r"(n) : "i"(MAX_DEPTH - 1));
	return &st->frames[n];
}

static __always_inline void lay_frame(struct state *st, __u32 program, __u32 table_id)
{
	__u32 n = st->n_frames;

	if (n >= MAX_DEPTH) {
		st->failure = DROP_TOO_DEEP;
		return;
	}
	st->frames[n].program = program;
	st->frames[n].op = 0;
	st->frames[n].table = table_id;
	st->n_frames = n + 1;
}

/* Look up `table_id` and lay a frame for what is found there.  A resubmit that finds nothing does
 * nothing (`honour_miss` 0); otherwise the table says what becomes of the packet. */
__attribute__((noinline)) int enter_table(__u32 table_id, __u32 honour_miss, __u32 level)
{
	struct state *st = state_get(level);
	struct table *t;
	__u32 table;

	if (!st || table_id > 255)
		return 0;
	table = st->bridge * 256 + table_id;
	if (classify(table, level)) {
		pass_flow(st->found.id, st->found.generation, level);
		lay_frame(st, st->found_program, table_id);
		return 0;
	}
	pass_flow(TABLE_MISS | table, 0, level);
	if (!honour_miss)
		return 0;
	t = bpf_map_lookup_elem(&tables, &table);
	if (!t)
		return 0;
	if (t->miss == MISS_CONTROLLER)
		lay_frame(st, PUNT_PROGRAM, table_id);
	else if (t->miss == MISS_CONTINUE && table_id < 254)
		lay_frame(st, CONTINUE_PROGRAM, table_id + 1);
	else if (!st->n_ops && !st->set_used)
		emit_simple(st, DO_DROP, 0, DROP_NO_RULE);
	return 0;
}

struct run {			/* of one frame, until it ends or calls */
	__u32 level;
	__u32 first;		/* operation to begin with */
	__u32 table;
	__u32 n_ops;
	struct small_program *small;
	struct large_program *large;
	/* how it ended */
	__u32 next;		/* operation to return to */
	__u32 ended;		/* the frame is done */
};

static __always_inline int dec_ttl(struct state *st, struct run *run, struct op *op)
{
	struct flow_key *k = key_of(st);
	bool ipv6 = k->eth_type == bpf_htons(0x86dd);
	struct flow_key set = {}, mask = {};

	if (k->eth_type != bpf_htons(0x0800) && !ipv6)
		return 0;
	if (k->nw_ttl <= 1) {
		emit_controller(0xffff, (op->b & 0xffff) | (REASON_INVALID_TTL << 16),
				run->table, run->level);
		return -1;
	}
	set.nw_ttl = k->nw_ttl - 1;
	mask.nw_ttl = 0xff;
	set_word(st, WORD_NW_TTL, ((__u32 *)&set)[WORD_NW_TTL], ((__u32 *)&mask)[WORD_NW_TTL],
		 GROUP_L3);
	return 0;
}

static __always_inline void set_vlan(struct state *st, struct op *op)
{
	struct flow_key *k = key_of(st);
	struct {
		__be16 type, tci;
	} value = {}, mask = {};
	__u32 v, m;

	if (!(k->vlan_tci & bpf_htons(VLAN_CFI))) {
		if (!(op->flags & 1))
			return;
		key_push_vlan(k, bpf_htons(0x8100));
		emit_simple(st, DO_PUSH_VLAN, bpf_htons(0x8100), 0);
	}
	value.tci = bpf_htons(op->a);
	mask.tci = bpf_htons(op->b);
	__builtin_memcpy(&v, &value, 4);
	__builtin_memcpy(&m, &mask, 4);
	set_word(st, WORD_VLAN_TCI, v, m, GROUP_VLAN);
}

static long run_op(__u32 i, struct run *run)
{
	struct state *st = state_get(run->level);
	__u32 at = run->first + i;
	struct frame *top;
	struct op op = {};

	if (!st || st->failure)
		goto end;
	if (at >= run->n_ops)
		goto end;
	if (run->small) {
		if (at >= SMALL_OPS)
			goto end;
		op = run->small->ops[at];
	} else if (run->large) {
		if (at >= LARGE_OPS)
			goto end;
		op = run->large->ops[at];
	} else {
		if (at >= SET_ROOM)
			goto end;
		op = st->set[at];
	}
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
		if (key_push_vlan(key_of(st), op.a))
			st->failure = DROP_VLAN_STACK;
		else
			emit_simple(st, DO_PUSH_VLAN, op.a, 0);
		return 0;
	case OP_POP_VLAN:
		key_pop_vlan(key_of(st));
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
	case OP_RESUBMIT: {
		__be32 in_port = key_of(st)->in_port;

		run->next = at + 1;
		if (++st->n_resubmits > MAX_RESUBMITS) {
			st->failure = DROP_TOO_DEEP;
			return 1;
		}
		/* the frame below must know where to return to before the new one is laid on it */
		top = frame_at(st, st->n_frames - 1);
		if (top)
			top->op = run->next;
		if (op.b != OFPP_IN_PORT)
			key_of(st)->in_port = bpf_htonl(op.b);
		enter_table(op.a == 0xff ? run->table : op.a, 0, run->level);
		key_of(st)->in_port = in_port;
		return 1;
	}
	case OP_GOTO:
		/* A goto ends this rule whether or not the next table knows the packet. */
		if (st->n_frames)
			st->n_frames--;
		enter_table(op.a, 1, run->level);
		return 1;
	case OP_CLEAR_ACTIONS:
		st->set_used = 0;
		st->n_set = 0;
		return 0;
	case OP_EXIT:
		st->n_frames = 0;
		st->set_used = 0;
		st->n_set = 0;
		return 1;
	case OP_CHAIN:
		run->next = 0;
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

/* The action set, put in order behind its set operations, becomes the last frame. */
static __always_inline void lay_action_set(struct state *st)
{
	__u32 n = 0, sets = st->n_set;

	if (sets > SET_OPS)
		sets = SET_OPS;
	/* Room for the three that come first. */
	for (int i = SET_OPS - 1; i >= 0; i--)
		if (i < sets)
			st->set[i + 3] = st->set[i];
#pragma unroll
	for (int s = SET_POP_VLAN; s <= SET_DEC_TTL; s++) {
		if (st->set_used & (1 << s))
			st->set[s] = st->slots[s];
		else
			st->set[s].code = OP_SET, st->set[s].c = 0, st->set[s].b = 0,
			st->set[s].a = 0, st->set[s].d = 0, st->set[s].flags = 0;
	}
	n = sets + 3;
	/* 6.1 loses the bound on the way through the loop: a mask it can see, and the compiler not. */
	asm volatile("%0 &= %1" : "+r"(n) : "i"(SET_ROOM - 1));
	if (st->set_used & (1 << SET_OUTPUT))
		st->set[n] = st->slots[SET_OUTPUT];
	else
		st->set[n] = st->slots[SET_RESUBMIT];
	st->set_used = 0;
	st->set_done = 1;
	st->n_set = n + 1;
	st->frames[0].program = ACTION_SET_PROGRAM;
	st->frames[0].op = 0;
	st->frames[0].table = 0;
	st->n_frames = 1;
}

static long run_frame(__u32 i, __u32 *level)
{
	struct state *st = state_get(*level);
	struct run run = { .level = *level };
	struct frame *frame;
	__u32 n, depth;

	if (!st || st->failure)
		return 1;
	depth = st->n_frames;
	if (!depth) {
		/* It runs once: what its resubmit wrote into it is not executed. */
		if (st->set_done || (!st->set_used && !st->n_set))
			return 1;
		/* An action set without output or resubmit drops the packet (5.10). */
		if (!(st->set_used & (1 << SET_OUTPUT | 1 << SET_RESUBMIT)))
			return 1;
		lay_action_set(st);
		depth = 1;
	}
	frame = frame_at(st, depth - 1);
	if (!frame)
		return 1;
	run.first = frame->op;
	run.table = frame->table;
	if (frame->program == ACTION_SET_PROGRAM) {
		run.n_ops = st->n_set;
		/* spent: what its resubmit may write is a new set */
		n = SET_ROOM;
	} else if (frame->program == CONTINUE_PROGRAM) {
		st->n_frames = depth - 1;
		enter_table(frame->table, 1, *level);
		return 0;
	} else if (frame->program == PUNT_PROGRAM) {
		st->n_frames = depth - 1;
		emit_controller(0xffff, REASON_NO_MATCH << 16, frame->table, *level);
		return 0;
	} else if (!frame->program) {
		st->n_frames = depth - 1;
		return 0;
	} else if (frame->program & LARGE_PROGRAM) {
		run.large = bpf_map_lookup_elem(&large_programs, &frame->program);
		if (!run.large) {
			st->failure = DROP_PROGRAM;
			return 1;
		}
		run.n_ops = run.large->n_ops;
		n = LARGE_OPS;
	} else {
		run.small = bpf_map_lookup_elem(&small_programs, &frame->program);
		if (!run.small) {
			st->failure = DROP_PROGRAM;
			return 1;
		}
		run.n_ops = run.small->n_ops;
		n = SMALL_OPS;
	}
	bpf_loop(n + 1, run_op, &run, 0);
	if (run.ended) {
		__u32 now = st->n_frames;

		if (frame->program == ACTION_SET_PROGRAM)
			st->n_set = 0;
		if (now == depth)
			st->n_frames = depth - 1;
	}
	return 0;
}

/* Fill st->ops with what becomes of the packet in st->bridge. */
__attribute__((noinline)) int translate(__u32 level)
{
	struct state *st = state_get(level);

	if (!st)
		return 0;
	__builtin_memcpy(st->saved, &st->key[PACKET_WORD], sizeof(st->saved));
	/* tunnel and other ingress metadata will stay; registers begin at zero */
	__builtin_memset(&st->key[2], 0, (WORD_TUN_ID - 2) * 4);
	__builtin_memset(&st->key[KEY_WORDS], 0, 16 * 4);
	st->failure = 0;
	st->n_resubmits = 0;
	st->n_frames = 0;
	st->n_ops = 0;
	st->n_flows = 0;
	st->set_used = 0;
	st->n_set = 0;
	st->set_done = 0;
	st->n_skip = 0;
	st->uses_state = 0;
	st->shown = 0;
	st->cacheable = 1;
	enter_table(0, 1, level);
	bpf_loop(2 * MAX_RESUBMITS + 2, run_frame, &level, 0);
	if (st->failure) {
		/* Too deep or too long: the whole packet is dropped, nothing half done. */
		st->n_ops = 0;
		emit_simple(st, DO_DROP, 0, st->failure);
	} else if (!st->n_ops) {
		emit_simple(st, DO_DROP, 0, DROP_BY_RULE);
	}
	if (st->n_ops > CACHED_OPS)
		st->cacheable = 0;
	__builtin_memcpy(&st->key[PACKET_WORD], st->saved, sizeof(st->saved));
	return 0;
}

#endif
