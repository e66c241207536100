"""A packet that waits at a controller goes on as in ovs-vswitchd, and controllers see the same of it.

ovs-ofctl is the controller there: it prints each packet-in and sends it back.  Here the reference
pipeline stops the packet, the codec takes it to the controller and back, and the pipeline goes on.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gossamer.openflow import encode
from gossamer.openflow import message as m
from gossamer.openflow.codec import Context, decode
from gossamer.openflow.frame import nicira
from gossamer.pipeline.action_syntax import parse_actions
from gossamer.pipeline.conntrack.tracker import Tracker
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.flow_syntax import parse_flow
from gossamer.pipeline.group import Bucket, Group, GroupType
from gossamer.pipeline.key_parts import BESIDE_HEADERS
from gossamer.pipeline.result import Punt, Result
from gossamer.pipeline.world import Bridge, Port, World
from gossamer.switch.continuation import continuation_of, frozen_of
from tests.property import peer as peers
from tests.property.test_peer import needs_peer
from tests.system.world import until
from tests.unit.openflow.printed import printed

FRAME = bytes.fromhex(
    "0000000000020000000000010800"
    "4500002800010000400666cd0a0000010a000002"
    "0050005100000000000000005002ffff9b3f0000"
)
PORTS = {"br0": (1, 2, 3, 4), "br1": (6, 7)}
BUCKETS = ("resubmit(,7)", "set_field:1->reg3,resubmit(,8)", "output:4")
VERSION = m.Version.V15
PROBE = "aa.bb.cc"

CASES = [
    pytest.param(
        "table=0,cookie=0x1,actions=set_field:1->reg1,resubmit(,1),set_field:5->reg2,output:2,controller",
        "table=1,cookie=0x2,actions=push:NXM_NX_REG1[],controller(pause,userdata=01),output:3,resubmit(,2)",
        "table=2,cookie=9,actions=output:4",
        id="what callers have left to do",
    ),
    pytest.param(
        "table=0,cookie=0x1,actions=clone(controller(pause),output:3),output:2", id="in a clone"
    ),
    pytest.param(
        "table=0,cookie=0x1,actions=clone(resubmit(,1),output:4),output:2",
        "table=1,cookie=2,actions=controller(pause),output:3",
        id="in a table that a clone resubmits to",
    ),
    pytest.param(
        "table=0,cookie=0x1,actions=group:1,output:2",
        "table=7,actions=controller(pause),output:3",
        "table=8,actions=output:3,controller(pause),output:2",
        id="in two buckets",
    ),
    pytest.param(
        "table=0,cookie=0x1,actions=resubmit(,3),resubmit(,1),output:3",
        "table=3,actions=write_actions(set_field:00:00:00:00:00:18->eth_src,output:2)",
        "table=1,cookie=2,actions=controller(pause),write_metadata:0x7/0xf,goto_table:2",
        "table=2,cookie=3,metadata=7,actions=output:4",
        id="with an action set and instructions",
    ),
    pytest.param(
        "table=0,cookie=0x1,actions=controller(pause),controller(pause),output:3", id="twice"
    ),
    pytest.param(
        "table=0,cookie=0x1,actions=resubmit(,1),resubmit(,3)",
        "table=1,cookie=0x2,ip,actions=controller(pause),resubmit(,2),set_field:10.8.8.8->ip_src",
        "table=2,cookie=0x3,ip,actions=controller(pause),set_field:10.9.9.9->ip_dst",
        "table=3,cookie=0x4,actions=output:4",
        id="again, in what was left to do",
    ),
    pytest.param("table=0,cookie=0x1,actions=output:2,controller(pause)", id="last"),
    pytest.param(
        "table=0,cookie=0x1,actions=resubmit(,1),resubmit(,5),output:2",
        "table=1,cookie=2,ip,actions=resubmit(,2),note:01,dec_ttl",
        "table=2,cookie=2,actions=controller(pause),exit,output:4",
        id="an exit that comes later ends everything",
    ),
    pytest.param(
        "table=0,cookie=0x1,actions=write_actions(resubmit(,1))",
        "table=1,actions=controller(pause),output:3",
        id="in the action set",
    ),
    pytest.param(
        "table=0,cookie=0x1,ip,actions=ct(table=1,zone=5),output:2",
        "table=1,cookie=3,ct_state=+trk,ip,actions=resubmit(,2),ct_clear,resubmit(,3)",
        "table=2,cookie=5,actions=controller(pause),resubmit(,3)",
        "table=3,ct_state=+trk,ip,actions=output:3",
        "table=3,priority=1,actions=output:4",
        id="with a connection",
    ),
    pytest.param(
        "table=0,cookie=0x1,actions=output:5,output:2",
        "br1,table=0,cookie=7,actions=resubmit(,1),output:7",
        "br1,table=1,cookie=8,actions=controller(pause),output:6",
        id="behind a patch port",
    ),
    pytest.param(
        "table=0,cookie=0x1,in_port=1,actions=set_field:99->in_port,resubmit(98,1),output:2",
        "table=1,in_port=98,cookie=8,actions=controller(pause),output:3,resubmit(,2)",
        "table=2,in_port=98,actions=output:4",
        "table=2,in_port=99,actions=output:3",
        id="with another in_port",
    ),
    pytest.param(
        "table=0,cookie=0x1,ip,actions=set_field:1.1.1.1->ip_src,dec_ttl,"
        "controller(pause,max_len=60,id=0,reason=no_match),output:2",
        id="with changed headers",
    ),
    pytest.param(
        "table=0,actions=push:NXM_NX_REG1[],set_field:0x1234567->reg1,push:NXM_NX_REG1[0..15],"
        "resubmit(,1),pop:NXM_NX_REG3[],resubmit(,2)",
        "table=1,actions=controller(pause),pop:NXM_NX_REG2[0..15]",
        "table=2,reg2=0x4567,reg3=0,actions=output:3",
        id="with a stack",
    ),
]


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[peers.Peer, Captures]]:
    with peers.Peer(tmp_path_factory.mktemp("peer")) as running:
        yield running, build(running)


Captures = dict[tuple[str, int], peers.Capture]


def build(peer: peers.Peer) -> Captures:
    """Two bridges with these ports, joined by a patch pair, and the group."""
    captures: Captures = {}
    command = ["ovs-vsctl"]
    for bridge, numbers in PORTS.items():
        command += ["--", "add-br", bridge, "--", "set", "bridge", bridge]
        command += ["datapath_type=dummy", "fail-mode=secure"]
        for number in numbers:
            path = peer.directory / f"p{number}.pcap"
            captures[bridge, number] = peers.Capture(path)
            command += ["--", "add-port", bridge, f"p{number}"]
            command += ["--", "set", "interface", f"p{number}", f"ofport_request={number}"]
            command += ["type=dummy", f"options:tx_pcap={path}"]
    for bridge, number, other in (("br0", 5, 8), ("br1", 8, 5)):
        command += ["--", "add-port", bridge, f"p{number}"]
        command += ["--", "set", "interface", f"p{number}", f"ofport_request={number}"]
        command += ["type=patch", f"options:peer=p{other}"]
    peer.run(*command)
    peer.run("ovs-appctl", "netdev-dummy/set-admin-state", "up")
    buckets = "".join(f",bucket=bucket_id:{i},actions={a}" for i, a in enumerate(BUCKETS))
    peer.run("ovs-ofctl", "-OOpenFlow15", "add-group", "br0", f"group_id=1,type=all{buckets}")
    return captures


def bridge_of(rule: str) -> tuple[str, str]:
    """The bridge a rule is for, and its text."""
    return ("br1", rule.removeprefix("br1,")) if rule.startswith("br1,") else ("br0", rule)


def theirs(
    peer: peers.Peer, captures: Captures, rules: tuple[str, ...], n_waits: int, expected: Seen
) -> Seen:
    """What it does; waits longer while less came than is expected."""
    for bridge in PORTS:
        peer.run("ovs-ofctl", "del-flows", bridge)
    for rule in rules:
        peer.run("ovs-ofctl", "-OOpenFlow15", "add-flow", *bridge_of(rule))
    for capture in captures.values():
        capture.packets()
    files = [peer.directory / f"{bridge}.txt" for bridge in PORTS]
    controllers = []
    sent: Counter[tuple[str, int, bytes]] = Counter()
    try:
        for bridge, path in zip(PORTS, files, strict=True):
            with path.open("w") as out:
                command = ["ovs-ofctl", "-OOpenFlow15", "monitor", bridge, "resume", "65534"]
                controllers.append(
                    subprocess.Popen(
                        [*command, "-P", "nxt_packet_in2"],
                        env=peer.environment, stdout=subprocess.DEVNULL, stderr=out,
                    )
                )  # fmt: skip
        wait_for(lambda: all(hears(peer, bridge, path) for bridge, path in zip(PORTS, files, strict=True)))
        peer.run("ovs-appctl", "netdev-dummy/receive", "p1", FRAME.hex())
        wait_for(lambda: sum(p.read_text().count("send: NXT_RESUME") for p in files) >= n_waits)

        def all_came() -> bool:
            for place, capture in captures.items():
                for packet in capture.packets():
                    sent[*place, packet] += 1
            seen = told("\n".join(path.read_text() for path in files))
            return len(seen) >= len(expected[0]) and sent.total() >= expected[1].total()

        until(all_came)
        time.sleep(0.1)  # for what should not come
        all_came()
    finally:
        for controller in controllers:
            controller.terminate()
            controller.wait(60)
    return sorted(told("\n".join(path.read_text() for path in files))), sent


def hears(peer: peers.Peer, bridge: str, path: Path) -> bool:
    """Whether the controller of that bridge hears of packets: it is asked with one of our own."""
    probe = f"in_port=controller,packet={FRAME.hex()},actions=controller(userdata={PROBE})"
    peer.run("ovs-ofctl", "packet-out", bridge, probe)
    time.sleep(0.05)
    return PROBE in path.read_text()


def wait_for(condition: Callable[[], bool]) -> None:
    assert until(condition), "it does not come"


Seen = tuple[list[tuple[str, ...]], "Counter[tuple[str, int, bytes]]"]


def told(text: str) -> list[tuple[str, ...]]:
    """Packet-ins as ovs-ofctl prints them: the line that names them, and what it says of how to go on
    that is not a number of each switch's own."""
    found: list[tuple[str, ...]] = []
    of_packet_in = False
    for line in text.splitlines():
        if not line.startswith(" "):
            of_packet_in = line.startswith("NXT_PACKET_IN2")
            if of_packet_in:
                found.append((line.replace(" (OF1.5)", ""),))
        elif of_packet_in and not line.startswith(
            (" continuation.bridge=", " continuation.odp_port=")
        ):
            found[-1] += (line,)
    return [lines for lines in found if f" userdata={PROBE}" not in lines]


