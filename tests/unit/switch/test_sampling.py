"""Which exporter a sampled packet is for, and what is said of ports."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_switch import RunningSwitch, bridge

from gossamer.errors import ExportError
from gossamer.export.collectors import parse_target
from gossamer.export.observation import Interface, Observation
from gossamer.pipeline.action import Sample
from gossamer.pipeline.fields import put_slot
from gossamer.pipeline.result import Sampled
from gossamer.switch.config import CollectorSetConfig, IpfixConfig


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[RunningSwitch]:
    running = RunningSwitch(tmp_path)
    yield running
    running.stop()


def _watch(switch: RunningSwitch, number: int = 5) -> list[Observation]:
    """What the exporter of a collector set is told, from now on."""
    seen: list[Observation] = []
    exporter = switch.switch.bridges["br0"].exporters()[number]
    exporter.observe = lambda o, now_s: seen.append(o)  # type: ignore[method-assign]
    return seen


def _see(switch: RunningSwitch, action: Sample, in_port: int = 1) -> None:
    br0 = switch.switch.bridges["br0"]
    key = put_slot(0, "in_port", in_port)
    switch.call(lambda: switch.switch.sampling.seen(br0, Sampled("br0", action, key, 100)))


def test_sets_come_and_go_and_bridges_sample_where_there_is_one(switch: RunningSwitch) -> None:
    ipfix = IpfixConfig(("127.0.0.1:9",))
    for sets, numbers in (
        ((CollectorSetConfig("br0", 5, ipfix), CollectorSetConfig("br0", 6)), [5]),
        ((CollectorSetConfig("br1", 5, ipfix),), []),
        ((), []),
    ):
        switch.apply(bridge(), collector_sets=sets)
        assert list(switch.switch.bridges["br0"].exporters()) == numbers
        (there,) = switch.datapath.bridges.values()
        assert there.sampling is bool(numbers)


def test_an_observation_says_where_a_packet_came_and_goes(switch: RunningSwitch) -> None:
    switch.apply(bridge(), collector_sets=(CollectorSetConfig("br0", 5, IpfixConfig()),))
    seen = _watch(switch)
    _see(switch, Sample(655, 5, 1, 2))
    _see(switch, Sample(65535, 5, 1, 2, sampling_port=2))
    _see(switch, Sample(65535, 5, 1, 2, sampling_port=2, direction=1))
    _see(switch, Sample(65535, 5, 1, 2, sampling_port=1))
    _see(switch, Sample(65535, 5, 1, 2, direction=2))
    _see(switch, Sample(65535, 5, 1, 2, sampling_port=77))
    _see(switch, Sample(65535, 9, 1, 2))
    ports = switch.switch.bridges["br0"].ports.ports
    index = {name: ports[name].link.ifindex for name in ("v1", "v2")}  # type: ignore[union-attr]
    came, goes = Interface(index["v1"], "v1"), Interface(index["v2"], "v2")
    told = [(o.weight, o.ingress, o.egress, o.outward) for o in seen]
    assert told == [
        (100, came, Interface(), False),
        (1, came, goes, True),
        (1, came, goes, False),
        (1, came, Interface(), False),
        (1, came, Interface(), True),
    ]


def test_packet_outs_are_sampled_too(switch: RunningSwitch) -> None:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.settimeout(60)
    target = f"127.0.0.1:{receiver.getsockname()[1]}"
    sets = (CollectorSetConfig("br0", 5, IpfixConfig((target, "nonsense"))),)
    switch.apply(bridge(), collector_sets=sets)
    switch.ofctl(
        "packet-out", "br0",
        "in_port=1,packet=112233445566aabbccddeeff0800,"
        "actions=sample(probability=65535,collector_set_id=5,obs_domain_id=1,obs_point_id=2),2",
    )  # fmt: skip
    assert receiver.recv(2000)[:2] == b"\0\x0a"
    shown = switch.ofctl("dump-ipfix-flow", "br0")
    assert "sampled pkts=1" in shown and "id   5" in shown.replace("id 5", "id   5"), shown
    receiver.close()


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("10.0.0.1:1234", ("10.0.0.1", 1234)),
        ("10.0.0.1", ("10.0.0.1", 4739)),
        ("[fe80::1]:99", ("fe80::1", 99)),
        ("fe80::1", ("fe80::1", 4739)),
    ],
)
def test_collectors_are_addresses_with_ports(text: str, target: tuple[str, int]) -> None:
    assert parse_target(text, 4739) == target


@pytest.mark.parametrize("text", ["", "host:1", "10.0.0.1:0", "10.0.0.1:70000", "10.0.0.1:x", "[fe80::1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ExportError):
        parse_target(text, 4739)
