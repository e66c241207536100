/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Outer packets in fragments (RFC 791, 3.2; RFC 8200, 4.5), where a tunnel has no 'don't fragment'.
 *
 * A program cannot cut a packet in two.  What is too big goes through a pair of veth devices of our
 * own that take no offloads, so that the kernel cuts super-packets into segments and computes their
 * checksums on the way; at the other end this program gets whole packets of IP.  For each fragment
 * but the first it sends a clone to that end once more, its number in the mark, and each clone loses
 * all but its part.  Nothing of the host's stack is involved: no forwarding, no filter, no route
 * that the host's own packets do not take.
 */
#ifndef GOSSAMER_CUT_H
#define GOSSAMER_CUT_H

#define MAX_FRAGMENTS CUT_WHICH
#define MAX_STRIPS 17		/* 64 KiB; the kernel takes out less than 4,096 bytes at a time */
#define STRIP_STEP 4000
#define FRAGMENT_HEADER 44	/* the protocol number of IPv6's */
#define MORE_FRAGMENTS 0x2000

struct cutting {
	struct __sk_buff *skb;
	__u32 left;		/* bytes to take out */
	__u32 failed;
};

static long send_clone(__u32 i, struct cutting *c)
{
	struct __sk_buff *skb = c->skb;

	skb->mark = CUT_MARK | (i + 1);
	if (bpf_clone_redirect(skb, skb->ifindex, BPF_F_INGRESS))
		count_drop(DROP_REDIRECT);
	return 0;
}

static long take_out(__u32 i, struct cutting *c)
{
	__u32 step = c->left > STRIP_STEP ? STRIP_STEP : c->left;

	if (!step)
		return 1;
	c->left -= step;
	if (bpf_skb_adjust_room(c->skb, -(int)step, BPF_ADJ_ROOM_MAC, 0)) {
		c->failed = 1;
		return 1;
	}
	return 0;
}

/* Leave of the packet what is behind `from` bytes of the Ethernet frame's payload. */
static __always_inline bool lose_front(struct __sk_buff *skb, __u32 from)
{
	struct cutting c = { .skb = skb, .left = from };

	if (from)
		bpf_loop(MAX_STRIPS, take_out, &c, 0);
	return c.failed || c.left;
}

/* Fragment `which` of an IPv4 packet, each with `part` bytes.  Returns 0, or -1. */
static __always_inline int cut_v4(struct __sk_buff *skb, struct iphdr *ip, __u32 which, __u32 part,
				  __u32 payload)
{
	__u32 at = which * part, n = payload - at;

	ip->frag_off = bpf_htons(at >> 3);
	if (n > part) {
		n = part;
		ip->frag_off |= bpf_htons(MORE_FRAGMENTS);
	}
	ip->tot_len = bpf_htons(20 + n);
	ip->check = 0;
	ip->check = fold(bpf_csum_diff(0, 0, (__be32 *)ip, sizeof(*ip), 0));
	/* the end first: once the front is gone, 6.1 takes the L4 header to be before the packet */
	return bpf_skb_change_tail(skb, 34 + at + n, 0) || lose_front(skb, at) ||
	       bpf_skb_store_bytes(skb, 14, ip, sizeof(*ip), 0) ? -1 : 0;
}

static __always_inline int cut_v6(struct __sk_buff *skb, struct ipv6hdr *ip, __u32 which, __u32 part,
				  __u32 payload, __be32 id)
{
	struct {
		struct ipv6hdr ip;
		__u8 next, reserved;
		__be16 offset;
		__be32 id;
	} head = { .ip = *ip, .next = ip->nexthdr, .id = id };
	__u32 at = which * part, n = payload - at;

	head.offset = bpf_htons(at);
	if (n > part) {
		n = part;
		head.offset |= bpf_htons(1);
	}
	head.ip.nexthdr = FRAGMENT_HEADER;
	head.ip.payload_len = bpf_htons(8 + n);
	if (bpf_skb_change_tail(skb, 54 + at + n, 0))
		return -1;
	if (which ? lose_front(skb, at - 8) :
		    bpf_skb_adjust_room(skb, 8, BPF_ADJ_ROOM_MAC, 0))
		return -1;
	return bpf_skb_store_bytes(skb, 14, &head, sizeof(head), 0) ? -1 : 0;
}

