/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Translation of addresses and ports (docs/conntrack.md, NAT): what a connection's answers will
 * look like is decided once, when it is committed; its packets are then written by that.
 *
 * Answers are found by an alias of the connection.  Who enters the alias has the address and port; of
 * two CPUs that try the same one at the same time at most one gets it.
 */
#ifndef GOSSAMER_NAT_H
#define GOSSAMER_NAT_H

#define NAT_TRIES 256		/* candidates, at most; all of a range that has no more */
#define NAT_TRIES_IN_ROW 16	/* of a longer range: so many beginning at each of some places, */
#define NAT_MORE_TRIES 64	/* and then so many at places that are others for each packet */

/* Being decided; one a level. */
struct nat_work {
	struct ct_tuple answer;		/* the candidate; later what a packet's tuple becomes */
	struct ct_tuple key;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_NESTING);
	__type(key, __u32);
	__type(value, struct nat_work);
} nat_works SEC(".maps");

int ct_remove(__u32 level);

static __always_inline struct nat_work *nat_work_get(__u32 level)
{
	return bpf_map_lookup_elem(&nat_works, &level);
}

static __always_inline bool same_tuple(const struct ct_tuple *a, const struct ct_tuple *b)
{
	return !differ(a, b, sizeof(*a));
}

static __always_inline bool nat_lives(struct ct_work *w, struct ct_tuple *key, __u64 now,
				      __u32 level)
{
	struct ct_connection *conn = ct_get(w, key, level);

	return conn && conn->expires > now;
}

/* Is the candidate a tuple of a connection already?  -1: no, but it was the alias of one whose time is
 * up, which is `victim` of the work.  `place` of the work becomes that of the candidate. */
__attribute__((noinline)) int nat_taken(__u32 level)
{
	struct state *st = state_get(level);
	struct nat_work *nw = nat_work_get(level);
	struct ct_config *config = ct_config_get();
	struct ct_work *w = ct_work_get(level);
	struct ct_record *record;
	__u32 entry;

	if (!st || !nw || !w || !config)
		return 1;
	w->sought = nw->answer;
	ct_place_sought(w, config->index_seed);
	/* mostly one line tells that nobody has it */
	if (!ct_hits(&w->place, &entry))
		return 0;
	nw->key = w->unmarked;
	if (nat_lives(w, &nw->key, st->now, level))
		return 1;
	nw->key = nw->answer;
	nw->key.family |= CT_TRANSLATED;
	if (nat_lives(w, &nw->key, st->now, level))
		return 1;
	nw->key = nw->answer;
	nw->key.family |= CT_ALIAS;
	w->sought = nw->key;
	w->but = CT_NO_SLOT;
	entry = ct_search(level);
	record = entry ? ct_record_get(entry & CT_SLOT_MASK) : NULL;
	if (!record)
		return 0;
	if (record->c.expires > st->now)
		return 1;
	w->victim = record->key;
	return -1;
}

enum nat_port { NAT_NO_PORT, NAT_SOURCE_PORT, NAT_DESTINATION_PORT, NAT_IDENTIFIER };

struct nat_search {
	__u32 level;
	__u32 port;		/* enum nat_port: which one varies */
	__u32 first, n;		/* its range */
	__u32 own;		/* where it begins */
	__u32 hash;
	__u32 random;
	__u32 found;
};

/* The i-th candidate port. */
static __always_inline __u32 nat_candidate(struct nat_search *search, __u32 i)
{
	__u32 first = search->first, n = search->n, from = search->own - first;

	if (n > NAT_TRIES && i >= NAT_TRIES_IN_ROW) {
		__u32 at = hash_word(i < NAT_TRIES ? search->hash : search->random,
				     i / NAT_TRIES_IN_ROW);

		return first + (at % n + i % NAT_TRIES_IN_ROW) % n;
	}
	if (from < n)
		return first + (from + i) % n;
	return i ? first + i - 1 : search->own;
}

