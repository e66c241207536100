"""One case on one switch: set up, send, and see what comes of it.

What counts as passed is what the suite's own tester takes: the messages of the
set-up are not refused and are reported back as they were sent, the first thing
that comes of a packet is the one expected, to the byte, and a packet that is
to miss is seen in a table's lookups and not in its matches.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterable
from typing import Any

from os_ken.lib.packet.packet import Packet
from os_ken.ofproto import ofproto_v1_3 as ofp
from os_ken.ofproto import ofproto_v1_3_parser as parser

from tests.conformance.cases import RECEIVE_PORT, SEND_PORT_1, Case, Message, Single
from tests.conformance.channel import DATAPATH, Channel, Refused, Silent, from_json
from tests.conformance.rates import flood
from tests.conformance.targets import Target

_PATIENCE_S = 5.0
"""How long a packet may take through the switch: where it does come, nobody waits."""
_SHORTEST_BYTES = 60
_NO_ACTION = (ofp.OFPR_NO_MATCH, ofp.OFPR_INVALID_TTL)
"""Reasons of packets to the controller that no rule sent there."""


class Failed(Exception):
    """What the switch did instead."""


def play(target: Target, case: Case, rate_s: float) -> str | None:
    """Why the switch failed a case; None where it passed.

    Rates are measured over ``rate_s`` seconds at most.  Raises Silent where
    the switch stops talking: no case after that means anything.
    """
    try:
        reset(target)
        set_up(target, case.setup)
        target.settle()
        for step in case.steps:
            if isinstance(step, Single):
                _send_one(target, step)
            elif deviations := flood(target.wires, step, rate_s):
                raise Failed("; ".join(deviations))
    except Failed as failure:
        return str(failure)
    except Refused as refusal:
        return f"refused: {refusal}"
    return None


def reset(target: Target) -> None:
    """No meters, groups and flows, and nothing on its way."""
    every = parser.OFPFlowMod(
        DATAPATH, table_id=ofp.OFPTT_ALL, command=ofp.OFPFC_DELETE,
        out_port=ofp.OFPP_ANY, out_group=ofp.OFPG_ANY,
    )  # fmt: skip
    target.channel.tell(every)
    for message in (
        parser.OFPMeterMod(DATAPATH, ofp.OFPMC_DELETE, 0, ofp.OFPM_ALL),
        parser.OFPGroupMod(DATAPATH, ofp.OFPGC_DELETE, 0, ofp.OFPG_ALL),
    ):
        try:
            target.channel.tell(message)
        except Refused:
            # A switch without groups or meters has none left; cases that need them will fail.
            continue
    for wire in target.wires.values():
        wire.drain()
    target.channel.take_in()
    target.channel.packet_ins.clear()


def set_up(target: Target, setup: Iterable[Message]) -> None:
    """Send a case's messages, and see that the switch reports them as they were sent.

    Raises Refused, or Failed where something else is reported.
    """
    for message in map(from_json, setup):
        target.channel.tell(message)
        if not any(_is_same(message, stats) for stats in _reported(target.channel, message)):
            raise Failed(f"not reported as sent: {type(message).__name__}")


def _reported(channel: Channel, message: Any) -> list[Any]:
    """What the switch says it has of the kind that a message adds."""
    if isinstance(message, parser.OFPFlowMod):
        request = parser.OFPFlowStatsRequest(
            DATAPATH, 0, ofp.OFPTT_ALL, ofp.OFPP_ANY, ofp.OFPG_ANY, 0, 0, parser.OFPMatch()
        )
    elif isinstance(message, parser.OFPGroupMod):
        request = parser.OFPGroupDescStatsRequest(DATAPATH, 0)
    else:
        request = parser.OFPMeterConfigStatsRequest(DATAPATH, 0, ofp.OFPM_ALL)
    return [stats for reply in channel.ask(request) for stats in reply.body]


def _is_same(sent: Any, reported: Any) -> bool:
    if isinstance(sent, parser.OFPFlowMod):
        plain = ("cookie", "priority", "hard_timeout", "idle_timeout", "table_id")
        return (
            all(getattr(sent, name) == getattr(reported, name) for name in plain)
            and sent.match.to_jsondict() == reported.match.to_jsondict()
            and _in_order(sent.instructions) == _in_order(reported.instructions)
        )
    if isinstance(sent, parser.OFPGroupMod):
        # The suite compares the type alone: buckets come back with the specification's defaults.
        return bool(sent.type == reported.type and sent.group_id == reported.group_id)
    return (
        sent.flags == reported.flags
        and sent.meter_id == reported.meter_id
        and _bands(sent) == _bands(reported)
    )


def _bands(meter: Any) -> list[str]:
    """A meter's bands; a burst only where its flag says that there is one (7.3.4.4).

    Without the flag Open vSwitch reports the burst that it chose, which the
    suite's own tester takes for a failure.
    """
    bands = [band.to_jsondict() for band in meter.bands]
    if not meter.flags & ofp.OFPMF_BURST:
        for band in bands:
            for content in band.values():
                content.pop("burst_size", None)
    return [str(band) for band in bands]


def _in_order(instructions: list[Any]) -> list[str]:
    return [str(i) for i in sorted(instructions, key=lambda i: i.type)]


def _send_one(target: Target, step: Single) -> None:
    before = _lookups(target.channel) if step.missed_tables else {}
    target.wires[RECEIVE_PORT].send(step.ingress)
    if step.missed_tables:
        _expect_miss(target, step.missed_tables, before)
        return
    came, frame = _first_result(target)
    expected = "egress" if step.egress is not None else "packet-in"
    if came != expected:
        raise Failed(f"{came} instead of {expected}")
    if _padded(frame) != _padded(step.egress or step.packet_in or b""):
        raise Failed(f"another packet: {_headers(frame)}")


def _padded(frame: bytes) -> bytes:
    """As an Ethernet would carry it: the suite's packets come in this length at least.

    A veth pair does not pad what a popped header made shorter.
    """
    return frame.ljust(_SHORTEST_BYTES, b"\0")


def _first_result(target: Target) -> tuple[str, bytes]:
    """What comes first of a packet: ``egress`` by the first port, or ``packet-in``."""
    wire, channel = target.wires[SEND_PORT_1], target.channel
    until = time.monotonic() + _PATIENCE_S
    while (left_s := until - time.monotonic()) > 0:
        select.select([wire, channel], [], [], left_s)
        if (frame := wire.receive()) is not None:
            return "egress", frame
        channel.take_in()
        if channel.packet_ins:
            message = channel.packet_ins.popleft()
            if message.reason in _NO_ACTION:
                return f"packet-in of reason {message.reason}", message.data
            return "packet-in", message.data
    return "nothing", b""


def _expect_miss(
    target: Target, tables: tuple[int, ...], before: dict[int, tuple[int, int]]
) -> None:
    until = time.monotonic() + _PATIENCE_S
    while True:
        after = _lookups(target.channel)
        looked_up = [t for t in tables if after[t][0] > before[t][0]]
        if any(after[t][1] > before[t][1] for t in looked_up):
            raise Failed("matched where it was to miss")
        if looked_up:
            return
        if time.monotonic() > until:
            raise Failed(f"not looked up in table {', '.join(map(str, tables))}")
        time.sleep(0.01)


def _lookups(channel: Channel) -> dict[int, tuple[int, int]]:
    """Of each table how often it was searched, and how often with success."""
    replies = channel.ask(parser.OFPTableStatsRequest(DATAPATH, 0))
    return {
        table.table_id: (table.lookup_count, table.matched_count)
        for reply in replies
        for table in reply.body
    }


def _headers(frame: bytes) -> str:
    """A packet in words, for reading only: some are too odd for the parser."""
    try:
        return "/".join(str(header) for header in Packet(frame).protocols)[:300]
    except Exception:
        return frame.hex()[:300]


__all__ = ["Failed", "Silent", "play", "reset", "set_up"]
