"""Connections for packets that the reference pipeline takes through: the kernel's own.

A packet-out may meet a ct(), and its connection must be the one that the
answers will meet in the kernel.  So the kernel is asked: the packet, as it is
then, enters a bridge that has no devices, whose one rule is that ct(), and
what tracking says of it comes up as a packet-in does.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from gossamer.datapath.settings import BridgeSettings, PortKind, PortSettings
from gossamer.errors import DatapathError
from gossamer.pipeline.action import Action, Controller, SetField
from gossamer.pipeline.action_ct import Ct
from gossamer.pipeline.commit import Frame
from gossamer.pipeline.conntrack.fragments import Fragments
from gossamer.pipeline.conntrack.reading import Reading, read
from gossamer.pipeline.conntrack.tracker import DNAT, SNAT, Request, Verdict
from gossamer.pipeline.conntrack.tuple import Tuple
from gossamer.pipeline.fields import BY_NAME, ETH_IPV4, ETH_IPV6, get_slot
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import ANY
from gossamer.pipeline.steps import Drop

if TYPE_CHECKING:
    from gossamer.switch.contract import Datapath

log = logging.getLogger(__name__)

_BRIDGE: Final = "/connections"
"""No bridge of the database is called so: names have no slash (ovs-vswitchd.conf.db(5))."""
_OFPORT: Final = 1
_ANSWERS: Final = 1
"""The table that sends up what was tracked."""
_EVERYTHING: Final = 0xFFFF
_ALL_OF_STATE: Final = (1 << BY_NAME["ct_state"].n_bits) - 1
_ALL_OF_ZONE: Final = (1 << BY_NAME["ct_zone"].n_bits) - 1
_ICMP: Final = {True: 1, False: 58}


class KernelTracking:
    """Tracking by the kernel, for `world_of()`; nothing is made before it is needed."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self._fragments = Fragments()
        self._bridge_id = 0
        self._port_id = 0
        self._rule: Flow | None = None

    @property
    def fragments(self) -> Fragments:
        """Fragments among the packets that came through here."""
        return self._fragments

    def read(self, frame: Frame) -> Reading | None:
        """What a packet says."""
        return read(frame)

    def track(
        self, reading: Reading | None, before: int, request: Request, now_ns: int, frame: Frame
    ) -> Verdict:
        """What the kernel makes of a packet in a ct(); `before` is its ct_state in this zone."""
        if get_slot(frame.key, "eth_type") not in (ETH_IPV4, ETH_IPV6) or not frame.headers.l3:
            # Parsed anew it would show what is out of sight behind a third tag; and the kernel runs no
            # frame that ends within its IP header.
            return Verdict()
        packet = frame.packet
        try:
            self._ask_for(_rule(before, request))
            punts = self._datapath.packets.run_at(self._port_id, packet)
        except DatapathError as e:
            # No room for the bridge, or a packet of more than about 16,000 bytes.
            log.warning("a packet of %d bytes cannot be tracked: %s", len(packet), e)
            punts = []
        if not punts:
            # The kernel has dropped it, and counted why.
            return Verdict(drop=Drop.CT_FULL)
        return _verdict(punts[0].key, punts[0].data, before)

    def _ask_for(self, rule: Flow) -> None:
        datapath = self._datapath
        if not self._port_id:
            self._bridge_id = datapath.add_bridge(_BRIDGE)
            datapath.configure_bridge(self._bridge_id, BridgeSettings())
            port = PortSettings(name=_BRIDGE, ofport=_OFPORT, kind=PortKind.PATCH)
            self._port_id = datapath.add_port(self._bridge_id, port)
            up = Flow(_ANSWERS, 0, ANY, (Controller(max_len=_EVERYTHING),))
            datapath.insert_flows(self._bridge_id, [up])
        last = self._rule
        if last is not None and last.actions == rule.actions:
            return
        with datapath.transaction():
            if last is not None:
                datapath.remove_flows(self._bridge_id, [last])
            datapath.insert_flows(self._bridge_id, [rule])
        self._rule = rule


def _rule(before: int, request: Request) -> Flow:
    """The ct() of a request, for a packet with that ct_state in its zone."""
    actions: list[Action] = []
    if before:
        actions += [
            SetField(BY_NAME["ct_state"], before, _ALL_OF_STATE),
            SetField(BY_NAME["ct_zone"], request.zone, _ALL_OF_ZONE),
        ]
    changes = tuple(
        SetField(BY_NAME[name], value, mask)
        for name, (value, mask) in (("ct_mark", request.mark), ("ct_label", request.label))
        if mask
    )
    actions.append(
        Ct(
            commit=request.commit,
            force=request.force,
            table=_ANSWERS,
            zone=request.zone,
            nat=request.nat,
            alg=request.alg,
            actions=changes,
        )
    )
    return Flow(0, 0, ANY, tuple(actions))


def _verdict(key: int, packet: bytes, before: int) -> Verdict:
    state = get_slot(key, "ct_state")
    translated = None
    if state & ~before & (SNAT | DNAT):
        reading = read(Frame.received(packet, 0))
        translated = reading.tuple if reading is not None else None
    mark, label = get_slot(key, "ct_mark"), get_slot(key, "ct_label")
    return Verdict(state, mark, label, _original(key), translated)


def _original(key: int) -> Tuple | None:
    proto = get_slot(key, "ct_nw_proto")
    is_ipv4 = get_slot(key, "eth_type") == ETH_IPV4
    src, dst, length = ("ct_nw_src", "ct_nw_dst", 4) if is_ipv4 else ("ct_ipv6_src", "ct_ipv6_dst", 16)
    addresses = [get_slot(key, name).to_bytes(length, "big") for name in (src, dst)]
    if not any(addresses[0]) and not any(addresses[1]):
        return None
    sport, dport = get_slot(key, "ct_tp_src"), get_slot(key, "ct_tp_dst")
    if proto == _ICMP[is_ipv4]:
        sport, dport = 0, sport << 8 | dport
    return Tuple(addresses[0], addresses[1], proto, sport, dport)
