"""Connections and translated addresses outlive the daemon, and the programs they were made by."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.system.peer import Cloud
from tests.system.sequence import Ping, end, stop
from tests.system.tcp_sessions import Sessions
from tests.system.test_ct_programs import CLOUD
from tests.system.world import Netns, other_programs, until

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


def _goes_on(receiver: Netns) -> bool:
    """Whether a stream brings a namespace a megabyte more."""

    def octets() -> int:
        return int(receiver.run("cat", "/sys/class/net/eth0/statistics/rx_bytes").stdout)

    most = octets() + 1_000_000
    return until(lambda: octets() > most)


def test_no_connection_breaks_when_the_daemon_is_killed_or_upgraded(cloud: Cloud, tmp_path: Path) -> None:
    server, insider, outsider = (cloud.netns(n) for n in ("server", "insider", "outsider"))
    floating = Sessions(outsider, server, "203.0.113.10", 8080, SESSIONS)
    hidden = Sessions(insider, outsider, "203.0.113.100", 8080, SESSIONS)
    listener = server.iperf3_server()
    stream = outsider.start("iperf3", "-c", "203.0.113.10", "-t", "600", "-b", "100M", "-J")
    ping = Ping(outsider, "203.0.113.10", "-i", "0.01")
    upgraded = other_programs(tmp_path)
    try:
        assert _goes_on(server)
        assert (floating.answered("before"), hidden.answered("before")) == (SESSIONS, SESSIONS)
        before = _programs(cloud)
        for n in range(ROUNDS):
            cloud.host.kill()
            assert _goes_on(server) and ping.passes(25), "without a daemon"
            # What is new begins without a daemon too, translated and judged by the rules.
            while_dead = Sessions(outsider, server, "203.0.113.10", 9090, 5)
            try:
                assert while_dead.answered("hello") == 5
            finally:
                while_dead.end()
            if n == ROUNDS // 2:
                cloud.host.environment["PYTHONPATH"] = upgraded
            cloud.host.start()
            assert _goes_on(server) and ping.passes(25)
        assert until(lambda: not before & _programs(cloud)), "the programs are others now"
        asked, answered = ping.end()
        assert asked == answered
        assert (floating.answered("after"), hidden.answered("after")) == (SESSIONS, SESSIONS)
        streamed = json.loads(end(stream, signal.SIGINT))
        listener.wait(timeout=60)
        assert "error" not in streamed or "interrupt" in streamed["error"], streamed["error"]
    finally:
        floating.end()
        hidden.end()
        ping.stop()
        for process in (stream, listener):
            stop(process)


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
        with Ping(outsider, "203.0.113.10", "-i", "0.01") as ping:
            assert ping.passes(25)
            cloud.host.start()
            assert ping.passes(25)
            asked, answered = ping.end()
        assert asked == answered, "ports change when all rules are there"
        assert (floating.answered("after"), hidden.answered("after")) == (50, 50)
    finally:
        floating.end()
        hidden.end()


_BPF: Final = Path(__file__).resolve().parents[2] / "bpf"
_OTHER_C: Final = (
    ("conntrack.h", "struct ct_connection {\n", "struct ct_connection {\n\t__u64 other[7];\n"),
    ("conntrack.h", "\t__u64 packets[2];\t/* of the originator, of the answers */\n", ""),
    ("conntrack.h", "\t__u16 policy;\t\t/* index in ct_timeouts */\n", "\t__u64 packets[2];\n\t__u16 policy;\n"),
    ("ct_store.h", "\tstruct ct_connection c;\n", ""),
    ("ct_store.h", "\tstruct ct_tuple key;\t", "\tstruct ct_connection c;\n\tstruct ct_tuple key;\t"),
    ("limits.h", "#define CT_CHUNK 65536", "#define CT_CHUNK 32768"),
    ("limits.h", "#define CT_CHUNKS 46", "#define CT_CHUNKS 92"),
    ("limits.h", "#define CT_HOME_LINES (1 << 17)", "#define CT_HOME_LINES (1 << 14)"),
)
"""A larger record whose key is at the end, and whose numbers are in another order; other chunks and lines."""
_OTHER_LAYOUT: Final = (
    ("CT_LAYOUT_VERSION: Final = ", "9999 #"),
    ("CT_CHUNK: Final = ", "32768 #"),
    ("CT_CHUNKS: Final = ", "92 #"),
    ("CT_HOME_LINES: Final = ", "(1 << 14) #"),
    ("CT_RECORD_SIZE: Final = ", "256 #"),
)
"""As far as a daemon needs it that is not asked for its connections."""


def _laid_out_otherwise(folder: Path) -> str:
    """Where a copy of the package is that keeps connections otherwise, as an older or newer version does."""
    package = Path(other_programs(folder)) / "gossamer" / "datapath"
    bpf = folder / "bpf"
    shutil.copytree(_BPF, bpf)
    for header, before, after in _OTHER_C:
        text = (bpf / header).read_text()
        assert text.count(before) == 1, before
        (bpf / header).write_text(text.replace(before, after))
    text = (package / "layout.py").read_text()
    for before, after in _OTHER_LAYOUT:
        assert text.count(f"\n{before}") == 1, before
        text = text.replace(f"\n{before}", f"\n{before}{after}")
    (package / "layout.py").write_text(text)
    subprocess.run(
        ["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", f"-I/usr/include/{os.uname().machine}-linux-gnu",
         "-c", str(bpf / "gossamer.c"), "-o", str(package / "gossamer.bpf.o")],
        check=True,
    )  # fmt: skip
    return str(folder)


def test_connections_outlive_upgrades_to_a_version_that_lays_them_out_otherwise_and_back(
    cloud: Cloud, tmp_path: Path
) -> None:
    server, insider, outsider = (cloud.netns(n) for n in ("server", "insider", "outsider"))
    otherwise = _laid_out_otherwise(tmp_path)
    floating = Sessions(outsider, server, "203.0.113.10", 8080, 50)
    hidden = Sessions(insider, outsider, "203.0.113.100", 8080, 50)
    listener = server.iperf3_server()
    stream = outsider.start("iperf3", "-c", "203.0.113.10", "-t", "600", "-b", "50M", "-J")
    begun_there: Sessions | None = None
    try:
        cloud.host.kill()
        cloud.host.environment["PYTHONPATH"] = otherwise
        cloud.host.start()
        assert _goes_on(server)
        begun_there = Sessions(insider, outsider, "203.0.113.100", 9090, 50)
        assert (floating.answered("there"), hidden.answered("there")) == (50, 50)
        cloud.host.kill()
        del cloud.host.environment["PYTHONPATH"]
        cloud.host.start()
        assert (floating.answered("back"), hidden.answered("back"), begun_there.answered("back")) == (50, 50, 50)
        assert _goes_on(server)
        streamed = json.loads(end(stream, signal.SIGINT))
        listener.wait(timeout=60)
        assert "error" not in streamed or "interrupt" in streamed["error"], streamed["error"]
    finally:
        floating.end()
        hidden.end()
        if begun_there is not None:
            begun_there.end()
        for process in (stream, listener):
            process.kill()
            process.communicate()


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
