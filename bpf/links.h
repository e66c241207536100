/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Choosing among links and ports by a hash: multipath and bundle (ovs-actions(7)).
 *
 * Number by number what src/gossamer/pipeline/links.py does.
 */
#ifndef GOSSAMER_LINKS_H
#define GOSSAMER_LINKS_H

enum hash_fields {
	HASH_ETH_SRC,
	HASH_SYMMETRIC_L4,
	HASH_SYMMETRIC_L3L4,
	HASH_SYMMETRIC_L3L4_UDP,
	HASH_NW_SRC,
	HASH_NW_DST,
	HASH_SYMMETRIC_L3,
};

enum link_algorithm { LINK_MODULO_N, LINK_HASH_THRESHOLD, LINK_HRW, LINK_ITER_HASH };

#define MAX_HRW_LINKS 64
#define MAX_HASH_TRIES 32
#define CHOSEN_WORD (STACK_WORD + 3)	/* where the choice is left */

static __always_inline __u32 word_of(struct state *st, __u32 word)
{
	return bpf_ntohl(st->key[word]);
}

/* 32 bits of the fields; symmetric ones fold source and destination into one. */
static __always_inline __u32 hash_fields(struct state *st, __u32 fields, __u32 basis)
{
	bool udp = key_of(st)->nw_proto == 17;
	__u64 h = hash_word(0, basis);
	__u32 dst_high, dst_low;

	if (fields == HASH_ETH_SRC) {
		h = hash_word(h, word_of(st, WORD_ETH_SRC) & 0xffff);
		return hash_word(h, word_of(st, WORD_ETH_SRC + 1));
	}
	if (fields == HASH_NW_SRC || fields == HASH_NW_DST) {
		__u32 v4 = fields == HASH_NW_SRC ? WORD_NW_SRC : WORD_NW_DST;
		__u32 v6 = fields == HASH_NW_SRC ? WORD_IPV6_SRC : WORD_IPV6_DST;

		h = hash_word(h, word_of(st, v4));
		for (int i = 0; i < 4; i++)
			h = hash_word(h, word_of(st, v6 + i));
		return h;
	}
	if (fields == HASH_SYMMETRIC_L4) {
		dst_high = word_of(st, WORD_ETH_DST) >> 16;
		dst_low = word_of(st, WORD_ETH_DST) << 16 | word_of(st, WORD_ETH_SRC) >> 16;
		h = hash_word(h, (word_of(st, WORD_ETH_SRC) & 0xffff) ^ dst_high);
		h = hash_word(h, word_of(st, WORD_ETH_SRC + 1) ^ dst_low);
		h = hash_word(h, word_of(st, WORD_ETH_TYPE) & 0xffff0fff);
	} else {
		h = hash_word(h, word_of(st, WORD_ETH_TYPE) & 0xffff0000);
	}
	h = hash_word(h, word_of(st, WORD_NW_PROTO) & 0xff000000);
	h = hash_word(h, word_of(st, WORD_NW_SRC) ^ word_of(st, WORD_NW_DST));
	for (int i = 0; i < 4; i++)
		h = hash_word(h, word_of(st, WORD_IPV6_SRC + i) ^ word_of(st, WORD_IPV6_DST + i));
	if (fields == HASH_SYMMETRIC_L3 || (udp && fields != HASH_SYMMETRIC_L3L4_UDP))
		return h;
	dst_high = word_of(st, WORD_TP_SRC) << 16;
	return hash_word(h, (word_of(st, WORD_TP_SRC) & 0xffff0000) ^ dst_high);
}

static __always_inline __u32 link_weight(__u32 number, __u32 hashed)
{
	return hash_word(hash_word(hash_word(0, hashed), number), 0);
}

/* Leave the number of the packet's link, from 0. */
__attribute__((noinline)) int multipath(__u32 how, __u32 basis, __u32 n_links, __u32 modulo,
					__u32 level)
{
	struct state *st = state_get(level);
	__u32 hashed, algorithm = how >> 8, link = 0, best = 0;

	if (!st || !n_links || !modulo)
		return 0;
	hashed = hash_fields(st, how & 0xff, basis);
	switch (algorithm) {
	case LINK_MODULO_N:
		link = hashed % n_links;
		break;
	case LINK_HASH_THRESHOLD:
		link = (__u64)hashed * n_links >> 32;
		break;
	case LINK_HRW:
		for (__u32 i = 0; i < MAX_HRW_LINKS; i++) {
			__u32 weight;

			if (i >= n_links)
				break;
			weight = link_weight(i, hashed);
			if (!i || weight > best) {
				best = weight;
				link = i;
			}
		}
		break;
	default:
		link = hashed % n_links;
		for (__u32 i = 0; i < MAX_HASH_TRIES; i++) {
			__u32 number = link_weight(i, hashed) % modulo;

			if (number < n_links) {
				link = number;
				break;
			}
		}
	}
	st->key[CHOSEN_WORD] = bpf_htonl(link);
	return 0;
}

/* OP_BUNDLE, then OP_MEMBER for each: the live one of the highest weight, or the first. */
__attribute__((noinline)) int begin_bundle(__u32 how, __u32 basis, __u32 level)
{
	struct state *st = state_get(level);

	if (!st)
		return 0;
	st->group_hash = hash_fields(st, how & 0xff, basis);
	st->best_weight = 0;
	st->best_bucket = 0;
	st->key[CHOSEN_WORD] = 0xffffffff;
	return 0;
}

static __always_inline void weigh_member(struct state *st, struct op *op)
{
	__u32 weight = op->c ? link_weight(op->a, st->group_hash) : 0;

	if (op->b < OFPP_IN_PORT || op->b == OFPP_LOCAL) {
		__u32 id = port_id_of(st->bridge, op->b);
		struct port *port = port_get(id);

		if (!id || !port || !(port->flags & PORT_LIVE))
			return;
	}
	if (st->best_bucket && weight <= st->best_weight)
		return;
	st->best_bucket = 1;
	st->best_weight = weight;
	st->key[CHOSEN_WORD] = bpf_htonl(op->b);
}

#endif
