"""NORMAL: the learning VLAN switch, decided as Open vSwitch and bpf/normal.h decide it.

A packet is in the VLAN its outer tag names, or its port's; a second tag
below is payload.  Sources are learned per VLAN, multicast ones never.  A
known destination gets one copy, others go to every member of the VLAN that
floods, except where they came from.  (ovs-vswitchd.conf.db(5), "VLAN
Configuration"; IEEE 802.1Q; other_config:forward-bpdu.)
"""

from __future__ import annotations

from typing import Final, NamedTuple

from gossamer.pipeline.fields import (
    ETH_QINQ,
    ETH_VLAN,
    VLAN_CFI,
    get_slot,
    put_slot,
)
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.steps import Drop, Step
from gossamer.pipeline.world import Bridge, Port, VlanMode

VID: Final = 0x0FFF
PCP: Final = 0xE000

_RESERVED: Final = frozenset(
    (
        *range(0x0180C2000000, 0x0180C2000010),
        0x00E02B000000,
        0x00E02B000004,
        0x00E02B000006,
        0x01000C000000,
        0x01000CCCCCCC,
        0x01000CCCCCCD,
        0x01000CCDCDCD,
        *range(0x01000CCCCCC0, 0x01000CCCCCC8),
    )
)
"""Destinations of link-local protocols, listed at other_config:forward-bpdu."""


class Copy(NamedTuple):
    """A copy that NORMAL wants sent: where, and with which key."""

    ofport: int
    key: int


def decide(bridge: Bridge, in_port: int, key: int, now_s: float, step: Step) -> list[Copy]:
    """Learn from a packet, and say where copies go; what happened is told to `step`.

    `in_port` may be OFPP_NONE or OFPP_CONTROLLER (packet-out): any VLAN is
    fine then, and nothing is learned.
    """
    port = bridge.ports.get(in_port)
    if port is None and in_port not in (OfPort.CONTROLLER, OfPort.ANY):
        step.warn("no input bundle, dropping", Drop.VLAN_INGRESS)
        return []
    tci = get_slot(key, "vlan_tci")
    if not tci and get_slot(key, "eth_type") in (ETH_VLAN, ETH_QINQ):
        step.warn("partial VLAN tag, dropping", Drop.VLAN_INGRESS)
        return []
    vlan = ingress_vlan(port, tci)
    if vlan is None:
        step.warn("disallowed VLAN VID for this input port, dropping", Drop.VLAN_INGRESS)
        return []
    dst, src = get_slot(key, "eth_dst"), get_slot(key, "eth_src")
    if port and dst in _RESERVED and not bridge.forward_bpdu:
        step.warn("packet has reserved destination MAC, dropping", Drop.RESERVED_MAC)
        return []
    if port and not is_multicast(src) and bridge.fdb.learn(vlan, src, in_port, now_s):
        mac = ":".join(f"{b:02x}" for b in src.to_bytes(6, "big"))
        step.detail(f"learned that {mac} is on port {bridge.port_name(in_port)} in VLAN {vlan}")
    known = None if is_multicast(dst) else bridge.fdb.lookup(vlan, dst, now_s)
    if known is not None:
        return _to_learned(bridge, known, in_port, vlan, key, step)
    step.detail("no learned MAC for destination, flooding")
    copies = [
        Copy(out.ofport, egress_key(out, vlan, key))
        for out in bridge.in_order()
        if out.ofport != in_port and out.flood and out.carries(vlan)
    ]
    if not copies:
        step.warn("no other port carries this VLAN", Drop.NO_MEMBER)
    return copies


def _to_learned(
    bridge: Bridge, ofport: int, in_port: int, vlan: int, key: int, step: Step
) -> list[Copy]:
    if ofport == in_port:
        step.detail("learned port is input port, dropping")
        step.steps[-1].drop = Drop.SAME_PORT
        return []
    out = bridge.ports.get(ofport)
    if out is None or not out.carries(vlan):
        step.warn("learned port is unknown, dropping", Drop.NO_PORT)
        return []
    step.detail("forwarding to learned port")
    return [Copy(ofport, egress_key(out, vlan, key))]


def is_multicast(mac: int) -> bool:
    """Group addresses have the lowest bit of their first byte set."""
    return bool(mac >> 40 & 1)


def ingress_vlan(port: Port | None, tci: int) -> int | None:
    """The VLAN of a packet with outer tag `tci` (0 for none) from `port`; None: not carried."""
    vid = tci & VID
    if port is None:
        return vid
    if port.vlan_mode is VlanMode.ACCESS:
        return None if vid else port.tag
    if port.vlan_mode is not VlanMode.TRUNK and not vid:
        return port.tag
    return vid if port.trunks_vlan(vid) else None


def egress_key(port: Port, vlan: int, key: int) -> int:
    """The key with the tag that a packet of `vlan` has when it leaves by `port`.

    The priority survives, with VID 0 where the VLAN is 0, except through an
    access port or as the native VLAN untagged.
    """
    tci = get_slot(key, "vlan_tci")
    inner_tci, inner_tpid = get_slot(key, "vlan1_tci"), get_slot(key, "vlan1_tpid")
    untagged = port.vlan_mode is VlanMode.ACCESS or (
        port.vlan_mode is VlanMode.NATIVE_UNTAGGED and vlan == port.tag
    )
    out = 0 if untagged else vlan | tci & PCP
    if out:
        tpid = get_slot(key, "vlan_tpid") or ETH_VLAN
        return put_slot(put_slot(key, "vlan_tci", out | VLAN_CFI), "vlan_tpid", tpid)
    if not tci:
        return key
    for name, value in (
        ("vlan_tci", inner_tci),
        ("vlan_tpid", inner_tpid),
        ("vlan1_tci", 0),
        ("vlan1_tpid", 0),
    ):
        key = put_slot(key, name, value)
    return key