def ours(rules: tuple[str, ...]) -> tuple[Seen, int]:
    world = world_of(rules)
    pipeline = Pipeline(world)
    left = [pipeline.run("br0", 1, FRAME)]
    text, n_waits = "", 0
    sent: Counter[tuple[str, int, bytes]] = Counter()
    while left:
        result = left.pop(0)
        sent += Counter((o.bridge, o.ofport, o.packet) for o in result.outputs)
        for punt in result.punts:
            raw = packet_in(punt)
            text += printed(raw)
            if punt.frozen is not None:
                n_waits += 1
                left.append(resumed(pipeline, punt.bridge, raw))
    return (sorted(told(text)), sent), n_waits


def packet_in(punt: Punt) -> bytes:
    cookie = punt.flow.cookie if punt.flow is not None else m.NO_COOKIE
    message = m.PacketIn(
        punt.packet, len(punt.packet), punt.reason, punt.table_id, cookie, punt.in_port, punt.key,
        userdata=punt.action.userdata, continuation=continuation_of(punt.frozen, bytes(16)),
    )  # fmt: skip
    return encode.packet_in(message, VERSION, m.PacketInFormat.NXT_PACKET_IN2)


def resumed(pipeline: Pipeline, bridge: str, raw: bytes) -> Result:
    message = decode(nicira(VERSION, 28, 1, raw[16:]), Context(VERSION))
    assert isinstance(message, m.Resume)
    in_port, _ = message.metadata.field(BY_NAME["in_port"])
    brought = message.metadata.value & BESIDE_HEADERS
    return pipeline.resume(
        bridge, in_port, message.data, frozen_of(message.continuation), brought
    )


