"""OpenFlow 1.1's ofp_match: 88 bytes with masks for addresses (OpenFlow 1.1.0, A.2.3)."""

from __future__ import annotations

from struct import Struct
from typing import Final

from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.interned import Interned, same_mask
from gossamer.openflow.oxm import VLAN_TCI, is_valid_port
from gossamer.pipeline.fields import BY_NAME, slot_shift
from gossamer.pipeline.match import ANY, Match

MATCH11_LEN: Final = 88
_LENGTH: Final = MATCH11_LEN.to_bytes(2, "big")
_MATCH11: Final = Struct(">HHII6s6s6s6sHBxHBBIIIIHHIB3xQQ")


def decode_match11(data: bytes, offset: int) -> Match:
    """struct ofp_match of OpenFlow 1.1 (88 bytes; 1.1.0, A.2.3)."""
    if len(data) < offset + MATCH11_LEN or data[offset + 2 : offset + 4] != _LENGTH:
        raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_LEN)
    (
        in_port, wildcards, dl_src, src_mask, dl_dst, dst_mask, vlan, pcp, dl_type, tos, proto,
        nw_src, nw_src_mask, nw_dst, nw_dst_mask, tp_src, tp_dst, mpls_label, mpls_tc, metadata,
        metadata_mask,
    ) = _MATCH11.unpack_from(data, offset)[2:]  # fmt: skip
    match = ANY

    def add(name: str, value: int, mask: int | None = None) -> None:
        nonlocal match
        f = BY_NAME[name]
        full = (1 << f.n_bits) - 1
        mask = full if mask is None else mask
        if value & ~full:
            raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_VALUE, place=name)
        match = match.with_field(f, value & mask, mask)

    if not wildcards & 1:
        if not is_valid_port(in_port):
            raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_VALUE, place="in_port")
        add("in_port", in_port)
    for name, address, ignored in (("eth_src", dl_src, src_mask), ("eth_dst", dl_dst, dst_mask)):
        mask = 0xFFFFFFFFFFFF & ~int.from_bytes(ignored, "big")
        if mask:
            add(name, int.from_bytes(address, "big"), mask)
    if not wildcards & 2:
        if vlan == 0xFFFF:
            add("vlan_tci", 0)
        elif vlan == 0xFFFE:
            add("vlan_vid", 0x1000, 0x1000)
        else:
            add("vlan_vid", 0x1000 | (vlan & 0xFFF))
    if not wildcards & 4 and (wildcards & 2 or vlan != 0xFFFF):
        add("vlan_pcp", pcp)
        match = match.with_field(VLAN_TCI, *_with_present(match))
    if not wildcards & 8:
        add("eth_type", dl_type)
        if dl_type == 0x0800:  # IPv6 is not among what this structure says
            if not wildcards & 16:
                if tos & 3:
                    raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_VALUE, place="nw_tos")
                add("ip_dscp", tos >> 2)
            if not wildcards & 32:
                add("nw_proto", proto)
                ports = {6: "tcp", 17: "udp", 132: "sctp"}.get(proto)
                names = (f"{ports}_src", f"{ports}_dst") if ports else ()
                if proto == 1:
                    names = ("icmp_type", "icmp_code")
                    if any(v >> 8 and not wildcards & b for v, b in ((tp_src, 64), (tp_dst, 128))):
                        raise OpenFlowError(ErrorCode.BAD_MATCH_BAD_FIELD, place="icmp")
                for name, value, bit in zip(names, (tp_src, tp_dst), (64, 128), strict=False):
                    if not wildcards & bit:
                        add(name, value)
        if dl_type == 0x0800:
            for name, value, ignored_bits in (
                ("ip_src", nw_src, nw_src_mask), ("ip_dst", nw_dst, nw_dst_mask)
            ):  # fmt: skip
                if ignored_bits != 0xFFFFFFFF:
                    add(name, value, 0xFFFFFFFF & ~ignored_bits)
        elif dl_type in (0x0806, 0x8035):
            if not wildcards & 32:
                add("arp_op", proto)
            for name, value, ignored_bits in (
                ("arp_spa", nw_src, nw_src_mask), ("arp_tpa", nw_dst, nw_dst_mask)
            ):  # fmt: skip
                if ignored_bits != 0xFFFFFFFF:
                    add(name, value, 0xFFFFFFFF & ~ignored_bits)
        elif dl_type in (0x8847, 0x8848):
            if not wildcards & 256:
                add("mpls_label", mpls_label)
            if not wildcards & 512:
                add("mpls_tc", mpls_tc)
    if metadata_mask != 0xFFFFFFFFFFFFFFFF:
        add("metadata", metadata, 0xFFFFFFFFFFFFFFFF & ~metadata_mask)
    return Match(match.value, same_mask(match.mask))


