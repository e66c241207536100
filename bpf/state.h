/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What the program knows of the packet in its hands.
 *
 * It lives in a per-CPU map, not on the stack (512 bytes).  A device that we
 * send to may hand the packet straight back to another port of ours while
 * bpf_clone_redirect() is under way; `nesting` gives each such visit a state
 * of its own.
 */
#ifndef GOSSAMER_STATE_H
#define GOSSAMER_STATE_H

/* An operation: of a rule's program (enum rule_op), or of a path (enum path_op). */
struct op {
	__u8 code;
	__u8 flags;
	__u16 a;
	__u32 b;
	__u32 c;
	__u32 d;
};

/* Header groups; `d` of operations that write the key says which they touch. */
#define GROUP_ETH	(1 << 0)
#define GROUP_VLAN	(1 << 1)
#define GROUP_L3	(1 << 2)
#define GROUP_L4	(1 << 3)
#define GROUP_ARP_ND	(1 << 4)
#define GROUP_MPLS	(1 << 5)
#define GROUP_TRANSPORT	(1 << 6)	/* beyond the key: transport.h */
#define TUNNEL_WORDS	(WORD_PKT_MARK + 1 - WORD_TUN_ID)	/* the mark too */
#define HIDDEN_WORDS	(KEY_WORDS - WORD_NW_PROTO)	/* what labels hide */

struct flow_ref {
	__u32 id;		/* TABLE_MISS set: a table's miss counter, not a flow */
	__u32 generation;	/* the flow's; a later flow of the same id is another one */
};
#define TABLE_MISS (1u << 31)
#define ACTSET_UNSET 0xfffffff7	/* actset_output: no output in the action set (OpenFlow 1.5.1, 7.2.1) */
#define QUEUE_UNKNOWN 0xffff	/* none was chosen in this bridge */
#define SLOW_PATH 0xffffffff	/* as a failure: not dropped, the daemon does it */

struct frame {			/* where a resubmit returns to */
	__u32 program;
	__u16 op;
	__u16 table;
	__u32 flow;		/* rule it belongs to, of which packet-ins tell */
};
#define SCOPE_PROGRAM 0xfffffffc	/* the end of a group's bucket or of a clone */
#define ACTION_SET_PROGRAM 0xffffffff	/* ops come from state.set */
#define CONTINUE_PROGRAM 0xfffffffe	/* a miss that goes on in the next table */
#define PUNT_PROGRAM 0xfffffffd		/* a miss that goes to the controllers */

struct scope {			/* a group or a clone under way: its changes end with it */
	__u64 buckets;		/* list in `buckets`: those still to come */
	__u32 program;		/* what runs next, 0 nothing more */
	__u32 frame;		/* its own, where `exit` within it stops */
	__u32 table;
	__u32 begun;
	__u32 is_clone;
	__u32 own_set;			/* enum own_set */
	__u32 clone_around;		/* index of the clone it is in, plus one */
	__u32 set_was_done;
	__u32 stack_base;		/* of the one around it */
	__u32 key[KEY_WORDS];
	__u32 hidden[HIDDEN_WORDS];
};

#define HOLDING 0xffffffff	/* as `skipping`: operations are kept for later (held.h) */

enum own_set { OWN_SET_NONE, OWN_SET_WRITTEN, OWN_SET_RUN };

struct writers {		/* of an action set: what the daemon makes it again from */
	__u32 n;		/* more than MAX_WRITERS: they are not all here */
	__u32 rules[MAX_WRITERS];
};

struct action_set {		/* put aside while a clone has one of its own */
	__u32 used, n_set, n_laid, pad;
	struct writers writers;
	struct op slots[16];
	struct op set[SET_ROOM];
};

#define CT_WORDS (WORD_CONJ_ID - WORD_CT_STATE)	/* of the key: all fields of connections */

struct save {			/* the packet as it was when a scope first changed it */
	__u32 tunnel[TUNNEL_WORDS];
	__u32 packet[PACKET_WORDS];
	__u32 ct[CT_WORDS];
};

struct alternative {		/* of a conjunction: a rule that matched */
	__u32 program;
	__u32 priority;		/* plus one */
};

