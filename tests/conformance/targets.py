"""The switches under test: a daemon, a bridge and three ports, alike but for the daemon."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ovs.unixctl.client import UnixctlClient

from tests.conformance.channel import Channel
from tests.conformance.wires import Wire

ROOT = Path(__file__).resolve().parents[2]
_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
_END_S = 60
_DAEMON = ("--pidfile", "--detach", "--no-chdir", "--log-file", "-vconsole:off")


@dataclass(frozen=True)
class Kind:
    """A switch that can be tested."""

    name: str
    vswitchd: tuple[str, ...]
    """Its daemon, the rest of the command line being the same."""


OVS = Kind("ovs", ("ovs-vswitchd",))
GOSSAMER = Kind("gossamer", (str(ROOT / ".venv/bin/ovs-vswitchd"),))
KINDS = {kind.name: kind for kind in (OVS, GOSSAMER)}


@dataclass
class Target:
    """A bridge with ports 1 to 3, ready to be played on."""

    kind: Kind
    channel: Channel
    wires: dict[int, Wire]
    _control: UnixctlClient

    def settle(self) -> None:
        """Make packets from now on see the flows as they are.

        A barrier of Open vSwitch does not speak for its datapath: a path that
        was made for the last case may still be there.
        """
        self._control.transact("revalidator/purge", [])


@contextmanager
def running(kind: Kind) -> Iterator[Target]:
    """A target, in a run directory of its own; all is gone afterwards.

    Raises subprocess.CalledProcessError where a tool fails, TimeoutError where
    the bridge does not connect.
    """
    with ExitStack() as ends:
        directory = Path(ends.enter_context(TemporaryDirectory(prefix="conformance", dir="/run")))
        environment = os.environ | {
            f"OVS_{name}DIR": str(directory) for name in ("RUN", "DB", "LOG", "SYSCONF")
        }

        def run(*command: str) -> str:
            return subprocess.run(
                command, env=environment, check=True, text=True, timeout=60, stdout=subprocess.PIPE
            ).stdout

        def stop(daemon: str, *how: str) -> None:
            pid = (directory / f"{daemon}.pid").read_text().strip()
            run("ovs-appctl", "-t", daemon, "exit", *how)
            # It answers first and tidies its directory up afterwards.
            until = time.monotonic() + _END_S
            while _runs(pid) and time.monotonic() < until:
                time.sleep(0.01)

        database, remote = directory / "conf.db", directory / "db.sock"
        run("ovsdb-tool", "create", str(database), str(_SCHEMA))
        run("ovsdb-server", *_DAEMON, f"--remote=punix:{remote}", str(database))
        ends.callback(stop, "ovsdb-server")
        run("ovs-vsctl", "--no-wait", "init")
        run(*kind.vswitchd, *_DAEMON, "--disable-system", f"unix:{remote}")
        ends.callback(stop, "ovs-vswitchd", "--cleanup")

        listener = ends.enter_context(socket.create_server(("127.0.0.1", 0)))
        controller = f"tcp:127.0.0.1:{listener.getsockname()[1]}"
        run("ovs-vsctl", "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev",
            "protocols=OpenFlow13", "fail-mode=secure", "other-config:disable-in-band=true",
            "--", "set-controller", "br0", controller,
            "--", "set", "controller", "br0", "connection_mode=out-of-band",
            "inactivity_probe=60000", "controller_rate_limit=100000")  # fmt: skip
        wires = {}
        for port in (1, 2, 3):
            wires[port] = Wire(f"{kind.name[:4]}{port}")
            ends.callback(wires[port].close)
            run("ovs-vsctl", "add-port", "br0", wires[port].device,
                "--", "set", "interface", wires[port].device, f"ofport_request={port}")  # fmt: skip
        channel = ends.enter_context(Channel(listener))
        pid = (directory / "ovs-vswitchd.pid").read_text().strip()
        error, control = UnixctlClient.create(str(directory / f"ovs-vswitchd.{pid}.ctl"))
        if error:
            raise OSError(error, f"no control socket of {kind.name}")
        ends.callback(control.close)
        target = Target(kind, channel, wires, control)
        _await_forwarding(target)
        yield target


def _runs(pid: str) -> bool:
    """Not where nobody has asked yet how it ended: a sandbox has no init (proc(5))."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _await_forwarding(target: Target) -> None:
    """Wait until the ports take part: Open vSwitch opens them while it says they are there."""
    from tests.conformance.cases import SEND_PORT_1
    from tests.conformance.play import reset, set_up

    probe = bytes.fromhex("ffffffffffff 020000000001 88b5") + bytes(46)
    reset(target)
    actions = [{"OFPActionOutput": {"port": SEND_PORT_1}}]
    instruction = {"OFPInstructionActions": {"actions": actions, "type": 4}}
    set_up(target, [{"OFPFlowMod": {"table_id": 0, "instructions": [instruction]}}])
    until = time.monotonic() + 60
    while target.wires[SEND_PORT_1].receive() != probe:
        if time.monotonic() > until:
            raise TimeoutError(f"{target.kind.name} forwards nothing")
        target.wires[1].send(probe)
        time.sleep(0.05)