static long nat_try(__u32 i, struct nat_search *search)
{
	struct nat_work *nw = nat_work_get(search->level);
	struct ct_work *w = ct_work_get(search->level);
	struct ct_record *record;
	__u32 port;
	int taken;

	if (!nw || !w || !search->n)
		return 1;
	if (search->port != NAT_NO_PORT) {
		port = nat_candidate(search, i);
		if (search->port == NAT_DESTINATION_PORT || search->port == NAT_IDENTIFIER)
			nw->answer.sport = bpf_htons(port);
		else
			nw->answer.dport = bpf_htons(port);
	}
	taken = nat_taken(search->level);
	if (taken < 0) {
		ct_remove(search->level);
		taken = nat_taken(search->level);
	}
	if (taken)
		return 0;
	nw->key = w->tuple;
	nw->key.family |= CT_TRANSLATED;
	record = ct_record_get(w->connection.slot);
	if (!record)
		return 1;
	record->key = nw->key;
	__builtin_memcpy(record->c.reply.src, nw->answer.src, 16);
	__builtin_memcpy(record->c.reply.dst, nw->answer.dst, 16);
	record->c.reply.sport = nw->answer.sport;
	record->c.reply.dport = nw->answer.dport;
	w->sought = nw->answer;
	w->sought.family |= CT_ALIAS;
	/* another CPU may have been quicker */
	search->found = ct_enter(w->connection.slot, search->level) == CT_ENTERED;
	return search->found;
}

static __always_inline void nat_search(struct nat_search *search)
{
	__u64 tries = search->n;

	if (search->n > NAT_TRIES) {
		/* A packet that is sent again must not fail for ever where a few are free. */
		search->random = bpf_get_prandom_u32();
		tries = NAT_TRIES + NAT_MORE_TRIES;
	} else if (search->own - search->first >= search->n) {
		tries = search->n + 1;
	}
	bpf_loop(tries, nat_try, search, 0);
}

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

static __always_inline __u32 nat_hash(const struct ct_tuple *t)
{
	bool ipv4 = t->family == CT_IPV4;
	__u64 h = 0;

	/* IPv4 addresses count as the last of four words */
#pragma unroll
	for (int i = 0; i < 4; i++)
		h = hash_word(h, ipv4 ? (i == 3 ? bpf_ntohl(t->src[0]) : 0) : bpf_ntohl(t->src[i]));
#pragma unroll
	for (int i = 0; i < 4; i++)
		h = hash_word(h, ipv4 ? (i == 3 ? bpf_ntohl(t->dst[0]) : 0) : bpf_ntohl(t->dst[i]));
	h = hash_word(h, bpf_ntohs(t->sport) << 16 |
				 bpf_ntohs(ct_is_icmp(t) ? t->sport : t->dport));
	return hash_word(h, t->proto << 16 | t->zone);
}

