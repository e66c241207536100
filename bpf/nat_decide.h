/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Translation of addresses and ports (docs/conntrack.md, NAT): what a connection's answers will
 * look like is decided once, when it is committed; its packets are then written by that.
 */
#ifndef GOSSAMER_NAT_DECIDE_H
#define GOSSAMER_NAT_DECIDE_H

/* The source port's range where none is given: of its class (RFC 6056 keeps them apart). */
static __always_inline void nat_port_class(struct nat_search *search, __u32 own)
{
	search->own = own;
	if (own < 512) {
		search->first = 1;
		search->n = 511;
	} else if (own < 1024) {
		search->first = 600;
		search->n = 1024 - 600;
	} else {
		search->first = 1024;
		search->n = 65536 - 1024;
	}
}

/* Go on hashing with an address; one of IPv4 counts as the last of four words. */
static __always_inline __u64 nat_hash_words(__u64 h, const __be32 *address, bool ipv4)
{
#pragma unroll
	for (int i = 0; i < 4; i++)
		h = hash_word(h, ipv4 ? (i == 3 ? bpf_ntohl(address[0]) : 0) : bpf_ntohl(address[i]));
	return h;
}

static __always_inline __u32 nat_hash(const struct ct_tuple *t)
{
	bool ipv4 = t->family == CT_IPV4;
	__u64 h = nat_hash_words(nat_hash_words(0, t->src, ipv4), t->dst, ipv4);

	h = hash_word(h, bpf_ntohs(t->sport) << 16 |
				 bpf_ntohs(ct_is_icmp(t) ? t->sport : t->dport));
	return hash_word(h, t->proto << 16 | t->zone);
}

static __always_inline __u32 nat_hash_address(const struct ct_tuple *t)
{
	return hash_word(nat_hash_words(0, t->src, t->family == CT_IPV4), 0);
}

/* The address of the range that `hash` says. */
static __always_inline void nat_address(__be32 *to, const struct ct_nat_rule *rule, __u32 hash,
					bool ipv4)
{
	__u64 low, high, n, first;

	if (ipv4) {
		n = (__u64)bpf_ntohl(rule->last[0]) - bpf_ntohl(rule->first[0]) + 1;
		if (n > 0xffffffff)
			n = 0xffffffff;
		to[0] = bpf_htonl(bpf_ntohl(rule->first[0]) + (n ? hash % n : 0));
		to[1] = to[2] = to[3] = 0;
		return;
	}
	first = (__u64)bpf_ntohl(rule->first[2]) << 32 | bpf_ntohl(rule->first[3]);
	high = (__u64)bpf_ntohl(rule->first[0]) << 32 | bpf_ntohl(rule->first[1]);
	low = (__u64)bpf_ntohl(rule->last[2]) << 32 | bpf_ntohl(rule->last[3]);
	n = low - first;
	/* one that crosses into the next 64 bits by little is small all the same */
	if (((__u64)bpf_ntohl(rule->last[0]) << 32 | bpf_ntohl(rule->last[1])) - high !=
	    (low < first ? 1 : 0))
		n = 0xffffffff;
	n = n >= 0xffffffff ? 0xffffffff : n + 1;
	low = first + hash % n;
	if (low < first)
		high++;
	to[0] = bpf_htonl(high >> 32);
	to[1] = bpf_htonl(high);
	to[2] = bpf_htonl(low >> 32);
	to[3] = bpf_htonl(low);
}

static __always_inline bool nat_has_address(const struct ct_nat_rule *rule)
{
	return rule->first[0] | rule->first[1] | rule->first[2] | rule->first[3];
}

/* The answer's tuple is entered as the alias of a connection that is about to be made. */
static __always_inline void nat_decided(struct ct_work *w, struct nat_work *nw, __u32 flags)
{
	__builtin_memcpy(w->connection.reply.src, nw->answer.src, 16);
	__builtin_memcpy(w->connection.reply.dst, nw->answer.dst, 16);
	w->connection.reply.sport = nw->answer.sport;
	w->connection.reply.dport = nw->answer.dport;
	w->connection.flags = (w->connection.flags & ~CT_SWAPPED) | flags;
	w->key = nw->key;
	w->swapped = 0;
}

/* The connection of the work is not translated: -1 where its answers would be those of another one.  Else 0;
 * mostly nobody has a tuple of the kind. */
static __always_inline int nat_stays(struct ct_work *w, struct nat_work *nw, __u32 level)
{
	if (!w->crowded)
		return 0;
	ct_reverse(&nw->answer, &w->tuple);
	return nat_taken(level) > 0 ? -1 : 0;
}

