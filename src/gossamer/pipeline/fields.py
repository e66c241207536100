"""The one table of match fields; key layout, codec, matcher and BPF header derive from it.

A packet on its way through the pipeline is described by a *flow key*: KEY_LEN
bytes in network byte order, each field at a fixed place.  In Python the key is
one big integer (most significant byte first), so that a match is a single
``key & mask == value``.  In BPF the same bytes are an array of 32-bit words.

Sources: OpenFlow 1.3.5 section 7.2.3.7 (table 12), OpenFlow 1.5.1 section
7.2.3.8, ovs-fields(7) for the NXM headers, registers and prerequisites.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KEY_LEN: Final = 416
"""Length of a flow key in bytes; a multiple of 8, at most 512."""
KEY_BITS: Final = KEY_LEN * 8

VLAN_CFI: Final = 0x1000
"""Bit of vlan_tci that says 'a tag is present' (OFPVID_PRESENT)."""

OXM_BASIC: Final = 0x8000
NXM_0: Final = 0x0000
NXM_1: Final = 0x0001
OXM_EXPERIMENTER: Final = 0xFFFF
ERICSSON: Final = 0x1000
"""Class of nd_reserved and nd_options_type (ovs-fields(7), ERICOXM_OF)."""
OXM_PACKET_REGS: Final = 0x8001
ONF_VENDOR: Final = 0x4F4E4600
NX_VENDOR: Final = 0x00002320
NXOXM_ET: Final = (OXM_EXPERIMENTER << 32) | NX_VENDOR
"""Class of fields whose header says OXM_EXPERIMENTER and whose body begins with NX_VENDOR."""

NSH_VENDOR: Final = 0x005AD650
NXOXM_NSH: Final = (OXM_EXPERIMENTER << 32) | NSH_VENDOR
"""The same of network service headers."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in the key that is kept per packet: byte `offset`, `length` in bytes."""

    name: str
    offset: int
    length: int


def _slots(*spec: tuple[str, int]) -> dict[str, Slot]:
    out: dict[str, Slot] = {}
    offset = 0
    for name, length in spec:
        out[name] = Slot(name, offset, length)
        offset += length
    assert offset == KEY_LEN, offset
    return out


SLOTS: Final = _slots(
    # Pipeline state: set by the datapath, zero when a packet enters.
    ("in_port", 4),
    ("packet_type", 4),
    ("metadata", 8),
    *((f"reg{i}", 4) for i in range(16)),
    ("tun_id", 8),
    ("tun_src", 4),
    ("tun_dst", 4),
    ("tun_ipv6_src", 16),
    ("tun_ipv6_dst", 16),
    ("tun_flags", 2),
    ("tun_gbp_id", 2),
    ("tun_gbp_flags", 1),
    ("tun_erspan_ver", 1),
    ("tun_ttl", 1),
    ("tun_tos", 1),
    ("tun_erspan", 4),  # version 1's index, version 2's direction and hardware id
    ("tun_present", 2),  # which options of tun_metadata there are, see TUN_METADATA_LEN
    ("queue", 2),  # that outputs go to, plus one; 0: the port's default; state
    ("tun_metadata", 56),  # Geneve's options, where the TLV table puts them
    ("pkt_mark", 4),
    ("ct_state", 4),
    ("ct_zone", 2),
    ("ct_nw_proto", 1),
    ("_pad0", 1),
    ("ct_mark", 4),
    ("ct_label", 16),
    ("ct_nw_src", 4),
    ("ct_nw_dst", 4),
    ("ct_tp_src", 2),
    ("ct_tp_dst", 2),
    ("ct_ipv6_src", 16),
    ("ct_ipv6_dst", 16),
    ("conj_id", 4),
    ("dp_hash", 4),
    ("actset_output", 4),
    # The packet: layer 2.
    ("eth_dst", 6),
    ("eth_src", 6),
    ("eth_type", 2),
    ("vlan_tci", 2),  # outermost tag; VLAN_CFI set when there is one
    ("vlan_tpid", 2),  # its ethertype; state, not matchable
    ("vlan1_tpid", 2),
    ("vlan1_tci", 2),  # the tag below it
    ("transport", 2),  # version of what lies beyond the key (bpf/transport.h); state
    ("mpls_lse0", 4),
    ("mpls_lse1", 4),
    ("mpls_lse2", 4),
    # Layer 3.
    ("nw_proto", 1),  # IP protocol, or the low byte of the ARP opcode
    ("nw_tos", 1),
    ("nw_ttl", 1),
    ("nw_frag", 1),  # FRAG_ANY, FRAG_LATER
    ("nw_src", 4),  # IPv4 source, or ARP SPA
    ("nw_dst", 4),
    ("ipv6_src", 16),
    ("ipv6_dst", 16),
    ("ipv6_label", 4),
    # Layer 4.
    ("tp_src", 2),  # port, or ICMP type
    ("tp_dst", 2),  # port, or ICMP code
    ("tcp_flags", 2),  # or nd_options_type
    ("ipv6_exthdr", 2),
    ("arp_sha", 6),  # ARP SHA, or ND source link-layer address
    ("arp_tha", 6),  # ARP THA, or ND target link-layer address
    ("nd_target", 16),
    ("pbb_isid", 4),  # or nd_reserved
    ("_pad2", 4),
)

