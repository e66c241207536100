"""A bridge of a type of datapath that there is none of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_datapath import FakeDatapath
from fake_devices import FakeDevices

from gossamer.switch.config import BridgeConfig, SwitchConfig
from gossamer.switch.switch import Switch


def test_a_bridge_of_an_unknown_datapath_type_is_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    switch = Switch(FakeDatapath(), FakeDevices(), tmp_path)
    wrong = BridgeConfig("br0", datapath_type="wrong")
    status = switch.apply(SwitchConfig(bridges=(wrong,)))
    assert not switch.bridges
    interface = status.bridges["br0"].ports["br0"].interfaces["br0"]
    assert interface.ofport == -1
    assert interface.error == "could not create datapath br0 of unknown type wrong"
    assert "unknown type wrong" in caplog.text
    switch.apply(SwitchConfig(bridges=(replace(wrong, datapath_type="netdev"),)))
    assert switch.bridges["br0"].ports.ports
    # As in ovs-vswitchd, a bridge whose type becomes unknown goes.
    switch.apply(SwitchConfig(bridges=(wrong,)))
    assert not switch.bridges
    switch.close()
