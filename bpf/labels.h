/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* MPLS labels in the key, while tables are walked (RFC 3032; src/gossamer/pipeline/labels.py).
 *
 * What is below labels is out of sight for tables and actions, but stays in
 * the packet: `hidden` holds those words of the key until the last label is
 * popped.  The parser has looked below already.
 */
#ifndef GOSSAMER_LABELS_H
#define GOSSAMER_LABELS_H

#define MAX_LABELS 3
#define LABEL_BOTTOM 0x100

static __always_inline bool is_mpls(__be16 eth_type)
{
	return eth_type == bpf_htons(0x8847) || eth_type == bpf_htons(0x8848);
}

/* How many labels a key knows of: to the bottom of the stack, or those that are not empty. */
static __always_inline __u32 entries(struct flow_key *k)
{
	__be32 bottom = bpf_htonl(LABEL_BOTTOM);

	if (k->mpls_lse0 & bottom)
		return 1;
	if (k->mpls_lse1 & bottom)
		return 2;
	if (k->mpls_lse2 & bottom)
		return 3;
	return nonzero(k->mpls_lse0) + nonzero(k->mpls_lse1) + nonzero(k->mpls_lse2);
}

/* Those that the ethertype says are labels. */
static __always_inline __u32 count_labels(struct flow_key *k)
{
	return is_mpls(k->eth_type) ? entries(k) : 0;
}

static __always_inline void hide(struct state *st)
{
	__builtin_memcpy(st->hidden, &st->key[WORD_NW_PROTO], sizeof(st->hidden));
	__builtin_memset(&st->key[WORD_NW_PROTO], 0, sizeof(st->hidden));
}

/* Below labels, or behind the type of another header, which a pop_mpls named in the bridge before. */
static __always_inline bool out_of_sight(struct state *st)
{
	__be16 eth_type = key_of(st)->eth_type;

	return is_mpls(eth_type) || (st->l3 && eth_type != st->l3_type);
}

/* `l3_type`: what the parser found. */
static __always_inline void key_push_label(struct flow_key *k, __be16 eth_type, __be16 l3_type)
{
	__u32 entry;

	if (is_mpls(k->eth_type) && count_labels(k)) {
		entry = bpf_ntohl(k->mpls_lse0) & ~LABEL_BOTTOM;
	} else {
		bool ipv6 = k->eth_type == bpf_htons(0x86dd);
		__u32 class = 0, ttl = 64;

		if ((ipv6 || k->eth_type == bpf_htons(0x0800)) && k->eth_type == l3_type) {
			class = k->nw_tos >> 2 & 7;
			ttl = k->nw_ttl ? k->nw_ttl : 64;
		}
		/* IPv6's explicit null is 2, IPv4's 0 (RFC 3032, 2.1) */
		entry = (ipv6 ? 2 : 0) << 12 | class << 9 | LABEL_BOTTOM | ttl;
	}
	k->mpls_lse2 = k->mpls_lse1;
	k->mpls_lse1 = k->mpls_lse0;
	k->mpls_lse0 = bpf_htonl(entry);
	k->eth_type = eth_type;
}

static __always_inline void key_pop_label(struct flow_key *k, __be16 eth_type)
{
	bool last = count_labels(k) <= 1;

	k->mpls_lse0 = last ? 0 : k->mpls_lse1;
	k->mpls_lse1 = last ? 0 : k->mpls_lse2;
	k->mpls_lse2 = 0;
	k->eth_type = eth_type;
}

/* Whether the key knows what is below the last label, when it is of a type that `looked_at` is of:
 * what was labelled here may become another than what it came as, and the daemon parses it again. */
static __always_inline bool parsed_as(struct state *st, __be16 eth_type, __u32 looked_at)
{
	if (!looked_at || eth_type == st->l3_type || eth_type == st->wire_type)
		return true;
	/* no path knows what it came as: over a patch port it is behind its label already */
	st->cacheable = 0;
	return looked_at == POP_BELOW_LABELS && is_mpls(st->wire_type);
}

