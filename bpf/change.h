/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Changes of the flow key while tables are walked, and what the path is told of them. */
#ifndef GOSSAMER_CHANGE_H
#define GOSSAMER_CHANGE_H

/* A bound that 6.1 does not forget when the number is put on the stack; the state is longer. */
#define BOUND_WORD(word) asm volatile("%0 &= 127" : "+r"(word))

static __always_inline __u32 read_bits(struct state *st, __u32 word, __u32 shift, __u32 bits)
{
	__u32 v;

	if (word >= KEY_WORDS + 16)
		return 0;
	BOUND_WORD(word);
	v = bpf_ntohl(st->key[word]) >> (shift & 31);
	return bits >= 32 ? v : v & ((1u << bits) - 1);
}

/* Set masked bits of a key word, and say so in the path where packets show them. */
static __always_inline void set_word(struct state *st, __u32 word, __u32 value, __u32 mask,
				     __u32 groups)
{
	if (word >= KEY_WORDS + 16)
		return;
	BOUND_WORD(word);
	st->key[word] = (st->key[word] & ~mask) | value;
	/* what a tunnel will read belongs to the packet too, and so does its mark; what is known of its
	 * connection only the daemon writes, for a packet that it has tracked before (KernelTracking) */
	if ((word >= PACKET_WORD && word < KEY_WORDS) ||
	    (word >= WORD_TUN_ID && word <= WORD_PKT_MARK) ||
	    (word >= WORD_CT_STATE && word < WORD_CONJ_ID)) {
		struct op op = { .code = DO_SET, .a = word, .b = value, .c = mask, .d = groups };

		before_change(st);
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
	if (needs & NEEDS_ETH_TYPE) {
		__u32 is = 0;

		switch (bpf_ntohs(k->eth_type)) {
		case 0x0800:
			is = NEEDS_IPV4;
			break;
		case 0x86dd:
			is = NEEDS_IPV6;
			break;
		case 0x0806:
		case 0x8035:
			is = NEEDS_ARP;
			break;
		case 0x8847:
		case 0x8848:
			is = NEEDS_MPLS;
			break;
		case ETH_NSH:
			is = NEEDS_NSH;
			break;
		}
		if (!(needs & is))
			return false;
	}
	if ((needs & NEEDS_PROTO) && k->nw_proto != NEEDED_PROTO(needs))
		return false;
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
		before_change(st);
		emit_simple(st, DO_POP_VLAN, 0, 0);
	} else if (!k->vlan_tpid) {
		__builtin_memcpy(&value, &tpid, 4);
		__builtin_memcpy(&bits, &mask, 4);
		set_word(st, WORD_VLAN_TPID, value, bits, GROUP_VLAN);
	}
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
		before_change(st);
		emit_simple(st, DO_PUSH_VLAN, bpf_htons(0x8100), 0);
	}
	value.tci = bpf_htons(op->a);
	mask.tci = bpf_htons(op->b);
	__builtin_memcpy(&v, &value, 4);
	__builtin_memcpy(&m, &mask, 4);
	set_word(st, WORD_VLAN_TCI, v, m, GROUP_VLAN);
}

#endif
