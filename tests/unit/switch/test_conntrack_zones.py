"""Zones follow the database: their timeouts and limits."""

from __future__ import annotations

from typing import Any

import pytest
from fake_datapath import FakeDatapath

from gossamer.datapath.layout import CT_POLICIES
from gossamer.switch.config import CtZoneConfig
from gossamer.switch.conntrack_zones import ConntrackZones


@pytest.fixture
def datapath() -> FakeDatapath:
    return FakeDatapath()


def apply(zones: ConntrackZones, default: int | None = None, /, **wanted: Any) -> None:
    zones.apply({int(k[1:]): CtZoneConfig(**v) for k, v in wanted.items()}, default)


def timeout(datapath: FakeDatapath, zone: int, key: str) -> int:
    return datapath.conntrack.zones.timeouts(datapath.conntrack.zones.of.get(zone, 0))[key]


def test_a_zone_gets_its_timeouts_and_the_default_ones_beside(datapath: FakeDatapath) -> None:
    apply(ConntrackZones(datapath), z5={"timeouts_s": {"udp_first": 3, "tcp_unack": 9}})
    assert timeout(datapath, 5, "udp_first") == 3
    assert timeout(datapath, 5, "tcp_established") == 86400
    assert timeout(datapath, 6, "udp_first") == 60


def test_zones_of_the_same_timeouts_share_a_policy(datapath: FakeDatapath) -> None:
    same = {"timeouts_s": {"udp_first": 3}}
    apply(ConntrackZones(datapath), z5=same, z6=same, z7={"timeouts_s": {"udp_first": 4}})
    zones = datapath.conntrack.zones.of
    assert zones[5] == zones[6] != zones[7]


def test_other_timeouts_leave_those_alone_that_connections_began_with(
    datapath: FakeDatapath,
) -> None:
    zones = ConntrackZones(datapath)
    apply(zones, z5={"timeouts_s": {"udp_first": 3}})
    first = datapath.conntrack.zones.of[5]
    apply(zones, z5={"timeouts_s": {"udp_first": 4}})
    assert timeout(datapath, 5, "udp_first") == 4
    assert datapath.conntrack.zones.timeouts(first)["udp_first"] == 3


def test_a_zone_that_goes_has_the_default_timeouts_again(datapath: FakeDatapath) -> None:
    zones = ConntrackZones(datapath)
    apply(zones, z5={"timeouts_s": {"udp_first": 3}, "limit": 2})
    assert datapath.conntrack.zones.limits == {5: 2}
    apply(zones)
    assert timeout(datapath, 5, "udp_first") == 60
    assert datapath.conntrack.zones.limits == {}


def test_a_new_daemon_finds_its_policies_and_clears_zones_that_went(
    datapath: FakeDatapath,
) -> None:
    wanted = {"z5": {"timeouts_s": {"udp_first": 3}}, "z6": {"timeouts_s": {"udp_first": 4}}}
    apply(ConntrackZones(datapath), **wanted)
    before = dict(datapath.conntrack.zones.of)
    del wanted["z6"]
    apply(ConntrackZones(datapath), **wanted)
    assert datapath.conntrack.zones.of == {**before, 6: 0}


def test_policies_that_no_zone_has_make_room(datapath: FakeDatapath) -> None:
    zones = ConntrackZones(datapath)
    for seconds in range(1, CT_POLICIES + 5):
        apply(zones, z5={"timeouts_s": {"udp_first": seconds}})
        assert timeout(datapath, 5, "udp_first") == seconds


def test_limits_set_by_hand_stay_where_the_database_says_nothing(datapath: FakeDatapath) -> None:
    zones = ConntrackZones(datapath)
    datapath.conntrack.config.default_limit = 7
    datapath.conntrack.zones.set_limit(9, 3)
    apply(zones, z5={"timeouts_s": {"udp_first": 3}})
    assert (datapath.conntrack.config.default_limit, datapath.conntrack.zones.limits) == (7, {9: 3})
    apply(zones, 5, z9={"limit": 4})
    assert (datapath.conntrack.config.default_limit, datapath.conntrack.zones.limits) == (5, {9: 4})
