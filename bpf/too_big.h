/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* A packet that does not fit into its tunnel tells its sender what would.
 *
 * It becomes the complaint itself: put back as it came, cut, and behind the headers of an ICMP
 * 'fragmentation needed' (RFC 792, RFC 1191) or ICMPv6 'packet too big' (RFC 4443, 3.2) from the
 * address it was sent to; it leaves by the port it came from, into the tunnel again where that is
 * one.  Of several copies that are too big one is answered.  What must not be answered is dropped
 * (RFC 1122, 3.2.2): errors, groups, fragments.  Packets without 'don't fragment' are answered too:
 * only outer packets are cut up (cut.h), where the tunnel's settings say so.
 */
#ifndef GOSSAMER_TOO_BIG_H
#define GOSSAMER_TOO_BIG_H

#define QUOTED_V4 548		/* 576 with the headers (RFC 1812, 4.3.2.3) */
#define QUOTED_V6 1232		/* 1,280 with the headers */

/* Remember the packet as it came, where some port is a tunnel. */
static __always_inline void remember(struct state *st)
{
	struct tunnel_config *config = tunnel_config_get();

	if (config && config->classes)
		__builtin_memcpy(st->came, &st->key[PACKET_WORD], sizeof(st->came));
}

/* An IPv4 packet becomes the complaint about it.  Returns 0, or -1 where it gets none. */
static __always_inline int complain_v4(struct __sk_buff *skb, struct state *st, __u32 mtu)
{
	struct {
		struct iphdr ip;
		__u8 type, code;
		__be16 check;
		__be16 unused, mtu;
	} head = {};
	struct iphdr ip;
	__u32 quoted = skb->len - 14;
	__u8 type;

	if (load(skb, 14, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5 || !ip.saddr ||
	    (bpf_ntohl(ip.saddr) >> 28) >= 14 || (bpf_ntohl(ip.daddr) >> 28) >= 14 ||
	    (ip.frag_off & bpf_htons(0x1fff)))
		return -1;
	if (ip.protocol == 1 && (load(skb, 14 + ip.ihl * 4, &type, 1) ||
				 (type != 8 && type != 0)))
		return -1;
	if (quoted > QUOTED_V4)
		quoted = QUOTED_V4;
	if (bpf_skb_change_tail(skb, 14 + quoted, 0) ||
	    bpf_skb_adjust_room(skb, sizeof(head), BPF_ADJ_ROOM_MAC, 0))
		return -1;
	head.ip.version = 4;
	head.ip.ihl = 5;
	head.ip.tos = 0xc0;	/* internetwork control */
	head.ip.tot_len = bpf_htons(sizeof(head) + quoted);
	head.ip.ttl = 64;
	head.ip.protocol = 1;
	head.ip.saddr = ip.daddr;
	head.ip.daddr = ip.saddr;
	head.ip.check = fold(bpf_csum_diff(0, 0, (__be32 *)&head.ip, sizeof(head.ip), 0));
	head.type = 3;
	head.code = 4;
	head.mtu = bpf_htons(mtu);
	if (bpf_skb_store_bytes(skb, 14, &head, sizeof(head), 0))
		return -1;
	head.check = fold(sum_packet(skb, st, 34, 8 + quoted, 0));
	return bpf_skb_store_bytes(skb, 36, &head.check, 2, 0);
}

static __always_inline int complain_v6(struct __sk_buff *skb, struct state *st, __u32 mtu)
{
	struct {
		struct ipv6hdr ip;
		__u8 type, code;
		__be16 check;
		__be32 mtu;
	} head = {};
	struct ipv6hdr ip;
	__u32 quoted = skb->len - 14;
	__be32 tail[2];
	__u8 type;
	__s64 sum;

	if (load(skb, 14, &ip, sizeof(ip)) || ip.version != 6 || ip.saddr.in6_u.u6_addr8[0] == 0xff ||
	    ip.daddr.in6_u.u6_addr8[0] == 0xff)
		return -1;
	if (ip.nexthdr == 58 && (load(skb, 54, &type, 1) || type < 128))
		return -1;
	if (quoted > QUOTED_V6)
		quoted = QUOTED_V6;
	if (bpf_skb_change_tail(skb, 14 + quoted, 0) ||
	    bpf_skb_adjust_room(skb, sizeof(head), BPF_ADJ_ROOM_MAC, 0))
		return -1;
	head.ip.version = 6;
	head.ip.payload_len = bpf_htons(8 + quoted);
	head.ip.nexthdr = 58;
	head.ip.hop_limit = 64;
	head.ip.saddr = ip.daddr;
	head.ip.daddr = ip.saddr;
	head.type = 2;
	head.mtu = bpf_htonl(mtu < 1280 ? 1280 : mtu);
	if (bpf_skb_store_bytes(skb, 14, &head, sizeof(head), 0))
		return -1;
	tail[0] = bpf_htonl(8 + quoted);
	tail[1] = bpf_htonl(58);
	sum = bpf_csum_diff(0, 0, (__be32 *)&head.ip.saddr, 32, 0);
	sum = bpf_csum_diff(0, 0, tail, 8, sum);
	head.check = fold(sum_packet(skb, st, 54, 8 + quoted, sum));
	return bpf_skb_store_bytes(skb, 56, &head.check, 2, 0);
}

/* Make the packet the complaint about itself.  Returns 0, or -1 where nobody hears of it. */
__attribute__((noinline)) int complain(struct __sk_buff *skb, __u32 level)
{
	struct state *st = state_get(level);
	struct flow_key *k;
	__u32 tags, mtu;
	__be16 type;

	if (!st)
		return -1;
	/* What flows have changed in it is not what its sender knows. */
	touch(st, ~0u);
	__builtin_memcpy(&st->key[PACKET_WORD], st->came, sizeof(st->came));
	if (differs(st) && commit(skb, st, level))
		return -1;
	k = key_of(st);
	mtu = st->out.mtu;
	if ((k->eth_dst[0] & 1) || (k->eth_src[0] & 1))
		return -1;
	tags = tags_of(k);
	if ((tags && bpf_skb_vlan_pop(skb)) || (tags > 1 && bpf_skb_vlan_pop(skb)) ||
	    load(skb, 12, &type, 2))
		return -1;
	if (type == bpf_htons(0x0800) ? complain_v4(skb, st, mtu) :
	    type != bpf_htons(0x86dd) || complain_v6(skb, st, mtu))
		return -1;
	if (bpf_skb_store_bytes(skb, 0, k->eth_src, 6, 0) ||
	    bpf_skb_store_bytes(skb, 6, k->eth_dst, 6, 0))
		return -1;
	if ((tags > 1 && push_tag(skb, k->vlan1_tpid, k->vlan1_tci)) ||
	    (tags && push_tag(skb, k->vlan_tpid, k->vlan_tci)))
		return -1;
	return 0;
}

/* Into the tunnel that it came out of. */
static __always_inline int send_into_tunnel(struct __sk_buff *skb, struct state *st)
{
	struct flow_key *k = key_of(st);
	struct arrival *a = &st->in;

	__builtin_memset(&st->key[WORD_TUN_ID], 0, TUNNEL_WORDS * 4);
	st->dirty = 1;
	k->tun_id = a->key;
	if (is_v4(a->remote)) {
		k->tun_dst = a->remote[3];
		k->tun_src = a->local[3];
	} else {
		__builtin_memcpy(k->tun_ipv6_dst, a->remote, 16);
		__builtin_memcpy(k->tun_ipv6_src, a->local, 16);
	}
	k->tun_erspan_ver = a->erspan_version;
	k->tun_erspan = a->erspan;
	st->touched = 0;
	if (parse(skb, st->level) || prepare(skb, st->first_port, st->level) || st->out.mtu)
		return TC_ACT_SHOT;
	count_tx(skb, st->first_port);
	return depart(skb, st->level);
}

/* It goes back. */
static __always_inline int send_back(struct __sk_buff *skb, struct state *st)
{
	struct port *port = port_get(st->first_port);

	if (!port || st->complained || complain(skb, st->level))
		return TC_ACT_SHOT;
	if (port->kind == PORT_TUNNEL)
		return send_into_tunnel(skb, st);
	count_tx(skb, st->first_port);
	if (port->kind == PORT_DEVICE)
		return bpf_redirect(port->ifindex, 0);
	if (port->kind == PORT_INTERNAL)
		return bpf_redirect(port->ifindex, BPF_F_INGRESS);
	return TC_ACT_SHOT;
}

/* So does a clone, which is looked at anew: `above` goes on with the packet. */
static __always_inline int send_copy_back(struct __sk_buff *skb, struct state *above, __u32 level)
{
	struct state *st = state_get(level);

	if (!st || above->complained)
		return TC_ACT_SHOT;
	st->level = level;
	st->bridge = above->bridge;
	st->first_port = above->first_port;
	st->now = above->now;
	st->touched = 0;
	st->complained = 0;
	st->in = above->in;
	st->out.mtu = above->out.mtu;
	__builtin_memcpy(st->came, above->came, sizeof(st->came));
	if (parse(skb, level))
		return TC_ACT_SHOT;
	above->complained = 1;
	return send_back(skb, st);
}

#endif