struct conjunction {		/* clauses found of one */
	__u32 id;
	__u32 n_clauses;
	__u64 found;		/* bits */
};

struct seen {			/* a bridge the packet was in, as it was then */
	__u64 version;
	__u32 bridge;
	__u32 pad;
};

#define KEPT_BIAS 64		/* more than tags and labels take */

struct short_copy {		/* an output of the packet's first bytes, which comes last */
	__u32 port;
	__u32 limit;
	__u32 kept;		/* of what is behind tags and labels, plus KEPT_BIAS; 0: it has left */
	__u32 packet[PACKET_WORDS];
};

struct pass {			/* a copy waiting to enter a bridge over a patch port, or again */
	__u32 port;
	__u32 touched;
	__u32 queue;		/* of its outputs, plus one */
	__u32 resume;		/* table it goes on in, plus one; 0: it came over a patch port */
	__u32 bridge;		/* where it goes on */
	__u32 n_set;		/* operations of its action set */
	__u32 key[KEY_WORDS];	/* only its packet part counts where it came over a patch port */
	struct op set[SET_ROOM];
};

#define MEMOS 32

struct rule_memo {		/* the one rule of a subtable that looks at nothing */
	__u64 version;		/* of the bridge, for which it holds; 0: free */
	__u32 subtable;
	__u32 program;
	struct flow_ref flow;
	__u32 priority;
	__u32 pad;
};

struct program_memo {		/* what a program of one operation does */
	__u64 version;		/* of the bridge, for which it holds; 0: free */
	__u32 program;
	__u8 is_goto;
	__u8 code;		/* else of the path (enum path_op); DO_NOTHING: it is none of these */
	__u16 table;		/* of a goto */
	__u32 ofport;		/* of an output to a port: nothing comes of it where that is the ingress port */
	__u32 operand;		/* of `code` */
};

struct tags {			/* VLAN tags; all zero: none */
	__be16 tci, tpid;
	__be16 inner_tci, inner_tpid;
};

struct extensions {		/* headers of IPv6 that were met */
	__u32 bits;		/* OFPIEH_* */
	__u32 place;		/* in RFC 8200's order, plus one, of the last */
	__u32 destinations;
};

#define FRESH_WORDS 10

enum looked { LOOKED_NOT, LOOKED_GATHERED, LOOKED_MISSED };

