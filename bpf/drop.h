/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Why packets are dropped: every drop has a name and is counted under it. */
#ifndef GOSSAMER_DROP_H
#define GOSSAMER_DROP_H

enum drop_reason {
	DROP_NONE,
	DROP_UNKNOWN_PORT,	/* the device belongs to no port (any more) */
	DROP_NO_RECEIVE,	/* ingress port has no-recv, or is down */
	DROP_POLICED,		/* ingress policing */
	DROP_NO_RULE,		/* table miss */
	DROP_BY_RULE,		/* a rule without output */
	DROP_TTL,		/* dec_ttl found 0 or 1 */
	DROP_TOO_DEEP,		/* resubmits over MAX_DEPTH or MAX_RESUBMITS */
	DROP_TOO_LONG,		/* more operations or outputs than PATH_OPS */
	DROP_PROGRAM,		/* a rule's actions were removed under it */
	DROP_VLAN_INGRESS,	/* NORMAL: the port does not carry this VLAN */
	DROP_VLAN_STACK,	/* a third VLAN tag */
	DROP_RESERVED_MAC,	/* NORMAL: 01:80:c2:00:00:0x ends here */
	DROP_SAME_PORT,		/* the destination is behind the ingress port */
	DROP_NO_MEMBER,		/* flood with nobody to flood to */
	DROP_NO_PORT,		/* output to a port that does not exist */
	DROP_NO_FORWARD,	/* egress port has no-fwd, or is down */
	DROP_REWRITE,		/* the kernel refused a header change */
	DROP_REDIRECT,		/* the kernel refused a copy */
	DROP_PASSES,		/* a loop of patch ports */
	DROP_NESTED,		/* too many devices of ours inside each other */
	DROP_PUNT_RATE,		/* the port's share of packet-ins is used up */
	DROP_PUNT_FULL,		/* the daemon does not read, or is not there */
	DROP_PARSE,		/* no complete Ethernet header */
	DROP_NO_GROUP,		/* a group that does not exist */
	DROP_NO_BUCKET,		/* a group none of whose buckets is live */
	DROP_METER,		/* a meter's drop band */
	DROP_MPLS_STACK,	/* a fourth label, or one that may be below three */
	DROP_CT_FULL,		/* no room for the connection: all that were looked at are established */
	DROP_CT_ZONE_LIMIT,	/* the connection's zone has as many as it may */
	DROP_CT_NAT_FULL,	/* no address and port free in a range of nat() */
	DROP_CT_FRAGMENT,	/* it overlaps another fragment, or its first one is not known */
	DROP_CT_INVALID,	/* tracking failed half way: a connection went while it was used */
	DROP_TUNNEL_MALFORMED,	/* outer headers that are cut short, wrong or unknown */
	DROP_TUNNEL_FRAGMENT,	/* an outer fragment */
	DROP_TUNNEL_NO_PORT,	/* a packet of no tunnel */
	DROP_TUNNEL_KEY,	/* from a remote that has tunnels, but none of this key */
	DROP_TUNNEL_SPOOFED,	/* the tunnel's key, but not from its remote */
	DROP_TUNNEL_LOOP,	/* tunnels in tunnels, or a packet of our own */
	DROP_TUNNEL_TYPE,	/* a packet of a kind that the tunnel does not carry */
	DROP_TUNNEL_ECN,	/* congestion met by a sender who knows none (RFC 6040) */
	DROP_TUNNEL_ROUTE,	/* no route to the remote, or no address to send from */
	DROP_TUNNEL_TOO_BIG,	/* more than the way to the remote takes */
	DROP_TUNNEL_COPY,	/* a copy, and no internal port by which it could go */
	DROP_TUNNEL_CHECKSUM,	/* an outer checksum that is wrong */
	DROP_FRAGMENT,		/* the bridge takes none (set-frags drop) */
	DROP_TUNNEL_OPTION,	/* a critical option of Geneve that the bridge has not mapped */
	DROP_SLOW_SET,		/* an action set from before a ct(), which too many rules wrote, and what only the
				 * daemon can do */
	DROP_HELD,		/* more waited for a connection's helper than there is room for */
	DROP_REASONS
};

/* Written here, read by the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DROP_REASONS);
	__type(key, __u32);
	__type(value, __u64);
} drops SEC(".maps");

static __always_inline void count_drop(__u32 reason)
{
	__u64 *n = bpf_map_lookup_elem(&drops, &reason);

	if (n)
		*n += 1;
}

#endif
