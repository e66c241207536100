"""What the command `gossamer` says: drift, repairs, errors, and JSON of all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from tests.system.test_topology import PLAIN, Net, lasting, net

__all__ = ["lasting", "net"]


def _json(net: Net, *arguments: str, status: int = 0) -> Any:
    done = net.run(*arguments, "--json")
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def test_status_shows_what_was_changed_by_hand_and_up_what_it_repaired(net: Net) -> None:
    net.up(PLAIN)
    assert "changed by hand" in net.run("status").stdout
    assert [t["drift"] for t in _json(net, "status")["topologies"]] == [[]]
    net.host.vsctl("set", "port", net.device("vm1"), "tag=30")
    net.host.ofctl("del-flows", "tbr0")
    shown = net.run("status").stdout
    assert "vlan is 30 instead of 10" in shown and "gossamer up repairs" in shown
    (topology,) = _json(net, "status")["topologies"]
    assert topology["drift"][0] == {
        "verb": "repair", "key": "port/vm1/0", "differences": ["vlan is 30 instead of 10"],
    }  # fmt: skip
    assert "flow priority=0 actions=NORMAL is missing" in net.run("up", str(net.path)).stdout
    assert _json(net, "up", str(net.path)) == {"name": "net", "changes": []}


def test_of_many_differences_some_are_shown_and_all_are_told_as_json(net: Net) -> None:
    net.up(PLAIN)
    flows = "".join(f"priority={n},actions=drop\n" for n in range(1, 31))
    net.host.ofctl("add-flows", "tbr0", "-", stdin=flows)
    (topology,) = _json(net, "status")["topologies"]
    assert len(topology["drift"][0]["differences"]) == 30
    shown = net.run("up", str(net.path)).stdout
    assert shown.count("is not in the file") == 10 and "and 20 more" in shown
    assert _json(net, "up", str(net.path)) == {"name": "net", "changes": []}


def test_up_with_checks_tells_changes_and_checks(net: Net) -> None:
    net.write(PLAIN)
    told = _json(net, "up", str(net.path), "--check")
    assert told["changes"][0]["key"] == "bridge/tbr0"
    assert [c["ok"] for c in told["checks"]] == [True]
    assert [c["ok"] for c in _json(net, "check")] == [True]
    net.write(PLAIN.replace("reachable", "blocked"))
    assert [c["ok"] for c in _json(net, "up", str(net.path), "--check", status=1)["checks"]] == [False]
    assert "port/vm1/0" in _json(net, "down")["removed"]


def test_status_has_traffic_of_every_port(net: Net) -> None:
    net.up(PLAIN)
    ports = {p["port"]: p for p in _json(net, "status")["ports"]}
    assert ports[net.device("vm1")]["bridge"] == "tbr0"
    assert ports[net.device("vm1")]["ofport"] > 0
    net.host.kill()
    told = _json(net, "status")
    assert told["running"] is False
    assert told["topologies"][0]["drift"] is None
    assert net.run("up", str(net.path)).stdout == "net: nothing to change\n"


def test_an_error_is_json_too(net: Net) -> None:
    net.write(PLAIN.replace("vlan", "wlan", 1))
    told = _json(net, "up", str(net.path), status=1)
    assert told["place"] == f"{net.path}:8"
    assert "'wlan'" in told["error"] and "'vlan'" in told["remedy"]
    assert _json(net, "down", status=1)["remedy"] == "gossamer up FILE"
    net.up(PLAIN)
    assert "vm9" in _json(net, "trace", "vm1", "vm9", status=1)["error"]


@pytest.mark.parametrize("flow", ["actions=fly", "priority=0,actions=NORMAL"])
def test_a_failed_up_leaves_no_daemon_behind_that_it_started(tmp_path: Path, flow: str) -> None:
    rundir = Path(mkdtemp(prefix="host", dir="/run"))
    (tmp_path / "net.yaml").write_text(f"bridges: {{tbr0: {{flows: ['{flow}']}}}}\n")
    environment = os.environ | {"OVS_RUNDIR": str(rundir), "OVS_DBDIR": str(rundir), "OVS_LOGDIR": str(rundir)}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    done = run(sys.executable, "-m", "gossamer.cli.main", "up", str(tmp_path / "net.yaml"))
    fails = "fly" in flow
    assert done.returncode == int(fails)
    assert run("ovs-appctl", "--timeout=100", "version").returncode == int(fails)
    assert (run("ovs-vsctl", "--timeout=100", "--no-wait", "show").returncode == 0) is not fails
    if not fails:
        assert run("ovs-appctl", "--timeout=100", "exit", "--cleanup").returncode == 0
        run("ovs-appctl", "--timeout=100", "-t", str(rundir / "ovsdb-server.ctl"), "exit")
