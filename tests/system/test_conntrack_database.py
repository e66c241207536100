"""Timeouts of zones by ovs-vsctl, as they arrive in the kernel."""

from __future__ import annotations

import re

import pytest

from gossamer.daemon.main import pin_directory
from gossamer.datapath import libbpf, loader
from gossamer.datapath.conntrack import Conntrack
from tests.system.world import Host


@pytest.fixture(autouse=True)
def _a_bridge(host: Host) -> None:
    host.vsctl("add-br", "br0")


def timeouts(host: Host) -> dict[int, dict[str, int]]:
    """What the kernel has, by zone."""
    pins = pin_directory(host.rundir)
    fds = {name: libbpf.object_get(loader.map_path(pins, name)) for name in loader.CT_MAP_NAMES}
    assert None not in fds.values()
    conntrack = Conntrack({name: fd for name, fd in fds.items() if fd is not None})
    try:
        return {zone: conntrack.zones.timeouts(n) for zone, n in conntrack.zones.policies().items()}
    finally:
        conntrack.close()


def datapath_row(host: Host, type_: str = "system") -> None:
    host.vsctl(
        "--", "--id=@m", "create", "Datapath", "datapath_version=0",
        "--", "set", "Open_vSwitch", ".", f"datapaths:{type_}=@m",
    )  # fmt: skip


def test_capabilities_are_told_of_a_datapath_that_has_bridges(host: Host) -> None:
    datapath_row(host)
    datapath_row(host, "netdev")
    host.vsctl("set", "Open_vSwitch", ".", "external_ids:now=1")
    told = dict(pair.split("=") for pair in host.vsctl("list-dp-cap", "system").split())
    assert told["ct_timeout"] == told["ct_state_nat"] == told["ct_clear"] == "true"
    assert host.vsctl("list-dp-cap", "netdev").strip() == ""


def test_timeouts_of_zones_come_and_go(host: Host) -> None:
    datapath_row(host)
    assert host.vsctl("list-zone-tp", "system").strip() == ""
    host.vsctl("add-zone-tp", "system", "zone=5", "udp_first=3", "icmp_first=4", "tcp_unack=9")
    assert re.fullmatch(
        r"Zone:5, Timeout Policies: icmp_first=4 tcp_unack=9 udp_first=3",
        host.vsctl("list-zone-tp", "system").strip(),
    )
    assert "already exists" in host.attempt("ovs-vsctl", "add-zone-tp", "system", "zone=5", "udp_first=3").stderr
    shown = timeouts(host)
    assert (shown[5]["udp_first"], shown[5]["icmp_first"], shown[5]["udp_multiple"]) == (3, 4, 30)
    host.vsctl("--may-exist", "add-zone-tp", "system", "zone=5", "udp_first=7")
    assert timeouts(host)[5]["udp_first"] == 7
    host.vsctl("del-zone-tp", "system", "zone=5")
    assert 5 not in timeouts(host)


def test_timeouts_outlive_the_daemon_and_follow_what_changed_meanwhile(host: Host) -> None:
    datapath_row(host)
    host.vsctl("add-zone-tp", "system", "zone=5", "udp_first=3")
    host.vsctl("add-zone-tp", "system", "zone=6", "udp_first=4")
    host.kill()
    host.vsctl("--no-wait", "del-zone-tp", "system", "zone=6")
    host.start()
    assert {zone: t["udp_first"] for zone, t in timeouts(host).items()} == {5: 3}
