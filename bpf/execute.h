/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Execution: find the path of a packet in a bridge, or make it, and do what it says. */
#ifndef GOSSAMER_EXECUTE_H
#define GOSSAMER_EXECUTE_H

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

#define STRAIGHT_CTS 8	/* one after the other, before anything else is done to a packet */

/* Does it end with a ct() that enters no table, and one output after it?  So a firewall lets new
 * connections begin. */
static __always_inline bool ends_with_commit(struct state *st, struct path *path, __u32 n)
{
	struct op *op = &path->ops[n];

	return path->n_ops == n + 2 && op->code == DO_CT && !(op->flags & CT_DO_TABLE) &&
	       op[1].code == DO_OUTPUT && st->passes_begun < STRAIGHT_CTS - 1;
}

/* One bridge, where there is a path that sets words and comes to one operation then, or to a ct() and an
 * output, which takes no walk through it.  Else `looked` tells pass(), which is to go on, what was looked for
 * already. */
static __always_inline void perform_known(struct __sk_buff *skb, struct state *st, __u32 level)
{
	struct path *path = NULL;
	__u32 n = 0, id;
	struct op *op;
	bool commits;

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
	if (n >= CACHED_OPS - 1)
		return;
	commits = ends_with_commit(st, path, n);
	if (path->n_ops != n + 1 && !commits)
		return;
	op = &path->ops[n];
	if (op->code == DO_CT) {
		st->n_saves = 0;
		st->n_carried = 0;
		if (!commits && !ends_with_ct(st, op))
			return;
		st->doing = *op;
		st->goes_on = 1;
		if (commits)
			st->then = op[1].b;
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

#endif
