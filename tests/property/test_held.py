"""Packets that wait for a connection's helper: what the kernel and the daemon make of them together is
what the reference makes of them, and copies that left before do not leave again."""

from __future__ import annotations

import pytest

from gossamer.datapath.datapath import Datapath
from gossamer.datapath.settings import Punt
from gossamer.datapath.testrun import Captured, TestRun
from gossamer.pipeline.action_syntax import parse_actions
from gossamer.pipeline.group import Bucket, Group, GroupType
from gossamer.pipeline.meter import Band, BandType, Meter, MeterFlag
from gossamer.pipeline.world import Port
from tests.property import connections
from tests.property import ip_packets as p
from tests.property.case import BridgeCase, Case, PacketCase
from tests.property.compare import disagreement
from tests.property.connections import rule

CLIENT, SERVER, PUBLIC = bytes((10, 0, 0, 1)), bytes((192, 0, 2, 9)), "198.51.100.1"
SYN, SYN_ACK, ACK = 2, 18, 24
THERE = p.Flow(CLIENT, SERVER, p.TCP, 4000, 21)
BACK = p.Flow(SERVER, bytes((198, 51, 100, 1)), p.TCP, 21, 4000)


def conversation(there: p.Flow = THERE, back: p.Flow = BACK) -> tuple[PacketCase, ...]:
    """A handshake, and lines from both sides."""
    said = (
        (1, p.tcp(there, SYN, 1000, 0, 8192, b"", 0)),
        (2, p.tcp(back, SYN_ACK, 5000, 1001, 8192, b"", 0)),
        (1, p.tcp(there, ACK, 1001, 5001, 8192, b"USER a\r\n", 0)),
        (2, p.tcp(back, ACK, 5001, 1009, 8192, b"331 b\r\n", 0)),
        (1, p.tcp(there, ACK, 1009, 5008, 8192, b"", 0)),
        (1, p.tcp(there, ACK, 1009, 5008, 8192, b"PASS c\r\n", 0)),
    )
    return tuple(PacketCase("br0", port, data, 1) for port, data in said)


NAT = f"nat(src={PUBLIC})"
COMMIT = f"ct(commit,zone=5,alg=ftp,{NAT},table=1)"
PLACES = {
    "after an output": f"output:3,{COMMIT}",
    "after a change and an output": f"set_field:9->nw_ttl,output:3,{COMMIT}",
    "before outputs": f"{COMMIT},output:3,set_field:7->nw_ttl,output:3",
    "without a table": f"output:3,ct(commit,zone=5,alg=ftp,{NAT}),output:4,controller(max_len=65535)",
    "in a clone": f"clone(set_field:6->nw_ttl,output:3,{COMMIT},output:3),output:4",
    "in a bucket": "output:3,group:1,output:4",
    "after another ct": f"output:3,ct(commit,zone=9),ct(commit,zone=5,alg=ftp,{NAT},table=1),output:4",
    "before another ct": f"{COMMIT},ct(commit,zone=9,table=2),output:4",
    "after a meter": f"meter:1,output:3,{COMMIT}",
    "behind a patch port": "output:3,output:10,output:4",
    "in a table after another ct": "output:3,ct(zone=9,table=3),output:4",
    "with an action set": "output:3,goto_table:4",
}


def world(actions: str) -> Case:
    """Everything from the inside meets `actions`, answers are translated back."""
    tables = (
        f"table=0,in_port=1,tcp,actions={actions}",
        "table=0,in_port=2,tcp,actions=output:3,ct(zone=5,nat,table=1),output:4",
        "table=1,actions=resubmit(,9)",
        "table=2,actions=resubmit(,9)",
        f"table=3,actions=output:4,{COMMIT},output:3",
        "table=4,actions=write_actions(set_field:5->nw_ttl,output:4),goto_table:5",
        f"table=5,actions=output:3,{COMMIT}",
        f"table=9,actions={','.join(connections._SHOW)},output:3",
    )
    bucket = Bucket(parse_actions(f"set_field:3->ip_dscp,{COMMIT}"))
    meter = Meter(1, MeterFlag.PKTPS, (Band(BandType.DROP, 1000, 1000),))
    ports = (*(Port(n) for n in (1, 2, 3, 4)), Port(10, peer=("br1", 1)))
    behind = (
        f"table=0,actions=output:2,{COMMIT},output:2",
        "table=1,actions=output:1,output:2",
    )
    return Case(
        (
            BridgeCase(
                "br0", ports, tuple(map(rule, tables)),
                groups=(Group(1, GroupType.ALL, (bucket, bucket)),), meters=(meter,),
            ),
            BridgeCase("br1", (Port(1, peer=("br0", 10)), Port(2)), tuple(map(rule, behind))),
        ),
        conversation(),
    )  # fmt: skip


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ids of the packets that were held."""
    seen: list[int] = []
    go_on = TestRun.go_on

    def counted(run: TestRun, punt: Punt, packet: bytes) -> list[Captured]:
        seen.append(punt.userdata_id)
        return go_on(run, punt, packet)

    monkeypatch.setattr(TestRun, "go_on", counted)
    return seen


@pytest.mark.parametrize("place", PLACES)
def test_a_packet_that_waited_does_all_once(
    datapath: Datapath, held: list[int], place: str
) -> None:
    assert disagreement(datapath, world(PLACES[place])) == ""
    assert held, "some were held"