/* The far end of the pair: what comes is ours, to be sent by the host's routes. */
SEC("tc")
int gossamer_cutter(struct __sk_buff *skb)
{
	bool v4 = skb->protocol == bpf_htons(0x0800);
	__u32 which = skb->mark & CUT_WHICH, length, headers, part, payload;
	struct bpf_fib_lookup fib = {};
	struct bpf_redir_neigh hop;
	union {
		struct iphdr v4;
		struct ipv6hdr v6;
	} ip = {};
	__be32 remote[4], id = 0;
	bool whole = false;
	__u8 nobody = 2;
	long found;

	/* the device's own chatter */
	if ((skb->mark & ~CUT_WHICH) != CUT_MARK)
		return TC_ACT_SHOT;
	if (skb->gso_size) {
		count_drop(DROP_TUNNEL_TOO_BIG);
		return TC_ACT_SHOT;
	}
	if (v4) {
		if (load(skb, 14, &ip.v4, sizeof(ip.v4)))
			return TC_ACT_SHOT;
		length = bpf_ntohs(ip.v4.tot_len);
		headers = 20;
		payload = length - 20;
		map_v4(remote, ip.v4.daddr);
		fib.family = AF_INET;
		fib.l4_protocol = ip.v4.protocol;
		fib.ipv4_src = ip.v4.saddr;
		fib.ipv4_dst = ip.v4.daddr;
	} else {
		if (load(skb, 14, &ip.v6, sizeof(ip.v6)))
			return TC_ACT_SHOT;
		payload = bpf_ntohs(ip.v6.payload_len);
		length = 40 + payload;
		headers = 48;
		__builtin_memcpy(remote, &ip.v6.daddr, 16);
		fib.family = AF_INET6;
		fib.l4_protocol = ip.v6.nexthdr;
		__builtin_memcpy(fib.ipv6_src, &ip.v6.saddr, 16);
		__builtin_memcpy(fib.ipv6_dst, &ip.v6.daddr, 16);
	}
	if (!which && sum_again(skb, visits() & (MAX_NESTING - 1))) {
		count_drop(DROP_REWRITE);
		return TC_ACT_SHOT;
	}
	fib.ifindex = LOOPBACK_IFINDEX;
	fib.tot_len = length > 0xffff ? 0xffff : length;
	found = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	part = fib.mtu_result;
	if (found == BPF_FIB_LKUP_RET_FRAG_NEEDED) {
		fib.tot_len = LEAST_MTU;
		found = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	} else {
		whole = true;
	}
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH) {
		count_drop(DROP_TUNNEL_ROUTE);
		return TC_ACT_SHOT;
	}
	set_hop(&hop, &fib, remote, v4);
	/* bpf_redirect_neigh() drops what is for a group of Ethernet already */
	if (bpf_skb_store_bytes(skb, 0, &nobody, 1, 0))
		return TC_ACT_SHOT;
	if (whole && !which)
		goto out;
	if (part < headers + 8) {
		count_drop(DROP_TUNNEL_TOO_BIG);
		return TC_ACT_SHOT;
	}
	part = (part - headers) & ~7u;
	if (!which) {
		struct cutting c = { .skb = skb };
		__u32 clones = (payload - 1) / part;

		/* all fragments bear one number: IPv6's header has no place for it */
		id = bpf_get_prandom_u32();
		/* The kernel trims nothing that is marked as inside a tunnel: a packet that came
		 * out of one on this machine, and is no super-packet. */
		if (clones >= MAX_FRAGMENTS || bpf_skb_change_tail(skb, skb->len, 0) ||
		    bpf_skb_store_bytes(skb, 6, &id, 4, 0)) {
			count_drop(DROP_TUNNEL_TOO_BIG);
			return TC_ACT_SHOT;
		}
		bpf_loop(clones, send_clone, &c, 0);
	}
	/* the way may have become another one since the clones were made */
	if (which * part >= payload || load(skb, 6, &id, 4) ||
	    (v4 ? cut_v4(skb, &ip.v4, which, part, payload) :
		  cut_v6(skb, &ip.v6, which, part, payload, id))) {
		count_drop(DROP_REWRITE);
		return TC_ACT_SHOT;
	}
out:
	skb->mark = 0;
	return bpf_redirect_neigh(fib.ifindex, &hop, sizeof(hop), 0);
}

#endif
