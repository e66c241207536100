"""What became of a traced packet, told in a line a copy."""

from __future__ import annotations

import pytest

from gossamer.pipeline.conntrack.foreseen import Foreseen
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.trace import trace_flow
from gossamer.pipeline.trace_data import trace_as_data
from gossamer.pipeline.world import Bridge, Port, World
from gossamer.topology.ending import drops, outputs
from gossamer.topology.headers import Headers, read_headers
from tests.property.connections import rule


def _trace(flow: str, *rules: str) -> dict[str, object]:
    ports = [
        Port(1, name="p1"),
        Port(2, name="p2"),
        Port(3, name="p3", up=False),
        Port(OfPort.LOCAL, name="br0", up=False),
    ]
    world = World([Bridge("br0", ports, map(rule, rules))], tracking=Foreseen())
    _, result = trace_flow(world, "br0", flow)
    return trace_as_data(world, result)


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (("priority=5,tcp,actions=drop",), ["br0, table 0, priority=5,tcp: dropped"]),
        (("priority=5,udp,actions=output:2",), ["br0, table 0: dropped, since no rule matches"]),
        (
            ("priority=5,tcp,actions=resubmit(,1)", "table=1,priority=2,ip,actions=drop"),
            ["br0, table 1, priority=2,ip: dropped"],
        ),
        (
            (
                "priority=5,tcp,actions=ct(table=1)",
                "table=1,priority=2,ct_state=+new,tcp,actions=drop",
            ),
            ["br0, table 1, priority=2,ct_state=+new,tcp: dropped"],
        ),
        (
            ("priority=5,actions=output:3",),
            ["br0, table 0, priority=5: port is down, skipping output"],
        ),
        (("priority=5,actions=controller",), ["br0, table 0: goes to the controllers"]),
        (("priority=5,actions=output:2",), []),
        # The bridge's own device is often down: nobody asks after that copy.
        (("priority=5,actions=output:2,LOCAL",), []),
    ],
)
def test_each_copy_that_ends_is_told_with_the_rule_that_ended_it(
    rules: tuple[str, ...], told: list[str]
) -> None:
    assert [e.text for e in drops(_trace("in_port=p1,tcp,tcp_flags=syn", *rules))] == told


def test_copies_that_leave_are_told_in_order() -> None:
    trace = _trace(
        "in_port=p2,tcp",
        "priority=5,tcp,actions=output:1,resubmit(,1)",
        "table=1,priority=1,actions=output:1",
    )
    assert [o["ofport"] for o in outputs(trace["steps"])] == [1, 1]


@pytest.mark.parametrize(
    ("headers", "conversation"),
    [
        (
            Headers(
                "02:00:00:00:00:01", "02:00:00:00:00:02", "10.0.0.1", "10.0.0.2", "tcp", 64, (9, 80)
            ),
            "tcp 10.0.0.1:9 -> 10.0.0.2:80",
        ),
        (
            Headers(
                "02:00:00:00:00:01", "02:00:00:00:00:02", "fd00::1", "fd00::2", "udp", 3, (9, 53)
            ),
            "udp [fd00::1]:9 -> [fd00::2]:53",
        ),
        (
            Headers("02:00:00:00:00:01", "02:00:00:00:00:02", "10.0.0.1", "10.0.0.2", "icmp", 64),
            "icmp 10.0.0.1 -> 10.0.0.2",
        ),
        (
            Headers("02:00:00:00:00:01", "02:00:00:00:00:02", "fd00::1", "fd00::2", "icmp6", 64),
            "icmp6 fd00::1 -> fd00::2",
        ),
    ],
)
def test_what_a_trace_is_asked_with_is_read_from_what_comes_out(
    headers: Headers, conversation: str
) -> None:
    trace = _trace(headers.flow("p1"), "priority=1,actions=output:2")
    (output,) = outputs(trace["steps"])
    assert read_headers(output["packet"]) == headers
    assert headers.conversation == conversation


@pytest.mark.parametrize("flow", ["arp", "tcp,dl_vlan=5", "sctp"])
def test_headers_of_other_packets_are_not_guessed(flow: str) -> None:
    trace = _trace(f"in_port=p1,{flow}", "priority=1,actions=output:2")
    (output,) = outputs(trace["steps"])
    assert read_headers(output["packet"]) is None


def test_a_frame_that_ends_early_has_no_headers() -> None:
    assert read_headers("02" * 12 + "0800" + "45000014") is None
    assert read_headers("02" * 12 + "0800" + "4500001400000000400600000a0000010a000002") is None
