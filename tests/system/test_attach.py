"""The datapath on a device: in the place of another version's, beside what others attached, and gone with the device."""

from __future__ import annotations

import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossamer.datapath import attach, loader
from gossamer.datapath.loader import Loaded
from gossamer.datapath.settings import PortKind
from gossamer.errors import DatapathError
from tests.system.tunnel_world import run

_DEVICE = "att0"
_AWAY = "att-away"


@pytest.fixture(scope="module")
def programs() -> Iterator[list[Loaded]]:
    """The programs of this version, loaded twice: as if another one had left the first."""
    pins = [Path(tempfile.mkdtemp(prefix="attach", dir="/sys/fs/bpf")) for _ in range(2)]
    yield [loader.load(path) for path in pins]
    for path in pins:
        loader.unpin(path)


@pytest.fixture
def ifindex() -> Iterator[int]:
    """A device, of which one end may be moved away."""
    run("ip", "link", "add", _DEVICE, "type", "veth", "peer", "name", "att0p")
    yield socket.if_nametoindex(_DEVICE)
    subprocess.run(["ip", "link", "del", "att0p"], check=False)  # it may have gone with a namespace


def filters(where: str = "ingress") -> str:
    """TC's filters of the device."""
    return run("tc", "filter", "show", "dev", _DEVICE, where)


def test_the_program_of_another_version_is_replaced(programs: list[Loaded], ifindex: int) -> None:
    for loaded in programs:
        attach.attach(ifindex, PortKind.DEVICE, loaded.program_fd)
        assert filters().count("handle 0x1 gossamer:") == 1
    attach.detach(ifindex, PortKind.DEVICE)
    assert "gossamer" not in filters()


def test_an_uplink_looks_before_the_port_and_each_goes_alone(
    programs: list[Loaded], ifindex: int
) -> None:
    for loaded in programs:
        attach.attach(ifindex, PortKind.DEVICE, loaded.program_fd)
        attach.attach_uplink(ifindex, loaded.uplink_fd)
        shown = filters()
        assert 0 < shown.index("gossamer_uplink:") < shown.index("gossamer:")
    attach.detach(ifindex, PortKind.DEVICE)
    assert "gossamer_uplink:" in filters() and "gossamer:" not in filters()
    attach.detach_uplink(ifindex)
    assert "gossamer" not in filters()


def test_filters_of_others_stay(programs: list[Loaded], ifindex: int) -> None:
    run("tc", "qdisc", "add", "dev", _DEVICE, "clsact")
    run("tc", "filter", "add", "dev", _DEVICE, "ingress", "prio", "7", "bpf", "bytecode", "1,6 0 0 0,")
    attach.attach(ifindex, PortKind.DEVICE, programs[0].program_fd)
    assert "gossamer" in filters()
    attach.detach(ifindex, PortKind.DEVICE)
    assert "bytecode" in filters() and "gossamer" not in filters()


def test_what_the_host_sends_by_an_internal_port_is_met_on_its_way_out(
    programs: list[Loaded], ifindex: int
) -> None:
    attach.attach(ifindex, PortKind.INTERNAL, programs[0].program_fd)
    assert "gossamer" in filters("egress") and "gossamer" not in filters()


def test_nothing_of_ours_stays_on_a_device_that_is_moved_to_another_namespace(
    programs: list[Loaded], ifindex: int
) -> None:
    """There its number may be that of a port of ours."""
    attach.attach(ifindex, PortKind.DEVICE, programs[0].program_fd)
    run("ip", "netns", "add", _AWAY)
    try:
        run("ip", "link", "set", _DEVICE, "netns", _AWAY)
        run("ip", "-n", _AWAY, "link", "set", _DEVICE, "up")
        run("ip", "link", "set", "att0p", "up")
        run("ip", "-n", _AWAY, "addr", "add", "10.9.0.1/24", "dev", _DEVICE)
        run("ip", "addr", "add", "10.9.0.2/24", "dev", "att0p")
        assert " 0% packet loss" in run("ping", "-c1", "-w10", "10.9.0.1")
    finally:
        run("ip", "netns", "del", _AWAY)


def test_a_device_that_is_gone_is_told_of_once(programs: list[Loaded]) -> None:
    gone = 1 << 20
    with pytest.raises(DatapathError, match=f"ifindex={gone}"):
        attach.attach(gone, PortKind.DEVICE, programs[0].program_fd)
    attach.attach_if_there(gone, PortKind.DEVICE, programs[0].program_fd)
    attach.detach(gone, PortKind.DEVICE)
    attach.detach_uplink(gone)
