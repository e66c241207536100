"""Mininet, as Debian ships it, takes us for Open vSwitch."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.system.world import Host

_SCRIPT = Path(__file__).with_name("mininet_tree.py")

# Mininet raises limits of the whole machine where it may; here it may not.
_WITHOUT_SYSCTL = (
    'mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"'
)


def _run_tree(host: Host, mode: str) -> dict[str, Any]:
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", _WITHOUT_SYSCTL, "sh", "/usr/bin/python3", str(_SCRIPT), mode],
        env=host.environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_everyone_in_mininets_tree_reaches_everyone_through_a_controllers_flows(
    host: Host,
) -> None:
    result = _run_tree(host, "controller")
    assert (result["switches"], result["hosts"], result["connected"]) == (4, 9, True)
    assert result["lost_percent"] == 0
    # The test controller learns, and matches each flow's addresses.
    assert "dl_dst=" in result["flows"]


def test_everyone_in_mininets_tree_reaches_everyone_without_a_controller(host: Host) -> None:
    result = _run_tree(host, "standalone")
    assert (result["switches"], result["hosts"]) == (4, 9)
    assert result["lost_percent"] == 0
    assert host.vsctl("list-br") == "", "Mininet deletes its bridges in the end"
