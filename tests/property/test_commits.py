"""A packet goes by one version of a bridge's rules, however many tables, passes and bridges it meets.

While the kernel runs packets without pause, none of which has a cached path, rules flip between
states that pass every packet.  Rules of two states together pass it to port 4, or drop it.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import mkdtemp

import pytest

from gossamer.datapath import layout
from gossamer.datapath.datapath import Datapath
from gossamer.datapath.injection import run_once
from gossamer.datapath.maps import HashMap
from gossamer.datapath.settings import PortKind, PortSettings
from gossamer.errors import DatapathError
from gossamer.pipeline.action_syntax import parse_actions
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.group import Bucket, Group, GroupType
from gossamer.pipeline.meter import Band, BandType, Meter, MeterFlag
from gossamer.switch.flow_event import RemovedReason
from gossamer.switch.tables import FlowTables
from tests.property.nat_world import flow

PACKET = bytes.fromhex(
    "020000000002020000000001080045000028000100004006667b0a0000010a000002"
    "00010050000000000000000050002000000000000000000000000000"
)
FLIPS = 40
N_TABLES = 6
LONG = ",".join(f"set_field:02:00:00:00:00:{n:02x}->eth_src" for n in range(layout.CACHED_OPS + 2))
"""More operations than a cached path has: the kernel walks the tables for each packet."""


class World:
    """A bridge with ports 1 (packets come in), 2 and 3 (they leave), 4 (they never should)."""

    def __init__(self, datapath: Datapath) -> None:
        self.datapath = datapath
        self.bridge = datapath.add_bridge("br0")
        self.other = datapath.add_bridge("br1")
        self.ports: dict[int, int] = {}
        for n in (1, 2, 3, 4):
            ifindex = int(Path(f"/sys/class/net/commit{n}/ifindex").read_text())
            settings = PortSettings(f"commit{n}", n, ifindex=ifindex)
            self.ports[n] = datapath.add_port(self.bridge, settings)
            if n == 1:
                self.ifindex = ifindex
        self._before = self._counters()

    def patch(self) -> None:
        """The other bridge gives back by port 21 what it gets by port 20."""
        pairs = [
            (
                self.datapath.add_port(self.bridge, PortSettings(f"a{n}", n, PortKind.PATCH)),
                self.datapath.add_port(self.other, PortSettings(f"b{n}", n, PortKind.PATCH)),
            )
            for n in (20, 21)
        ]
        for (ours, theirs), n in zip(pairs, (20, 21), strict=True):
            self.datapath.update_port(ours, PortSettings(f"a{n}", n, PortKind.PATCH, patch_peer=theirs))
            self.datapath.update_port(theirs, PortSettings(f"b{n}", n, PortKind.PATCH, patch_peer=ours))
        self.datapath.insert_flows(self.other, [flow("in_port=20,actions=output:21")])

    def _counters(self) -> list[int]:
        return [self.datapath.port_statistics(self.ports[n]).tx_packets or 0 for n in (2, 3, 4)]

    def sent(self) -> list[int]:
        """What left by ports 2, 3 and 4."""
        return [now - then for now, then in zip(self._counters(), self._before, strict=True)]

    def close(self) -> None:
        """Remove the bridges."""
        self.datapath.remove_bridge(self.bridge)
        self.datapath.remove_bridge(self.other)


class Traffic:
    """Packets from port 1, one after the other, as long as the block runs."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stop = False
        self.n = 0
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop:
            world = self._world
            run_once(world.datapath.program_fd, PACKET, mark=0, ifindex=world.ifindex, repeat=500)
            self.n += 500

    def reach(self, n: int) -> None:
        """Wait until so many packets have passed."""
        end = time.monotonic() + 60
        while self.n < n and time.monotonic() < end:
            time.sleep(0.01)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join()


@pytest.fixture(scope="module")
def datapath() -> Iterator[Datapath]:
    for n in (1, 2, 3, 4):
        command = f"ip link add commit{n} type veth peer name commit{n}p"
        subprocess.run(command.split(), check=True)
    it = Datapath.open(Path(mkdtemp(prefix="commits", dir="/sys/fs/bpf")))
    yield it
    it.destroy()
    for n in (1, 2, 3, 4):
        subprocess.run(["ip", "link", "delete", f"commit{n}"], check=True)


@pytest.fixture
def world(datapath: Datapath) -> Iterator[World]:
    it = World(datapath)
    yield it
    it.close()


def strays(datapath: Datapath, bridge: int) -> None:
    """What no state of the rules knows leaves by port 4."""
    datapath.insert_flows(
        bridge, [flow(f"table={t},priority=0,actions=output:4") for t in range(1, 40)]
    )


