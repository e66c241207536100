"""ovs-vswitchd as a second opinion: the same random worlds, run by Open vSwitch itself.

A dummy datapath writes what each port sends into a pcap file; nothing touches
a device.  Left out is what Open vSwitch does otherwise on purpose: a pushed
tag is empty there, NORMAL looks into second tags, ovs-ofctl turns mod_vlan_vid
into a push, a label takes the place of an 802.3 frame's length, and a pop to IP
takes all labels, where here it voids the packet.
"""

from __future__ import annotations

import struct
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Final

from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action
from gossamer.pipeline.fields import BY_NAME, get_slot
from gossamer.pipeline.format import format_actions, format_match, format_port
from gossamer.pipeline.group import GROUP_ANY, Group, GroupType
from gossamer.pipeline.match import Match
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.packet import ETH_TYPE_MIN, parse
from gossamer.pipeline.result import Output
from gossamer.pipeline.world import Fragments, Port, VlanMode
from tests.property.case import BridgeCase, Case

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
PATIENCE_S = 20
"""How long a packet that should be there may take still before it counts as not sent."""
BRIEFLY_S = 0.5
"""The same where the peer may do otherwise."""

Sent = Counter[tuple[str, int, bytes]]


class Peer:
    """An ovs-vswitchd of our own, in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            **{f"OVS_{d}DIR": str(directory) for d in ("RUN", "LOG", "DB", "SYSCONF")},
        }

    def run(self, *command: str) -> str:
        """Run a tool against it; raises CalledProcessError where the tool fails."""
        done = subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True, timeout=120
        )
        return done.stdout

    def add_bridge_of_two_ports(self) -> None:
        """Bridge br0 without flows, and its ports p1 and p2 of these numbers."""
        command = ["ovs-vsctl", "add-br", "br0", "--", "set", "bridge", "br0"]
        command += ["datapath_type=dummy", "fail-mode=secure"]
        for name in ("p1", "p2"):
            command += ["--", "add-port", "br0", name, "--", "set", "interface", name]
            command += ["type=dummy", f"ofport_request={name[1]}"]
        self.run(*command)

    def __enter__(self) -> Peer:
        database = self.directory / "conf.db"
        socket = self.directory / "db.sock"
        self.run("ovsdb-tool", "create", str(database), str(SCHEMA))
        daemon = ("--pidfile", "--detach", "--no-chdir", "--log-file")
        self.run("ovsdb-server", *daemon, f"--remote=punix:{socket}", str(database))
        self.run("ovs-vsctl", "--no-wait", "init")
        self.run("ovs-vswitchd", *daemon, "--disable-system", "--enable-dummy", f"unix:{socket}")
        self.run("ovs-vsctl", "set", "open", ".", "other_config:vlan-limit=2")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.run("ovs-appctl", "-t", "ovs-vswitchd", "exit")
        self.run("ovs-appctl", "-t", "ovsdb-server", "exit")


@dataclass
class Capture:
    """A pcap file that grows."""

    path: Path
    read: int = 24

    def packets(self) -> list[bytes]:
        """Those that came since the last call."""
        if not self.path.exists():
            return []
        data = self.path.read_bytes()
        out = []
        while self.read + 16 <= len(data):
            (length,) = struct.unpack_from("<I", data, self.read + 8)
            end = self.read + 16 + length
            if end > len(data):
                break
            out.append(data[self.read + 16 : end])
            self.read = end
        return out


@dataclass
class PeerWorld:
    """A case's bridges in the peer."""

    peer: Peer
    case: Case
    """What the peer took of it."""
    captures: dict[tuple[str, int], Capture] = field(default_factory=dict)

    def send(
        self, bridge: str, in_port: int, data: bytes, expected: Sent, patience_s: float = PATIENCE_S
    ) -> Sent:
        """What leaves by which port; waits longer while less came than is expected.

        The main loop runs its datapath, then answers commands: when it answers another one after
        the packet's, that is through.  That one forgets cached flows, as what NORMAL learns from
        their packets would come half a second late, and move addresses back that moved meanwhile.
        """
        self.peer.run("ovs-appctl", "netdev-dummy/receive", f"{bridge}p{in_port}", data.hex())
        self.peer.run("ovs-appctl", "revalidator/purge")
        sent: Sent = Counter()
        began = time.monotonic()
        while True:
            for place, capture in self.captures.items():
                for packet in capture.packets():
                    sent[(*place, packet)] += 1
            if sent.total() >= expected.total() or time.monotonic() - began > patience_s:
                return sent
            time.sleep(0.005)


def sent(outputs: list[Output], world: PeerWorld) -> Sent:
    """What the reference sent, as far as it is seen in the peer."""
    places = ((o.bridge, o.ofport, o.packet) for o in outputs)
    return Counter(place for place in places if place[:2] in world.captures)


