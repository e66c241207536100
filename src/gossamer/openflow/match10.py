"""OpenFlow 1.0's ofp_match: 40 bytes and a word of wildcards (OpenFlow 1.0.0, 5.2.3)."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Final

from gossamer.openflow.interned import same_mask
from gossamer.openflow.oxm import port_to_16
from gossamer.pipeline.fields import SLOTS, slot_shift
from gossamer.pipeline.match import Match

MATCH10: Final = Struct(">IH6s6sHBxHBBxxIIHH")
_WILDCARDS_ALL: Final = (1 << 22) - 1
(
    _W_IN_PORT, _W_DL_VLAN, _W_DL_SRC, _W_DL_DST, _W_DL_TYPE, _W_NW_PROTO, _W_TP_SRC, _W_TP_DST
) = (1 << i for i in range(8))  # fmt: skip
_W_DL_VLAN_PCP: Final = 1 << 20
_W_NW_TOS: Final = 1 << 21

_S_IN_PORT = slot_shift("in_port")
_S_DL_DST = slot_shift("eth_dst")
_S_DL_SRC = slot_shift("eth_src")
_S_DL_TYPE = slot_shift("eth_type")
_S_TCI = slot_shift("vlan_tci")
_S_PROTO = slot_shift("nw_proto")
_S_TOS = slot_shift("nw_tos")
_S_NW_SRC = slot_shift("nw_src")
_S_NW_DST = slot_shift("nw_dst")
_S_TP_SRC = slot_shift("tp_src")
_S_TP_DST = slot_shift("tp_dst")


def _in_key(*names: str) -> Struct:
    """Slots as they lie in the key, from the first to the last of them."""
    layout, at = ">", SLOTS[names[0]].offset
    for slot in (SLOTS[name] for name in names):
        layout += f"{slot.offset - at}x" + {1: "B", 2: "H", 4: "I", 6: "6s"}[slot.length]
        at = slot.offset + slot.length
    return Struct(layout)


_HEADERS: Final = _in_key(
    "eth_dst", "eth_src", "eth_type", "vlan_tci", "nw_proto", "nw_tos", "nw_src", "nw_dst",
    "tp_src", "tp_dst",
)  # fmt: skip


@lru_cache(maxsize=4096)
def _mask10(wildcards: int, dl_type: int, nw_proto: int, no_vlan: bool) -> tuple[int, bool]:
    """(key mask, whether tp_* are an ICMP type and code) of an OpenFlow 1.0 match.

    Fields whose prerequisite is not matched are ignored, as the specification says.
    """
    mask = 0
    if not wildcards & _W_IN_PORT:
        mask |= 0xFFFFFFFF << _S_IN_PORT
    if not wildcards & _W_DL_SRC:
        mask |= 0xFFFFFFFFFFFF << _S_DL_SRC
    if not wildcards & _W_DL_DST:
        mask |= 0xFFFFFFFFFFFF << _S_DL_DST
    tci = 0
    if not wildcards & _W_DL_VLAN:
        tci |= 0xFFFF if no_vlan else 0x1FFF
    if not wildcards & _W_DL_VLAN_PCP and not (not wildcards & _W_DL_VLAN and no_vlan):
        tci |= 0xF000
    mask |= tci << _S_TCI
    icmp = False
    if not wildcards & _W_DL_TYPE:
        mask |= 0xFFFF << _S_DL_TYPE
        ip = dl_type == 0x0800
        arp = dl_type in (0x0806, 0x8035)
        if ip or arp:
            for low, slot in ((8, _S_NW_SRC), (14, _S_NW_DST)):
                ignored = min((wildcards >> low) & 0x3F, 32)
                mask |= (0xFFFFFFFF << ignored & 0xFFFFFFFF) << slot
            if not wildcards & _W_NW_PROTO:
                mask |= 0xFF << _S_PROTO
        if ip or dl_type == 0x86DD:
            if not wildcards & _W_NW_TOS:
                mask |= 0xFC << _S_TOS
            if dl_type == 0x86DD and not wildcards & _W_NW_PROTO:
                mask |= 0xFF << _S_PROTO
            if not wildcards & _W_NW_PROTO:
                icmp = (ip and nw_proto == 1) or (not ip and nw_proto == 58)
                if icmp or nw_proto in (6, 17, 132):
                    width = 0xFF if icmp else 0xFFFF
                    if not wildcards & _W_TP_SRC:
                        mask |= width << _S_TP_SRC
                    if not wildcards & _W_TP_DST:
                        mask |= width << _S_TP_DST
    return same_mask(mask), icmp


def decode_match10(data: bytes, offset: int = 0) -> Match:
    """struct ofp_match of OpenFlow 1.0 (40 bytes; 1.0.0, 5.2.3)."""
    (
        wildcards, in_port, dl_src, dl_dst, vlan, pcp, dl_type, tos, proto, src, dst, tp_src, tp_dst
    ) = MATCH10.unpack_from(data, offset)  # fmt: skip
    no_vlan = vlan == 0xFFFF
    mask, _ = _mask10(wildcards & _WILDCARDS_ALL, dl_type, proto, no_vlan)
    if in_port >= 0xFF00:
        in_port |= 0xFFFF0000
    tci = 0 if no_vlan else 0x1000 | (vlan & 0xFFF) | (pcp & 7) << 13
    headers = _HEADERS.pack(dl_dst, dl_src, dl_type, tci, proto, tos, src, dst, tp_src, tp_dst)
    value = int.from_bytes(headers, "big") << _S_TP_DST
    if not wildcards & _W_IN_PORT:
        value |= in_port << _S_IN_PORT
    return Match(value & mask, mask)


def encode_match10(match: Match) -> bytes:
    """The OpenFlow 1.0 structure; what it cannot say is wildcarded."""
    wildcards = _WILDCARDS_ALL
    v, m = match.value, match.mask
    out = dict.fromkeys(("in_port", "vlan", "pcp", "type", "tos", "proto", "tps", "tpd"), 0)
    if (m >> _S_IN_PORT) & 0xFFFFFFFF:
        wildcards &= ~_W_IN_PORT
        out["in_port"] = port_to_16((v >> _S_IN_PORT) & 0xFFFFFFFF)
    macs = []
    for shift, bit in ((_S_DL_SRC, _W_DL_SRC), (_S_DL_DST, _W_DL_DST)):
        whole = (m >> shift) & 0xFFFFFFFFFFFF == 0xFFFFFFFFFFFF
        if whole:
            wildcards &= ~bit
        macs.append(((v >> shift) & 0xFFFFFFFFFFFF if whole else 0).to_bytes(6, "big"))
    tci, tci_mask = (v >> _S_TCI) & 0xFFFF, (m >> _S_TCI) & 0xFFFF
    if tci_mask & 0x1000 and not tci & 0x1000:
        wildcards &= ~(_W_DL_VLAN | _W_DL_VLAN_PCP)
        out["vlan"] = 0xFFFF
    else:
        if tci_mask & 0xFFF == 0xFFF:
            wildcards &= ~_W_DL_VLAN
            out["vlan"] = tci & 0xFFF
        if tci_mask & 0xE000 == 0xE000:
            wildcards &= ~_W_DL_VLAN_PCP
            out["pcp"] = tci >> 13
    if (m >> _S_DL_TYPE) & 0xFFFF:
        wildcards &= ~_W_DL_TYPE
        out["type"] = (v >> _S_DL_TYPE) & 0xFFFF
    if (m >> _S_TOS) & 0xFC == 0xFC:
        wildcards &= ~_W_NW_TOS
        out["tos"] = (v >> _S_TOS) & 0xFC
    if (m >> _S_PROTO) & 0xFF:
        wildcards &= ~_W_NW_PROTO
        out["proto"] = (v >> _S_PROTO) & 0xFF
    addresses = []
    for shift, low in ((_S_NW_SRC, 8), (_S_NW_DST, 14)):
        address_mask = (m >> shift) & 0xFFFFFFFF
        ignored = 32 - address_mask.bit_count()
        if address_mask != 0xFFFFFFFF << ignored & 0xFFFFFFFF:
            ignored = 32
        wildcards = wildcards & ~(0x3F << low) | ignored << low
        addresses.append((v >> shift) & 0xFFFFFFFF if ignored < 32 else 0)
    for shift, bit, name in ((_S_TP_SRC, _W_TP_SRC, "tps"), (_S_TP_DST, _W_TP_DST, "tpd")):
        if (m >> shift) & 0xFF == 0xFF:
            wildcards &= ~bit
            out[name] = (v >> shift) & 0xFFFF
    return MATCH10.pack(
        wildcards, out["in_port"], *macs, out["vlan"], out["pcp"], out["type"], out["tos"],
        out["proto"], *addresses, out["tps"], out["tpd"],
    )  # fmt: skip
