"""Connections and translated addresses outlive the daemon, and the programs they were made by."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.system.peer import Cloud
from tests.system.sequence import end
from tests.system.tcp_sessions import Sessions
from tests.system.test_ct_programs import CLOUD
from tests.system.world import other_programs

ROUNDS: Final = int(os.environ.get("GOSSAMER_RESTARTS", "3"))
"""20 in the long run: make nightly-restart."""
SESSIONS: Final = 500
"""To the floating address, and as many behind source NAT."""


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    it = Cloud()
    it.up(CLOUD)
    yield it
    it.end()


def _programs(cloud: Cloud) -> set[str]:
    """The loaded programs on the ports: one, unless an upgrade is under way."""
    shown = json.loads(cloud.host.check("bpftool", "-j", "net", "show"))
    return {str(hook["id"]) for hook in shown[0]["tc"] if hook["devname"].startswith(("server", "outsider"))}


def test_no_connection_breaks_when_the_daemon_is_killed_or_upgraded(cloud: Cloud, tmp_path: Path) -> None:
    server, insider, outsider = (cloud.netns(n) for n in ("server", "insider", "outsider"))
    floating = Sessions(outsider, server, "203.0.113.10", 8080, SESSIONS)
    hidden = Sessions(insider, outsider, "203.0.113.100", 8080, SESSIONS)
    listener = server.iperf3_server()
    stream = outsider.start("iperf3", "-c", "203.0.113.10", "-t", "600", "-b", "100M", "-J")
    upgraded = other_programs(tmp_path)
    try:
        assert (floating.answered("before"), hidden.answered("before")) == (SESSIONS, SESSIONS)
        before = _programs(cloud)
        for n in range(ROUNDS):
            cloud.host.kill()
            time.sleep(0.3)
            # What is new begins without a daemon too, translated and judged by the rules.
            while_dead = Sessions(outsider, server, "203.0.113.10", 9090, 5)
            try:
                assert while_dead.answered("hello") == 5
            finally:
                while_dead.end()
            if n == ROUNDS // 2:
                cloud.host.environment["PYTHONPATH"] = upgraded
            cloud.host.start()
            time.sleep(0.3)
        assert not before & _programs(cloud), "the programs are others now"
        assert (floating.answered("after"), hidden.answered("after")) == (SESSIONS, SESSIONS)
        streamed = json.loads(end(stream, signal.SIGINT))
        listener.wait(timeout=60)
        assert "error" not in streamed or "interrupt" in streamed["error"], streamed["error"]
        seconds = [i["sum"]["bytes"] for i in streamed["intervals"] if i["sum"]["seconds"] > 0.9]
        assert len(seconds) >= ROUNDS // 2 and all(seconds), seconds
    finally:
        floating.end()
        hidden.end()
        for process in (stream, listener):
            process.kill()
            process.communicate()


def test_connections_outlive_an_upgrade_to_programs_whose_other_maps_are_laid_out_otherwise(
    cloud: Cloud, tmp_path: Path
) -> None:
    server, insider, outsider = (cloud.netns(n) for n in ("server", "insider", "outsider"))
    folder = Path(other_programs(tmp_path))
    layout = folder / "gossamer" / "datapath" / "layout.py"
    text, changed = re.subn(r"(?m)^(LAYOUT_VERSION: Final) = \d+$", r"\1 = 9999", layout.read_text())
    assert changed == 1
    layout.write_text(text)
    floating = Sessions(outsider, server, "203.0.113.10", 8080, 50)
    hidden = Sessions(insider, outsider, "203.0.113.100", 8080, 50)
    try:
        cloud.host.kill()
        cloud.host.environment["PYTHONPATH"] = str(folder)
        cloud.host.start()
        assert (floating.answered("after"), hidden.answered("after")) == (50, 50)
    finally:
        floating.end()
        hidden.end()


def test_what_was_remembered_is_listed_after_a_restart(cloud: Cloud) -> None:
    outsider, server = cloud.netns("outsider"), cloud.netns("server")
    cloud.host.appctl("dpctl/flush-conntrack")
    held = Sessions(outsider, server, "203.0.113.10", 5201, 3)
    try:
        before = _connections(cloud)
        assert len(before) == 6, "three on the router's port, three on the server's"
        cloud.host.kill()
        cloud.host.start()
        assert _connections(cloud) == before
        assert held.answered("still here") == 3
        cloud.host.appctl("dpctl/flush-conntrack")
        assert _connections(cloud) == []
    finally:
        held.end()


def _connections(cloud: Cloud) -> list[str]:
    shown = cloud.host.appctl("dpctl/dump-conntrack").splitlines()
    return sorted(c for c in shown if "dport=5201" in c)
