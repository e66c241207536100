"""The executable named ovs-vswitchd, as init scripts and tests use the peer's."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.system.world import until

_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"


class Peer:
    """A database started by hand, as a script would."""

    def __init__(self, schema: str = _SCHEMA) -> None:
        self.dir = Path(mkdtemp(prefix="ovs", dir="/run"))
        names = ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR")
        self.environment = os.environ | {name: str(self.dir) for name in names}
        self.run("ovsdb-tool", "create", str(self.dir / "conf.db"), schema)
        self.run("ovsdb-server", str(self.dir / "conf.db"), f"--remote=punix:{self.dir}/db.sock",
                 "--pidfile", "--detach", "--no-chdir", "-vconsole:off", "--log-file")  # fmt: skip
        self.run("ovs-vsctl", "--no-wait", "init")

    def attempt(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A finished command."""
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )

    def run(self, *command: str) -> str:
        """Output of a command that must succeed."""
        done = self.attempt(*command)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def vswitchd(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Our ovs-vswitchd."""
        beside = Path(sys.executable).with_name("ovs-vswitchd")
        program = str(beside) if beside.exists() else shutil.which("ovs-vswitchd")
        assert program is not None
        return self.attempt(program, *options)

    def end(self) -> None:
        """Stop both."""
        self.attempt("ovs-appctl", "--timeout=30", "exit", "--cleanup")
        os.kill(int((self.dir / "ovsdb-server.pid").read_text()), signal.SIGTERM)


@pytest.fixture
def peer() -> Iterator[Peer]:
    """The database, without a daemon."""
    it = Peer()
    yield it
    it.end()


def _started(peer: Peer) -> subprocess.CompletedProcess[str]:
    return peer.vswitchd(
        f"unix:{peer.dir}/db.sock", "--pidfile", "--detach", "--no-chdir", "--log-file",
        "--disable-system", "-vconsole:off", "-vsyslog:off",
    )  # fmt: skip


def test_it_starts_silently_and_serves_both_datapath_types(peer: Peer) -> None:
    done = _started(peer)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    for kind in ("netdev", "system"):
        peer.run("ovs-vsctl", "--timeout=30", "add-br", f"br-{kind}", "--", "set", "bridge",
                 f"br-{kind}", f"datapath_type={kind}")  # fmt: skip
    assert "br-netdev" in peer.run("ovs-vsctl", "show")
    assert "(Open vSwitch)" in peer.run("ovs-appctl", "version")
    listed = peer.run("ovs-appctl", "list-commands")
    for command in ("exit", "version", "vlog/set", "vlog/list", "fdb/show", "coverage/show"):
        assert command in listed


def test_its_log_has_no_warning_in_normal_work(peer: Peer) -> None:
    _started(peer)
    peer.run("ovs-vsctl", "--timeout=30", "add-br", "br0")
    peer.run("ovs-ofctl", "add-flow", "br0", "actions=NORMAL")
    peer.run("ovs-vsctl", "--timeout=30", "del-br", "br0")
    log = (peer.dir / "ovs-vswitchd.log").read_text()
    bad = [line for line in log.splitlines() if "|WARN|" in line or "|ERR|" in line or "|EMER|" in line]
    assert not bad


def test_exit_leaves_the_bridge_and_cleanup_removes_it(peer: Peer) -> None:
    _started(peer)
    peer.run("ovs-vsctl", "--timeout=30", "add-br", "br0")
    peer.run("ovs-appctl", "exit")
    _wait_for(lambda: not (peer.dir / "ovs-vswitchd.pid").exists())
    assert peer.attempt("ip", "link", "show", "br0").returncode == 0
    _started(peer)
    peer.run("ovs-appctl", "exit", "--cleanup")
    _wait_for(lambda: peer.attempt("ip", "link", "show", "br0").returncode != 0)


def _wait_for(condition: Callable[[], object]) -> None:
    assert until(condition), "it did not come true in time"


def test_version_is_what_scripts_look_for(peer: Peer) -> None:
    done = peer.vswitchd("--version")
    assert done.stdout.splitlines()[0] == "ovs-vswitchd (Open vSwitch) 3.1.0"


def test_an_unknown_option_is_refused(peer: Peer) -> None:
    done = peer.vswitchd("--no-such-option")
    assert done.returncode == 1
    assert "no-such-option" in done.stderr


def test_a_database_of_an_older_schema_is_served_but_for_what_it_lacks(tmp_path: Path) -> None:
    schema = json.loads(Path(_SCHEMA).read_text())
    del schema["cksum"], schema["tables"]["Interface"]["columns"]["ingress_policing_kpkts_rate"]
    schema["version"] = "8.2.0"
    older = tmp_path / "older.ovsschema"
    older.write_text(json.dumps(schema))
    peer = Peer(str(older))
    try:
        assert _started(peer).returncode == 0
        peer.run("ovs-vsctl", "--timeout=30", "add-br", "br0")
        assert peer.run("ovs-vsctl", "get", "Open_vSwitch", ".", "db_version").strip() == '"8.2.0"'
        log = (peer.dir / "ovs-vswitchd.log").read_text()
        assert log.count("lacks Interface.ingress_policing_kpkts_rate;") == 1
    finally:
        peer.end()


def test_the_bridges_are_there_when_detach_returns_and_what_scripts_wrote_stays(peer: Peer) -> None:
    peer.run("ovs-vsctl", "--no-wait", "add-br", "br0", "--", "set", "Open_vSwitch", ".",
             "system_type=appliance")  # fmt: skip
    _started(peer)
    assert peer.run("ovs-ofctl", "dump-flows", "br0").count("actions=NORMAL") == 1
    assert peer.run("ovs-vsctl", "get", "Open_vSwitch", ".", "system_type").strip() == "appliance"


def test_a_log_that_cannot_be_written_is_told(peer: Peer) -> None:
    done = peer.vswitchd("--pidfile", "--detach", "--no-chdir", "--log-file=/nowhere/x.log",
                         f"unix:{peer.dir}/db.sock")  # fmt: skip
    assert done.returncode == 0
    assert "|WARN|failed to open /nowhere/x.log" in done.stderr


@pytest.mark.parametrize(
    "module", [["gossamer.daemon.main"], ["gossamer.cli.main", "up", "nets.yaml"]]
)
def test_a_run_directory_that_cannot_be_made_is_told_without_a_traceback(
    module: list[str], tmp_path: Path
) -> None:
    (tmp_path / "nets.yaml").write_text("bridges: {br0: {}}\n")
    done = subprocess.run(
        [sys.executable, "-m", *module], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        env=os.environ | {"OVS_RUNDIR": "/dev/null/x"}, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "/dev/null/x" in done.stderr
    assert "Traceback" not in done.stderr
