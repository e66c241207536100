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


def test_a_negative_probe_interval_switches_probing_off() -> None:
    row = SimpleNamespace(
        target="tcp:127.0.0.1:1", connection_mode=[], max_backoff=[], inactivity_probe=[-1],
        controller_rate_limit=[], controller_burst_limit=[], controller_queue_size=[],
        enable_async_messages=[], type=[],
    )  # fmt: skip
    assert rows.controller(row).inactivity_probe_ms == 0
