"""Faucet runs two of our bridges: VLANs, routing between them, and access lists."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.world import Host, Netns

_ROOT = Path(__file__).resolve().parents[2]
_FAUCET = _ROOT / "build" / "controllers" / "bin" / "faucet"
_CONFIG = Path(__file__).with_name("faucet.yaml")
_PORT = 6653
_READY_S = 180.0
_REACHED_S = 90.0


class Campus:
    """Hosts on two switches: desk and guest on the first, printer and visitor on the second."""

    def __init__(self, host: Host) -> None:
        for number, bridge in enumerate(("sw1", "sw2"), 1):
            host.vsctl("add-br", bridge, "--", "set", "bridge", bridge, "fail-mode=secure",
                       f"other-config:datapath-id={number:016x}", "protocols=OpenFlow13",
                       "other-config:disable-in-band=true")  # fmt: skip
        for near, far in (("sw1", "sw2"), ("sw2", "sw1")):
            host.vsctl("add-port", near, f"{near}-{far}", "--", "set", "interface", f"{near}-{far}",
                       "type=patch", f"options:peer={far}-{near}", "ofport_request=9")  # fmt: skip
        self.desk = _plug(host, "desk", "10.1.0.1/24", "sw1", 1)
        self.guest = _plug(host, "guest", "10.2.0.1/24", "sw1", 2)
        self.printer = _plug(host, "printer", "10.1.0.2/24", "sw2", 1)
        self.visitor = _plug(host, "visitor", "10.2.0.2/24", "sw2", 2)
        self.everyone = (self.desk, self.guest, self.printer, self.visitor)


def _plug(host: Host, name: str, address: str, bridge: str, port: int) -> Netns:
    netns = host.netns(name, address)
    host.vsctl("add-port", bridge, netns.device, "--", "set", "interface", netns.device,
               f"ofport_request={port}")  # fmt: skip
    netns.run("ip", "route", "add", "default", "via", address.rsplit(".", 1)[0] + ".254")
    return netns


@pytest.fixture
def campus(host: Host) -> Iterator[Campus]:
    """A campus that Faucet has programmed: the switches are one stack, each host has its router."""
    campus = Campus(host)
    environment = os.environ | {
        "FAUCET_CONFIG": str(_CONFIG),
        "FAUCET_LOG": str(host.rundir / "faucet.log"),
        "FAUCET_EXCEPTION_LOG": str(host.rundir / "faucet_exception.log"),
        "FAUCET_PROMETHEUS_ADDR": "127.0.0.1",
        "PYTHONWARNINGS": "ignore",
        # It executes osken-manager, which lies beside it.
        "PATH": f"{_FAUCET.parent}:{os.environ['PATH']}",
    }
    with open(host.rundir / "faucet.out", "wb") as output:
        faucet = subprocess.Popen(
            [_FAUCET, "--ryu-ofp-listen-host=127.0.0.1", f"--ryu-ofp-tcp-listen-port={_PORT}"],
            env=environment, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        for bridge in ("sw1", "sw2"):
            host.vsctl("set-controller", bridge, f"tcp:127.0.0.1:{_PORT}")
        log = host.rundir / "faucet.log"
        until = time.monotonic() + _READY_S
        # Two switches find each other by LLDP, and Faucet then arranges everything anew.
        said = ""
        while len(re.findall(r"LLDP on .* state UP", said)) < 2:
            assert time.monotonic() < until, f"no stack:\n{said[-3000:]}"
            time.sleep(0.2)
            said = (log if log.exists() else host.rundir / "faucet.out").read_text()
        for netns in campus.everyone:
            assert _comes_to_reach(netns, _router(netns)), f"no router:\n{log.read_text()[-3000:]}"
        yield campus
    finally:
        faucet.terminate()
        faucet.wait(60)
    trouble = host.rundir / "faucet_exception.log"
    assert not trouble.exists() or trouble.read_text() == ""


def _comes_to_reach(netns: Netns, address: str) -> bool:
    """Whether an address answers all pings of a row; its router may have to look for it first."""
    until = time.monotonic() + _REACHED_S
    while (answers := netns.ping(address)) < 3 and time.monotonic() < until:
        time.sleep(0.5)
    return answers == 3


def _router(netns: Netns) -> str:
    return "10.1.0.254" if netns.name in ("desk", "printer") else "10.2.0.254"


def _reaches_tcp(client: Netns, server: Netns, address: str, port: int, patience_s: float = 30) -> bool:
    listener = server.start("timeout", "60", "python3", "-c", _SERVE_ONCE, str(port))
    assert listener.stdout is not None
    listener.stdout.readline()
    try:
        done = client.run("python3", "-c", _CONNECT, address, str(port), str(patience_s))
    finally:
        listener.kill()
        listener.wait(60)
    return done.returncode == 0


_SERVE_ONCE = """
import socket, sys
listener = socket.create_server(("", int(sys.argv[1])))
print("listening", flush=True)
listener.accept()
"""
_CONNECT = """
import socket, sys
socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3]))
"""


def test_faucet_runs_vlans_routing_and_access_lists_over_two_switches(campus: Campus) -> None:
    c = campus
    # Within a VLAN, from switch to switch.
    assert _comes_to_reach(c.desk, "10.1.0.2")
    assert _comes_to_reach(c.guest, "10.2.0.2")
    # From VLAN to VLAN through Faucet's router, on one switch and over both.
    assert _comes_to_reach(c.desk, "10.2.0.1")
    assert _comes_to_reach(c.desk, "10.2.0.2")
    # What the access list of the guest's port says, and nobody else's.
    assert _comes_to_reach(c.guest, "10.1.0.1")
    assert _comes_to_reach(c.visitor, "10.1.0.2")
    assert c.guest.ping("10.1.0.2") == 0, "the printer is closed to the guest"
    assert _reaches_tcp(c.guest, c.desk, "10.1.0.1", 5001)
    assert not _reaches_tcp(c.guest, c.desk, "10.1.0.1", 5002, 1.5)
    assert _reaches_tcp(c.visitor, c.desk, "10.1.0.1", 5002)