struct state {
	/* What every packet needs, in as few lines of the cache as it fits into, and the more often the nearer to
	 * the beginning: an offset below 128 takes three bytes less of each instruction.  First what begins as
	 * zero. */
	union {
		struct {
			__u64 gathered;		/* version of the bridge whose words of the packet are in `words`;
							 * 0: the packet is another one, or was changed */
			__u32 touched;		/* groups ever written in this packet */
			__u32 pending;		/* port id of an output not yet done, 0 none */
			__u32 n_outputs;		/* done or pending, of all passes */
			__u32 n_short;
			__u32 passes_begun;
			__u32 pass_head, pass_tail;
			__u32 goes_on;		/* the ct() in `doing` was the last thing to do: it comes next, and
							 * the packet itself goes on after it */
			__u32 stays;		/* the next pass is in the same bridge, of the same version */
			__u32 resume;		/* the pass goes on in that table, plus one: after a ct() */
			__u32 resumed_set;		/* index in `passes` of the action set it came with, plus one */
			__u32 length_limit;		/* bytes the next output may have, 0 any number */
			__u32 n_seen;		/* versions in `seen`: of the bridges it was in before */
			__u16 queue;		/* chosen, when executing */
			__u16 l3, l4;		/* offsets in the packet, 0 none */
			__be16 l3_type;		/* ethertype of what was found at l3, labels or not */
			__u16 nd_option;		/* offset of ND's first option with an address, 0 none */
			__u8 l4_proto;		/* protocol whose whole header was found at l4, 0 none */
			__u8 vlan_changed;
			__u8 transport_read;		/* the level's `transports` are this packet's */
			__u8 complained;		/* its sender has heard that it is too big */
			__u8 begins;		/* it was seen to begin a connection, by the last ct(), and is the
						 * same still */
			__u16 then;		/* port id: after the ct() in `doing` it goes there, and nothing else */
		};
		__u64 fresh[FRESH_WORDS];
	};
	__u64 version;			/* of the bridge when the packet first came there */
	__u64 packet_hash;		/* over these */
	__u32 hash;
	__u32 exact;			/* the words tell all that decides: paths may be kept */
	__u32 looked;			/* for this pass: enum looked */
	__u32 n_words;
	__u32 in_port;			/* port id */
	__u32 bridge;
	__u32 first_port;		/* where the packet entered the switch */
	__u32 length;			/* of the packet when it came */
	__u32 frame_length;		/* with a tag that the kernel holds beside it */
	__u32 priority;			/* of the skb as it came */
	__u32 level;			/* of this state */
	__u32 dirty;			/* pipeline words of the key were written */
	__u32 ct_dirty;			/* of them only those of connections */
	__u32 through;			/* tunnel port that gossamer_uplink() took the packet out of */
	__u32 came_through;		/* the same, while the packet is here */
	__u32 n_carried;		/* operations of the action set that the next copy carries */
	__u32 n_saves;			/* in `saves`, when executing */
	__u32 words_set;		/* first operations of the path, done already */
	__be16 wire_type;		/* ethertype, or length, before it */
	__u16 network;			/* offset of what follows the ethertype */
	__u16 l4_length;		/* from l4 to the end of the IP packet */
	__u16 pending_queue;		/* of the pending output */
	__u8 at_ingress;		/* redirect_peer works only from there */
	__u8 arrived_again;		/* the daemon lets it in: it has read it for a connection's helper,
					 * or asks about its connection */
	__u64 now;			/* coarse monotonic ns */
	__u64 ticks;			/* of the kernel, when it was asked for the time */
	struct op doing;		/* of the path: kept here, where there is more room than on the stack */
	__u32 words[CACHE_WORDS];
	__u32 key[KEY_WORDS + 16];	/* struct flow_key, then temporaries of programs */
	/* what few packets need */
	__u32 wire[PACKET_WORDS];	/* what the headers hold now; valid once touched */
	__u32 saved[KEY_WORDS];		/* the key before translation */
	__u32 came[PACKET_WORDS];	/* of the packet as it entered the switch, where there are tunnels */
	__u32 hidden[HIDDEN_WORDS];	/* of the key in translation: what is below labels */
	struct extensions extensions;
	__u8 cacheable;
	__u32 n_spread;			/* copies of the flood under way */
	__u32 gather[1 + MATCH_WORDS];
	struct flow_ref found;		/* by classify() */
	__u32 found_program;
	__u32 found_priority;
	__u32 n_alternatives;
	__u32 at_alternative, at_op;	/* where the walk through them is */
	__u32 alternative_priority;	/* of those looked at */
	__u32 n_conjunctions;
	__u32 conjunction_id;		/* whose clauses are all there */
	/* translation */
	__u32 failure;			/* drop reason that voids the whole pass, or SLOW_PATH */
	__u32 hides_ports;		/* while a table is looked up, of a fragment */
	__be32 hidden_ports;
	__be32 came_by;			/* in_port of the key before translation */
	__be16 told_queue;		/* the queue that the path has chosen, plus one */
	__be32 told_in_port;		/* what the path says it is */
	__u32 n_resubmits;
	__u32 enter;			/* table to go on in, plus one; 0 none */
	__u32 enter_as;			/* in_port of that look-up; OFPP_IN_PORT: the packet's own */
	__u32 enter_goto;		/* what the table does with misses counts */
	__u32 n_frames;
	__u32 running;			/* rule whose frame runs, or is laid next */
	__u32 n_ops;
	__u32 n_flows;
	__u32 set_used;			/* SET_* bits */
	__u32 n_set;
	__u32 set_done;			/* the action set was laid: it runs once */
	__u32 n_laid;			/* of `set`, those that run; behind them is what is written meanwhile */
	__u32 n_skip;			/* operations to leave out (OP_SKIP) */
	__u64 shown[2];			/* pipeline words the path sets, so must set back */
	__u32 uses_state;		/* the path reads pipeline words (packet-in) */
	__u32 mark;			/* the packet's, while a clone bears another */
	__u32 n_scopes;
	__u32 n_saved;			/* of them, those whose packet the path saves */
	__u32 n_stack, stack_base;	/* a clone's stack begins empty */
	__u32 clone;			/* index of the innermost clone in `scopes`, plus one */
	__u32 n_buckets;		/* of the scopes */
	__u32 n_sets_aside;
	__u32 group_hash;
	__u32 best_weight, best_log;	/* of the bucket that leads */
	__u32 best_bucket;
	__u32 skipping;			/* a meter dropped this copy: to its scope's end, plus saves
					 * begun and not ended on the way; or HOLDING */
	__u32 holds;			/* the packet waits for a connection's helper: its id, else 0 */
	struct frame frames[MAX_DEPTH];
	struct flow_ref flows[NOTED_FLOWS];
	struct writers writers;		/* rules that wrote the action set */
	struct writers brought;		/* of them, those that did so before the ct() it came through */
	struct op slots[16];		/* the action set's single-valued slots */
	struct op set[SET_ROOM];	/* its set-field and move operations; later the ordered whole */
	__u32 normal_vlan;		/* the VLAN NORMAL put it in */
	struct tags tags;		/* the packet's when NORMAL got hold of it */
	struct op punt;			/* being written */
	__u8 header[64] __attribute__((aligned(8)));	/* being moved, or written */
	struct arrival in;
	struct departure out;
	struct bpf_fib_lookup fib;
	__be32 sum_words[128];
	struct short_copy shorts[MAX_SHORT];
	struct alternative alternatives[MAX_ALTERNATIVES];
	struct conjunction conjunctions[MAX_CONJUNCTIONS];
	struct scope scopes[MAX_SCOPES];
	struct save saves[MAX_SCOPES];
	__u32 stack[MAX_STACK][4];
	struct op ops[PATH_OPS];
	struct rule_memo rule_memos[MEMOS];
	struct program_memo program_memos[MEMOS];
	struct seen seen[MAX_SEEN];
};

