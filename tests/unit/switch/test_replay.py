"""Flows are there again after a restart."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from running_switch import RunningSwitch, bridge
from tests.system.world import until


def restarted(old: RunningSwitch) -> RunningSwitch:
    """The next daemon, after the old one was killed; the datapath lived on."""
    old.kill()
    old.datapath.takeover = True
    new = RunningSwitch(old.rundir, old.datapath)
    new.devices.links |= old.devices.links
    return new


def test_flows_survive_a_kill_with_cookie_age_and_counters(tmp_path: Path) -> None:
    first = RunningSwitch(tmp_path)
    first.apply()
    first.ofctl("del-flows", "br0")
    first.ofctl("add-flow", "br0", "cookie=5,table=2,priority=7,tcp,actions=output:2", version=10)
    first.ofctl("add-flow", "br0", "in_port=1,reg3=7,actions=load:1->NXM_NX_REG0[],resubmit(,2)",
                version=10)  # fmt: skip
    first.ofctl("add-flows", "br0", "-", stdin="in_port=8,actions=1\nin_port=9,actions=1\n")
    first.ofctl("mod-flows", "br0", "in_port=9,actions=5")
    first.ofctl("--strict", "del-flows", "br0", "in_port=8")
    bundle = "in_port=3,actions=1\nin_port=4,actions=1\ndelete in_port=3\n"
    first.ofctl("--bundle", "add-flows", "br0", "-", stdin=bundle, version=14)
    flow = next(f for f in first.switch.bridges["br0"].tables if f.cookie == 5)
    first.call(lambda: first.datapath.count(flow, 12, 3400, flow.created_s))
    before, n_in_datapath = first.flows(), len(first.datapath.bridges[1].flows)
    assert len(before) == 4

    second = restarted(first)
    second.apply()
    assert second.flows() == before
    assert len(second.datapath.bridges[1].flows) == n_in_datapath
    assert second.datapath.converged == 1
    again = next(f for f in second.switch.bridges["br0"].tables if f.cookie == 5)
    assert again.created_s == flow.created_s
    assert "n_packets=12, n_bytes=3400" in second.ofctl("dump-flows", "br0", "cookie=5/-1")
    second.ofctl("del-flows", "br0")
    third = restarted(second)
    third.apply()
    assert third.flows() == []
    third.stop()


def test_expired_and_evicted_flows_do_not_come_back(tmp_path: Path) -> None:
    from gossamer.switch.config import FlowTableConfig

    limited = bridge(flow_tables={1: FlowTableConfig(flow_limit=2, evict_when_full=True)})
    first = RunningSwitch(tmp_path)
    first.apply(limited)
    first.ofctl("add-flow", "br0", "in_port=1,hard_timeout=1,actions=1")
    for n in (2, 3, 4):
        first.ofctl("add-flow", "br0", f"table=1,in_port={n},idle_timeout={n * 100},actions=1")
    assert until(lambda: not any("in_port=1 " in f for f in first.flows()))
    before = first.flows()
    assert len(before) == 3
    second = restarted(first)
    second.apply(limited)
    assert second.flows() == before
    second.stop()


def test_a_journal_that_grew_is_rewritten_beside_the_running_switch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gossamer.switch.journal.MIN_COMPACTION_BYTES", 20_000)
    first = RunningSwitch(tmp_path)
    first.apply()
    first.ofctl("add-flow", "br0", "cookie=9,table=5,idle_timeout=500,tcp,actions=output:2")
    # Held open, so that its inode cannot become that of a later file.
    before_it = (tmp_path / "br0.flows").open("rb")
    lines = "".join(f"in_port=1,actions={n}\n" for n in range(1, 400))
    first.ofctl("add-flows", "br0", "-", stdin=lines)
    assert until(lambda: os.fstat(before_it.fileno()).st_nlink == 0)
    before_it.close()
    first.ofctl("add-flow", "br0", "in_port=2,actions=1")
    before = first.flows()
    second = restarted(first)
    second.apply()
    assert second.flows() == before and len(before) == 4
    assert (tmp_path / "br0.flows").stat().st_size < 45_000
    second.stop()


def test_timeouts_go_on_after_a_restart(tmp_path: Path) -> None:
    first = RunningSwitch(tmp_path)
    first.apply()
    began_s = time.monotonic()
    first.ofctl("add-flow", "br0", "in_port=1,hard_timeout=2,actions=1")
    (created_s,) = [f.created_s for f in first.switch.bridges["br0"].tables if f.priority]
    second = restarted(first)
    second.apply()
    # It may be over already where the machine is busy; it does not begin anew.
    assert all(f.created_s == created_s for f in second.switch.bridges["br0"].tables if f.priority)
    assert until(lambda: not any("in_port=1" in f for f in second.flows()))
    assert time.monotonic() >= began_s + 2
    second.stop()


def test_a_bridge_deleted_while_no_daemon_ran_is_forgotten(tmp_path: Path) -> None:
    first = RunningSwitch(tmp_path)
    first.apply()
    second = restarted(first)
    second.apply(bridge("other", 0))
    assert not (tmp_path / "br0.flows").exists()
    second.stop()


def test_exit_with_cleanup_leaves_nothing(tmp_path: Path) -> None:
    running = RunningSwitch(tmp_path)
    running.apply()
    running.call(running.switch.destroy)
    running.kill()
    assert list(tmp_path.iterdir()) == []
    assert not running.datapath.bridges and "br0" not in running.devices.links
