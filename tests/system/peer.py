"""Open vSwitch itself in place of ours, for tests that hold for both: its userspace datapath on real devices.

``GOSSAMER_SWITCH=openvswitch`` chooses it, to see whether a test is right.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from gossamer.topology import converge
from gossamer.topology.check import Outcome, run_checks
from gossamer.topology.command import Tools
from gossamer.topology.load import load
from gossamer.topology.names import netns_name
from tests.system.world import Host, Netns

IS_PEER: Final = os.environ.get("GOSSAMER_SWITCH") == "openvswitch"
_SCHEMA: Final = "/usr/share/openvswitch/vswitch.ovsschema"


class PeerHost(Host):
    """A host with ovs-vswitchd."""

    def start(self) -> None:
        """Start database and switch."""
        database = self.rundir / "conf.db"
        if not database.exists():
            self.check("ovsdb-tool", "create", str(database), _SCHEMA)
        self.check("ovsdb-server", str(database), f"--remote=punix:{self.rundir}/db.sock",
                   "--detach", "--pidfile", "--no-chdir", "--log-file", "-vconsole:off")  # fmt: skip
        self.check("ovs-vsctl", "--no-wait", "init")
        self.check("ovs-vswitchd", "--disable-system", "--detach", "--pidfile", "--no-chdir", "--log-file",
                   "-vconsole:off", f"unix:{self.rundir}/db.sock")  # fmt: skip

    def vsctl(self, *arguments: str) -> str:
        """ovs-vsctl; bridges are made in userspace."""
        return super().vsctl(*_userspace(arguments))

    def netns(self, name: str, address: str, bridge: str | None = None, **columns: str) -> Netns:
        """A namespace whose checksums are computed: this datapath takes no offloads."""
        it = super().netns(name, address, bridge, **columns)
        it.run("ethtool", "-K", "eth0", "tx", "off")
        return it

    def end(self) -> None:
        """Stop both."""
        for name in ("ovs-vswitchd", "ovsdb-server"):
            os.kill(int((self.rundir / f"{name}.pid").read_text()), signal.SIGTERM)
        for name in self._names:
            self.attempt("ip", "link", "del", f"v{name}")
            self.attempt("ip", "netns", "del", name)


class _PeerTools(Tools):
    def vsctl(self, *arguments: str) -> str:
        return super().vsctl(*_userspace(arguments))


def _userspace(arguments: tuple[str, ...]) -> list[str]:
    out = list(arguments)
    if "add-br" in out:
        at = out.index("add-br")
        out[at + 2 : at + 2] = ["--", "set", "bridge", out[at + 1], "datapath_type=netdev"]
    return out


class Cloud:
    """A topology on the switch under test."""

    def __init__(self) -> None:
        rundir = Path(mkdtemp(prefix="cloud", dir="/run"))
        self.host = (PeerHost if IS_PEER else Host)(rundir)
        self.host.start()
        self.tools = (_PeerTools if IS_PEER else Tools)(rundir)
        self.path = rundir / "cloud.yaml"
        self.name = ""

    def up(self, text: str) -> list[converge.Step]:
        """Bring it up, or to what `text` says now."""
        self.path.write_text(text)
        topology = load(self.path)
        self.name = topology.name
        steps = converge.up(topology, self.path, self.tools)
        for name, instance in topology.instances.items() if IS_PEER else ():
            for i in range(len(instance.ports)):
                Netns(netns_name(self.name, name), "").run("ethtool", "-K", f"eth{i}", "tx", "off")
        return steps

    def netns(self, instance: str) -> Netns:
        """The inside of an instance."""
        return Netns(netns_name(self.name, instance), "")

    def check(self) -> list[Outcome]:
        """Its expectations, tried."""
        return run_checks(load(self.path), self.tools)

    def end(self) -> None:
        """Take it down and stop the switch."""
        for state in converge.known(self.host.rundir):
            converge.down(state, self.tools)
        self.host.end()