static __always_inline __u32 nat_hash_address(const struct ct_tuple *t)
{
	bool ipv4 = t->family == CT_IPV4;
	__u64 h = 0;

#pragma unroll
	for (int i = 0; i < 4; i++)
		h = hash_word(h, ipv4 ? (i == 3 ? bpf_ntohl(t->src[0]) : 0) : bpf_ntohl(t->src[i]));
	return hash_word(h, 0);
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

/* Decide how the connection in `ct_works`, about to be made, is translated by its `nat_rule`, and
 * reserve that: its `key` is then another one.  `tuple` is the originator's.  Returns 0, also where
 * the rule has nothing to say; -1: nothing is free. */
__attribute__((noinline)) int nat_decide(__u32 level)
{
	struct nat_search search = { .level = level, .n = 1 };
	struct ct_work *w = ct_work_get(level);
	struct nat_work *nw = nat_work_get(level);
	__u32 hash, flags, random;
	struct ct_nat_rule *rule;
	struct ct_tuple *t;
	bool source, ports;

	if (!w || !nw)
		return -1;
	rule = bpf_map_lookup_elem(&ct_nat_rules, &w->nat_rule);
	if (!rule)
		return 0;
	t = &w->tuple;
	flags = (rule->flags << 1) & (CT_SRC_NAT | CT_DST_NAT);
	source = flags & CT_SRC_NAT;
	/* an address of the wrong family decides nothing */
	if (!flags || (rule->family && rule->family != t->family))
		return 0;
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
	if (!(nat[0] | nat[1] | nat[2] | nat[3]))
		return 0;
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

/* The tuple of the answers of a connection that is translated, into `answer` of the work. */
static __always_inline void nat_answer(const struct ct_tuple *key, const struct ct_reply *reply,
				       struct nat_work *nw)
{
	__builtin_memcpy(nw->answer.src, reply->src, 16);
	__builtin_memcpy(nw->answer.dst, reply->dst, 16);
	nw->answer.sport = reply->sport;
	nw->answer.dport = reply->dport;
	nw->answer.proto = key->proto;
	nw->answer.family = key->family & CT_FAMILY;
	nw->answer.zone = key->zone;
}

/* A connection goes, or was not made after all: its alias, `answer` of the work, with it. */
static __always_inline void nat_release(struct ct_work *w, struct nat_work *nw, __u32 slot,
					__u32 level)
{
	w->sought = nw->answer;
	w->sought.family |= CT_ALIAS;
	ct_strike(slot, level);
}

/* What was decided for the connection of the work is not used: it could not be made. */
__attribute__((noinline)) int nat_give_back(__u32 level)
{
	struct nat_work *nw = nat_work_get(level);
	struct ct_work *w = ct_work_get(level);

	if (nw && w && (w->connection.flags & (CT_SRC_NAT | CT_DST_NAT))) {
		nat_answer(&w->key, &w->connection.reply, nw);
		nat_release(w, nw, w->connection.slot, level);
	}
	return 0;
}

/* Answers to a translated source have their destination translated, and so on. */
static __always_inline bool nat_is_of_source(struct ct_work *w)
{
	return !!(w->connection.flags & CT_SRC_NAT) != !!w->reply;
}

/* Translate a segment or datagram of the connection in `w`: its tuple becomes the reversal of the
 * connection's other one. */
static __always_inline void nat_ports(struct state *st, struct ct_work *w)
{
	const struct ct_reply *other = &w->connection.reply;
	struct flow_key *k = key_of(st);

	if (w->reply)
		other = (const struct ct_reply *)&w->key;
	w->ct_state |= nat_is_of_source(w) ? CT_SNAT : CT_DNAT;
	touch(st, GROUP_L3 | GROUP_L4);
	if (k->eth_type == bpf_htons(0x86dd)) {
		__builtin_memcpy(k->ipv6_src, other->dst, 16);
		__builtin_memcpy(k->ipv6_dst, other->src, 16);
	} else {
		k->nw_src = other->dst[0];
		k->nw_dst = other->src[0];
	}
	k->tp_src = other->dport;
	k->tp_dst = other->sport;
}

/* What the packet's tuple becomes, into `answer` of the work: the reversal of the connection's
 * other tuple. */
static __always_inline void nat_target(struct ct_work *w, struct nat_work *nw)
{
	struct ct_connection *conn = &w->connection;

	nw->key = w->key;
	nw->key.family &= CT_FAMILY;
	if (!w->reply) {
		__builtin_memcpy(nw->key.src, conn->reply.src, 16);
		__builtin_memcpy(nw->key.dst, conn->reply.dst, 16);
		nw->key.sport = conn->reply.sport;
		nw->key.dport = conn->reply.dport;
	}
	ct_reverse(&nw->answer, &nw->key);
}

static __always_inline void nat_write_source(struct state *st, const struct ct_tuple *to)
{
	struct flow_key *k = key_of(st);

	if (to->family == CT_IPV4)
		k->nw_src = to->src[0];
	else
		__builtin_memcpy(k->ipv6_src, to->src, 16);
}

static __always_inline void nat_write_destination(struct state *st, const struct ct_tuple *to)
{
	struct flow_key *k = key_of(st);

	if (to->family == CT_IPV4)
		k->nw_dst = to->dst[0];
	else
		__builtin_memcpy(k->ipv6_dst, to->dst, 16);
}

/* Translate the packet in hand by its connection (`connection`, `key`, `reply` and `error` of the
 * work), and say so in `ct_state`.  Returns 0, or -1 where it cannot be. */
__attribute__((noinline)) int nat_packet(__u32 level)
{
	struct state *st = state_get(level);
	struct ct_work *w = ct_work_get(level);
	struct nat_work *nw = nat_work_get(level);
	struct transports *tr = transports_get(level);
	struct transport *to;
	struct ct_tuple *t;
	bool source;

	if (!st || !w || !nw || !tr)
		return -1;
	if (!(w->connection.flags & (CT_SRC_NAT | CT_DST_NAT)))
		return 0;
	if (tr->kind == TRANSPORT_PORTS) {
		nat_ports(st, w);
		return 0;
	}
	source = nat_is_of_source(w);
	w->ct_state |= source ? CT_SNAT : CT_DNAT;
	nat_target(w, nw);
	t = &nw->answer;
	touch(st, GROUP_L3 | GROUP_L4);
	if (tr->kind == TRANSPORT_QUOTED) {
		/* where it comes from stays, unless it is the translated side that speaks */
		if (source)
			nat_write_source(st, t);
		else
			nat_write_destination(st, t);
		to = change_transport(st, tr);
		if (!to)
			return -1;
		__builtin_memcpy(to->src, t->dst, 16);
		__builtin_memcpy(to->dst, t->src, 16);
		to->sport = ct_is_icmp(t) ? t->sport : t->dport;
		to->dport = t->sport;
		return 0;
	}
	nat_write_source(st, t);
	nat_write_destination(st, t);
	if (tr->kind == TRANSPORT_ECHO || tr->kind == TRANSPORT_LATER) {
		if (tr->as[key_of(st)->transport & (MAX_TRANSPORTS - 1)].sport == t->sport &&
		    tr->as[key_of(st)->transport & (MAX_TRANSPORTS - 1)].dport == t->dport)
			return 0;
		to = change_transport(st, tr);
		if (!to)
			return -1;
		to->sport = t->sport;
		to->dport = t->dport;
	}
	return 0;
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define FIRST_HALF(word) ((__u64)(word))
#else
#define FIRST_HALF(word) ((__u64)(word) << 32)
#endif

/* Addresses and what is not the ports' of the packet's tuple.  In words of 64 bits, as they are going to
 * be read. */
static __always_inline void tuple_begin(struct ct_tuple *t, struct flow_key *k, __u8 proto, __u16 zone)
{
	__u64 *src = (__u64 *)t->src, *dst = (__u64 *)t->dst;

	if (k->eth_type == bpf_htons(0x86dd)) {
		__builtin_memcpy(t->src, k->ipv6_src, 16);
		__builtin_memcpy(t->dst, k->ipv6_dst, 16);
		t->kind = ct_kind(proto, CT_IPV6, zone);
	} else {
		src[0] = FIRST_HALF(k->nw_src);
		src[1] = 0;
		dst[0] = FIRST_HALF(k->nw_dst);
		dst[1] = 0;
		t->kind = ct_kind(proto, CT_IPV4, zone);
	}
	t->ports = 0;
}

/* The tuple of a packet that is more than addresses and ports: `as` lies beyond the key.  Of an ICMP error
 * it is that of an answer to the packet it quotes.  The transport must have been read. */
__attribute__((noinline)) int transport_tuple(__u32 level)
{
	struct state *st = state_get(level);
	struct ct_work *w = ct_work_get(level);
	struct transports *tr = transports_get(level);
	struct transport *as;
	struct ct_tuple *t;

	if (!st || !w || !tr)
		return -1;
	t = &w->tuple;
	as = &tr->as[key_of(st)->transport & (MAX_TRANSPORTS - 1)];
	tuple_begin(t, key_of(st), tr->proto, w->zone);
	if (tr->kind == TRANSPORT_QUOTED) {
		w->error = 1;
		__builtin_memcpy(t->src, as->dst, 16);
		__builtin_memcpy(t->dst, as->src, 16);
		if (ct_is_icmp(t)) {
			t->sport = as->sport;
			t->dport = bpf_htons(icmp_reversed(tr->icmp_type, t->family) << 8);
		} else {
			t->sport = as->dport;
			t->dport = as->sport;
		}
	} else if (ct_is_icmp(t)) {
		t->sport = as->sport;
		t->dport = bpf_htons(tr->icmp_type << 8 | tr->icmp_code);
	} else if (tr->kind == TRANSPORT_LATER) {
		t->sport = as->sport;
		t->dport = as->dport;
	}
	return 0;
}

#endif
