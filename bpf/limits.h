/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Named bounds and settings of the datapath, in one place.
 *
 * src/gossamer/datapath/layout.py holds the same numbers for the daemon;
 * tests/unit/datapath/test_layout.py compares them.
 */
#ifndef GOSSAMER_LIMITS_H
#define GOSSAMER_LIMITS_H

#define MAX_PORTS 16384
#define LOW_IFINDEXES 65536	/* looked up without hashing */
#define MAX_BRIDGES 256
#define MAX_TABLES (MAX_BRIDGES * 256)
#define MAX_SUBTABLES 8192
#define MAX_TABLE_INDEX 65536	/* subtable references of all tables together */
#define MAX_MEMBERS 65536	/* port references of all bridges together */
#define MAX_FLOWS (1 << 20)
#define FILTER_WORDS (1 << 19)	/* of all subtables together; one holds four rules */
#define MAX_MASKS 1024		/* cache masks: one in use a bridge, the rest retire */
#define MAX_FDB (1 << 18)

#define WORD_MASK 127		/* bounds a word of the key; the state is longer */
#define MATCH_WORDS 48		/* words that one mask can cover */
#define CACHE_WORDS 56		/* words that a cached path's key can have */
#define SHORTCUTS 4096		/* per CPU, of NORMAL */
#define CACHE_SETS 2048		/* per CPU; two paths each */

#define SMALL_OPS 4
#define LARGE_OPS 64
#define PATH_OPS 768		/* operations one pass may come to */
#define CACHED_OPS 24
#define CACHED_FLOWS 16
#define NOTED_FLOWS 128	/* rules, buckets and misses of a pass that are credited when all of it is known */
#define SET_ROOM 64		/* where it is put in order; a power of two */
#define SET_OPS 48		/* set-field and move operations in an action set */

#define MAX_WRITERS 9		/* rules whose writing an action set may take over a ct() for the daemon */

#define MAX_DEPTH 64		/* resubmit within resubmit */
#define MAX_RESUBMITS 4096
#define MAX_TTL_CONTROLLERS 4
#define MAX_SCOPES 8		/* groups and clones within each other */
#define MAX_SETS_ASIDE 4	/* clones in each other with action sets of their own */
#define MAX_STACK 16		/* values that push: and pop: may hold */
#define MAX_GROUPS 65536
#define MAX_BUCKETS 131072	/* of all groups together */
#define GROUP_WORDS 24		/* words of the key that choose a bucket */
#define MAX_LENGTHS 8		/* lengths that rules of a bridge ask about */
#define MAX_METERS 16384
#define MAX_BANDS 8
#define MAX_SEEN 8		/* bridges whose version one packet keeps for when it comes back */
#define MAX_PASSES 64		/* bridges entered over patch ports by one packet */
#define PASS_QUEUE 16		/* of them waiting at once */
#define MAX_ALTERNATIVES 64	/* rules of conjunctions that one look-up may hit */
#define MAX_CONJUNCTIONS 32	/* conjunctions they may belong to */
#define MAX_SHORT 4		/* truncated copies of one packet */
#define LEARN_EVERY_NS 500000000ull	/* a cached path learns again, for timeouts' sake */
#define MAX_NESTING 4		/* our program inside a device we send to */

#define MAX_CONNECTIONS 3000000
#define CT_CHUNK 65536		/* slots for connections that are made at once */
#define CT_CHUNKS 46
#define CT_LEAST_REACH 8192
#define CT_STRETCH 32		/* slots that a CPU takes at a time; a power of two */
#define CT_SLOT_BITS 22		/* of an entry in the index: at least as many as number all slots */
#define CT_HOME_LINES (1 << 17)	/* of the index, with up to fourteen connections each: 8 MB */
#define CT_MORE_LINES (1 << 19)	/* where those go whose own line is full */
#define CT_ZONES 65536
#define CT_POLICIES 1024	/* timeout policies; 0 is the default one */
#define CT_NAT_RULES 65536
#define CT_EXPECTATIONS 65536
#define CT_EVENT_RING_BYTES (1 << 20)

#define MAX_LOCAL_ADDRESSES 4096
#define MAX_OPTIONS 14		/* Geneve's, a bridge: one a word of tun_metadata */
#define MAX_OPTIONS_WALKED 64	/* in a packet */
#define MAX_TUNNELS_NESTED 2	/* tunnels in a packet that comes out of a tunnel */
#define SUM_CHUNK 512		/* bytes that are summed at a time */
#define MAX_SUM_CHUNKS 128	/* 64 KiB */

#define MAX_HELD 128		/* packets that wait for a connection's helper: the oldest goes */
#define MAX_HELD_OPS 64		/* operations that are left to do with such a packet */

#define PUNT_RING_BYTES (8 << 20)
#define PUNTS_PER_SECOND 5000	/* and port, so that a flood starves no other port */

/* skb marks of what the daemon lets arrive again at a port, as a test run: where outputs are
 * captured, the port is in the lower bits */
#define INJECT_ARRIVED 0x60550a3f
#define CAPTURE_ARRIVED (1u << 31)
#define CAPTURE_PORT 0xffff
#define INJECT_MARK 0x60550a3e	/* skb mark of what the daemon sends up an internal port */
#define RELAY_MARK 0x60550a40	/* of clones on their way into a tunnel */
#define CUT_MARK 0x60550b00	/* of packets to be sent in fragments; the lower bits: which one */
#define CUT_WHICH 0xff

#endif