TUN_METADATA_LEN: Final = SLOTS["tun_metadata"].length
"""Bytes that the options of Geneve have, all together, in the key.

An option takes whole words.  That it is there is bit n of tun_present (the lowest is 0), where
n is the number of its first word in tun_metadata: an option of zeros is not the same as none.
"""

FRAG_ANY: Final = 1
"""nw_frag bit: the packet is a fragment (ovs-fields(7), ip_frag)."""
FRAG_LATER: Final = 2
"""nw_frag bit: a fragment with nonzero offset, which carries no L4 header."""

PACKET_OFFSET: Final = SLOTS["eth_dst"].offset
"""Bytes before this offset are pipeline state, from here on the packet's headers."""


def slot_shift(name: str) -> int:
    """Left shift, in bits, that puts a slot's integer value into the key."""
    s = SLOTS[name]
    return (KEY_LEN - s.offset - s.length) * 8


# Ethertypes and IP protocols that prerequisites and the parser speak of.
ETH_IPV4: Final = 0x0800
ETH_ARP: Final = 0x0806
ETH_RARP: Final = 0x8035
ETH_VLAN: Final = 0x8100
ETH_QINQ: Final = 0x88A8
ETH_IPV6: Final = 0x86DD
ETH_MPLS: Final = 0x8847
ETH_MPLS_MC: Final = 0x8848
ETH_PBB: Final = 0x88E7
ETH_NSH: Final = 0x894F

IP_ICMP: Final = 1
IP_IGMP: Final = 2
IP_TCP: Final = 6
IP_UDP: Final = 17
IP_ICMPV6: Final = 58
IP_SCTP: Final = 132


@dataclass(frozen=True, slots=True)
class Prerequisite:
    """What must already be matched before a field makes sense (OpenFlow 1.3.5, 7.2.3.8)."""

    name: str
    eth_types: tuple[int, ...] = ()
    nw_proto: int | None = None
    icmpv6_types: tuple[int, ...] = ()
    vlan: bool = False


NONE: Final = Prerequisite("none")
VLAN: Final = Prerequisite("vlan", vlan=True)
ARP: Final = Prerequisite("arp", (ETH_ARP, ETH_RARP))
IPV4: Final = Prerequisite("ipv4", (ETH_IPV4,))
IPV6: Final = Prerequisite("ipv6", (ETH_IPV6,))
IP: Final = Prerequisite("ip", (ETH_IPV4, ETH_IPV6))
MPLS: Final = Prerequisite("mpls", (ETH_MPLS, ETH_MPLS_MC))
PBB: Final = Prerequisite("pbb", (ETH_PBB,))
NSH: Final = Prerequisite("nsh", (ETH_NSH,))
TCP: Final = Prerequisite("tcp", (ETH_IPV4, ETH_IPV6), IP_TCP)
UDP: Final = Prerequisite("udp", (ETH_IPV4, ETH_IPV6), IP_UDP)
SCTP: Final = Prerequisite("sctp", (ETH_IPV4, ETH_IPV6), IP_SCTP)
ICMPV4: Final = Prerequisite("icmpv4", (ETH_IPV4,), IP_ICMP)
ICMPV6: Final = Prerequisite("icmpv6", (ETH_IPV6,), IP_ICMPV6)
ND: Final = Prerequisite("nd", (ETH_IPV6,), IP_ICMPV6, (135, 136))
ND_SOLICIT: Final = Prerequisite("nd_solicit", (ETH_IPV6,), IP_ICMPV6, (135,))
ND_ADVERT: Final = Prerequisite("nd_advert", (ETH_IPV6,), IP_ICMPV6, (136,))


