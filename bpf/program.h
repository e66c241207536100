/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* A rule's actions, compiled by the daemon: a short program of operations.
 *
 * Rules with the same actions share one program.  Numbers are in host order,
 * except values and masks of key words, which are in the key's own order.
 */
#ifndef GOSSAMER_PROGRAM_H
#define GOSSAMER_PROGRAM_H

enum rule_op {
	OP_END,
	OP_OUTPUT,		/* b: OpenFlow port, reserved ones too */
	OP_OUTPUT_REG,		/* a: word; b: shift | bits << 8 */
	OP_SET,			/* a: word, b: value, c: mask, d: groups */
	OP_MOVE,		/* a: from | to << 8; b: shift from | shift to << 8 | bits << 16; d */
	OP_PUSH_VLAN,		/* a: tpid */
	OP_POP_VLAN,
	OP_SET_VLAN,		/* a: tci bits, b: mask; flags & 1: push a tag where there is none */
	OP_DEC_TTL,		/* a: how many controllers hear of a TTL used up; b, c: their ids */
	OP_CONTROLLER,		/* a: max_len, b: controller id | reason << 16, c: userdata id;
				 * flags & 1: output:CONTROLLER, whose reason is where it stands */
	OP_RESUBMIT,		/* a: table or 0xff, b: in_port */
	OP_GOTO,		/* a: table */
	OP_CLEAR_ACTIONS,
	OP_EXIT,
	OP_CHAIN,		/* b: program that continues this one; in an action set, that of its ct() */
	OP_SKIP,		/* leave out the next `a` operations unless the packet has `b`: NEEDS_* */
	OP_FIX_TAG,		/* bits of vlan_tci were written: they make a tag, or take it off */
	OP_GROUP,		/* b: OpenFlow group number */
	OP_CLONE,		/* b: program whose changes end with it */
	OP_PUSH,		/* the four scratch words onto the stack */
	OP_POP,			/* off the stack into them; a: operations left out where it is empty */
	OP_METER,		/* b: meter number */
	OP_TRUNCATE,		/* b: bytes the next output may have */
	OP_LEARN,		/* b: number of the learn action */
	OP_FIN,			/* the flow's timeouts shrink where this is a FIN or RST */
	OP_MULTIPATH,		/* a: fields | algorithm << 8, b: basis, c: links, d: modulo; into
				 * the last scratch word */
	OP_PUSH_MPLS,		/* a: ethertype */
	OP_POP_MPLS,		/* a: ethertype of what follows, b: POP_* */
	OP_DEC_MPLS_TTL,
	OP_COPY_TTL_OUT,
	OP_COPY_TTL_IN,
	OP_CONJUNCTION,		/* a: clause | number of clauses << 8, b: id */
	OP_BUNDLE,		/* a: fields, b: basis; members follow */
	OP_MEMBER,		/* a: number, b: port, c: by weight, not order */
	OP_SEND,		/* to the port that was chosen */
	OP_LARGER,		/* b: bytes; whether the frame is longer, into the last scratch word */
	OP_SLOW,		/* what the kernel cannot do: the daemon takes the packet through this bridge */
	OP_CT_SET,		/* for the next OP_CT: a: 0 the mark, 1 to 4 words of the label, b: value,
				 * c: mask, d: word to take the value from, plus one; 0: `b` */
	OP_CT,			/* flags: CT_DO_*; a: zone, or word | shift << 8 with CT_ZONE_IN_WORD;
				 * b: NAT rule, c: table | bits of the zone << 8 */
	OP_CT_CLEAR,
	OP_SAMPLE,		/* a: probability, of 65535; b: number of the sample action */
	OP_DEC_NSH_TTL,
	OP_WROTE,		/* carried along with an action set: b, c, d: rules that wrote it; flags & 1:
				 * there were more */
};

/* A field that the packet has not is not set: what a match cannot say for good. */
#define NEEDS_L4	(1 << 0)	/* no later fragment */
#define NEEDS_TAG	(1 << 1)
#define NEEDS_ND	(1 << 2)	/* a neighbour solicitation or advertisement */
#define NEEDS_ND_SOLICIT (1 << 3)
#define NEEDS_ND_ADVERT	(1 << 4)
#define NEEDS_IPV4	(1 << 5)	/* one of these ethertypes */
#define NEEDS_IPV6	(1 << 6)
#define NEEDS_ARP	(1 << 7)
#define NEEDS_MPLS	(1 << 8)
#define NEEDS_NSH	(1 << 10)
#define NEEDS_ETH_TYPE	(NEEDS_IPV4 | NEEDS_IPV6 | NEEDS_ARP | NEEDS_MPLS | NEEDS_NSH)
#define NEEDS_PROTO	(1 << 9)	/* the IP protocol in bits 16 to 23 */
#define NEEDED_PROTO(needs) ((needs) >> 16 & 0xff)

