"""What stays wrong is said once; names that cannot be are refused with words that help."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from fake_datapath import FakeDatapath
from fake_devices import FakeDevices

from gossamer.switch.complaints import Complaints
from gossamer.switch.config import BridgeConfig, InterfaceConfig, PortConfig, SwitchConfig
from gossamer.switch.status import NO_OFPORT, SwitchStatus
from gossamer.switch.switch import Switch


def test_a_warning_comes_again_only_when_it_is_another_or_it_was_well_meanwhile(
    caplog: pytest.LogCaptureFixture,
) -> None:
    complaints = Complaints(logging.getLogger("gossamer.test"))
    with caplog.at_level(logging.WARNING):
        complaints.say("port=a", "bad")
        complaints.say("port=a", "bad")
        complaints.say("port=b", "bad")
        complaints.say("port=a", "worse")
        complaints.settled("port=a")
        complaints.say("port=a", "worse")
    assert caplog.messages == ["port=a: bad", "port=b: bad", "port=a: worse", "port=a: worse"]


def config(*names: str) -> SwitchConfig:
    ports = tuple(PortConfig(n, (InterfaceConfig(n),)) for n in names)
    return SwitchConfig((BridgeConfig("br0", ports=ports),))


def errors(status: SwitchStatus) -> dict[str, str | None]:
    bridge = status.bridges["br0"]
    return {name: port.interfaces[name].error for name, port in bridge.ports.items()}


def test_a_missing_device_is_warned_of_once_whatever_else_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    devices = FakeDevices()
    switch = Switch(FakeDatapath(), devices, tmp_path)
    devices.appear("v1")
    with caplog.at_level(logging.WARNING):
        switch.apply(config("gone"))
        assert errors(switch.apply(config("gone", "v1")))["gone"]
    assert len(caplog.messages) == 1
    switch.close()


@pytest.mark.parametrize("name", ["with space", "a-name-of-16-byte", "ünïcödé-name1", "a:b", ".."])
def test_what_is_no_name_of_a_device_is_said_to_be_none(name: str, tmp_path: Path) -> None:
    switch = Switch(FakeDatapath(), FakeDevices(), tmp_path)
    assert "cannot be the name of a network device" in str(errors(switch.apply(config(name)))[name])
    switch.close()


def test_a_bridges_name_does_not_lead_out_of_the_run_directory(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    switch = Switch(FakeDatapath(), FakeDevices(), tmp_path / "run")
    status = switch.apply(SwitchConfig((BridgeConfig("../br0"),)))
    interface = status.bridges["../br0"].ports["../br0"].interfaces["../br0"]
    assert interface.ofport == NO_OFPORT and "cannot be the name of a bridge" in str(interface.error)
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]
    switch.close()
