"""Established connections outlive a flood at full rate, from every core, where there is no more room for anybody.

They are of TCP and UDP, and translated.  Once they are there, no rule lets their port begin any: a connection
that was lost would stay lost, and its packets are counted.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import pytest

from tests.system.tcp_sessions import Sessions
from tests.system.world import Host

SENDER: Final = Path(__file__).resolve().parents[2] / "bench" / "sender.c"
SESSIONS: Final = 200
"""Of TCP, and as many of UDP."""
HELD: Final = 2 * SESSIONS
PORTS: Final = {"tcp": 1, "udp": 9}
"""Those that the sender's frames go to: who floods wants the very same translations."""
NAT: Final = "nat(src=10.0.0.100:20000-20399)"
"""Twice what is held."""
FLOOD_S: Final = 1.5
ENOUGH: Final = 3 * HELD
"""Frames: where there is no port left each takes 0.1 ms and more, on a busy machine several."""
MARK: Final = 5
"""Of what the flood begins."""
FLOWS: Final = f"""\
table=0,priority=10,arp,actions=NORMAL
table=0,priority=5,ip,in_port=3,actions=resubmit(,3)
table=0,priority=0,ip,actions=ct(table=1,zone=7,nat)
table=1,priority=10,ct_state=+trk+est,actions=NORMAL
table=1,priority=0,ct_state=+trk+new,ip,in_port=1,actions=ct(commit,zone=7,{NAT}),NORMAL
"""
ONLY_ESTABLISHED: Final = "cookie=0x77,table=1,priority=5,ip,actions=drop"