/* Written and read only here. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_NESTING);
	__type(key, __u32);
	__type(value, struct state);
} states SEC(".maps");

/* What a visit needs beside its state, which must be below 32 KiB (a per-CPU value's limit). */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_NESTING * PASS_QUEUE);
	__type(key, __u32);
	__type(value, struct pass);
} passes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_NESTING * MAX_SETS_ASIDE);
	__type(key, __u32);
	__type(value, struct action_set);
} sets_aside SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} nesting SEC(".maps");

static __always_inline struct state *state_get(__u32 level)
{
	return bpf_map_lookup_elem(&states, &level);
}

/* How many visits of ours are under way on this CPU, one within the other. */
static __always_inline __u32 visits(void)
{
	__u32 zero = 0, *nested = bpf_map_lookup_elem(&nesting, &zero);

	return nested ? *nested : MAX_NESTING;
}

/* Has the daemon read it for a connection's helper, and is letting it arrive again? */
static __always_inline bool arrives_again(struct __sk_buff *skb)
{
	if (skb->mark != INJECT_ARRIVED)
		return false;
	skb->mark = 0;
	return true;
}

static __always_inline struct pass *pass_get(__u32 level, __u32 n)
{
	n = level * PASS_QUEUE + (n & (PASS_QUEUE - 1));
	return bpf_map_lookup_elem(&passes, &n);
}

static __always_inline struct action_set *set_aside_get(__u32 level, __u32 n)
{
	n = level * MAX_SETS_ASIDE + (n & (MAX_SETS_ASIDE - 1));
	return bpf_map_lookup_elem(&sets_aside, &n);
}

static __always_inline struct flow_key *key_of(struct state *st)
{
	return (struct flow_key *)st->key;
}

/* Time from `then` on; none where another CPU wrote it, a tick after this one read its clock. */
static __always_inline __u64 elapsed(struct state *st, __u64 then)
{
	__s64 passed = st->now - then;

	return passed & ~(passed >> 63);
}

/* Call before the first change of the key: from now on key and headers differ. */
static __always_inline void touch(struct state *st, __u32 groups)
{
	if (!st->touched)
		__builtin_memcpy(st->wire, &st->key[PACKET_WORD], sizeof(st->wire));
	st->touched |= groups;
	st->gathered = 0;
}

#endif