@dataclass(frozen=True, slots=True)
class Field:
    """A field that OpenFlow can name.

    `shift` and `n_bits` place it in the key.  `oxm` and `nxm` are
    ``(class, field)`` or None where that encoding has none; `wire_bytes` is
    the length of its value there.  `wire_shift` is nonzero where the wire
    value is a part of the slot that does not start at bit 0 of it (dscp).
    """

    name: str
    slot: str
    n_bits: int
    wire_bytes: int
    oxm: tuple[int, int] | None
    nxm: tuple[int, int] | None
    maskable: bool
    writable: bool
    prerequisite: Prerequisite
    low_bit: int = 0
    """Lowest bit of the field within its slot."""
    aliases: tuple[str, ...] = ()
    marks: int = 0
    """Bits of the key that say the field is there: set with it, and matched with it."""

    @property
    def shift(self) -> int:
        """Left shift that places the field's integer value into a key."""
        return slot_shift(self.slot) + self.low_bit

    @property
    def full_mask(self) -> int:
        """All bits of the field, in place."""
        return ((1 << self.n_bits) - 1) << self.shift


def _basic(n: int) -> tuple[int, int]:
    return (OXM_BASIC, n)


def _nx0(n: int) -> tuple[int, int]:
    return (NXM_0, n)


def _nx1(n: int) -> tuple[int, int]:
    return (NXM_1, n)


_M, _E = True, False  # maskable, exact
_W, _R = True, False  # writable, read only

