/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Generated from src/gossamer/pipeline/fields.py by gossamer.pipeline.layout: do not edit. */
#ifndef GOSSAMER_FLOW_KEY_H
#define GOSSAMER_FLOW_KEY_H

#define KEY_LEN 416
#define KEY_WORDS (KEY_LEN / 4)
#define PACKET_WORD 72 /* words before it are pipeline state */
#define PACKET_WORDS (KEY_WORDS - PACKET_WORD)
#define VLAN_CFI 0x1000
#define FRAG_ANY 1
#define FRAG_LATER 2

/* What the pipeline knows of a packet; every field in network byte order. */
struct flow_key {
	__be32 in_port; /* 0 */
	__be32 packet_type; /* 4 */
	__be64 metadata; /* 8 */
	__be32 reg0; /* 16 */
	__be32 reg1; /* 20 */
	__be32 reg2; /* 24 */
	__be32 reg3; /* 28 */
	__be32 reg4; /* 32 */
	__be32 reg5; /* 36 */
	__be32 reg6; /* 40 */
	__be32 reg7; /* 44 */
	__be32 reg8; /* 48 */
	__be32 reg9; /* 52 */
	__be32 reg10; /* 56 */
	__be32 reg11; /* 60 */
	__be32 reg12; /* 64 */
	__be32 reg13; /* 68 */
	__be32 reg14; /* 72 */
	__be32 reg15; /* 76 */
	__be64 tun_id; /* 80 */
	__be32 tun_src; /* 88 */
	__be32 tun_dst; /* 92 */
	__u8 tun_ipv6_src[16]; /* 96 */
	__u8 tun_ipv6_dst[16]; /* 112 */
	__be16 tun_flags; /* 128 */
	__be16 tun_gbp_id; /* 130 */
	__u8 tun_gbp_flags; /* 132 */
	__u8 tun_erspan_ver; /* 133 */
	__u8 tun_ttl; /* 134 */
	__u8 tun_tos; /* 135 */
	__be32 tun_erspan; /* 136 */
	__be16 tun_present; /* 140 */
	__be16 queue; /* 142 */
	__u8 tun_metadata[56]; /* 144 */
	__be32 pkt_mark; /* 200 */
	__be32 ct_state; /* 204 */
	__be16 ct_zone; /* 208 */
	__u8 ct_nw_proto; /* 210 */
	__u8 _pad0; /* 211 */
	__be32 ct_mark; /* 212 */
	__u8 ct_label[16]; /* 216 */
	__be32 ct_nw_src; /* 232 */
	__be32 ct_nw_dst; /* 236 */
	__be16 ct_tp_src; /* 240 */
	__be16 ct_tp_dst; /* 242 */
	__u8 ct_ipv6_src[16]; /* 244 */
	__u8 ct_ipv6_dst[16]; /* 260 */
	__be32 conj_id; /* 276 */
	__be32 dp_hash; /* 280 */
	__be32 actset_output; /* 284 */
	__u8 eth_dst[6]; /* 288 */
	__u8 eth_src[6]; /* 294 */
	__be16 eth_type; /* 300 */
	__be16 vlan_tci; /* 302 */
	__be16 vlan_tpid; /* 304 */
	__be16 vlan1_tpid; /* 306 */
	__be16 vlan1_tci; /* 308 */
	__be16 transport; /* 310 */
	__be32 mpls_lse0; /* 312 */
	__be32 mpls_lse1; /* 316 */
	__be32 mpls_lse2; /* 320 */
	__u8 nw_proto; /* 324 */
	__u8 nw_tos; /* 325 */
	__u8 nw_ttl; /* 326 */
	__u8 nw_frag; /* 327 */
	__be32 nw_src; /* 328 */
	__be32 nw_dst; /* 332 */
	__u8 ipv6_src[16]; /* 336 */
	__u8 ipv6_dst[16]; /* 352 */
	__be32 ipv6_label; /* 368 */
	__be16 tp_src; /* 372 */
	__be16 tp_dst; /* 374 */
	__be16 tcp_flags; /* 376 */
	__be16 ipv6_exthdr; /* 378 */
	__u8 arp_sha[6]; /* 380 */
	__u8 arp_tha[6]; /* 386 */
	__u8 nd_target[16]; /* 392 */
	__be32 pbb_isid; /* 408 */
	__be32 _pad2; /* 412 */
};

#define WORD_IN_PORT 0
#define WORD_PACKET_TYPE 1
#define WORD_METADATA 2
#define WORD_REG0 4
#define WORD_REG1 5
#define WORD_REG2 6
#define WORD_REG3 7
#define WORD_REG4 8
#define WORD_REG5 9
#define WORD_REG6 10
#define WORD_REG7 11
#define WORD_REG8 12
#define WORD_REG9 13
#define WORD_REG10 14
#define WORD_REG11 15
#define WORD_REG12 16
#define WORD_REG13 17
#define WORD_REG14 18
#define WORD_REG15 19
#define WORD_TUN_ID 20
#define WORD_TUN_SRC 22
#define WORD_TUN_DST 23
#define WORD_TUN_IPV6_SRC 24
#define WORD_TUN_IPV6_DST 28
#define WORD_TUN_FLAGS 32
#define WORD_TUN_GBP_ID 32
#define WORD_TUN_GBP_FLAGS 33
#define WORD_TUN_ERSPAN_VER 33
#define WORD_TUN_TTL 33
#define WORD_TUN_TOS 33
#define WORD_TUN_ERSPAN 34
#define WORD_TUN_PRESENT 35
#define WORD_QUEUE 35
#define WORD_TUN_METADATA 36
#define WORD_PKT_MARK 50
#define WORD_CT_STATE 51
#define WORD_CT_ZONE 52
#define WORD_CT_NW_PROTO 52
#define WORD_CT_MARK 53
#define WORD_CT_LABEL 54
#define WORD_CT_NW_SRC 58
#define WORD_CT_NW_DST 59
#define WORD_CT_TP_SRC 60
#define WORD_CT_TP_DST 60
#define WORD_CT_IPV6_SRC 61
#define WORD_CT_IPV6_DST 65
#define WORD_CONJ_ID 69
#define WORD_DP_HASH 70
#define WORD_ACTSET_OUTPUT 71
#define WORD_ETH_DST 72
#define WORD_ETH_SRC 73
#define WORD_ETH_TYPE 75
#define WORD_VLAN_TCI 75
#define WORD_VLAN_TPID 76
#define WORD_VLAN1_TPID 76
#define WORD_VLAN1_TCI 77
#define WORD_TRANSPORT 77
#define WORD_MPLS_LSE0 78
#define WORD_MPLS_LSE1 79
#define WORD_MPLS_LSE2 80
#define WORD_NW_PROTO 81
#define WORD_NW_TOS 81
#define WORD_NW_TTL 81
#define WORD_NW_FRAG 81
#define WORD_NW_SRC 82
#define WORD_NW_DST 83
#define WORD_IPV6_SRC 84
#define WORD_IPV6_DST 88
#define WORD_IPV6_LABEL 92
#define WORD_TP_SRC 93
#define WORD_TP_DST 93
#define WORD_TCP_FLAGS 94
#define WORD_IPV6_EXTHDR 94
#define WORD_ARP_SHA 95
#define WORD_ARP_THA 96
#define WORD_ND_TARGET 98
#define WORD_PBB_ISID 102

#endif