def _with_present(match: Match) -> tuple[int, int]:
    value, mask = match.field(VLAN_TCI)
    return value | 0x1000, mask | 0x1000


def encode_match11(match: Match) -> bytes:
    """The OpenFlow 1.1 structure; what it cannot say is wildcarded."""
    wildcards = 0x3FF
    got = {i.field.name: i for i in match.fields()}

    def take(name: str, bit: int) -> int:
        nonlocal wildcards
        item = got.get(name)
        if item is None:
            return 0
        wildcards &= ~bit
        return item.value

    def masked(*names: str, bits: int) -> tuple[int, int]:
        for name in names:
            if name in got:
                return got[name].value, (1 << bits) - 1 & ~got[name].mask
        return 0, (1 << bits) - 1

    in_port = take("in_port", 1)
    macs: list[bytes] = []
    for name in ("eth_src", "eth_dst"):
        value, ignored = masked(name, bits=48)
        macs += [value.to_bytes(6, "big"), ignored.to_bytes(6, "big")]
    vlan = pcp = 0
    tci, tci_mask = match.field(VLAN_TCI)
    if tci_mask & 0x1000 and not tci & 0x1000:
        wildcards &= ~2
        vlan = 0xFFFF
    else:
        if tci_mask & 0x1000:
            wildcards &= ~2
            vlan = tci & 0xFFF if tci_mask & 0xFFF else 0xFFFE
        if tci_mask >> 13 == 7:
            wildcards &= ~4
            pcp = tci >> 13
    dl_type = take("eth_type", 8)
    tos = take("ip_dscp", 16) << 2 if "ip_dscp" in got else take("nw_tos", 16) & 0xFC
    proto = take("nw_proto", 32) or take("arp_op", 32)
    src, src_mask = masked("ip_src", "arp_spa", bits=32)
    dst, dst_mask = masked("ip_dst", "arp_tpa", bits=32)
    tp = [0, 0]
    for names, bit, i in (
        (("tcp_src", "udp_src", "sctp_src", "icmp_type"), 64, 0),
        (("tcp_dst", "udp_dst", "sctp_dst", "icmp_code"), 128, 1),
    ):
        for name in names:
            if name in got:
                tp[i] = take(name, bit)
    label, tc = take("mpls_label", 256), take("mpls_tc", 512)
    metadata, metadata_mask = masked("metadata", bits=64)
    return _MATCH11.pack(
        0, MATCH11_LEN, in_port, wildcards, *macs, vlan, pcp, dl_type, tos, proto, src, src_mask,
        dst, dst_mask, *tp, label, tc, metadata, metadata_mask,
    )  # fmt: skip


_DECIDES: Final = (
    0xFFFF << slot_shift("eth_type")
    | 0x1000 << slot_shift("vlan_tci")
    | 0xFF << slot_shift("nw_proto")
)
_fitting: Interned[tuple[int, int], bool] = Interned(max_entries=4096)


def fits_match11(match: Match) -> bool:
    """True when the OpenFlow 1.1 structure says all of a match.

    That depends on the mask and on what other fields depend on, so it is tried
    out once for each.
    """
    key = (match.mask, match.value & _DECIDES)
    fits = _fitting.get(key)
    if fits is None:
        fits = _fitting.remember(key, decode_match11(encode_match11(match), 0) == match)
    return fits
