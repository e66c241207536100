/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What the outer headers of a packet out of a tunnel said, and those of one on its way into a tunnel. */
#ifndef GOSSAMER_WRAPPING_H
#define GOSSAMER_WRAPPING_H

struct arrival {		/* what the outer headers of a tunnel's packet said */
	__be32 local[4], remote[4];	/* IPv4 as ::ffff:a.b.c.d */
	__be64 key;
	__be16 dst_port;
	__be16 type;		/* ethertype of what is inside, where that is no frame */
	__u8 kind;
	__u8 ttl, tos;
	__u8 gbp_flags;
	__be16 flags, gbp_id;
	__u32 extensions;	/* TUNNEL_* that the packet needs */
	__be32 erspan;
	__u8 erspan_version;
	__u8 summed;		/* there is an outer checksum */
	__be16 present;
	__u32 options;		/* bytes of Geneve's options */
	__be32 metadata[16];
};

struct inner {			/* of a packet on its way into a tunnel */
	__u8 tos, ttl;
	__u8 is_ip;
	__u8 pad;
	__u32 length;		/* from the first byte after its layer 2; of a segment, where it is GSO */
	__u32 l4;		/* length of its own headers up to its layer 4, 0 unknown */
};

struct departure {		/* of an output into a tunnel: what encapsulate() puts on */
	__u32 port;
	__u32 ifindex;
	__u32 length;		/* of `words`, in bytes: outer L3 up to the inner L2 and with it */
	__u32 inner_l2;
	__u64 flags;		/* for bpf_skb_adjust_room() */
	__u32 tags;		/* the packet has, which are in `words` */
	__u32 tags_in_band;
	__u32 l4;		/* offset of the outer L4 header in `words` */
	__u32 check;		/* of its checksum, 0 none */
	__u32 mtu;		/* the packet is too big: what would fit; else 0 */
	__u32 resolve;		/* the kernel is to find the neighbour */
	__u32 n_words;
	__u32 in_option;	/* words still to come of the one being written */
	__u32 critical;		/* an option that who does not know it must not ignore */
	__u8 eth[12];		/* outer addresses */
	__be16 type;
	__u16 cut;		/* into fragments, when it has left */
	__u32 mark;		/* of the outer packet, 0 the packet's own */
	__be32 remote[4], local[4];
	struct inner inner;
	__be32 words[64];
	struct bpf_redir_neigh hop;
};

#endif