/* Where the parser looks for what a popped label names. */
#define POP_NOWHERE	0	/* the key has nothing of it */
#define POP_BELOW_LABELS 1	/* behind the ethertype, and below labels */
#define POP_BARE	2	/* behind the ethertype */

#define STACK_WORD (KEY_WORDS + 12)	/* the scratch words that OP_PUSH and OP_POP use */

#define CT_ZONE_IN_WORD	(1 << 6)	/* flag of OP_CT */

#define OP_WRITE 0x80		/* flag: into the action set instead */
#define OP_WRITES 0x20		/* beside it, on the first of those that a rule writes at once */
#define OP_SLOT(flags) ((flags) >> 1 & 15)	/* beside it: enum set_slot */

/* What a path is made of: what a packet of these bits has done to it. */
enum path_op {
	DO_NOTHING,
	DO_OUTPUT,		/* b: port id */
	DO_NORMAL,
	DO_FLOOD,
	DO_ALL,
	DO_SET,			/* as OP_SET */
	DO_PUSH_VLAN,		/* a: tpid */
	DO_POP_VLAN,
	DO_PUSH_MPLS,		/* a: ethertype */
	DO_POP_MPLS,		/* a: ethertype */
	DO_CONTROLLER,		/* a: max_len, b: controller id | reason << 16, c: table | userdata << 8, d: flow */
	DO_DROP,		/* b: drop reason to count */
	DO_SAVE,		/* remember the packet as it is */
	DO_RESTORE,		/* be again what was remembered last */
	DO_METER,		/* b: index of the meter */
	DO_TRUNCATE,		/* b: bytes the next output may have */
	DO_CT_SET,		/* as OP_CT_SET, with the value in `b` */
	DO_CT,			/* flags: CT_DO_*; a: zone, b: NAT rule, c: table */
	DO_CT_CLEAR,
	DO_QUEUE,		/* b: queue of the outputs that follow, plus one; 0: none */
	DO_TELL,		/* the daemon, of a packet to learn from or to report: as DO_CONTROLLER */
};

/* Beside the number of a rule's operation: one of the action set that goes along with the copy that
 * the next DO_CT makes. */
#define DO_CARRY 0x80

/* OpenFlow's reserved ports (1.3.5, 7.2.1). */
#define OFPP_IN_PORT	0xfffffff8
#define OFPP_TABLE	0xfffffff9
#define OFPP_NORMAL	0xfffffffa
#define OFPP_FLOOD	0xfffffffb
#define OFPP_ALL	0xfffffffc
#define OFPP_CONTROLLER	0xfffffffd
#define OFPP_LOCAL	0xfffffffe
#define OFPP_NONE	0xffffffff

enum packet_in_reason { REASON_NO_MATCH, REASON_ACTION, REASON_INVALID_TTL, REASON_ACTION_SET,
			REASON_GROUP };

/* For the daemon itself. */
#define REASON_LEARN	0x80
#define REASON_FIN	0x81
#define REASON_SLOW	0x82	/* the packet as it entered the bridge, credited nowhere; in place of
				 * a controller's id its length as it entered the switch, in place of
				 * the table that where it went on after a ct(), plus one, or 0 */
#define REASON_CT_ALG	0x83	/* of a connection with a helper: the packet as it is at the ct(), held until
				 * the daemon lets it go on; in place of a userdata's id that of held.h */
#define REASON_SAMPLE	0x84	/* of a sample action: max_len is its probability */

struct small_program {
	__u32 n_ops;
	__u32 pad;
	struct op ops[SMALL_OPS];
};

struct large_program {
	__u32 n_ops;
	__u32 pad;
	struct op ops[LARGE_OPS];
};

#define LARGE_PROGRAM (1u << 31)

/* Written by the daemon; ids with LARGE_PROGRAM set live in large_programs. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_FLOWS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct small_program);
} small_programs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_FLOWS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct large_program);
} large_programs SEC(".maps");

struct operations {
	struct op *ops;
	__u32 n_ops;
	__u32 pad;
	__u64 room;		/* for operations there, a constant that the verifier knows */
};

/* The operations of a rule's program; false where it is not there. */
static __always_inline bool find_program(__u32 program, struct operations *found)
{
	if (program & LARGE_PROGRAM) {
		struct large_program *large = bpf_map_lookup_elem(&large_programs, &program);

		if (!large)
			return false;
		found->ops = large->ops;
		found->n_ops = large->n_ops;
		found->room = LARGE_OPS;
	} else {
		struct small_program *small = bpf_map_lookup_elem(&small_programs, &program);

		if (!small)
			return false;
		found->ops = small->ops;
		found->n_ops = small->n_ops;
		found->room = SMALL_OPS;
	}
	return true;
}

#endif