class World:
    """Sessions from `a` to `b`, and `c`, which floods."""

    def __init__(self, sender: Path) -> None:
        self._sender = sender
        self.host = Host(Path(mkdtemp(prefix="full", dir="/run")))
        self.host.start()
        self.host.vsctl("add-br", "br0")
        self.a, self.b, self.c = (
            self.host.netns(n, f"10.0.0.{i}/24", "br0") for i, n in enumerate("abc", 1)
        )
        for i, n in enumerate((self.a, self.b, self.c), 1):
            self.host.vsctl("set", "interface", n.device, f"ofport_request={i}")
        # UDP's answered connections last for half a minute: longer than most machines take here, not all.
        self.host.vsctl("--id=@m", "create", "Datapath", "datapath_version=0",
                        "--", "set", "Open_vSwitch", ".", "datapaths:system=@m")  # fmt: skip
        self.host.vsctl("add-zone-tp", "system", "zone=7", "udp_multiple=3600")
        self.host.check("ip", "-n", "b", "neigh", "add", "10.0.0.100", "lladdr", self.a.mac, "dev", "eth0")
        self.host.ofctl("del-flows", "br0")
        self.host.ofctl("add-flows", "br0", "-", stdin=FLOWS)
        self.held = [
            Sessions(self.a, self.b, "10.0.0.2", port, SESSIONS, f"tests.system.{kind}_sessions")
            for kind, port in PORTS.items()
        ]
        assert self.answered("before") == HELD
        self.host.ofctl("add-flow", "br0", ONLY_ESTABLISHED)
        assert self.connections() == HELD

    def answered(self, word: str) -> int:
        """How many of the sessions get an answer, and have the translation they had."""
        return sum(sessions.answered(word) for sessions in self.held)

    def connections(self) -> int:
        """That there are now."""
        return int(self.host.appctl("dpctl/ct-get-nconns"))

    def lost(self) -> int:
        """Packets of the sessions' ports that belonged to no established connection."""
        found = re.search(r"n_packets=(\d+)", self.host.ofctl("dump-flows", "br0", "cookie=0x77/-1"))
        assert found is not None
        return int(found[1])

    def flooded(self) -> int:
        """Packets of the flood that came to the rules: not all that are sent find room in the kernel's queue."""
        found = re.search(r"n_packets=(\d+)", self.host.ofctl("dump-flows", "br0", "table=0,ip,in_port=3"))
        assert found is not None
        return int(found[1])

    def count(self, name: str) -> int:
        """What coverage/show says of a name, from the beginning; 0 where it says nothing."""
        return int(self.host.appctl("coverage/read-counter", name))

    def flood(self) -> list[subprocess.Popen[str]]:
        """New connections of TCP and UDP on each core, as fast as it can; to be waited for."""
        cores = sorted(os.sched_getaffinity(0))
        return [
            self.c.start(
                "taskset", "-c", str(core), str(self._sender), "eth0", self.b.mac, self.c.mac,
                str(FLOOD_S), "0", "from", str(n * 0x1000000 // len(cores)), *kind,
            )
            for n, core in enumerate(cores)
            for kind in (["syn"], [])
        ]  # fmt: skip

    def end(self) -> None:
        for sessions in self.held:
            sessions.end()
        self.host.end()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    sender = tmp_path_factory.mktemp("sender") / "sender"
    subprocess.run(["gcc", "-O2", "-o", str(sender), str(SENDER)], check=True, timeout=120)
    it = World(sender)
    yield it
    it.end()


@dataclass(frozen=True, slots=True)
class Shortage:
    """What there is not enough of: connections, those of a zone, or ports to translate to."""

    most: int = 100_000
    zone: int = 7
    limits: tuple[str, ...] = ()
    nat: bool = False
    counted: str = ""


SHORTAGES: Final = {
    "room for a hundred more": Shortage(most=HELD + 100, counted="conntrack_evicted"),
    "no room": Shortage(most=HELD, counted="drop_ct_full"),
    "no room in its own zone": Shortage(
        zone=9, limits=("zone=9,limit=100", f"zone=7,limit={HELD}"), counted="drop_ct_zone_limit"
    ),
    "no room in their zone": Shortage(limits=(f"zone=7,limit={HELD}",), counted="drop_ct_zone_limit"),
    "no port left": Shortage(nat=True, counted="drop_ct_nat_full"),
    "no port left and no room": Shortage(most=HELD + 20, nat=True, counted="conntrack_evicted"),
}


@pytest.mark.parametrize("which", SHORTAGES)
def test_a_flood_breaks_no_established_connection_where_there_is(world: World, which: str) -> None:
    it = SHORTAGES[which]
    host = world.host
    then = f"{NAT}," if it.nat else ""
    host.ofctl(
        "add-flow", "br0",
        f"table=3,ip,actions=ct(commit,zone={it.zone},{then}exec(set_field:{MARK}->ct_mark))",
    )  # fmt: skip
    host.appctl("dpctl/ct-set-maxconns", str(it.most))
    if it.limits:
        host.appctl("dpctl/ct-set-limits", *it.limits)
    try:
        before, flooded = world.count(it.counted), world.flooded()
        came = asked = 0
        # Once, unless the machine hardly gives it time.
        for _ in range(10):
            senders = world.flood()
            while any(sender.poll() is None for sender in senders):
                asked += 1
                assert world.answered(f"during{asked}") == HELD
            for sender in senders:
                sender.communicate(timeout=60)
            came = world.flooded() - flooded
            if came > ENOUGH:
                break
        assert asked
        assert world.answered("after") == HELD
        assert world.lost() == 0
        # It was a flood, and it was short of just that.
        short = world.count(it.counted) - before
        assert came > ENOUGH
        assert short > came // 4, f"{it.counted}: {short} of {came}"
        cores = len(os.sched_getaffinity(0))
        assert HELD <= world.connections() <= it.most + cores
        known = host.appctl("dpctl/dump-conntrack", "zone=7")
        kept = re.findall(r"(?m)^(tcp|udp),orig=\(src=10\.0\.0\.1,dst=10\.0\.0\.2,.*dport=[19]\),reply=", known)
        assert len(kept) == HELD
    finally:
        host.appctl("dpctl/ct-del-limits", "zone=7,9")
        host.appctl("dpctl/flush-conntrack", f"mark={MARK}")
    assert world.connections() == HELD
