"""Which paths the cache keeps: a flow's from its second packet on, or where the tables are many."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from tempfile import mkdtemp

import pytest

from gossamer.datapath import layout
from gossamer.datapath.datapath import Datapath
from gossamer.datapath.injection import run_once
from gossamer.datapath.path_cache import Head, cache_map, places
from gossamer.datapath.settings import PortKind, PortSettings
from gossamer.pipeline import action as act
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import ANY, Match, match
from tests.property.test_uncached import WIDE

OUT = act.Output(2)
NUMBERS = count()


def _frame(number: int) -> bytes:
    """A UDP datagram of the flow of this number."""
    return bytes.fromhex(
        f"020000000002020000000001080045000020000100004011000a0a00{number:04x}0a000002"
        "00010009000c0000000000000000000000000000"
    )


@pytest.fixture(scope="module")
def datapath() -> Iterator[Datapath]:
    for number in (1, 2):
        subprocess.run(
            ["ip", "link", "add", f"kept{number}", "type", "veth", "peer", "name", f"kept{number}p"],
            check=True,
        )
    it = Datapath.open(Path(mkdtemp(prefix="kept", dir="/sys/fs/bpf")))
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})  # each CPU has a cache of its own
    yield it
    os.sched_setaffinity(0, cpus)
    it.destroy()
    for number in (1, 2):
        subprocess.run(["ip", "link", "delete", f"kept{number}"], check=True)


@pytest.fixture
def bridge(datapath: Datapath) -> Iterator[int]:
    """One of another number for each test, so that its paths are none of those before."""
    bridge, ports = datapath.add_bridge(f"br{next(NUMBERS)}"), []
    for number in (1, 2):
        ifindex = int(Path(f"/sys/class/net/kept{number}/ifindex").read_text())
        ports.append(
            datapath.add_port(
                bridge,
                PortSettings(
                    name=f"kept{number}", kind=PortKind.DEVICE, ofport=number, ifindex=ifindex
                ),
            )
        )
    yield bridge
    for port in ports:
        datapath.remove_port(port)


def _send(datapath: Datapath, number: int) -> None:
    ifindex = int(Path("/sys/class/net/kept1/ifindex").read_text())
    run_once(datapath.program_fd, _frame(number), mark=0, ifindex=ifindex)


def _packets(datapath: Datapath, bridge: int) -> list[int]:
    """Of each path of the bridge, the packets that took it."""
    cache = cache_map(datapath._loaded.map_fds["cache"])
    memory = cache.read_all()
    packets = {place[:3]: place.word for place in places(cache, memory, Head.PACKETS)}
    return [
        packets.get(place[:3], 0)
        for place in places(cache, memory, Head.VERSION)
        if place.word >> layout.BRIDGE_SHIFT & layout.MAX_BRIDGES - 1 == bridge
    ]


def _tells_apart(table: int = 0, *actions: act.Action) -> list[Flow]:
    source = match(eth_type=0x0800, nw_proto=17, ip_src=0x0B000000, udp_src=9)
    return [_flow(source, OUT, table=table, priority=10), _flow(ANY, *actions, table=table)]


def _flow(m: Match, *actions: act.Action, table: int = 0, priority: int = 1) -> Flow:
    return Flow(table_id=table, priority=priority, match=m, actions=actions)


def test_a_flow_has_a_path_from_its_second_packet_on(datapath: Datapath, bridge: int) -> None:
    flows = _tells_apart(0, OUT)
    datapath.insert_flows(bridge, flows)
    for number in range(8):
        _send(datapath, number)
    assert len(_packets(datapath, bridge)) == 0
    _send(datapath, 3)
    _send(datapath, 3)
    _send(datapath, 5)
    assert len(_packets(datapath, bridge)) == 2
    datapath.read_flow_statistics(flows)
    assert [f.n_packets for f in flows] == [0, 11]


def test_a_path_through_many_tables_is_kept_at_once(datapath: Datapath, bridge: int) -> None:
    last = 4
    flows = [f for t in range(last) for f in _tells_apart(t, act.GotoTable(t + 1))]
    flows += _tells_apart(last, OUT)
    datapath.insert_flows(bridge, flows)
    _send(datapath, 1)
    _send(datapath, 2)
    assert len(_packets(datapath, bridge)) == 2


def test_a_path_that_a_commit_made_stale_is_made_again_at_once(
    datapath: Datapath, bridge: int
) -> None:
    flows = _tells_apart(0, OUT)
    datapath.insert_flows(bridge, flows)
    _send(datapath, 1)
    _send(datapath, 1)
    datapath.insert_flows(bridge, [_flow(ANY, OUT, table=1)])
    _send(datapath, 1)  # makes the path again
    _send(datapath, 1)  # takes it
    assert _packets(datapath, bridge) == [1]


def test_none_is_kept_while_flows_look_at_more_than_its_key_holds_and_that_is_told_once(
    datapath: Datapath, bridge: int, caplog: pytest.LogCaptureFixture
) -> None:
    flows = _tells_apart(0, OUT)
    datapath.insert_flows(bridge, flows)
    for number in (1, 2):
        datapath.insert_flows(bridge, list(WIDE))
        for _ in range(3):
            _send(datapath, number)
        assert len(_packets(datapath, bridge)) == 0
    datapath.read_flow_statistics(flows)
    assert [f.n_packets for f in flows] == [0, 6]
    (told,) = (r.getMessage() for r in caplog.records)
    assert ": its flows look at " in told
    datapath.remove_flows(bridge, list(WIDE))
    for _ in range(3):
        _send(datapath, 1)
    assert len(_packets(datapath, bridge)) == 1
