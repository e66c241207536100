"""A full table gives up what matters least."""

from __future__ import annotations

from pathlib import Path

import pytest
from running_switch import RunningSwitch, bridge

from gossamer.pipeline.action import Output
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import match
from gossamer.switch import eviction as eviction_module
from gossamer.switch.config import FlowTableConfig
from gossamer.switch.eviction import Eviction, group_mask


def flow(port: int, n: int, *, hard: int = 0, idle: int = 0, importance: int = 0) -> Flow:
    return Flow(
        0, 1, match(in_port=port, eth_type=n), (Output(1),), hard_timeout_s=hard,
        idle_timeout_s=idle, importance=importance,
    )  # fmt: skip


def test_the_least_important_goes_then_the_one_that_ends_soonest() -> None:
    late, soon, dear = flow(1, 1, hard=100), flow(1, 2, idle=50), flow(1, 3, hard=5, importance=9)
    eternal = flow(1, 4)
    eviction = Eviction(0, [late, soon, dear, eternal])
    order = []
    while (victim := eviction.victim()) is not None:
        order.append(victim)
        eviction.discard(victim)
    assert order == [soon, late, dear]


def test_a_flow_that_was_used_meanwhile_ends_later() -> None:
    first, second = flow(1, 1, idle=10), flow(1, 2, idle=20)
    eviction = Eviction(0, [first, second])
    assert eviction.victim() is first
    first.used_s = 15.0
    assert eviction.victim() is second


def test_the_largest_group_loses_a_flow() -> None:
    flows = [flow(1, 1, hard=1), *(flow(2, n, hard=100 + n) for n in range(3))]
    eviction = Eviction(group_mask(["NXM_OF_IN_PORT[]"]), flows)
    assert eviction.victim() is flows[1]
    eviction.discard(flows[1])
    eviction.discard(flows[2])
    eviction.add(flow(1, 9, hard=50))
    assert eviction.victim() is flows[0]


def test_a_group_of_no_field_is_passed_over() -> None:
    assert group_mask(["no such field", "reg0[4..7]"]) == group_mask(["NXM_NX_REG0[4..7]"]) != 0


def test_a_full_table_takes_thousands_of_flows_with_a_few_steps_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def counted(flow: Flow) -> tuple[int, float]:
        nonlocal looks
        looks += 1
        return look(flow)

    look = eviction_module._order
    monkeypatch.setattr(eviction_module, "_order", counted)
    running = RunningSwitch(tmp_path)
    config = FlowTableConfig(flow_limit=5000, evict_when_full=True, groups=("NXM_OF_IN_PORT[]",))
    running.apply(bridge(flow_tables={0: config}))
    running.ofctl("del-flows", "br0")
    lines = "".join(
        f"hard_timeout=600,in_port={n % 7 + 1},tcp,tp_dst={n},actions=1\n" for n in range(15_000)
    )
    running.ofctl("--bundle", "add-flows", "br0", "-", stdin=lines, version=14)
    assert looks <= 3 * 15_000
    out = running.ofctl("dump-aggregate", "br0")
    assert "flow_count=5000" in out
    assert len(running.datapath.bridges[1].flows) == 5000
    running.stop()


def test_what_a_refused_bundle_evicted_is_back(tmp_path: Path) -> None:
    running = RunningSwitch(tmp_path)
    running.apply(bridge(flow_tables={0: FlowTableConfig(flow_limit=2, evict_when_full=True)}))
    running.ofctl("del-flows", "br0")
    for n in (1, 2, 3):
        running.ofctl("add-flow", "br0", f"hard_timeout={100 + n},in_port={n},actions=1")
    before = running.flows()
    assert [f"in_port={n}" in " ".join(before) for n in (1, 2, 3)] == [False, True, True]
    bad = "hard_timeout=200,in_port=8,actions=1\ncheck_overlap,actions=2\n"
    out = running.ofctl(
        "--bundle", "add-flows", "br0", "-", stdin=bad, version=14, check=False
    )
    assert "OVERLAP" in out and running.flows() == before
    running.ofctl("add-flow", "br0", "hard_timeout=200,in_port=9,actions=1")
    assert [f"in_port={n}" in " ".join(running.flows()) for n in (2, 3, 9)] == [False, True, True]
    running.stop()
