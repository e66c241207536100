/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Connections: what is kept of each, and where.  docs/conntrack.md has the rules.
 *
 * A connection is found (ct_store.h) by its canonical tuple: of the tuple of a packet and
 * that of its answer the smaller one, so that both directions find the same
 * entry and no second one is needed.  One whose addresses are translated is
 * found by the tuple of its first packet, marked CT_TRANSLATED, and by that of
 * its answers, its alias, marked CT_ALIAS.
 *
 * Every connection has a slot.  A new one takes the next slot that a clock's
 * hand finds free, or whose connection has expired, or whose connection was
 * never answered; so nobody has to sweep, and a flood of new connections
 * pushes out its like and never one that is established.
 */
#ifndef GOSSAMER_CONNTRACK_H
#define GOSSAMER_CONNTRACK_H

/* Bits of ct_state (ovs-fields(7)). */
#define CT_NEW		0x01
#define CT_ESTABLISHED	0x02
#define CT_RELATED	0x04
#define CT_REPLY	0x08
#define CT_INVALID	0x10
#define CT_TRACKED	0x20
#define CT_SNAT		0x40
#define CT_DNAT		0x80

enum ct_family { CT_IPV4 = 4, CT_IPV6 = 6 };
#define CT_FAMILY	0x0f
#define CT_TRANSLATED	0x80	/* beside the family, in keys of connections */
#define CT_ALIAS	0x40	/* beside it, where one is looked for by the tuple of its answers */

/* One direction of a connection.  IPv4 addresses are the first word, zeros follow.  Of ICMP
 * `sport` is the identifier, `dport` type << 8 | code of what the source sends. */
struct ct_tuple {
	__be32 src[4];
	__be32 dst[4];
	union {
		struct {
			__be16 sport;
			__be16 dport;
		};
		__be32 ports;	/* both, as the key has them */
	};
	union {
		struct {
			__u8 proto;
			__u8 family;	/* enum ct_family, and CT_TRANSLATED */
			__u16 zone;
		};
		__u32 kind;		/* all three: written at once, as they are read */
	};
} __attribute__((aligned(8)));

/* States of one side of a TCP connection, in the order that rules compare them by. */
enum ct_tcp_state {
	CT_TCP_CLOSED,
	CT_TCP_LISTEN,
	CT_TCP_SYN_SENT,
	CT_TCP_SYN_RECV,
	CT_TCP_ESTABLISHED,
	CT_TCP_CLOSE_WAIT,
	CT_TCP_FIN_WAIT_1,
	CT_TCP_CLOSING,
	CT_TCP_LAST_ACK,
	CT_TCP_FIN_WAIT_2,
	CT_TCP_TIME_WAIT,
};

/* Those of everything else, in `state` of the originator's side. */
enum ct_other_state { CT_FIRST, CT_MULTIPLE, CT_BIDIRECTIONAL };

struct ct_peer {		/* a side of a TCP connection */
	__u32 seqlo;		/* highest sequence number it sent */
	__u32 seqhi;		/* highest one its peer lets it send */
	__u16 max_win;
	__u8 wscale;		/* CT_WSCALE_* */
	__u8 state;		/* enum ct_tcp_state, or ct_other_state */
};

#define CT_WSCALE_FLAG		0x80
#define CT_WSCALE_UNKNOWN	0x40
#define CT_WSCALE_MASK		0x0f

/* Flags of a connection. */
#define CT_SWAPPED	(1 << 0)	/* its key is the tuple of its answers, not of its first packet */
#define CT_SRC_NAT	(1 << 1)
#define CT_DST_NAT	(1 << 2)
#define CT_EXPECTED	(1 << 3)	/* related: an expectation brought it; parent in ct_parents */
#define CT_REPLIED	(1 << 4)	/* packets were seen in both directions */

struct ct_reply {		/* the tuple of answers, where addresses are translated */
	__be32 src[4];
	__be32 dst[4];
	union {
		struct {
			__be16 sport;
			__be16 dport;
		};
		__be32 ports;
	};
};

/* With its key, and what ct_record has besides, it must stay below three cache lines: 144 bytes are
 * for it. */
struct ct_connection {
	__u32 lock;		/* ct_lock(), of all that packets change */
	__u32 slot;
	__u64 expires;		/* ns, of the clock of state.now */
	__u64 packets[2];	/* of the originator, of the answers */
	__u64 bytes[2];
	__u32 created_s;
	__be32 mark;
	__be32 label[4];
	struct ct_peer peer[2];	/* the originator, the one who answers */
	struct ct_reply reply;	/* only with CT_SRC_NAT or CT_DST_NAT */
	__u16 policy;		/* index in ct_timeouts */
	__u8 flags;
	__u8 alg;		/* 0, 21 (FTP), 69 (TFTP) */
};