/* OP_PUSH_MPLS and OP_POP_MPLS.  Returns -1 where the packet is lost for it. */
__attribute__((noinline)) int relabel(__u32 code, __u32 eth_type, __u32 looked_at, __u32 level)
{
	struct state *st = state_get(level);
	struct flow_key *k;
	bool visible;
	__u32 n;

	if (!st)
		return 0;
	k = key_of(st);
	n = count_labels(k);
	if (code == OP_PUSH_MPLS) {
		if (n >= MAX_LABELS || is_vlan(k->eth_type))
			return -1;
		visible = k->eth_type == st->l3_type;
		key_push_label(k, eth_type, st->l3_type);
		if (visible)
			hide(st);
		before_change(st);
		emit_simple(st, DO_PUSH_MPLS, eth_type, 0);
		return 0;
	}
	if (!n)
		return 0;
	/* A fourth label may follow three: nobody knows what the third would be then. */
	if (n == MAX_LABELS && !(k->mpls_lse2 & bpf_htonl(LABEL_BOTTOM)))
		return -1;
	/* Labels must not become payload. */
	if (n > 1 && !is_mpls(eth_type))
		return -1;
	if (n == 1 && !parsed_as(st, eth_type, looked_at)) {
		st->failure = SLOW_PATH;
		return 0;
	}
	key_pop_label(k, eth_type);
	if (n == 1 && eth_type == st->l3_type)
		__builtin_memcpy(&st->key[WORD_NW_PROTO], st->hidden, sizeof(st->hidden));
	before_change(st);
	emit_simple(st, DO_POP_MPLS, eth_type, 0);
	return 0;
}

static __always_inline __be32 with_ttl(__be32 entry, __u8 ttl)
{
	return (entry & bpf_htonl(~0xffu)) | bpf_htonl(ttl);
}

static __always_inline bool over_ip(struct state *st)
{
	return st->l3_type == bpf_htons(0x0800) || st->l3_type == bpf_htons(0x86dd);
}

/* OP_COPY_TTL_OUT and OP_COPY_TTL_IN, between the outermost label and what is next. */
__attribute__((noinline)) int copy_ttl(__u32 code, __u32 level)
{
	struct state *st = state_get(level);
	struct flow_key *k, *hidden;
	struct flow_key set = {}, mask = {};
	__u32 n;

	if (!st)
		return 0;
	k = key_of(st);
	hidden = (void *)st->hidden - WORD_NW_PROTO * 4;
	n = count_labels(k);
	if (!n)
		return 0;
	if (code == OP_COPY_TTL_OUT) {
		if (n > 1)
			set_word(st, WORD_MPLS_LSE0, k->mpls_lse1 & bpf_htonl(0xff), bpf_htonl(0xff),
				 GROUP_MPLS);
		else if (over_ip(st) && (k->mpls_lse0 & bpf_htonl(LABEL_BOTTOM)))
			set_word(st, WORD_MPLS_LSE0, bpf_htonl(hidden->nw_ttl), bpf_htonl(0xff),
				 GROUP_MPLS);
		return 0;
	}
	if (n > 1) {
		set_word(st, WORD_MPLS_LSE1, k->mpls_lse0 & bpf_htonl(0xff), bpf_htonl(0xff),
			 GROUP_MPLS);
	} else if (over_ip(st) && (k->mpls_lse0 & bpf_htonl(LABEL_BOTTOM))) {
		struct op op = { .code = DO_SET, .a = WORD_NW_TTL, .d = GROUP_L3 };

		hidden->nw_ttl = bpf_ntohl(k->mpls_lse0);
		set.nw_ttl = hidden->nw_ttl;
		mask.nw_ttl = 0xff;
		op.b = ((__u32 *)&set)[WORD_NW_TTL];
		op.c = ((__u32 *)&mask)[WORD_NW_TTL];
		before_change(st);
		emit_op(st, &op);
	}
	return 0;
}

#endif