def marked(k: int) -> list[Flow]:
    """Each table lets pass what the one before has marked; all keys are new in each state."""
    port = 2 + k % 2
    texts = [f"table=0,priority={100 + k % 7},in_port=1,actions=set_field:{k}->reg0,goto_table:1"]
    for t in range(1, N_TABLES):
        # Masks and priorities that come and go.
        extra = (f"nw_dst=10.0.0.0/{8 + (k + t) % 20}", f"tcp,tp_dst={80}", "in_port=1")[(k + t) % 3]
        extra = extra if "tcp" in extra or "in_port" in extra else f"ip,{extra}"
        texts.append(
            f"table={t},priority={10 + (k * t) % 90},reg0={k},{extra},actions=goto_table:{t + 1}"
        )
    texts.append(f"table={N_TABLES},reg0={k},actions={LONG},output:{port}")
    return [flow(text) for text in texts]


def replaced(world: World, k: int, before: list[Flow]) -> list[Flow]:
    flows = marked(k)
    with world.datapath.transaction():
        world.datapath.remove_flows(world.bridge, before)
        world.datapath.insert_flows(world.bridge, flows)
    return flows


def states(world: World, first: int, number: int = FLIPS) -> Iterator[int]:
    """Numbers of states from `first` on: so many, and more until packets have met both kinds."""
    end = time.monotonic() + 60
    k = first
    while k < first + number or (min(world.sent()[:2]) <= 1000 and time.monotonic() < end):
        yield k
        k += 1


def all_of_one_state(world: World, traffic: Traffic) -> None:
    two, three, four = world.sent()
    assert four == 0
    assert two + three == traffic.n, world.datapath.drops()
    assert two > 1000 and three > 1000, "the states were not both seen"


def test_no_packet_meets_rules_of_two_commits(world: World) -> None:
    strays(world.datapath, world.bridge)
    flows = replaced(world, 1, [])
    with Traffic(world) as traffic:
        for k in states(world, 2):
            flows = replaced(world, k, flows)
    all_of_one_state(world, traffic)


def test_no_packet_meets_actions_groups_or_meters_of_two_commits(world: World) -> None:
    """The same flows, group and meter, changed again and again."""
    datapath, bridge = world.datapath, world.bridge
    strays(datapath, bridge)

    def actions(t: int, k: int) -> str:
        if t == N_TABLES - 1:
            return f"set_field:{k}->reg{t},group:1"
        meter = "meter:1," if t == 2 else ""
        return f"{meter}set_field:{k}->reg{t},resubmit(,{t + 1})"

    flows = [flow(f"table={t},priority=9,ip,actions={actions(t, 0)}") for t in range(N_TABLES)]
    others = [flow(f"table=35,reg0={n},actions=output:4") for n in range(300)]
    # To write them takes longer than a packet does.
    changing = [*flows[:3], *others, *flows[3:]]
    marks = ",".join(f"reg{t}={{k}}" for t in range(N_TABLES + 1))
    ends = [
        flow(f"table=30,{marks.format(k=k)},actions={LONG},output:{2 + k}") for k in (0, 1)
    ]

    def change(k: int) -> None:
        with datapath.transaction():
            band = Band(BandType.DROP, 10**9 + k)
            datapath.set_meter(bridge, Meter(1, MeterFlag.PKTPS, (band,)))
            bucket = Bucket(parse_actions(f"set_field:{k}->reg{N_TABLES},resubmit(,30)"), 1)
            datapath.set_group(bridge, Group(1, GroupType.ALL, (bucket,)))
            for t, each in enumerate(flows):
                each.actions = parse_actions(actions(t, k))
            for each in others:
                each.actions = parse_actions(f"set_field:{k}->reg1")
            datapath.insert_flows(bridge, changing)

    datapath.insert_flows(bridge, ends)
    change(0)
    with Traffic(world) as traffic:
        for k in states(world, 1):
            change(k % 2)
    all_of_one_state(world, traffic)
    datapath.read_flow_statistics(flows)
    assert {each.n_packets for each in flows} == {traffic.n}, "counters go on where flows change"


@pytest.mark.parametrize("way", ["after ct()", "around patch ports"])
def test_a_packet_that_comes_back_meets_the_rules_it_met_before(world: World, way: str) -> None:
    datapath, bridge = world.datapath, world.bridge
    strays(datapath, bridge)
    world.patch()

    def state(k: int) -> list[Flow]:
        begin, match = "ct(table=30)", f"reg0={k}"
        if way == "around patch ports":
            begin, match = f"set_field:{1000 + k}->tcp_dst,output:20", f"tcp,tp_dst={1000 + k}"
        texts = [
            f"table=0,priority=9,in_port=1,tcp,actions=set_field:{k}->reg0,{begin}",
            f"table=30,{match},actions={LONG},output:{2 + k % 2}",
        ]
        return [flow(text) for text in texts]

    flows = state(1)
    datapath.insert_flows(bridge, [flow("table=0,priority=9,in_port=21,actions=resubmit(,30)"), *flows])
    with Traffic(world) as traffic:
        for k in states(world, 2):
            before, flows = flows, state(k)
            with datapath.transaction():
                datapath.remove_flows(bridge, before)
                datapath.insert_flows(bridge, flows)
    all_of_one_state(world, traffic)


