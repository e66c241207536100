"""Devices and their queues, as the kernel has them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from gossamer.devices.link import Links
from gossamer.devices.qos import Discipline, Shaper


def ip(*words: str) -> str:
    return subprocess.run(
        ["ip", *words], check=True, capture_output=True, text=True, timeout=120
    ).stdout


@pytest.fixture(scope="module", autouse=True)
def devices() -> Iterator[None]:
    """A veth pair whose far end is in a namespace of its own, and a device with queues."""
    ip("netns", "add", "rtnl")
    ip("link", "add", "rt0", "type", "veth", "peer", "name", "eth0", "netns", "rtnl")
    ip("link", "set", "rt0", "up", "mtu", "1400", "alias", "a name of its own")
    ip("link", "add", "rt1", "type", "veth", "peer", "name", "rt2")
    yield
    ip("link", "del", "rt0")
    ip("link", "del", "rt1")
    ip("netns", "del", "rtnl")


@pytest.fixture
def links() -> Iterator[Links]:
    it = Links()
    yield it
    it.close()


def test_devices_are_what_ip_says_of_them(links: Links) -> None:
    told = json.loads(ip("-d", "-j", "link"))
    assert {link.name for link in links.all()} == {t["ifname"] for t in told}
    for t in told:
        link = links.link(t["ifname"])
        assert link is not None
        assert link.ifindex == t["ifindex"]
        assert link.mtu == t["mtu"]
        assert link.mac == bytes.fromhex(t["address"].replace(":", ""))
        assert link.admin_up == ("UP" in t["flags"])
        assert link.carrier == ("LOWER_UP" in t["flags"])
        assert link.kind == t.get("linkinfo", {}).get("info_kind", "")
        assert link.alias == t.get("ifalias", "")


def test_the_address_at_the_far_end_of_a_veth_is_known_where_it_is_elsewhere(links: Links) -> None:
    (far,) = json.loads(ip("-n", "rtnl", "-j", "link", "show", "eth0"))
    near, here = links.link("rt0"), links.link("rt1")
    assert near is not None and here is not None
    assert near.peer_mac == bytes.fromhex(far["address"].replace(":", ""))
    assert here.peer_mac is None


def test_a_device_that_changes_or_goes_is_told_of(links: Links) -> None:
    assert links.run() == frozenset()
    ip("link", "add", "rt3", "type", "veth", "peer", "name", "rt4")
    assert links.run() == {"rt3", "rt4"}
    ip("link", "set", "rt3", "mtu", "1300")
    assert links.run() == {"rt3"}
    ip("link", "del", "rt3")
    assert links.run() == {"rt3", "rt4"}
    assert links.link("rt3") is None
    assert links.refresh("rt3") is None


def test_a_device_is_told_from_one_that_had_its_name_and_number_before(links: Links) -> None:
    ip("link", "add", "rt5", "index", "900", "type", "veth", "peer", "name", "rt6")
    try:
        links.run()
        before = links.link("rt5")
        ip("link", "set", "rt5", "alias", "the same one")
        links.run()
        same = links.link("rt5")
        ip("link", "set", "rt5", "netns", "rtnl")
        ip("-n", "rtnl", "link", "set", "rt5", "netns", "1")
        assert "rt5" in links.run()
        after = links.link("rt5")
    finally:
        ip("link", "del", "rt6")
    assert before is not None and same is not None and after is not None
    assert before.ifindex == same.ifindex == after.ifindex == 900
    assert before.birth == same.birth != after.birth


def test_queues_are_ours_only_by_their_number(links: Links) -> None:
    shaper = Shaper()
    link = links.link("rt1")
    assert link is not None
    try:
        assert not shaper.shaped(link.ifindex)
        shaper.apply(link.ifindex, Discipline("pfifo"))
        assert shaper.shaped(link.ifindex)
        subprocess.run("tc qdisc replace dev rt1 root handle 2: pfifo", shell=True, check=True)
        assert not shaper.shaped(link.ifindex)
        assert not shaper.shaped(1 << 30)
    finally:
        shaper.close()
