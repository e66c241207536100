/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What all of tracking uses: its maps at hand, the work on a packet, tuples and their canonical form. */
#ifndef GOSSAMER_CT_WORK_H
#define GOSSAMER_CT_WORK_H

static __always_inline struct ct_config *ct_config_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&ct_config, &zero);
}

static __always_inline struct ct_shared *ct_shared_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&ct_shared, &zero);
}

/* The fields of connections are zero. */
static __always_inline void ct_forget(struct state *st)
{
	__builtin_memset(&st->key[WORD_CT_STATE], 0, CT_WORDS * 4);
}

static __always_inline void ct_count(__u32 which)
{
	__u64 *n = bpf_map_lookup_elem(&ct_counters, &which);

	if (n)
		*n += 1;
}

/* What a ct() asks for. */
#define CT_DO_COMMIT	(1 << 0)
#define CT_DO_FORCE	(1 << 1)
#define CT_DO_TABLE	(1 << 2)	/* a copy goes on at a table */
#define CT_DO_NAT	(1 << 3)
#define CT_DO_FTP	(1 << 4)
#define CT_DO_TFTP	(1 << 5)

struct ct_place {		/* of a key, in the index */
	__u32 line, other;
	__u32 bits;		/* as entries have them */
};

/* What tracking knows of the packet in hand; one a level, as `states`. */
struct ct_work {
	struct ct_tuple tuple;	/* the packet's; of an ICMP error: what the packet it tells of answers */
	struct ct_tuple key;	/* canonical */
	struct ct_tuple sought;	/* what ct_search() looks for, */
	struct ct_tuple unmarked;	/* that as ct_place_of() takes it, */
	struct ct_place place;	/* where it is, */
	__u32 but;		/* in other slots than this one */
	struct ct_place own_place;	/* where `tuple` is, by whatever key */
	__u32 swapped;		/* `key` is the answer's tuple */
	__u32 reply;		/* the packet goes against the originator */
	__u32 error;		/* it is an ICMP error about the connection */
	__u32 ct_state;
	__u32 kind;		/* enum transport_kind */
	__u32 plain;		/* ct_is_plain() */
	__u32 readable;		/* it has a tuple */
	__u32 stale;		/* a connection of its tuple may be there whose time is up */
	__u32 crowded;		/* some other connection may have its tuple, or its answers' */
	__u32 removes;		/* it ends the connection that `victim` is */
	__u32 found;		/* it has a connection: `connection` tells of it */
	/* TCP */
	__u32 seq, ack;
	__u32 payload;		/* bytes */
	__u16 win;
	__u8 tcp_flags;
	__u8 wscale;		/* of its options, only where SYN is set */
	__u8 has_options;
	__u32 expected;		/* a helper read of the connection that the packet begins: */
	struct ct_expectation expectation;
	struct ct_tuple expectation_key;
	/* what was asked for */
	__u16 zone;
	__u16 flags;		/* CT_DO_* */
	__u32 nat_rule;
	__u32 table;		/* where the copy goes on, with CT_DO_TABLE */
	/* while room is made */
	__u32 next_slot;	/* of this CPU's stretch */
	__u32 best, best_slot;
	__u64 best_expires;
	struct ct_tuple victim;
	__u32 sets;		/* exec(): */
	__u32 set[5], set_mask[5];	/* of the mark, of the label */
	struct ct_connection connection;	/* a new one while it is made, else a copy */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_NESTING);
	__type(key, __u32);
	__type(value, struct ct_work);
} ct_works SEC(".maps");

static __always_inline struct ct_work *ct_work_get(__u32 level)
{
	return bpf_map_lookup_elem(&ct_works, &level);
}

/* The type of answers to an ICMP query, and of queries to an answer; 0xff for other types. */
static __always_inline __u32 icmp_reversed(__u32 type, __u32 family)
{
	if ((family & CT_FAMILY) == CT_IPV6)
		return type == 128 || type == 129 ? type ^ 1 : 0xff;
	if (type == 8 || type == 0)
		return type ^ 8;
	if (type == 13 || type == 14)
		return type ^ 3;
	if (type == 15 || type == 16)
		return type ^ 31;
	return 0xff;
}

static __always_inline bool ct_is_icmp(const struct ct_tuple *t)
{
	return t->proto == ((t->family & CT_FAMILY) == CT_IPV6 ? 58 : 1);
}

static __always_inline __u32 ct_kind(__u8 proto, __u8 family, __u16 zone)
{
	struct ct_tuple t = { .proto = proto, .family = family, .zone = zone };

	return t.kind;
}

/* The tuple of answers. */
static __always_inline void ct_reverse(struct ct_tuple *to, const struct ct_tuple *from)
{
	__builtin_memcpy(to->src, from->dst, 16);
	__builtin_memcpy(to->dst, from->src, 16);
	to->kind = from->kind;
	if (ct_is_icmp(from)) {
		__u32 type = bpf_ntohs(from->dport) >> 8;

		to->sport = from->sport;
		to->dport = bpf_htons(icmp_reversed(type, from->family) << 8);
	} else {
		to->ports = from->ports << 16 | from->ports >> 16;
	}
}

/* Is the answer's tuple the smaller one?  By words of 64 bits as they lie in memory, then ports
 * (types of ICMP) in network order. */
static __always_inline bool ct_is_swapped(const struct ct_tuple *t)
{
	const __u64 *src = (const __u64 *)t->src, *dst = (const __u64 *)t->dst;

	if (src[0] != dst[0])
		return src[0] > dst[0];
	if (src[1] != dst[1])
		return src[1] > dst[1];
	if (ct_is_icmp(t)) {
		__u32 type = bpf_ntohs(t->dport) >> 8;

		return type > icmp_reversed(type, t->family);
	}
	return bpf_ntohs(t->sport) > bpf_ntohs(t->dport);
}

/* The canonical tuple; true where it is the answer's. */
static __always_inline bool ct_canonical(struct ct_tuple *key, const struct ct_tuple *t)
{
	if (ct_is_swapped(t)) {
		ct_reverse(key, t);
		return true;
	}
	*key = *t;
	return false;
}

#endif