def world_of(rules: tuple[str, ...]) -> World:
    flows: dict[str, list[Flow]] = {bridge: [] for bridge in PORTS}
    for rule in rules:
        bridge, text = bridge_of(rule)
        on, _, actions = text.partition("actions=")
        cookie = re.search(r"cookie=(\w+),?", on)
        parsed = parse_flow(re.sub(r"cookie=\w+,?", "", on).rstrip(","))
        flows[bridge].append(
            Flow(
                parsed.table_id or 0,
                32768 if parsed.priority is None else parsed.priority,
                parsed.match,
                parse_actions(actions),
                cookie=int(cookie[1], 0) if cookie else 0,
            )
        )
    group = Group(1, GroupType.ALL, tuple(Bucket(parse_actions(a), i) for i, a in enumerate(BUCKETS)))
    ports = {bridge: [Port(n) for n in numbers] for bridge, numbers in PORTS.items()}
    ports["br0"].append(Port(5, peer=("br1", 8)))
    ports["br1"].append(Port(8, peer=("br0", 5)))
    return World(
        [
            Bridge("br0", ports["br0"], flows["br0"], groups={1: group}),
            Bridge("br1", ports["br1"], flows["br1"]),
        ],
        tracking=Tracker(),
    )


@needs_peer
@pytest.mark.parametrize("rules", [pytest.param(c.values, id=str(c.id)) for c in CASES])
def test_a_packet_goes_on_with_all_that_was_left_to_do(
    rules: tuple[str, ...], peer: tuple[peers.Peer, Captures]
) -> None:
    expected, n_waits = ours(rules)
    assert n_waits
    assert theirs(*peer, rules, n_waits, expected) == expected
