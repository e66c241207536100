"""What rows ask for, and what is said of what makes no sense."""

from __future__ import annotations

from types import SimpleNamespace
from uuid import UUID

import pytest

from gossamer.ovsdb import rows


def _bridge(**other_config: str) -> SimpleNamespace:
    return SimpleNamespace(
        name="br0", uuid=UUID(int=1), datapath_type="", controller=[], fail_mode=[], protocols=[],
        flow_tables={}, flood_vlans=[],
        other_config={k.replace("_", "-"): v for k, v in other_config.items()},
    )  # fmt: skip


def test_more_addresses_than_there_can_be_are_cut_and_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = rows.bridge(_bridge(mac_table_size="2000000"), ())
    assert config.mac_table_size == rows.MAX_ADDRESSES
    assert "'2000000' is more than there can be, 262144 is used" in caplog.text
    assert rows.bridge(_bridge(mac_table_size="262144"), ()).mac_table_size == 262144


@pytest.mark.parametrize("text", ["abc", "-5", "9"])
def test_a_number_that_is_none_or_too_low_leaves_the_default(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert rows.bridge(_bridge(mac_table_size=text), ()).mac_table_size == 8192
    assert f"'{text}' is not a number from 10" in caplog.text


def _controller(**columns: list[object]) -> SimpleNamespace:
    empty: dict[str, list[object]] = {
        column: []
        for column in (
            "connection_mode", "max_backoff", "inactivity_probe", "controller_rate_limit",
            "controller_burst_limit", "controller_queue_size", "enable_async_messages", "type",
            "local_ip", "local_netmask", "local_gateway",
        )
    }  # fmt: skip
    return SimpleNamespace(target="tcp:127.0.0.1:1", **(empty | columns))


def test_a_negative_probe_interval_switches_probing_off() -> None:
    assert rows.controller(_controller(inactivity_probe=[-1])).inactivity_probe_ms == 0


def test_a_gateway_outside_of_the_network_is_left_out_and_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    row = _controller(local_ip=["10.7.0.2"], local_netmask=["255.255.255.0"],
                      local_gateway=["10.8.0.1"])  # fmt: skip
    network = rows.controller(row).local_network
    assert network is not None
    assert (str(network.address), network.gateway) == ("10.7.0.2/24", None)
    assert "10.8.0.1 is not in 10.7.0.0/24" in caplog.text
