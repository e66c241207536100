"""Long work for a controller, in the middle of which the switch follows links."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_datapath import FakeDatapath
from fake_devices import FakeDevices

from gossamer.switch.config import BridgeConfig, SwitchConfig
from gossamer.switch.switch import Switch


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[Switch]:
    """One with a bridge br0; the garbage collector is afterwards as it was before."""
    thresholds = gc.get_threshold()
    it = Switch(FakeDatapath(), FakeDevices(), tmp_path)
    it.apply(SwitchConfig(bridges=(BridgeConfig("br0"),)))
    yield it
    it.close()
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_what_long_work_makes_is_not_looked_at_for_cycles_again_and_again(
    switch: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[list[int]] = []
    younger: list[int] = []

    def work() -> bool:
        for _ in range(100):
            made.extend([] for _ in range(10_000))
            switch._next_breath_s = 0.0
            switch.datapath.breathe()
            younger.append(gc.get_count()[1])
        return False

    monkeypatch.setattr(switch.bridges["br0"], "run", work)
    switch.run()
    assert 90 < max(younger) < 110
    assert gc.get_freeze_count() > 500_000
