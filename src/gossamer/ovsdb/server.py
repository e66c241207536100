"""The state database: the real ovsdb-server, started and watched where none runs.

The server is a process of its own (it daemonises itself): it outlives a
gossamerd that dies, and is joined again by the next one.
"""

from __future__ import annotations

import logging
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gossamer.errors import DatabaseError

log = logging.getLogger(__name__)

SCHEMA_PLACES: Final = (
    Path("/usr/share/openvswitch/vswitch.ovsschema"),
    Path("/usr/local/share/openvswitch/vswitch.ovsschema"),
)
_START_TIMEOUT_S: Final = 60


@dataclass(frozen=True, slots=True)
class Directories:
    """Where things are (OVS_RUNDIR, OVS_DBDIR, OVS_LOGDIR, OVS_SYSCONFDIR)."""

    run: Path
    db: Path
    log: Path
    sysconf: Path

    @classmethod
    def from_environment(cls, product: str) -> Directories:
        """What the environment says, else the directories of `product`."""
        env = os.environ
        sysconf = Path(env.get("OVS_SYSCONFDIR", "/etc"))
        default_db = f"/var/lib/{product}" if product != "openvswitch" else f"{sysconf}/openvswitch"
        return cls(
            Path(env.get("OVS_RUNDIR", f"/run/{product}")),
            Path(env.get("OVS_DBDIR", default_db)),
            Path(env.get("OVS_LOGDIR", f"/var/log/{product}")),
            sysconf,
        )

    def environment(self) -> dict[str, str]:
        """The environment under which the tools of Open vSwitch find us."""
        return os.environ | {
            "OVS_RUNDIR": str(self.run),
            "OVS_DBDIR": str(self.db),
            "OVS_LOGDIR": str(self.log),
            "OVS_SYSCONFDIR": str(self.sysconf),
        }


class DatabaseServer:
    """ovsdb-server on ``db.sock`` of the run directory."""

    def __init__(self, directories: Directories) -> None:
        self._dirs = directories
        self.socket = directories.run / "db.sock"
        self._pidfile = directories.run / "ovsdb-server.pid"
        self._next_try = 0.0

    @property
    def remote(self) -> str:
        """What clients connect to."""
        return f"unix:{self.socket}"

    def ensure(self) -> None:
        """Start the server where none runs.

        Raises DatabaseError where it does not start.
        """
        if self.running():
            return
        for directory in (self._dirs.run, self._dirs.db, self._dirs.log):
            directory.mkdir(parents=True, exist_ok=True)
        database = self._dirs.db / "conf.db"
        schema = _schema()
        if not database.exists():
            self._tool("create", str(database), str(schema))
        elif self._tool("needs-conversion", str(database), str(schema)).strip() == "yes":
            self._tool("convert", str(database), str(schema))
        self._run(
            [
                "ovsdb-server",
                str(database),
                f"--remote=punix:{self.socket}",
                "--remote=db:Open_vSwitch,Open_vSwitch,manager_options",
                "--private-key=db:Open_vSwitch,SSL,private_key",
                "--certificate=db:Open_vSwitch,SSL,certificate",
                "--bootstrap-ca-cert=db:Open_vSwitch,SSL,ca_cert",
                "-vconsole:off",
                "-vfile:warn",
                f"--pidfile={self._pidfile}",
                "--overwrite-pidfile",
                f"--unixctl={self._dirs.run / 'ovsdb-server.ctl'}",
                f"--log-file={self._dirs.log / 'ovsdb-server.log'}",
                "--no-chdir",
                "--detach",
            ]
        )
        self._run(["ovs-vsctl", f"--db={self.remote}", "--no-wait", "--timeout=50", "init"])
        log.info("database=%s started", self.socket)

    def watch(self) -> None:
        """Start it again where it died; call now and then."""
        now = time.monotonic()
        if now < self._next_try or self.running():
            return
        self._next_try = now + 1.0
        log.warning("database=%s is gone, starting it again", self.socket)
        try:
            self.ensure()
        except DatabaseError as e:
            log.error("%s", e)

    def running(self) -> bool:
        """True where a server answers for our pid file."""
        try:
            pid = int(self._pidfile.read_text())
            _, name, state = _stat(pid)
        except (OSError, ValueError):
            return False
        return name == "ovsdb-server" and state != "Z" and self.socket.exists()

    def stop(self) -> None:
        """End the server (``exit --cleanup``)."""
        if self.running():
            os.kill(int(self._pidfile.read_text()), 15)

    def _tool(self, *arguments: str) -> str:
        return self._run(["ovsdb-tool", "-vconsole:off", *arguments])

    def _run(self, command: list[str]) -> str:
        try:
            done = subprocess.run(
                command,
                env=self._dirs.environment(),
                capture_output=True,
                text=True,
                timeout=_START_TIMEOUT_S,
                check=False,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise DatabaseError(
                f"{command[0]} is not installed", remedy="apt-get install openvswitch-switch"
            ) from None
        except subprocess.TimeoutExpired:
            raise DatabaseError(f"{command[0]} did not start in {_START_TIMEOUT_S} s") from None
        if done.returncode:
            raise DatabaseError(
                f"{command[0]}: {done.stderr.strip() or f'exit status {done.returncode}'}",
                remedy=f"see {self._dirs.log}",
            )
        return done.stdout


def _stat(pid: int) -> tuple[int, str, str]:
    """(pid, name, state) of a process (proc(5)); raises OSError where there is none."""
    head, _, tail = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    return pid, head.partition("(")[2], tail.split()[0]


def _schema() -> Path:
    for path in SCHEMA_PLACES:
        if path.exists():
            return path
    raise DatabaseError(
        "the Open_vSwitch schema is not there",
        place=str(SCHEMA_PLACES[0]),
        remedy="apt-get install openvswitch-switch",
    )