def build(peer: Peer, case: Case) -> PeerWorld:
    """The case in the peer, without the flows it refuses and the packets left out here."""
    command = ["ovs-vsctl"]
    for name in ("br0", "br1", "br2"):
        command += ["--", "--if-exists", "del-br", name]
    peer.run(*command)
    world = PeerWorld(peer, case)
    command = ["ovs-vsctl"]
    for bridge in case.bridges:
        command += ["--", "add-br", bridge.name, "--", "set", "bridge", bridge.name]
        command += ["datapath_type=dummy", "fail-mode=secure"]
        for port in bridge.ports:
            command += _port(world, bridge.name, port)
    peer.run(*command)
    peer.run("ovs-appctl", "netdev-dummy/set-admin-state", "up")
    bridges = tuple(_with_flows(peer, _with_groups(peer, bridge)) for bridge in case.bridges)
    packets = tuple(p for p in case.packets if p.in_port != OfPort.LOCAL and _comparable(p.data))
    world.case = Case(bridges, packets)
    return world


def _port(world: PeerWorld, bridge: str, port: Port) -> list[str]:
    name = bridge if port.ofport == OfPort.LOCAL else f"{bridge}p{port.ofport}"
    command: list[str] = []
    if name != bridge:
        command += ["--", "add-port", bridge, name, "--", "set", "interface", name]
        command.append(f"ofport_request={port.ofport}")
        if port.peer:
            command += ["type=patch", f"options:peer={port.peer[0]}p{port.peer[1]}"]
        else:
            number = len(list(world.peer.directory.glob("*.pcap"))) + len(world.captures)
            path = world.peer.directory / f"{name}-{number}.pcap"
            world.captures[bridge, port.ofport] = Capture(path)
            command += ["type=dummy", f"options:tx_pcap={path}"]
    settings = []
    if port.vlan_mode is not VlanMode.TRUNK:
        mode = port.vlan_mode.name.lower().replace("_", "-")
        settings += [f"tag={port.tag}", f"vlan_mode={mode}"]
    if port.trunks:
        settings.append(f"trunks={','.join(map(str, sorted(port.trunks)))}")
    return [*command, "--", "set", "port", name, *settings] if settings else command


def _with_groups(peer: Peer, bridge: BridgeCase) -> BridgeCase:
    """The bridge with the groups the peer took.  A select group has every bucket here, as
    Open vSwitch's hash is its own."""
    taken = []
    for group in bridge.groups:
        if group.type is GroupType.SELECT:
            group = replace(group, type=GroupType.ALL, selection_method="", fields=0)
        buckets = tuple(
            replace(b, actions=tuple(a for a in b.actions if not _left_out(a)))
            for b in group.buckets
        )
        group = replace(group, buckets=buckets)
        try:
            peer.run("ovs-ofctl", "-OOpenFlow15", "add-group", bridge.name, _group(group))
        except subprocess.CalledProcessError:
            continue
        taken.append(group)
    return replace(bridge, groups=tuple(taken))


def _group(group: Group) -> str:
    kind = {GroupType.FAST_FAILOVER: "ff"}.get(group.type, group.type.name.lower())
    text = f"group_id={group.group_id},type={kind}"
    for bucket in group.buckets:
        text += f",bucket=bucket_id:{bucket.bucket_id}"
        if bucket.watch_port != OfPort.ANY:
            text += f",watch_port:{format_port(bucket.watch_port)}"
        if bucket.watch_group != GROUP_ANY:
            text += f",watch_group:{bucket.watch_group}"
        text += f",actions={format_actions(bucket.actions)}"
    return text


def _with_flows(peer: Peer, bridge: BridgeCase) -> BridgeCase:
    taken = []
    for flow in bridge.flows:
        actions = tuple(a for a in flow.actions if not _left_out(a))
        flow = replace(flow, actions=actions)
        match = _match(flow.match, flow.priority)
        text = f"table={flow.table_id},{match},actions={format_actions(actions)}"
        try:
            peer.run("ovs-ofctl", "-OOpenFlow15", "add-flow", bridge.name, text)
        except subprocess.CalledProcessError:
            continue  # not expressible in OpenFlow 1.5: neither side has it
        taken.append(flow)
    ports = tuple(replace(p, flood=True, forward=True, receive=True, up=True) for p in bridge.ports)
    return BridgeCase(
        bridge.name, ports, tuple(taken), groups=bridge.groups, fragments=Fragments.NORMAL
    )


_INDEX: Final = BY_NAME["tun_erspan_idx"]


def _match(match: Match, priority: int) -> str:
    """A match in words.  Open vSwitch reads ERSPAN's index wherever it stands, but shows it only
    beside version 1, and so do we: what is not shown is said here."""
    text = format_match(match, priority)
    value, mask = match.field(_INDEX)
    if not mask or f"{_INDEX.name}=" in text:
        return text
    return f"{text},{_INDEX.name}={value:#x}/{mask:#x}"


def _left_out(action: Action) -> bool:
    if isinstance(action, act.WriteActions | act.Clone):
        return any(_left_out(a) for a in action.actions)
    return isinstance(
        action,
        act.PushVlan | act.SetVlanVid | act.SetVlanPcp | act.Controller | act.OutputReg | act.Note,
    )


def _comparable(data: bytes) -> bool:
    tci = data[14] if data[12:14] in (b"\x81\x00", b"\x88\xa8") else 0
    key = parse(data, 0)
    with_type = int.from_bytes(data[12:14], "big") >= ETH_TYPE_MIN
    return with_type and not get_slot(key, "vlan1_tci") and not tci & 0x10
