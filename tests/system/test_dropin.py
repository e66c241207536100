"""The executable named ovs-vswitchd, as init scripts and tests use the peer's."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.certificates import make_certificates
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
        return self.attempt(_program(), *options)

    def end(self) -> None:
        """Stop both."""
        self.attempt("ovs-appctl", "--timeout=100", "exit", "--cleanup")
        os.kill(int((self.dir / "ovsdb-server.pid").read_text()), signal.SIGTERM)


def _program() -> str:
    beside = Path(sys.executable).with_name("ovs-vswitchd")
    program = str(beside) if beside.exists() else shutil.which("ovs-vswitchd")
    assert program is not None
    return program


def _server_socket(peer: Peer) -> Path:
    pid = (peer.dir / "ovsdb-server.pid").read_text().strip()
    return peer.dir / f"ovsdb-server.{pid}.ctl"


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
        peer.run("ovs-vsctl", "--timeout=100", "add-br", f"br-{kind}", "--", "set", "bridge",
                 f"br-{kind}", f"datapath_type={kind}")  # fmt: skip
    assert "br-netdev" in peer.run("ovs-vsctl", "show")
    assert "(Open vSwitch)" in peer.run("ovs-appctl", "version")
    listed = peer.run("ovs-appctl", "list-commands")
    for command in ("exit", "version", "vlog/set", "vlog/list", "fdb/show", "coverage/show"):
        assert command in listed


def test_its_log_has_no_warning_in_normal_work(peer: Peer) -> None:
    _started(peer)
    peer.run("ovs-vsctl", "--timeout=100", "add-br", "br0")
    peer.run("ovs-ofctl", "add-flow", "br0", "actions=NORMAL")
    peer.run("ovs-vsctl", "--timeout=100", "del-br", "br0")
    log = (peer.dir / "ovs-vswitchd.log").read_text()
    bad = [line for line in log.splitlines() if "|WARN|" in line or "|ERR|" in line or "|EMER|" in line]
    assert not bad


def test_exit_leaves_the_bridge_and_cleanup_removes_it(peer: Peer) -> None:
    _started(peer)
    peer.run("ovs-vsctl", "--timeout=100", "add-br", "br0")
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


_MISTAKES = (
    "--no-such-option", "-Z", "a b", "--unixctl", "--detach=yes", "-p", "--ver", "--dpdk", "--dp=3",
    "--mlockall=3", "--disable-system=3", "-- a b", "-vfoo:bar", "-vconsole:nope", "--verbose=any:zz",
    "-vPATTERN:zz:x", "-vFACILITY:zz", "-vsyslog:off:off", "--syslog-method=bogus", "--syslog-target",
    "--user", "--no-mlockall", "--unixctl=/nonexist/x.ctl -vconsole:off",
)  # fmt: skip


@pytest.fixture(scope="module")
def directory() -> Iterator[Peer]:
    """A database that nobody serves, for daemons that do not come to that."""
    it = Peer()
    yield it
    it.end()


@pytest.mark.parametrize("options", _MISTAKES)
def test_a_mistake_is_told_as_the_peer_tells_it(directory: Peer, options: str) -> None:
    theirs = directory.attempt("/usr/sbin/ovs-vswitchd", *options.split())
    ours = directory.vswitchd(*options.split())
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout) == (1, "")
    # What the remedy is, we say in a second line.
    assert ours.stderr.splitlines()[0] == theirs.stderr.splitlines()[0].removeprefix("/usr/sbin/")


def test_users_are_looked_up_and_only_root_will_do(directory: Peer) -> None:
    def said(user: str) -> str:
        done = directory.vswitchd(f"--user={user}")
        assert done.returncode == 1
        return done.stderr.splitlines()[0].removeprefix("ovs-vswitchd: ")

    assert said("nosuchuser") == "user nosuchuser not found, aborting."
    assert said(":nosuchgroup") == "group nosuchgroup not found, aborting."
    assert said("daemon") == "--user=daemon: only root may load the datapath's BPF programs"


def test_a_pidfile_that_cannot_be_made_is_told_in_one_line(directory: Peer) -> None:
    done = directory.vswitchd("--detach", "--pidfile=/nonexist/x.pid")
    assert done.returncode == 1
    assert re.fullmatch(
        r"ovs-vswitchd: /nonexist/x\.pid\.tmp\d*: create failed \(No such file or directory\)\n", done.stderr
    )


def test_all_that_ovs_ctl_passes_is_taken_and_a_second_daemon_is_refused(peer: Peer) -> None:
    done = peer.vswitchd(
        f"unix:{peer.dir}/db.sock", "--pidfile", "--detach", "--no-chdir", "--monitor", "--mlockall",
        "--log-file", "-vconsole:emer", "-vsyslog:err", "-vfile:info", "-vPATTERN:file:%p says %m",
        "--user=root:root", "--no-self-confinement", "--overwrite-pidfile", "--enable-dummy",
        "--disable-system-route", "--syslog-method=null", "--unixctl=x.ctl",
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    control = str(peer.dir / "x.ctl")
    patterns = peer.run("ovs-appctl", "-t", control, "vlog/list-pattern").splitlines()
    assert patterns[2].split() == ["SYSLOG", "ovs|%05N|%c%T|%p|%m"]
    assert patterns[4].split() == ["FILE", "none", "%p", "says", "%m"]
    log = peer.dir / "ovs-vswitchd.log"
    assert log.read_text().startswith("INFO says opened log file ")
    assert log.stat().st_mode & 0o777 == 0o640
    pid = int((peer.dir / "ovs-vswitchd.pid").read_text())
    assert "VmLck:\t       0 kB" not in Path(f"/proc/{pid}/status").read_text()
    again = peer.vswitchd("--pidfile", "--detach", "--no-chdir")
    assert again.returncode == 1
    assert again.stderr == (
        f"ovs-vswitchd: {peer.dir}/ovs-vswitchd.pid: already running as pid {pid}, aborting\n"
    )
    peer.run("ovs-appctl", "-t", control, "exit", "--cleanup")


def test_the_database_is_reached_over_tls_and_its_ca_fetched_once(peer: Peer) -> None:
    pki = make_certificates(peer.dir)
    peer.run("ovs-appctl", "-t", str(_server_socket(peer)), "exit")
    _wait_for(lambda: not (peer.dir / "ovsdb-server.pid").exists())
    peer.run(
        "ovsdb-server", str(peer.dir / "conf.db"), f"--remote=punix:{peer.dir}/db.sock",
        "--remote=pssl:6640:127.0.0.1", f"--private-key={pki}/tool.key", f"--certificate={pki}/tool.pem",
        f"--ca-cert={pki}/ca.pem", f"--peer-ca-cert={pki}/ca.pem", "--pidfile", "--detach", "--no-chdir",
        "-vconsole:off",
    )  # fmt: skip
    peer.run("ovs-vsctl", "--no-wait", "add-br", "br0")
    done = peer.vswitchd(
        "ssl:127.0.0.1:6640", "--pidfile", "--detach", "--no-chdir", "--log-file", "-vconsole:off",
        "-p", f"{pki}/switch.key", "-c", f"{pki}/switch.pem", f"--bootstrap-ca-cert={peer.dir}/got.pem",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (peer.dir / "got.pem").read_text().split() == (pki / "ca.pem").read_text().split()
    assert peer.run("ovs-ofctl", "dump-flows", "br0").count("actions=NORMAL") == 1


def test_a_database_over_tls_without_its_files_is_tried_again_and_told_once(directory: Peer) -> None:
    ours = subprocess.Popen(
        [_program(), "ssl:127.0.0.1:9", "-vfile:off", "-vsyslog:off"],
        env=directory.environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert ours.stderr is not None
    lines = []
    while sum("connection attempt failed" in line for line in lines) < 2:
        lines.append(ours.stderr.readline())
        assert lines[-1], lines
    ours.terminate()
    ours.wait(90)
    told = [line for line in lines if "|ERR|" in line]
    assert len(told) == 1
    assert "SSL needs a private key, a certificate and a CA certificate" in told[0]


def test_a_database_of_an_older_schema_is_served_but_for_what_it_lacks(tmp_path: Path) -> None:
    schema = json.loads(Path(_SCHEMA).read_text())
    del schema["cksum"], schema["tables"]["Interface"]["columns"]["ingress_policing_kpkts_rate"]
    schema["version"] = "8.2.0"
    older = tmp_path / "older.ovsschema"
    older.write_text(json.dumps(schema))
    peer = Peer(str(older))
    try:
        assert _started(peer).returncode == 0
        peer.run("ovs-vsctl", "--timeout=100", "add-br", "br0")
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
    why = "failed to open /nowhere/x.log for logging: No such file or directory"
    assert done.stderr.count(f"|WARN|{why}") == 1


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


_SCRIPTS = Path("/usr/share/openvswitch/scripts")


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Debian's ovs-ctl, which finds our ovs-vswitchd first, and directories of its own."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ovs-vswitchd").symlink_to(_program())
    run = Path(mkdtemp(prefix="ctl", dir="/run"))
    environment = os.environ | {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    for kind in ("LOG", "DB", "SYSCONF"):
        directory = tmp_path / kind
        (directory / "openvswitch").mkdir(parents=True)
        environment[f"OVS_{kind}DIR"] = str(directory)
    environment["OVS_RUNDIR"] = str(run)

    def script(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = [str(_SCRIPTS / "ovs-ctl")] if arguments[0] != "ovs-vsctl" else []
        return subprocess.run(
            [*program, *arguments], env=environment, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip

    yield script
    script("stop")
    # Packets go on without the daemon: what it made is there until somebody takes it away.
    subprocess.run(["ip", "link", "del", "br0"], capture_output=True, check=False)


def test_ovs_ctl_starts_restarts_and_stops_it(
    control: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    started = control("start", "--system-id=random")
    assert started.returncode == 0, started.stderr
    assert "Starting ovs-vswitchd." in started.stdout
    pids = re.findall(r"is running with pid (\d+)", control("status").stdout)
    assert len(pids) == 2
    assert "ovs-vswitchd (Open vSwitch) 3.1.0\n" in control("version").stdout
    assert control("ovs-vsctl", "--timeout=100", "add-br", "br0").returncode == 0
    again = control("restart", "--system-id=random")
    assert again.returncode == 0
    assert "Saving flows." in again.stdout
    assert "Restoring saved flows." in again.stdout
    assert not set(pids) & set(re.findall(r"is running with pid (\d+)", control("status").stdout))
    assert control("ovs-vsctl", "list-br").stdout == "br0\n"
    assert control("stop").returncode == 0
    after = control("status")
    assert (after.returncode, after.stdout.count("is not running")) == (1, 2)
