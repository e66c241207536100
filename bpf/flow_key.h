/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Generated from src/gossamer/pipeline/fields.py by gossamer.pipeline.layout: do not edit. */
#ifndef GOSSAMER_FLOW_KEY_H
#define GOSSAMER_FLOW_KEY_H

#define KEY_LEN 320
#define KEY_WORDS (KEY_LEN / 4)
#define PACKET_WORD 48 /* words before it are pipeline state */
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
	__be32 pkt_mark; /* 136 */
	__be32 ct_state; /* 140 */
	__be16 ct_zone; /* 144 */
	__u8 ct_nw_proto; /* 146 */
	__u8 _pad0; /* 147 */
	__be32 ct_mark; /* 148 */
	__u8 ct_label[16]; /* 152 */
	__be32 ct_nw_src; /* 168 */
	__be32 ct_nw_dst; /* 172 */
	__be16 ct_tp_src; /* 176 */
	__be16 ct_tp_dst; /* 178 */
	__be32 conj_id; /* 180 */
	__be32 dp_hash; /* 184 */
	__be32 actset_output; /* 188 */
	__u8 eth_dst[6]; /* 192 */
	__u8 eth_src[6]; /* 198 */
	__be16 eth_type; /* 204 */
	__be16 vlan_tci; /* 206 */
	__be16 vlan_tpid; /* 208 */
	__be16 vlan1_tpid; /* 210 */
	__be16 vlan1_tci; /* 212 */
	__be16 _pad1; /* 214 */
	__be32 mpls_lse0; /* 216 */
	__be32 mpls_lse1; /* 220 */
	__be32 mpls_lse2; /* 224 */
	__u8 nw_proto; /* 228 */
	__u8 nw_tos; /* 229 */
	__u8 nw_ttl; /* 230 */
	__u8 nw_frag; /* 231 */
	__be32 nw_src; /* 232 */
	__be32 nw_dst; /* 236 */
	__u8 ipv6_src[16]; /* 240 */
	__u8 ipv6_dst[16]; /* 256 */
	__be32 ipv6_label; /* 272 */
	__be16 tp_src; /* 276 */
	__be16 tp_dst; /* 278 */
	__be16 tcp_flags; /* 280 */
	__be16 ipv6_exthdr; /* 282 */
	__u8 arp_sha[6]; /* 284 */
	__u8 arp_tha[6]; /* 290 */
	__u8 nd_target[16]; /* 296 */
	__be32 pbb_isid; /* 312 */
	__be32 _pad2; /* 316 */
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
#define WORD_PKT_MARK 34
#define WORD_CT_STATE 35
#define WORD_CT_ZONE 36
#define WORD_CT_NW_PROTO 36
#define WORD_CT_MARK 37
#define WORD_CT_LABEL 38
#define WORD_CT_NW_SRC 42
#define WORD_CT_NW_DST 43
#define WORD_CT_TP_SRC 44
#define WORD_CT_TP_DST 44
#define WORD_CONJ_ID 45
#define WORD_DP_HASH 46
#define WORD_ACTSET_OUTPUT 47
#define WORD_ETH_DST 48
#define WORD_ETH_SRC 49
#define WORD_ETH_TYPE 51
#define WORD_VLAN_TCI 51
#define WORD_VLAN_TPID 52
#define WORD_VLAN1_TPID 52
#define WORD_VLAN1_TCI 53
#define WORD_MPLS_LSE0 54
#define WORD_MPLS_LSE1 55
#define WORD_MPLS_LSE2 56
#define WORD_NW_PROTO 57
#define WORD_NW_TOS 57
#define WORD_NW_TTL 57
#define WORD_NW_FRAG 57
#define WORD_NW_SRC 58
#define WORD_NW_DST 59
#define WORD_IPV6_SRC 60
#define WORD_IPV6_DST 64
#define WORD_IPV6_LABEL 68
#define WORD_TP_SRC 69
#define WORD_TP_DST 69
#define WORD_TCP_FLAGS 70
#define WORD_IPV6_EXTHDR 70
#define WORD_ARP_SHA 71
#define WORD_ARP_THA 72
#define WORD_ND_TARGET 74
#define WORD_PBB_ISID 78

#endif
