"""The reference tracks connections as ovs-vswitchd's userspace datapath does.

What is compared is every packet that leaves, with what rules saw of its connection, and the
connections there are at the end.  Left out is where docs/conntrack.md says that we differ.
"""

from __future__ import annotations

import re
import shutil
from ipaddress import ip_address
from pathlib import Path

import pytest

from gossamer.pipeline.conntrack.connection import Connection
from gossamer.pipeline.conntrack.foreseen import Foreseen
from gossamer.pipeline.conntrack.timeouts import NS_PER_S
from gossamer.pipeline.conntrack.tracker import Tracker
from gossamer.pipeline.conntrack.tuple import Tuple
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.field_syntax import parse_value
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.steps import Drop
from gossamer.pipeline.trace import trace_flow
from gossamer.pipeline.world import Bridge, Port, World
from tests.property import peer as peers
from tests.property.connections import case, rule

N_WORLDS = 8
N_PACKETS = 30

needs_peer = pytest.mark.skipif(
    not all(map(shutil.which, ("ovs-vswitchd", "ovsdb-server", "ovs-ofctl"))),
    reason="needs Debian's Open vSwitch",
)
_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}


@needs_peer
def test_open_vswitch_tracks_connections_as_the_reference_does(tmp_path: Path) -> None:
    with peers.Peer(tmp_path) as peer:
        peer.run("ovs-appctl", "time/stop")
        for seed in range(N_WORLDS):
            disagreement = compare(peer, seed, nat=seed % 2 == 1)
            assert not disagreement, f"seed {seed}: {disagreement}"


def compare(peer: peers.Peer, seed: int, *, nat: bool) -> str:
    """What a sequence of packets is seen to differ in, as text."""
    wanted = case(seed, N_PACKETS, nat=nat, shared=True)
    built = peers.build(peer, wanted)
    if len(built.case.bridges[0].flows) != len(wanted.bridges[0].flows):
        return "some flow was not taken"
    world = built.case.world()
    pipeline = Pipeline(world)
    for at, packet in enumerate(built.case.packets):
        if packet.after_s:
            peer.run("ovs-appctl", "time/warp", str(packet.after_s * 1000), "1000000000")
            world.now_s += packet.after_s
        result = pipeline.run(packet.bridge, packet.in_port, packet.data)
        expected = peers.sent(result.outputs, built)
        known = Drop.CT_NAT_FULL in result.drops
        patience_s = peers.BRIEFLY_S if known else peers.PATIENCE_S
        got = built.send(packet.bridge, packet.in_port, packet.data, expected, patience_s)
        if known:
            return ""  # Open vSwitch sends it on as it is, so that tables differ from here on
        if got != expected:
            return f"packet {at}: {packet}\n ours   {_hex(expected)}\n theirs {_hex(got)}"
    lines = peer.run("ovs-appctl", "dpctl/dump-conntrack", "-s").splitlines()
    # Those without time left wait there to be cleaned up.
    theirs = {_line(line) for line in lines if ",timeout=0" not in line}
    ours = connections(world)
    return (
        "" if ours == theirs else f"connections\n ours   {ours - theirs}\n theirs {theirs - ours}"
    )


def _hex(sent: peers.Sent) -> list[str]:
    return [f"{place[1]}:{place[2].hex()}" for place in sent.elements()]


def _line(line: str) -> str:
    """Without what is only shown in part: the states of TCP are those of both sides in one."""
    return re.sub(r",(timeout=\d+|protoinfo=\(.*\))", "", line)


def connections(world: World) -> set[str]:
    """Those of the reference, as ovs-appctl dpctl/dump-conntrack shows them."""
    assert isinstance(world.tracking, Tracker)
    return {_shown(c) for c in world.tracking.connections(int(world.now_s * NS_PER_S))}


def _shown(c: Connection) -> str:
    name = _NAMES.get(c.original.proto, str(c.original.proto))
    text = f"{name},orig=({_endpoints(c.original)}),reply=({_endpoints(c.reply)})"
    text += f",zone={c.original.zone}" if c.original.zone else ""
    text += f",mark={c.mark}" if c.mark else ""
    return text + (f",labels={c.label:#x}" if c.label else "")


def _endpoints(t: Tuple) -> str:
    text = f"src={ip_address(t.src)},dst={ip_address(t.dst)}"
    if t.is_icmp:
        return text + f",id={t.sport},type={t.dport >> 8},code={t.dport & 0xFF}"
    return text + f",sport={t.sport},dport={t.dport}"


_TRACED = (
    "table=0,ip,actions=set_field:7->reg1,ct(table=1,zone=5,nat)",
    "table=1,ct_state=+new,tcp,actions=ct(commit,zone=5,nat(src=1.1.1.1:2000-3000),"
    "exec(set_field:0x3->ct_mark),table=2),output:2",
    "table=1,ct_state=+est,ip,actions=ct_clear,output:2",
    "table=2,actions=output:2",
)
_PACKET = "in_port=1,tcp,nw_src=10.0.0.1,nw_dst=10.0.0.2,tp_src=5,tp_dst=80"
_FORESEEN = ((), ("trk,est",), ("trk,new", "trk,est,rpl"))


@needs_peer
def test_open_vswitch_traces_connections_in_the_same_words(tmp_path: Path) -> None:
    with peers.Peer(tmp_path) as peer:
        peer.add_bridge_of_two_ports()
        for text in _TRACED:
            peer.run("ovs-ofctl", "-OOpenFlow15", "add-flow", "br0", text)
        theirs = []
        for states in _FORESEEN:
            options = [word for state in states for word in ("--ct-next", state)]
            theirs.append(peer.run("ovs-appctl", "ofproto/trace", "br0", _PACKET, *options))
    for states, their in zip(_FORESEEN, theirs, strict=True):
        foreseen = Foreseen(parse_value(BY_NAME["ct_state"], s.replace(",", "|"))[0] for s in states)
        world = World([Bridge("br0", [Port(1), Port(2)], map(rule, _TRACED))], tracking=foreseen)
        assert _comparable(trace_flow(world, "br0", _PACKET)[0]) == _comparable(their)


def _comparable(text: str) -> list[str]:
    """Without what is about Open vSwitch's datapath, and with copies counted from one."""
    numbers: dict[str, str] = {}
    for number in re.findall(r"^recirc\((0x\w+)\)", text, re.MULTILINE):
        numbers.setdefault(number, f"#{len(numbers) + 1}")
    lines = []
    for line in text.rstrip().splitlines():
        if not line.startswith(("Megaflow:", "Datapath actions:")):
            counted = re.sub(
                r"(recirc\(|recirc_id=)(0x\w+)", lambda m: m[1] + numbers.get(m[2], m[2]), line
            )
            lines.append(counted)
    return lines
