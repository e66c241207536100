"""Controllers connect, are connected to, and are told what they may hear."""

from __future__ import annotations

import logging
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from controller_peer import Listening, Peer, management
from running_switch import RunningSwitch, bridge
from tests.system.world import until

from gossamer.datapath.settings import MissAction
from gossamer.switch.config import (
    ControllerConfig,
    FailMode,
)
from gossamer.switch.transport import Transport


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[RunningSwitch]:
    running = RunningSwitch(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def controller() -> Iterator[Listening]:
    listening = Listening()
    yield listening
    listening.sock.close()


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
    for _ in range(20):
        # the first of those that wait may be one that the switch has given up
        peer = controller.accept()
        peer.keep()
        if until(lambda: switch.flows() == [], 2):
            break
    assert switch.flows() == []
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