/* bpf_spin_lock() with its unlocking takes 50 ns, this 9 (Zen 5, 6.18): no call, and interrupts stay on,
 * as only programs that are not interrupted by each other take it.  Who holds it does so for some
 * nanoseconds, unless a hypervisor takes its CPU away: then the others go on after a while, as
 * nothing breaks but a count. */
#define CT_LOCK_TRIES (1 << 14)

static long ct_await(__u32 i, struct ct_connection **c)
{
	return !__sync_lock_test_and_set(&(*c)->lock, 1);
}

static __always_inline void ct_lock(struct ct_connection *c)
{
	if (__sync_lock_test_and_set(&c->lock, 1))
		bpf_loop(CT_LOCK_TRIES, ct_await, &c, 0);
}

static __always_inline void ct_unlock(struct ct_connection *c)
{
	__sync_lock_test_and_set(&c->lock, 0);
}

#define CT_ZONE_LIMITED (1 << 0)	/* `limit` is its own; else the default one holds */

struct ct_zone {
	__u32 limit;		/* connections; 0: any number */
	__u32 count;		/* written here; those too whose time is up, until somebody removes them */
	__u16 policy;		/* index in ct_timeouts, taken by new connections */
	__u16 flags;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CT_ZONES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct ct_zone);
} ct_zones SEC(".maps");

enum ct_timeout {
	CT_TIMEOUT_TCP_SYN_SENT,
	CT_TIMEOUT_TCP_SYN_RECV,
	CT_TIMEOUT_TCP_ESTABLISHED,
	CT_TIMEOUT_TCP_FIN_WAIT,
	CT_TIMEOUT_TCP_TIME_WAIT,
	CT_TIMEOUT_TCP_CLOSE,
	CT_TIMEOUT_UDP_FIRST,		/* UDP, and all that is neither TCP nor ICMP */
	CT_TIMEOUT_UDP_SINGLE,
	CT_TIMEOUT_UDP_MULTIPLE,
	CT_TIMEOUT_ICMP_FIRST,
	CT_TIMEOUT_ICMP_REPLY,
	CT_TIMEOUTS
};

struct ct_policy {
	__u32 seconds[12];	/* by enum ct_timeout */
};

/* Written by the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CT_POLICIES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct ct_policy);
} ct_timeouts SEC(".maps");

#define CT_NO_SEQUENCE_CHECK	(1 << 0)
#define CT_TELL_NEW		(1 << 1)	/* events that are wanted */
#define CT_TELL_INVALID		(1 << 2)	/* and what rules drop after it was tracked */
#define CT_TELL_GONE		(1 << 3)
#define CT_NO_IPV4_FRAGMENTS	(1 << 4)	/* fragments are invalid */
#define CT_NO_IPV6_FRAGMENTS	(1 << 5)
#define CT_INHERITS	(1 << 6)	/* connections come from another version's maps just now: where they are,
				 * in windows of sequence numbers, is not known to the packet */

struct ct_config {
	__u32 max_connections;	/* at most MAX_CONNECTIONS */
	__u32 default_limit;	/* of zones without one; 0: any number */
	__u32 flags;
	__u32 max_fragments;	/* of datagrams that are not whole yet; others are invalid */
	__u64 test_now;		/* capturing only: the time in ns, 0: the clock's */
	__u32 min_fragment[2];	/* bytes of IPv4, IPv6 packets; shorter ones but the last are invalid */
	__u32 n_slots;		/* in chunks that are there */
	__u32 room_at;		/* so many connections want more of them; 0: none can come */
	__u32 index_secrets[10];	/* ct_place_of(); never others while there are connections */
};

/* Written by the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct ct_config);
} ct_config SEC(".maps");

#define CT_FRAGMENT_EPOCHS 4	/* a power of two; */
#define CT_FRAGMENT_EPOCH_NS 5000000000ull	/* as long as datagrams are known, and one more */

struct ct_load {
	__u32 epoch;
	__u32 n;		/* fragments of datagrams begun in it that are not whole; modulo 2^32 */
};

