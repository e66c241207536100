"""The switch as a whole: convergence, restarts, controllers, commands."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_datapath import FakeDatapath
from running_switch import RunningSwitch, bridge
from tests.system.world import until

from gossamer.daemon.appctl.fdb import FdbCommands
from gossamer.datapath.settings import FdbEntry, MissAction
from gossamer.errors import GossamerError
from gossamer.switch.config import (
    BridgeConfig,
    ControllerConfig,
    FailMode,
    InterfaceConfig,
    PortConfig,
)
from gossamer.switch.transport import Transport


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[RunningSwitch]:
    running = RunningSwitch(tmp_path)
    yield running
    running.stop()


class Peer:
    """A controller of our own: raw OpenFlow over a socket."""

    def __init__(self, sock: socket.socket, version: int = 4) -> None:
        self.sock, self.version, self.buffer = sock, version, b""
        sock.settimeout(60)
        self.send(0)
        hello = self.receive()
        assert hello[1] == 0

    def send(self, kind: int, body: bytes = b"", xid: int = 1) -> None:
        """Send one message."""
        self.sock.sendall(struct.pack(">BBHI", self.version, kind, 8 + len(body), xid) + body)

    def receive(self) -> bytes:
        """The next message."""
        while len(self.buffer) < 8 or len(self.buffer) < int.from_bytes(self.buffer[2:4], "big"):
            data = self.sock.recv(65536)
            assert data, "connection closed"
            self.buffer += data
        length = int.from_bytes(self.buffer[2:4], "big")
        message, self.buffer = self.buffer[:length], self.buffer[length:]
        return message

    def keep(self) -> None:
        """Answer echo requests from now on, until the connection ends."""

        def answer() -> None:
            with contextlib.suppress(AssertionError, OSError):
                while True:
                    message = self.receive()
                    if message[1] == 2:
                        self.send(3, message[8:], int.from_bytes(message[4:8], "big"))

        threading.Thread(target=answer, daemon=True).start()

    def end(self) -> None:
        """Hang up."""
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def ask(self, kind: int, body: bytes = b"", xid: int = 7) -> bytes:
        """Send a request; the answer, whatever comes unasked before it."""
        self.send(kind, body, xid)
        while True:
            message = self.receive()
            if int.from_bytes(message[4:8], "big") == xid:
                return message


def management(switch: RunningSwitch, version: int = 4, name: str = "br0") -> Peer:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(switch.rundir / f"{name}.mgmt"))
    return Peer(sock, version)


class Listening:
    """A controller that waits for the switch."""

    def __init__(self) -> None:
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen()
        self.sock.settimeout(60)
        self.target = f"tcp:127.0.0.1:{self.sock.getsockname()[1]}"

    def accept(self, version: int = 4) -> Peer:
        """The connection of the switch; one that it has given up meanwhile is none."""
        for _ in range(20):
            with contextlib.suppress(AssertionError, BrokenPipeError, ConnectionResetError):
                return Peer(self.sock.accept()[0], version)
        raise AssertionError("the switch gives all its connections up")


@pytest.fixture
def controller() -> Iterator[Listening]:
    listening = Listening()
    yield listening
    listening.sock.close()


# -- bridges --------------------------------------------------------------------------------------


def test_a_new_bridge_forwards_like_any_switch_unless_it_is_secure(
    switch: RunningSwitch,
) -> None:
    switch.apply(bridge("a", 0), bridge("b", 0, fail_mode=FailMode.SECURE))
    assert switch.flows("a") == ["priority=0 actions=NORMAL"]
    assert switch.flows("b") == []
    switch.apply(bridge("a", 0, fail_mode=FailMode.SECURE), bridge("b", 0))
    assert switch.flows("a") == []
    assert switch.flows("b") == ["priority=0 actions=NORMAL"]


def test_applying_the_same_again_leaves_flows_alone(switch: RunningSwitch) -> None:
    switch.apply()
    switch.ofctl("add-flow", "br0", "in_port=1,actions=2")
    switch.apply()
    switch.apply(bridge(ports=2))
    assert "in_port=1 actions=output:2" in switch.flows()


def test_a_bridge_that_is_removed_leaves_nothing(switch: RunningSwitch) -> None:
    switch.apply()
    assert (switch.rundir / "br0.mgmt").exists() and (switch.rundir / "br0.snoop").exists()
    switch.apply(bridge("other", 0))
    assert sorted(p.name for p in switch.rundir.iterdir()) == [
        "other.flows",
        "other.mgmt",
        "other.snoop",
    ]
    assert [b.name for b in switch.datapath.bridges.values()] == ["other"]
    assert "br0" not in switch.devices.links


def test_patch_ports_are_joined_where_both_name_each_other(switch: RunningSwitch) -> None:
    def patch(name: str, peer: str) -> PortConfig:
        return PortConfig(name, (InterfaceConfig(name, "patch", options={"peer": peer}),))

    def peers() -> dict[str, str | None]:
        names = {i: s.name for i, (_, s) in switch.datapath.ports.items()}
        return {
            s.name: names.get(s.patch_peer) if s.patch_peer else None
            for _, s in switch.datapath.ports.values()
            if s.name.startswith("p")
        }

    one = BridgeConfig("one", ports=(patch("p1", "p2"), patch("p3", "p4")))
    switch.apply(one, BridgeConfig("two", ports=(patch("p2", "p1"), patch("p4", "p1"))))
    assert peers() == {"p1": "p2", "p2": "p1", "p3": None, "p4": None}
    switch.apply(one, BridgeConfig("two", ports=(patch("p4", "p3"),)))
    assert peers() == {"p1": None, "p3": "p4", "p4": "p3"}
    packet = "in_port=controller,packet=112233445566aabbccddeeff0800,actions=output:2"
    switch.apply(one, BridgeConfig("two", ports=(patch("p4", "p3"), *bridge("x", 1).ports)))
    switch.ofctl("packet-out", "one", packet)
    port_id = switch.switch.bridges["two"].ports.ports["v1"].port_id
    assert port_id in [i for i, _ in switch.datapath.sent]


def test_the_status_tells_of_ports_and_their_errors(switch: RunningSwitch) -> None:
    ports = (*bridge().ports, PortConfig("nope", (InterfaceConfig("nope"),)))
    status = switch.apply(BridgeConfig("br0", ports=ports)).bridges["br0"]
    assert status.datapath_id == 1
    nope = status.ports["nope"].interfaces["nope"]
    assert (nope.ofport, nope.error) == (
        -1,
        "could not open network device nope (No such device)",
    )
    before = switch.switch.changes
    switch.call(lambda: switch.devices.appear("nope"))
    assert until(lambda: switch.switch.changes > before)
    status = switch.call(switch.switch.status).bridges["br0"]
    assert status.ports["nope"].interfaces["nope"].ofport == 4


# -- restarts -------------------------------------------------------------------------------------


def restarted(old: RunningSwitch) -> RunningSwitch:
    """The next daemon, after the old one was killed; the datapath lived on."""
    old.kill()
    old.datapath.takeover = True
    new = RunningSwitch(old.rundir, old.datapath)
    new.devices.links |= old.devices.links
    return new


def test_flows_survive_a_kill_with_cookie_age_and_counters(tmp_path: Path) -> None:
    first = RunningSwitch(tmp_path)
    first.apply()
    first.ofctl("del-flows", "br0")
    first.ofctl("add-flow", "br0", "cookie=5,table=2,priority=7,tcp,actions=output:2", version=10)
    first.ofctl("add-flow", "br0", "in_port=1,reg3=7,actions=load:1->NXM_NX_REG0[],resubmit(,2)",
                version=10)  # fmt: skip
    first.ofctl("add-flows", "br0", "-", stdin="in_port=8,actions=1\nin_port=9,actions=1\n")
    first.ofctl("mod-flows", "br0", "in_port=9,actions=5")
    first.ofctl("--strict", "del-flows", "br0", "in_port=8")
    bundle = "in_port=3,actions=1\nin_port=4,actions=1\ndelete in_port=3\n"
    first.ofctl("--bundle", "add-flows", "br0", "-", stdin=bundle, version=14)
    flow = next(f for f in first.switch.bridges["br0"].tables if f.cookie == 5)
    first.call(lambda: first.datapath.count(flow, 12, 3400, flow.created_s))
    before, n_in_datapath = first.flows(), len(first.datapath.bridges[1].flows)
    assert len(before) == 4

    second = restarted(first)
    second.apply()
    assert second.flows() == before
    assert len(second.datapath.bridges[1].flows) == n_in_datapath
    assert second.datapath.converged == 1
    again = next(f for f in second.switch.bridges["br0"].tables if f.cookie == 5)
    assert again.created_s == flow.created_s
    assert "n_packets=12, n_bytes=3400" in second.ofctl("dump-flows", "br0", "cookie=5/-1")
    second.ofctl("del-flows", "br0")
    third = restarted(second)
    third.apply()
    assert third.flows() == []
    third.stop()


def test_expired_and_evicted_flows_do_not_come_back(tmp_path: Path) -> None:
    from gossamer.switch.config import FlowTableConfig

    limited = bridge(flow_tables={1: FlowTableConfig(flow_limit=2, evict_when_full=True)})
    first = RunningSwitch(tmp_path)
    first.apply(limited)
    first.ofctl("add-flow", "br0", "in_port=1,hard_timeout=1,actions=1")
    for n in (2, 3, 4):
        first.ofctl("add-flow", "br0", f"table=1,in_port={n},idle_timeout={n * 100},actions=1")
    assert until(lambda: not any("in_port=1 " in f for f in first.flows()))
    before = first.flows()
    assert len(before) == 3
    second = restarted(first)
    second.apply(limited)
    assert second.flows() == before
    second.stop()


def test_a_journal_that_grew_is_rewritten_beside_the_running_switch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gossamer.switch.journal.MIN_COMPACTION_BYTES", 20_000)
    first = RunningSwitch(tmp_path)
    first.apply()
    first.ofctl("add-flow", "br0", "cookie=9,table=5,idle_timeout=500,tcp,actions=output:2")
    # Held open, so that its inode cannot become that of a later file.
    before_it = (tmp_path / "br0.flows").open("rb")
    lines = "".join(f"in_port=1,actions={n}\n" for n in range(1, 400))
    first.ofctl("add-flows", "br0", "-", stdin=lines)
    assert until(lambda: os.fstat(before_it.fileno()).st_nlink == 0)
    before_it.close()
    first.ofctl("add-flow", "br0", "in_port=2,actions=1")
    before = first.flows()
    second = restarted(first)
    second.apply()
    assert second.flows() == before and len(before) == 4
    assert (tmp_path / "br0.flows").stat().st_size < 45_000
    second.stop()


def test_timeouts_go_on_after_a_restart(tmp_path: Path) -> None:
    first = RunningSwitch(tmp_path)
    first.apply()
    began_s = time.time()
    first.ofctl("add-flow", "br0", "in_port=1,hard_timeout=2,actions=1")
    (created_s,) = [f.created_s for f in first.switch.bridges["br0"].tables if f.priority]
    second = restarted(first)
    second.apply()
    # It may be over already where the machine is busy; it does not begin anew.
    assert all(f.created_s == created_s for f in second.switch.bridges["br0"].tables if f.priority)
    assert until(lambda: not any("in_port=1" in f for f in second.flows()))
    assert time.time() >= began_s + 2
    second.stop()


def test_a_bridge_deleted_while_no_daemon_ran_is_forgotten(tmp_path: Path) -> None:
    first = RunningSwitch(tmp_path)
    first.apply()
    second = restarted(first)
    second.apply(bridge("other", 0))
    assert not (tmp_path / "br0.flows").exists()
    second.stop()


def test_exit_with_cleanup_leaves_nothing(tmp_path: Path) -> None:
    running = RunningSwitch(tmp_path)
    running.apply()
    running.call(running.switch.destroy)
    running.kill()
    assert list(tmp_path.iterdir()) == []
    assert not running.datapath.bridges and "br0" not in running.devices.links


# -- connections ----------------------------------------------------------------------------------


def test_an_active_controller_is_connected_probed_and_connected_again(
    switch: RunningSwitch, controller: Listening
) -> None:
    config = ControllerConfig(controller.target, inactivity_probe_ms=1000, max_backoff_ms=1000)
    switch.apply(bridge(controllers=(config,), fail_mode=FailMode.SECURE))
    assert switch.flows() == []
    peer = controller.accept()
    assert peer.ask(5)[1] == 6

    def status() -> tuple[bool, str | None, str]:
        found = switch.call(switch.switch.status).bridges["br0"].controllers[controller.target]
        return found.is_connected, found.role, found.status["state"]

    assert status() == (True, "other", "ACTIVE")
    probe = peer.receive()
    assert probe[1] == 2
    peer.send(3, xid=int.from_bytes(probe[4:8], "big"))
    assert peer.receive()[1] == 2
    assert until(lambda: not status()[0])
    assert controller.accept().ask(5)[1] == 6


def test_a_controller_that_answers_at_once_is_logged_as_connected(
    switch: RunningSwitch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = socket.socketpair()
    theirs.send(bytes((4, 0, 0, 8)) + bytes(4))  # its HELLO is there before we look
    ours.setblocking(False)
    transport = Transport(ours, "tcp:here", None, server=False)
    monkeypatch.setattr("gossamer.switch.controller.open_active", lambda *_: transport)
    with caplog.at_level(logging.INFO):
        switch.apply(bridge(controllers=(ControllerConfig("tcp:127.0.0.1:1"),)))
        assert until(lambda: "controller=tcp:127.0.0.1:1: connected" in caplog.text)
    theirs.close()


def test_a_bridge_whose_controllers_are_gone_fails_open_and_recovers(
    switch: RunningSwitch, controller: Listening
) -> None:
    config = ControllerConfig(controller.target, inactivity_probe_ms=500, max_backoff_ms=1000)
    switch.apply(bridge(controllers=(config,)))
    peer = controller.accept()
    peer.keep()
    sessions = switch.switch.bridges["br0"].controllers.primary_sessions
    assert until(lambda: switch.call(lambda: list(sessions())))
    switch.ofctl("add-flow", "br0", "in_port=1,actions=2")
    peer.end()
    assert until(lambda: switch.flows() == ["priority=61680 actions=NORMAL"])
    peer = controller.accept()
    peer.keep()
    assert until(lambda: switch.flows() == [])
    peer.end()


def test_a_secure_bridge_keeps_its_flows_without_controllers(
    switch: RunningSwitch, controller: Listening
) -> None:
    config = ControllerConfig(controller.target, inactivity_probe_ms=50, max_backoff_ms=1000)
    switch.apply(bridge(controllers=(config,), fail_mode=FailMode.SECURE))
    controller.accept().sock.close()
    switch.ofctl("add-flow", "br0", "in_port=1,actions=2")
    assert not until(lambda: switch.flows() != ["in_port=1 actions=output:2"], 0.5)


def test_controllers_may_connect_to_the_switch(switch: RunningSwitch, tmp_path: Path) -> None:
    path = tmp_path / "own.sock"
    switch.apply(bridge(controllers=(ControllerConfig(f"punix:{path}"),)))
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))
    peer = Peer(sock)
    assert peer.ask(5)[1] == 6
    found = switch.call(switch.switch.status).bridges["br0"].controllers[f"punix:{path}"]
    assert found.is_connected


def test_a_version_that_is_not_enabled_is_refused(switch: RunningSwitch) -> None:
    switch.apply(bridge(protocols=("OpenFlow10", "OpenFlow13")))
    assert "reply" in switch.ofctl("dump-flows", "br0", version=13).lower()
    out = switch.ofctl("dump-flows", "br0", version=12, check=False)
    assert "version negotiation failed" in out


def test_of_two_masters_the_older_becomes_a_slave(switch: RunningSwitch, tmp_path: Path) -> None:
    path = tmp_path / "c"
    switch.apply(bridge(controllers=(ControllerConfig(f"punix:{path}"),)))

    def connect(version: int) -> Peer:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(path))
        return Peer(sock, version)

    def role(peer: Peer, wanted: int, generation: int) -> bytes:
        return peer.ask(24, struct.pack(">I4xQ", wanted, generation))

    one, two = connect(5), connect(4)
    assert role(one, 2, 10)[8:12] == b"\0\0\0\2"
    assert role(two, 2, 11)[8:12] == b"\0\0\0\2"
    told = one.receive()
    assert told[1] == 30 and told[8:12] == b"\0\0\0\3"
    flow_mod = struct.pack(">QQBBHHHIIIHH", 0, 0, 0, 0, 0, 0, 1, 0xFFFFFFFF, 0, 0, 0, 0)
    flow_mod += b"\0\1\0\4\0\0\0\0"
    one.send(14, flow_mod, xid=33)
    error = one.receive()
    assert error[1] == 1 and error[8:12] == b"\0\1\0\x0a"
    two.send(14, flow_mod, xid=34)
    assert two.ask(20)[1] == 21
    assert "priority=1 actions=drop" in switch.flows()
    stale = role(one, 2, 9)
    assert stale[1] == 1 and stale[8:12] == b"\0\x0b\0\0"


def test_packets_nothing_matches_go_to_controllers_of_old_versions_alone(
    switch: RunningSwitch, tmp_path: Path
) -> None:
    path = tmp_path / "c"
    switch.apply(bridge(controllers=(ControllerConfig(f"punix:{path}"),)))
    miss = switch.datapath.bridges[1].miss

    def connect(version: int) -> Peer:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(path))
        return Peer(sock, version)

    newer = connect(4)
    newer.ask(5)
    assert miss.get(0, MissAction.DROP) is MissAction.DROP
    older = connect(1)
    older.ask(5)
    assert until(lambda: miss.get(0) is MissAction.CONTROLLER)
    older.sock.close()
    assert until(lambda: miss[0] is MissAction.DROP)
    switch.ofctl("mod-table", "br0", "3", "continue", version=11)
    assert miss[3] is MissAction.CONTINUE


def test_snooping_shows_what_passes_between_bridge_and_controller(
    switch: RunningSwitch, controller: Listening
) -> None:
    switch.apply(bridge(controllers=(ControllerConfig(controller.target),)))
    peer = controller.accept()
    with subprocess.Popen(
        ["ovs-ofctl", "--timeout=120", "snoop", "br0"],
        env={**os.environ, "OVS_RUNDIR": str(switch.rundir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as snoop:
        snooper = switch.switch.bridges["br0"].controllers.snooper
        # Not only connected: only after its hello is anything copied to it.
        assert until(lambda: any(tap.ready for _, tap in snooper._peers))
        switch.call(lambda: None)
        peer.ask(20, xid=0x77)
        peer.ask(2, b"hello", xid=0x78)
        assert snoop.stdout is not None
        seen = b""
        while b"OFPT_ECHO_REPLY (OF1.3) (xid=0x78)" not in seen:
            line = snoop.stdout.readline()
            assert line, seen
            seen += line
        assert b"OFPT_BARRIER_REQUEST (OF1.3) (xid=0x77)" in seen
        assert b"OFPT_BARRIER_REPLY (OF1.3) (xid=0x77)" in seen
        snoop.kill()


def test_a_peer_that_asks_and_never_listens_costs_bounded_memory(switch: RunningSwitch) -> None:
    switch.apply()
    lines = "".join(f"ip,nw_dst=10.0.{n >> 8}.{n & 255},actions=1\n" for n in range(3000))
    switch.ofctl("--bundle", "add-flows", "br0", "-", stdin=lines, version=14)
    peer = management(switch)
    request = struct.pack(">HH4x", 1, 0) + struct.pack(
        ">B3xII4xQQ", 255, 0xFFFFFFFF, 0xFFFFFFFF, 0, 0
    )
    request += b"\0\1\0\4\0\0\0\0"
    peer.sock.settimeout(0.2)
    requests = (lambda xid=xid: peer.send(18, request, xid) for xid in range(100_000))
    with pytest.raises(TimeoutError):
        any(send() for send in requests)
    session = switch.sessions()[0]
    assert session.connection.output_bytes < 4 << 20
    assert len(switch.flows()) == 3001


@pytest.mark.parametrize(
    ("raw", "closes"),
    [
        (b"\x04\x00\x00\x07\0\0\0\1", True),
        (b"\x01\x05\x00\x08\0\0\0\1", True),
        (b"\x04\xee\x00\x08\0\0\0\1", False),
        (b"\x04\x0e\x00\x08\0\0\0\1", False),
        (b"\x04\x12\x00\x10\0\0\0\1\xff\xfe\0\0\0\0\0\0", False),
        (b"\x04\x0d\x00\x18\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\0\0\0\0\0", False),
    ],
)
def test_malformed_messages_are_answered_with_an_error_or_end_the_connection(
    switch: RunningSwitch, raw: bytes, closes: bool
) -> None:
    switch.apply()
    peer = management(switch)
    peer.sock.sendall(raw)
    if closes:
        with pytest.raises(AssertionError, match="connection closed"):
            all(peer.receive() for _ in range(10))
    else:
        assert peer.receive()[1] == 1
        assert peer.ask(5)[1] == 6


def test_a_fault_of_ours_ends_one_connection_and_nothing_else(
    switch: RunningSwitch, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch.apply()
    monkeypatch.setattr("gossamer.switch.statistics.encode.desc_reply", None)
    flow_mod = struct.pack(">QQBBHHHIIIHH", 0, 0, 0, 0, 0, 0, 1, 0xFFFFFFFF, 0, 0, 0, 0)
    peer = management(switch)
    peer.send(14, flow_mod + b"\0\1\0\4\0\0\0\0")
    peer.send(18, b"\0" * 8)
    with pytest.raises(AssertionError, match="connection closed"):
        peer.receive()
    assert len(switch.flows()) == 2


# -- commands -------------------------------------------------------------------------------------


def test_commands_say_what_open_vswitch_says(switch: RunningSwitch) -> None:
    switch.apply(bridge(), bridge("br1", 0, datapath_type="netdev"))

    def run(name: str, *argv: str) -> str:
        command = {**switch.switch.commands, **FdbCommands(switch.switch).commands()}[name]
        assert command.min_args <= len(argv) <= command.max_args
        out = switch.call(lambda: command.run(argv))
        assert isinstance(out, str)
        return out

    port_id = switch.switch.bridges["br0"].ports.ports["v2"].port_id
    entry = FdbEntry(10, bytes.fromhex("0a0b0c0d0e0f"), port_id, 12.7)
    switch.datapath.bridges[1].fdb = [entry]
    assert run("fdb/show", "br0") == (
        " port  VLAN  MAC                Age\n    2    10  0a:0b:0c:0d:0e:0f   12\n"
    )
    assert run("fdb/add", "br0", "v1", "0", "00:00:00:00:00:77") == ""
    assert run("fdb/stats-show", "br0") == (
        'Statistics for bridge "br0":\n'
        "  Current/maximum MAC entries in the table: 2/8192\n"
        "  Current static MAC entries in the table : 1\n"
        "  Total number of learned MAC entries     : 1\n"
        "  Total number of expired MAC entries     : 0\n"
        "  Total number of evicted MAC entries     : 0\n"
        "  Total number of port moved MAC entries  : 0\n"
    )
    assert run("fdb/flush", "br0") == "table successfully flushed"
    assert run("fdb/show", "br0") == (
        " port  VLAN  MAC                Age\n    1     0  00:00:00:00:00:77  static\n"
    )
    assert run("fdb/del", "br0", "0", "00:00:00:00:00:77") == ""
    assert run("fdb/stats-clear") == "statistics successfully cleared"
    assert "learned MAC entries     : 0\n" in run("fdb/stats-show", "br0")
    assert run("ofproto/list") == "br0\nbr1\n"
    shown = run("dpif/show")
    assert "netdev@ovs-netdev: hit:0 missed:0\n  br1:\n    br1 65534/5: (tap)\n" in shown
    assert "system@ovs-system: hit:0 missed:0\n  br0:\n    br0 65534/1: (internal)\n" in shown
    assert "    v1 1/2: (system)\n" in shown
    for flow in (
        "priority=7,tcp,nw_src=10.0.0.0/8,tp_dst=80,actions=output:1",
        "table=3,reg0=5,actions=controller,write_metadata:5,goto_table:4",
        "table=3,priority=0,actions=drop",
    ):
        switch.ofctl("add-flow", "br1", flow)
    shown = re.sub(r"duration=\d+s", "duration=0s", run("bridge/dump-flows", "br1"))
    assert sorted(shown.splitlines()) == [
        "duration=0s, n_packets=0, n_bytes=0, priority=0,actions=NORMAL",
        "duration=0s, n_packets=0, n_bytes=0, priority=7,tcp,nw_src=10.0.0.0/8,tp_dst=80,"
        "actions=output:1",
        "table_id=3, duration=0s, n_packets=0, n_bytes=0, priority=0,actions=drop",
        "table_id=3, duration=0s, n_packets=0, n_bytes=0, reg0=0x5,"
        "actions=CONTROLLER:65535,write_metadata:0x5,goto_table:4",
    ]
    assert "n_offload_packets=0" in run("bridge/dump-flows", "--offload-stats", "br1")
    with pytest.raises(GossamerError, match="no such bridge"):
        run("fdb/show", "nope")
    with pytest.raises(GossamerError, match="Unknown bridge"):
        run("bridge/dump-flows", "nope")


def test_fake_and_real_datapath_offer_the_same() -> None:
    from gossamer.datapath.datapath import Datapath

    wanted = {n for n in vars(FakeDatapath) if not n.startswith("_")}
    missing = wanted - {n for n in dir(Datapath) if not n.startswith("_")}
    assert missing <= {"count", "port_named", "takeover"}