FIELDS: Final[tuple[Field, ...]] = (
    Field("in_port", "in_port", 32, 4, _basic(0), None, _E, _W, NONE, aliases=("in_port_oxm",)),
    Field("metadata", "metadata", 64, 8, _basic(2), None, _M, _W, NONE),
    *(Field(f"reg{i}", f"reg{i}", 32, 4, None, _nx1(i), _M, _W, NONE) for i in range(16)),
    Field("tun_id", "tun_id", 64, 8, _basic(38), _nx1(16), _M, _W, NONE, aliases=("tunnel_id",)),
    Field("tun_src", "tun_src", 32, 4, None, _nx1(31), _M, _W, NONE),
    Field("tun_dst", "tun_dst", 32, 4, None, _nx1(32), _M, _W, NONE),
    Field("tun_ipv6_src", "tun_ipv6_src", 128, 16, None, _nx1(109), _M, _W, NONE),
    Field("tun_ipv6_dst", "tun_ipv6_dst", 128, 16, None, _nx1(110), _M, _W, NONE),
    Field("tun_flags", "tun_flags", 16, 2, None, _nx1(104), _M, _W, NONE),
    Field("tun_gbp_id", "tun_gbp_id", 16, 2, None, _nx1(38), _M, _W, NONE),
    Field("tun_gbp_flags", "tun_gbp_flags", 8, 1, None, _nx1(39), _M, _W, NONE),
    Field("tun_erspan_ver", "tun_erspan_ver", 4, 1, (NXOXM_ET, 12), None, _M, _W, NONE),
    Field("tun_erspan_idx", "tun_erspan", 20, 4, (NXOXM_ET, 11), None, _M, _W, NONE, 8),
    Field("tun_erspan_dir", "tun_erspan", 1, 1, (NXOXM_ET, 13), None, _M, _W, NONE, 6),
    Field("tun_erspan_hwid", "tun_erspan", 6, 1, (NXOXM_ET, 14), None, _M, _W, NONE),
    Field("pkt_mark", "pkt_mark", 32, 4, None, _nx1(33), _M, _W, NONE),
    Field("ct_state", "ct_state", 32, 4, None, _nx1(105), _M, _R, NONE),
    Field("ct_zone", "ct_zone", 16, 2, None, _nx1(106), _E, _R, NONE),
    Field("ct_mark", "ct_mark", 32, 4, None, _nx1(107), _M, _W, NONE),
    Field("ct_label", "ct_label", 128, 16, None, _nx1(108), _M, _W, NONE),
    Field("ct_nw_proto", "ct_nw_proto", 8, 1, None, _nx1(119), _E, _R, NONE),
    Field("ct_nw_src", "ct_nw_src", 32, 4, None, _nx1(120), _M, _R, NONE),
    Field("ct_nw_dst", "ct_nw_dst", 32, 4, None, _nx1(121), _M, _R, NONE),
    Field("ct_ipv6_src", "ct_ipv6_src", 128, 16, None, _nx1(122), _M, _R, NONE),
    Field("ct_ipv6_dst", "ct_ipv6_dst", 128, 16, None, _nx1(123), _M, _R, NONE),
    Field("ct_tp_src", "ct_tp_src", 16, 2, None, _nx1(124), _M, _R, NONE),
    Field("ct_tp_dst", "ct_tp_dst", 16, 2, None, _nx1(125), _M, _R, NONE),
    Field("conj_id", "conj_id", 32, 4, None, _nx1(37), _E, _R, NONE),
    Field("dp_hash", "dp_hash", 32, 4, None, _nx1(35), _M, _R, NONE),
    Field("actset_output", "actset_output", 32, 4, _basic(43), None, _E, _R, NONE),
    Field("packet_type", "packet_type", 32, 4, _basic(44), None, _E, _R, NONE),
    Field("eth_dst", "eth_dst", 48, 6, _basic(3), _nx0(1), _M, _W, NONE, aliases=("dl_dst",)),
    Field("eth_src", "eth_src", 48, 6, _basic(4), _nx0(2), _M, _W, NONE, aliases=("dl_src",)),
    Field("eth_type", "eth_type", 16, 2, _basic(5), _nx0(3), _E, _R, NONE, aliases=("dl_type",)),
    Field("vlan_tci", "vlan_tci", 16, 2, None, _nx0(4), _M, _W, NONE),
    # OXM's vlan_vid has the 'present' bit as its 13th.
    Field("vlan_vid", "vlan_tci", 13, 2, _basic(6), None, _M, _W, NONE, aliases=("dl_vlan",)),
    Field("vlan_pcp", "vlan_tci", 3, 1, _basic(7), None, _E, _W, VLAN, 13, ("dl_vlan_pcp",)),
    Field("pbb_isid", "pbb_isid", 24, 3, _basic(37), None, _M, _W, PBB),
    Field("mpls_label", "mpls_lse0", 20, 4, _basic(34), None, _E, _W, MPLS, 12),
    Field("mpls_tc", "mpls_lse0", 3, 1, _basic(35), None, _E, _W, MPLS, 9),
    Field("mpls_bos", "mpls_lse0", 1, 1, _basic(36), None, _E, _R, MPLS, 8),
    Field("mpls_ttl", "mpls_lse0", 8, 1, None, _nx1(30), _E, _W, MPLS),
    Field("ip_src", "nw_src", 32, 4, _basic(11), _nx0(7), _M, _W, IPV4, aliases=("nw_src",)),
    Field("ip_dst", "nw_dst", 32, 4, _basic(12), _nx0(8), _M, _W, IPV4, aliases=("nw_dst",)),
    Field("ipv6_src", "ipv6_src", 128, 16, _basic(26), _nx1(19), _M, _W, IPV6),
    Field("ipv6_dst", "ipv6_dst", 128, 16, _basic(27), _nx1(20), _M, _W, IPV6),
    Field("ipv6_label", "ipv6_label", 20, 4, _basic(28), _nx1(27), _M, _W, IPV6),
    Field("ipv6_exthdr", "ipv6_exthdr", 9, 2, _basic(39), None, _M, _R, IPV6),
    Field("nw_proto", "nw_proto", 8, 1, _basic(10), _nx0(6), _E, _R, IP, aliases=("ip_proto",)),
    # NXM's IP_TOS holds DSCP in the upper six bits, OXM's IP_DSCP is those six bits alone.
    Field("nw_tos", "nw_tos", 8, 1, None, _nx0(5), _E, _W, IP, aliases=("ip_tos",)),
    Field("ip_dscp", "nw_tos", 6, 1, _basic(8), None, _E, _W, IP, 2),
    Field("ip_ecn", "nw_tos", 2, 1, _basic(9), _nx1(28), _E, _W, IP, aliases=("nw_ecn",)),
    Field("nw_ttl", "nw_ttl", 8, 1, None, _nx1(29), _E, _W, IP),
    Field("ip_frag", "nw_frag", 2, 1, None, _nx1(26), _M, _R, IP),
    Field("arp_op", "nw_proto", 8, 2, _basic(21), _nx0(15), _E, _W, ARP),
    Field("arp_spa", "nw_src", 32, 4, _basic(22), _nx0(16), _M, _W, ARP),
    Field("arp_tpa", "nw_dst", 32, 4, _basic(23), _nx0(17), _M, _W, ARP),
    Field("arp_sha", "arp_sha", 48, 6, _basic(24), _nx1(17), _M, _W, ARP),
    Field("arp_tha", "arp_tha", 48, 6, _basic(25), _nx1(18), _M, _W, ARP),
    Field("tcp_src", "tp_src", 16, 2, _basic(13), _nx0(9), _M, _W, TCP),
    Field("tcp_dst", "tp_dst", 16, 2, _basic(14), _nx0(10), _M, _W, TCP),
    Field("tcp_flags", "tcp_flags", 12, 2, _basic(42), _nx1(34), _M, _R, TCP),
    Field("udp_src", "tp_src", 16, 2, _basic(15), _nx0(11), _M, _W, UDP),
    Field("udp_dst", "tp_dst", 16, 2, _basic(16), _nx0(12), _M, _W, UDP),
    Field("sctp_src", "tp_src", 16, 2, _basic(17), None, _M, _W, SCTP),
    Field("sctp_dst", "tp_dst", 16, 2, _basic(18), None, _M, _W, SCTP),
    Field("icmp_type", "tp_src", 8, 1, _basic(19), _nx0(13), _E, _W, ICMPV4),
    Field("icmp_code", "tp_dst", 8, 1, _basic(20), _nx0(14), _E, _W, ICMPV4),
    Field("icmpv6_type", "tp_src", 8, 1, _basic(29), _nx1(21), _E, _W, ICMPV6),
    Field("icmpv6_code", "tp_dst", 8, 1, _basic(30), _nx1(22), _E, _W, ICMPV6),
    Field("nd_target", "nd_target", 128, 16, _basic(31), _nx1(23), _M, _W, ND),
    # Where no solicitation or advertisement has anything else.
    Field("nd_reserved", "pbb_isid", 32, 4, None, (ERICSSON, 1), _E, _W, ND),
    Field("nd_options_type", "tcp_flags", 8, 1, None, (ERICSSON, 2), _E, _W, ND),
    Field("nd_sll", "arp_sha", 48, 6, _basic(32), _nx1(24), _M, _W, ND_SOLICIT),
    Field("nd_tll", "arp_tha", 48, 6, _basic(33), _nx1(25), _M, _W, ND_ADVERT),
    # A network service header takes the place of IPv6 addresses.  Its TTL has 6 bits on the wire; the
    # field has 8, as in Open vSwitch (ovs-fields(7)).
    Field("nsh_flags", "ipv6_src", 8, 1, (NXOXM_NSH, 1), None, _M, _W, NSH, 120),
    Field("nsh_ttl", "ipv6_src", 8, 1, (NXOXM_NSH, 10), None, _E, _W, NSH, 112),
    Field("nsh_mdtype", "ipv6_src", 8, 1, (NXOXM_NSH, 2), None, _E, _R, NSH, 104),
    Field("nsh_np", "ipv6_src", 8, 1, (NXOXM_NSH, 3), None, _E, _R, NSH, 96),
    Field("nsh_spi", "ipv6_src", 24, 4, (NXOXM_NSH, 4), None, _E, _W, NSH, 72),
    Field("nsh_si", "ipv6_src", 8, 1, (NXOXM_NSH, 5), None, _E, _W, NSH, 64),
    *(
        Field(f"nsh_c{i + 1}", "ipv6_dst", 32, 4, (NXOXM_NSH, 6 + i), None, _M, _W, NSH, 96 - 32 * i)
        for i in range(4)
    ),
)
"""Every field known, one row each.  `in_port` in OpenFlow 1.0/NXM form is 16 bits wide
(NXM_OF_IN_PORT, class 0 field 0) and is translated by the codec, as are xreg/xxreg,
which are views over registers."""

BY_NAME: Final[dict[str, Field]] = {alias: f for f in FIELDS for alias in (f.name, *f.aliases)}


def get(key: int, field: Field) -> int:
    """Value of `field` in a key (an integer of KEY_BITS bits)."""
    return (key >> field.shift) & ((1 << field.n_bits) - 1)


def put(key: int, field: Field, value: int) -> int:
    """The key with `field` set to `value`, which must fit its width."""
    return (key & ~field.full_mask) | (value << field.shift)


def get_slot(key: int, name: str) -> int:
    """Integer value of a slot in a key."""
    s = SLOTS[name]
    return (key >> ((KEY_LEN - s.offset - s.length) * 8)) & ((1 << (s.length * 8)) - 1)


def put_slot(key: int, name: str, value: int) -> int:
    """The key with slot `name` set to `value`."""
    s = SLOTS[name]
    shift = (KEY_LEN - s.offset - s.length) * 8
    return (key & ~(((1 << (s.length * 8)) - 1) << shift)) | (value << shift)
