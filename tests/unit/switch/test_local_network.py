"""The address that in-band control gives the bridge's own device."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest
from fake_datapath import FakeDatapath
from fake_devices import FakeDevices

from gossamer.switch.config import BridgeConfig, ControllerConfig, LocalNetwork, SwitchConfig
from gossamer.switch.local_network import network_of, wanted_network
from gossamer.switch.switch import Switch

NETWORK = LocalNetwork(IPv4Interface("10.7.0.2/24"), IPv4Address("10.7.0.1"))
IN_BAND = ControllerConfig("tcp:192.0.2.1:6653", local_network=NETWORK)


@pytest.mark.parametrize(
    ("address", "netmask", "expected"),
    [
        ("10.1.2.3", None, "10.1.2.3/8"),
        ("172.16.1.2", None, "172.16.1.2/16"),
        ("192.168.1.2", None, "192.168.1.2/24"),
        ("192.168.1.2", "0.0.0.0", "192.168.1.2/24"),
        ("10.1.2.3", "255.255.255.0", "10.1.2.3/24"),
    ],
)
def test_an_address_without_netmask_has_that_of_its_class(
    address: str, netmask: str | None, expected: str
) -> None:
    mask = IPv4Address(netmask) if netmask else None
    assert network_of(IPv4Address(address), mask) == IPv4Interface(expected)


def test_an_address_of_no_class_of_hosts_has_none() -> None:
    assert network_of(IPv4Address("224.0.0.5"), None) is None


def test_a_netmask_with_holes_is_refused() -> None:
    with pytest.raises(ValueError, match="netmask"):
        network_of(IPv4Address("10.0.0.1"), IPv4Address("255.0.255.0"))


def test_only_in_band_control_gives_an_address() -> None:
    config = BridgeConfig("br0", controllers=(IN_BAND,))
    assert wanted_network(config) == NETWORK
    outside = replace(IN_BAND, connection_mode="out-of-band")
    assert wanted_network(replace(config, controllers=(outside,))) is None
    assert wanted_network(replace(config, disable_in_band=True)) is None


def test_the_device_has_the_new_address_in_place_of_the_old_one(tmp_path: Path) -> None:
    devices = FakeDevices()
    switch = Switch(FakeDatapath(), devices, tmp_path)
    config = BridgeConfig("br0", controllers=(IN_BAND,))
    switch.apply(SwitchConfig(bridges=(config,)))
    assert devices.addresses["br0"] == {NETWORK.address}
    assert devices.gateways["br0"] == NETWORK.gateway
    other = LocalNetwork(IPv4Interface("10.8.0.2/24"), IPv4Address("10.8.0.1"))
    changed = replace(config, controllers=(replace(IN_BAND, local_network=other),))
    switch.apply(SwitchConfig(bridges=(changed,)))
    assert devices.addresses["br0"] == {other.address}
    assert devices.gateways["br0"] == other.gateway
    # What somebody changes by hand is not fought over.
    devices.addresses["br0"].clear()
    switch.apply(SwitchConfig(bridges=(replace(changed, mac_aging_time_s=20),)))
    assert not devices.addresses["br0"]
    switch.close()