def test_no_packet_meets_a_commit_that_is_refused(world: World) -> None:
    """The last flow asks about more lengths than there is room for; all others were taken in."""
    strays(world.datapath, world.bridge)
    tables = FlowTables(world.datapath, world.bridge)
    flows = marked(1)
    for each in flows:
        tables.add(each)
    tables.commit()
    with Traffic(world) as traffic:
        for k in range(2, 2 + FLIPS // 4):
            for each in flows:
                tables.remove(each, RemovedReason.DELETE)
            lengths = [
                flow(f"table=50,priority={n},actions=check_pkt_larger({n})->NXM_NX_REG0[0]")
                for n in range(100, 101 + layout.MAX_LENGTHS)
            ]
            for each in (*marked(k), *lengths):
                tables.add(each)
            with pytest.raises(DatapathError, match="more than 8 lengths"):
                tables.commit()
        traffic.reach(1001)
    assert world.sent() == [0, traffic.n, 0]
    assert traffic.n > 1000


def test_no_packet_meets_a_commit_that_there_is_no_room_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel takes some of its rules before it refuses one."""
    strays(world.datapath, world.bridge)
    tables = FlowTables(world.datapath, world.bridge)
    flows = marked(1)
    for each in flows:
        tables.add(each)
    tables.commit()
    put_all = HashMap.put_all

    def full(self: HashMap, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        new = sum(1 for key in keys if self.get(key) is None)
        if not new or not self.name.startswith("rules"):
            put_all(self, keys, values)
            return
        put_all(self, keys[: len(keys) // 2], values[: len(keys) // 2])
        raise DatapathError("full")

    monkeypatch.setattr(HashMap, "put_all", full)
    with Traffic(world) as traffic:
        for k in range(2, 2 + FLIPS // 4):
            for each in flows:
                tables.remove(each, RemovedReason.DELETE)
            for each in marked(k):
                tables.add(each)
            with pytest.raises(DatapathError, match="full"):
                tables.commit()
        traffic.reach(1001)
    monkeypatch.undo()
    assert world.sent() == [0, traffic.n, 0]
    assert traffic.n > 1000
    list(world.datapath.sweep())
    assert len(list(rules(world.datapath))) == 39 + len(flows)


class Killed(Exception):
    """In the middle of a commit."""


@pytest.mark.parametrize("finished", [False, True])
def test_what_a_killed_daemon_began_to_commit_never_counts(
    monkeypatch: pytest.MonkeyPatch, datapath: Datapath, finished: bool
) -> None:
    """The next daemon has the old flows in its journal, or the new ones where it was told of them."""
    pins = Path(mkdtemp(prefix="killed", dir="/sys/fs/bpf"))
    first = Datapath.open(pins)
    world = World(first)
    strays(first, world.bridge)
    flows = replaced(world, 1, [])
    for k in range(2, 6):
        flows = replaced(world, k, flows)

    def die(*_: object) -> None:
        raise Killed

    with Traffic(world) as traffic:
        monkeypatch.setattr(first._bridges, "bump", die)
        with pytest.raises(Killed):
            replaced(world, 6, flows)
        second = Datapath.open(pins)
        assert second.takeover
        world.datapath = second
        bridge = second.add_bridge("br0")
        for n, port_id in world.ports.items():
            ifindex = int(Path(f"/sys/class/net/commit{n}/ifindex").read_text())
            assert second.add_port(bridge, PortSettings(f"commit{n}", n, ifindex=ifindex)) == port_id
        strays(second, bridge)
        second.insert_flows(bridge, marked(6 if finished else 5))
        second.converge()
    two, three, four = world.sent()
    assert (two + three, four) == (traffic.n, 0)
    assert len(list(rules(second))) == 39 + N_TABLES + 1
    first.close()
    second.destroy()


def rules(datapath: Datapath) -> Iterator[bytes]:
    """Those in the kernel."""
    for name in (f"rules_{words}" for words in layout.KEY_CLASSES):
        value = layout.RULE.size
        words = int(name.split("_")[1])
        table = HashMap(name, datapath._loaded.map_fds[name], 4 + 4 * words, value)
        yield from (key for key, _ in table.items())


def test_a_group_or_meter_that_comes_again_at_once_stays(world: World) -> None:
    datapath, bridge = world.datapath, world.bridge
    group = Group(7, GroupType.ALL, (Bucket(parse_actions("output:2"), 1),))
    meter = Meter(7, MeterFlag.PKTPS, (Band(BandType.DROP, 10**9),))
    for _ in range(2):
        datapath.set_group(bridge, group)
        datapath.set_meter(bridge, meter)
        datapath.delete_group(bridge, 7)
        datapath.delete_meter(bridge, 7)
    datapath.set_group(bridge, group)
    datapath.set_meter(bridge, meter)
    datapath.insert_flows(bridge, [flow("in_port=1,actions=meter:7,group:7")])
    datapath._parts.grace.settle()
    run_once(datapath.program_fd, PACKET, mark=0, ifindex=world.ifindex)
    assert world.sent() == [1, 0, 0], datapath.drops()
    assert datapath.meter_statistics(bridge, 7)[0] == 1