/* Decide how the connection in `ct_works`, about to be made, is translated by its `nat_rule`, and
 * reserve that: its `key` is then another one.  `tuple` is the originator's.  Returns 0, also where
 * the rule has nothing to say; -1: nothing is free. */
__attribute__((noinline)) int nat_decide(__u32 level)
{
	struct nat_search search = { .level = level, .n = 1 };
	struct ct_work *w = ct_work_get(level);
	struct ct_config *config = ct_config_get();
	struct nat_work *nw = nat_work_get(level);
	__u32 hash, flags, random;
	struct ct_nat_rule *rule;
	struct ct_tuple *t;
	bool source, ports;

	if (!w || !nw || !config)
		return -1;
	t = &w->tuple;
	rule = w->flags & CT_DO_NAT ? bpf_map_lookup_elem(&ct_nat_rules, &w->nat_rule) : NULL;
	flags = rule ? (rule->flags << 1) & (CT_SRC_NAT | CT_DST_NAT) : 0;
	source = flags & CT_SRC_NAT;
	/* an address of the wrong family decides nothing */
	if (!rule || !flags || (rule->family && rule->family != t->family))
		return nat_stays(w, nw, level);
	random = rule->flags & CT_NAT_RANDOM ? bpf_get_prandom_u32() : 0;
	hash = rule->flags & CT_NAT_RANDOM ? random : nat_hash(t);
	search.hash = hash;
	ct_reverse(&nw->answer, t);
	if (nat_has_address(rule)) {
		__u32 at = rule->flags & CT_NAT_PERSISTENT ? nat_hash_address(t) : hash;

		nat_address(source ? nw->answer.dst : nw->answer.src, rule, at,
			    t->family == CT_IPV4);
	}
	ports = t->proto == 6 || t->proto == 17;
	if (ct_is_icmp(t)) {
		search.port = NAT_IDENTIFIER;
		search.own = bpf_ntohs(t->sport);
		search.first = 0;
		search.n = 65536;
	} else if (ports && source) {
		search.port = NAT_SOURCE_PORT;
		nat_port_class(&search, bpf_ntohs(t->sport));
		if (rule->first_port) {
			search.first = rule->first_port;
			search.n = rule->last_port - rule->first_port + 1;
			search.own = search.first + hash % (search.n ? search.n : 1);
		}
	} else if (ports && rule->first_port) {
		search.port = NAT_DESTINATION_PORT;
		search.first = rule->first_port;
		search.n = rule->last_port - rule->first_port + 1;
		search.own = search.first + hash % (search.n ? search.n : 1);
		nat_search(&search);
		if (search.found) {
			nat_decided(w, nw, flags);
			return 0;
		}
		nw->answer.sport = bpf_htons(search.own);
		search.port = NAT_SOURCE_PORT;
		nat_port_class(&search, bpf_ntohs(t->sport));
	} else if (ports) {
		search.port = NAT_SOURCE_PORT;
		nat_port_class(&search, bpf_ntohs(t->sport));
	}
	if (search.port != NAT_DESTINATION_PORT)
		nat_try_first(&search, w, nw, config);
	nat_search(&search);
	if (!search.found)
		return -1;
	nat_decided(w, nw, flags);
	return 0;
}

/* The same for a connection that a helper expected, whose address is told. */
__attribute__((noinline)) int nat_expected(__u32 level)
{
	struct nat_search search = { .level = level, .n = 1 };
	struct ct_work *w = ct_work_get(level);
	struct nat_work *nw = nat_work_get(level);
	const __be32 *nat;

	if (!w || !nw)
		return -1;
	nat = w->expectation.nat;
	if (!(w->flags & CT_DO_NAT) || !(nat[0] | nat[1] | nat[2] | nat[3]))
		return nat_stays(w, nw, level);
	ct_reverse(&nw->answer, &w->tuple);
	__builtin_memcpy(w->expectation.nat_destination ? nw->answer.dst : nw->answer.src, nat, 16);
	if (w->expectation.nat_port)
		nw->answer.sport = w->expectation.nat_port;
	if (w->tuple.proto == 6 || w->tuple.proto == 17) {
		search.hash = nat_hash(&w->tuple);
		search.port = NAT_SOURCE_PORT;
		nat_port_class(&search, bpf_ntohs(w->tuple.sport));
	}
	nat_search(&search);
	if (!search.found)
		return -1;
	nat_decided(w, nw, w->expectation.nat_destination ? CT_SRC_NAT : CT_DST_NAT);
	return 0;
}

#endif
