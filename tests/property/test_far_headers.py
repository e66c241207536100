"""Headers more than two kilobytes into a frame, as jumbo frames have them, are read where they are."""

from __future__ import annotations

import pytest

from gossamer.datapath.datapath import Datapath
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.world import Port
from tests.property import ip_packets as p
from tests.property.case import BridgeCase, Case, PacketCase
from tests.property.compare import disagreement
from tests.property.connections import rule

HOST, OTHER, ROUTER = (bytes.fromhex("fd" + "00" * 14) + bytes((n,)) for n in (1, 2, 3))
LONG = 2040
"""Bytes of an option, or of a header of options."""


def case(packets: tuple[bytes, ...], flows: tuple[str, ...]) -> Case:
    """Packets by port 1 of a bridge with these flows."""
    bridge = BridgeCase("br0", (Port(1), Port(2), Port(3)), tuple(map(rule, flows)))
    return Case((bridge,), tuple(PacketCase("br0", 1, packet) for packet in packets))


def last_port(wanted: Case) -> int:
    """By which port the last packet leaves."""
    pipeline = Pipeline(wanted.world())
    results = [pipeline.run(q.bridge, q.in_port, q.data) for q in wanted.packets]
    return results[-1].outputs[0].ofport


def test_an_option_of_a_solicitation_is_read_behind_a_long_one(datapath: Datapath) -> None:
    # The last one lies 2048 bytes behind what looks like one, in another.
    first = bytes((200, 2)) + bytes(6) + b"\1\1\2\0\0\0\0\x0a"
    options = first + bytes((200, LONG // 8)) + bytes(LONG - 2) + b"\1\1\2\0\0\0\0\x0b"
    solicitation = p.icmp(p.Flow(HOST, OTHER, p.ICMPV6), 135, 0, bytes(4) + OTHER + options)
    flows = (
        "table=0,icmp6,icmp_type=135,icmp_code=0,nd_sll=02:00:00:00:00:0a,actions=output:2",
        "table=0,icmp6,icmp_type=135,icmp_code=0,nd_sll=02:00:00:00:00:0b,actions=output:3",
    )
    wanted = case((solicitation,), flows)
    assert last_port(wanted) == 3
    assert disagreement(datapath, wanted) == ""


def behind_options(network: bytes, length: int) -> bytes:
    """An IPv6 packet with one more header of options (RFC 8200, 4.6) of that length."""
    options = bytes((network[6], length // 8 - 1)) + bytes(length - 2)
    n_bytes = len(network) - 40 + length
    head = network[:4] + n_bytes.to_bytes(2, "big") + b"\x3c" + network[7:40]
    return head + options + network[40:]


@pytest.mark.parametrize(
    ("lengths", "port"), [((LONG,), 2), ((16, 1520), 3)], ids=["related", "invalid"]
)
def test_an_error_may_quote_long_options_but_none_behind_them(
    datapath: Datapath, lengths: tuple[int, ...], port: int
) -> None:
    sent = p.udp(p.Flow(HOST, OTHER, p.UDP, 4000, 53), b"data")
    quoted = sent[14:]
    for length in lengths:
        quoted = behind_options(quoted, length)
    error = p.icmp(p.Flow(ROUTER, HOST, p.ICMPV6), 1, 4, bytes(4) + quoted)
    flows = (
        "table=0,udp6,actions=ct(commit,zone=1),output:2",
        "table=0,icmp6,actions=ct(zone=1,table=1)",
        "table=1,ct_state=+rel+trk,icmp6,actions=output:2",
        "table=1,ct_state=+inv+trk,icmp6,actions=output:3",
    )
    wanted = case((sent, error), flows)
    assert last_port(wanted) == port
    assert disagreement(datapath, wanted) == ""