/* What all CPUs share, each on a cache line of its own. */
struct ct_shared {
	__u32 n_connections;	/* as `count` of ct_zone */
	__u32 pad0[15];
	__u32 hand;		/* of the clock over the slots, */
	__u32 reach;		/* over so many of them: at least twice as many as there are
				 * connections, a power of two; the daemon makes it less again */
	__u32 top;		/* no connection is in a slot from here on; the daemon makes it less */
	__u32 pad1[13];
	__u32 pad2[16];
	__u32 n_expectations;	/* ever written, by the daemon */
	__u32 pad3[15];
	struct ct_load fragments[CT_FRAGMENT_EPOCHS];
	__u32 pad4[8];
};

/* Written here, but for expectations. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct ct_shared);
} ct_shared SEC(".maps");

/* Where nat() may translate to; its number is made from its content. */
#define CT_NAT_PERSISTENT	(1 << 2)
#define CT_NAT_HASH		(1 << 3)
#define CT_NAT_RANDOM		(1 << 4)

struct ct_nat_rule {
	__u32 flags;		/* (CT_SRC_NAT | CT_DST_NAT) >> 1, CT_NAT_* */
	__be32 first[4];	/* addresses as in tuples; all zero: not changed */
	__be32 last[4];
	__u16 first_port;	/* 0: not changed, unless it must be */
	__u16 last_port;
	__u32 family;		/* of the addresses, enum ct_family; 0: there are none */
};

/* Written by the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CT_NAT_RULES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct ct_nat_rule);
} ct_nat_rules SEC(".maps");

/* Of connections that an expectation brought: the originator's tuple of the one it belongs to. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CT_EXPECTATIONS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ct_tuple);
	__type(value, struct ct_tuple);
} ct_parents SEC(".maps");

/* A connection that a helper (ALG) read of in another one.  Its key is the tuple of the first
 * packet to come, with source port 0, and with source address 0 where that may be any. */
struct ct_expectation {
	struct ct_tuple parent;	/* the originator's */
	__be32 nat[4];		/* what the answers' address becomes, all zero: no translation */
	__u16 nat_destination;	/* it is their destination (SNAT), not their source (DNAT) */
	__be16 nat_port;	/* what their source port becomes with it, 0: stays */
	__be32 mark;
	__be32 label[4];
};

/* Written by the daemon; taken out here when it is met. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CT_EXPECTATIONS);
	__type(key, struct ct_tuple);
	__type(value, struct ct_expectation);
} ct_expectations SEC(".maps");

struct ct_sequence {		/* of one direction */
	__u32 until;		/* numbers up to and including this one move by `before` */
	__s32 before, after;
};

struct ct_sequences {
	struct ct_sequence of[2];	/* the originator's, the answers' */
};

/* By the key of the connection.  Written by the daemon; goes with the connection. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CT_EXPECTATIONS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ct_tuple);
	__type(value, struct ct_sequences);
} ct_sequences SEC(".maps");

enum ct_count {
	CT_COUNT_CREATED,
	CT_COUNT_EXPIRED,
	CT_COUNT_EVICTED,	/* never answered, and its slot was wanted */
	CT_COUNT_FULL,
	CT_COUNT_ZONE_FULL,
	CT_COUNT_NAT_FULL,
	CT_COUNT_INVALID,
	CT_COUNT_TCP_FLAGS,	/* of the invalid ones: flags that do not go together */
	CT_COUNT_TCP_SEQUENCE,	/* of the invalid ones: outside the window */
	CT_COUNT_FRAGMENTS,	/* enum ct_fragment_count of IPv4, then of IPv6 */
	CT_COUNTS = CT_COUNT_FRAGMENTS + 10
};

enum ct_fragment_count {
	CT_FRAGMENT_ACCEPTED,
	CT_FRAGMENT_COMPLETED,	/* it was the last that its datagram lacked */
	CT_FRAGMENT_UNKNOWN,	/* nothing is known of the first one */
	CT_FRAGMENT_SHORT,
	CT_FRAGMENT_OVERLAP,
	CT_FRAGMENT_COUNTS
};

/* Written here, summed by the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CT_COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} ct_counters SEC(".maps");

enum ct_event_type { CT_EVENT_NEW = 1, CT_EVENT_INVALID, CT_EVENT_GONE, CT_EVENT_DENIED };

struct ct_event {
	__u64 now;
	__u32 type;		/* enum ct_event_type */
	__u32 in_port;		/* port id; 0 for CT_EVENT_GONE */
	struct ct_tuple tuple;	/* of the originator, or of a packet that is invalid */
	__be32 mark;
	__u32 flags;		/* of the connection */
	__u64 packets[2];
	__u64 bytes[2];
};

/* Read by the daemon, where ct_config asks for events. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, CT_EVENT_RING_BYTES);
} ct_events SEC(".maps");

#endif
