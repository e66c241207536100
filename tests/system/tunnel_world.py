"""Two machines on an underlay: ours with a gossamerd, and a peer with the kernel's or Open vSwitch's tunnels."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from tests.system.world import Host, pings, until

OUR_IP, PEER_IP = "192.0.2.1", "192.0.2.2"
OUR_IP6, PEER_IP6 = "2001:db8::1", "2001:db8::2"
OUR_INNER, PEER_INNER = "10.0.0.1", "10.0.0.2"
_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
_VSWITCHD = "/usr/sbin/ovs-vswitchd"


class Peer:
    """The other machine: a network namespace whose eth0 is the other end of our `up0`."""

    def __init__(self, name: str = "peer", mtu: int = 1500) -> None:
        self.name = name
        run("ip", "netns", "add", name)
        run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", name)
        for line in (
            f"link set up0 mtu {mtu} up", f"addr add {OUR_IP}/24 dev up0", f"addr add {OUR_IP6}/64 dev up0 nodad",
        ):  # fmt: skip
            run("ip", *line.split())
        self.ip("link", "set", "lo", "up")
        # What a capture shows is then what a wire would carry, checksums and all.
        run("ip", "netns", "exec", name, "ethtool", "-K", "eth0", "tx", "off")
        self.ip("link", "set", "eth0", "mtu", str(mtu), "up")
        self.addresses("eth0", f"{PEER_IP}/24", f"{PEER_IP6}/64")

    def ip(self, *arguments: str) -> str:
        """ip(8) on the peer."""
        return run("ip", "-n", self.name, *arguments)

    def addresses(self, device: str, *addresses: str) -> None:
        """Give a device addresses, at once usable."""
        for address in addresses:
            self.ip("addr", "add", address, "dev", device, *(["nodad"] if ":" in address else []))

    def attempt(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command on the peer, however it goes."""
        return subprocess.run(
            ["ip", "netns", "exec", self.name, *command],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def ping(self, address: str, count: int = 3, *options: str) -> int:
        """Answers received."""
        return pings(self.attempt, address, count, *options)

    def end(self) -> None:
        """Take it away."""
        run("ip", "link", "del", "up0")
        run("ip", "netns", "del", self.name)


class OvsPeer(Peer):
    """The other machine with Open vSwitch's own switch, all in a process: br-phy has the underlay."""

    def __init__(self, name: str = "peer", mtu: int = 1500) -> None:
        super().__init__(name, mtu)
        self.rundir = Path(mkdtemp(prefix="ovs", dir="/run"))
        self.environment = os.environ | dict.fromkeys(
            ("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR"), str(self.rundir)
        )
        database = self.rundir / "conf.db"
        self.run("ovsdb-tool", "create", str(database), _SCHEMA)
        self.run("ovsdb-server", str(database), f"--remote=punix:{self.rundir}/db.sock", "--pidfile",
                 "--detach", "--no-chdir", "-vconsole:off")  # fmt: skip
        self.run("ovs-vsctl", "--no-wait", "init")
        self.run(_VSWITCHD, "--pidfile", "--detach", "--no-chdir", "--log-file", "--disable-system",
                 "-vconsole:off")  # fmt: skip
        mac = (self.attempt("cat", "/sys/class/net/eth0/address").stdout).strip()
        self.bridge("br-phy", f"other_config:hwaddr={mac}")
        self.vsctl("add-port", "br-phy", "eth0")
        self.ip("addr", "flush", "dev", "eth0")
        self.ip("link", "set", "br-phy", "mtu", str(mtu), "up")
        self.addresses("br-phy", f"{PEER_IP}/24", f"{PEER_IP6}/64")

    def run(self, *command: str) -> str:
        """A command on the peer that must succeed."""
        return run("nsenter", f"--net=/run/netns/{self.name}", *command, environment=self.environment)

    def vsctl(self, *arguments: str) -> str:
        """ovs-vsctl of the peer."""
        return self.run("ovs-vsctl", "--timeout=100", *arguments).strip()

    def ofctl(self, *arguments: str) -> str:
        """ovs-ofctl of the peer."""
        return self.run("ovs-ofctl", *arguments)

    def bridge(self, name: str, *columns: str) -> None:
        """A bridge of the userspace datapath."""
        self.vsctl("add-br", name, "--", "set", "bridge", name, "datapath_type=netdev", *columns)

    def tunnel_bridge(self, kind: str, *options: str) -> None:
        """br0 with a tunnel port, and the inner address on its own device."""
        self.bridge("br0")
        self.vsctl("add-port", "br0", "tun0", "--", "set", "interface", "tun0", f"type={kind}",
                   *(f"options:{o}" for o in options))  # fmt: skip
        self.ip("link", "set", "br0", "mtu", "1400", "up")
        self.addresses("br0", f"{PEER_INNER}/24")

    def end(self) -> None:
        """End its processes too."""
        for name in ("ovs-vswitchd", "ovsdb-server"):
            os.kill(int((self.rundir / f"{name}.pid").read_text()), signal.SIGKILL)
        super().end()


def run(*command: str, environment: dict[str, str] | None = None) -> str:
    """Output of a command that must succeed."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
    return done.stdout


def add_tunnel(host: Host, bridge: str, name: str, kind: str, *options: str) -> None:
    """A tunnel port of ours; fails with what the database says is wrong."""
    host.vsctl("add-port", bridge, name, "--", "set", "interface", name, f"type={kind}",
               *(f"options:{o}" for o in options))  # fmt: skip
    error = host.vsctl("get", "interface", name, "error")
    assert error == "[]", f"{name}: {error}"


def kernel_vxlan(peer: Peer, *options: str, ipv6: bool = False, mtu: int = 1400) -> None:
    """The other end of a tunnel of key 77, in the peer's kernel."""
    ours, theirs = (OUR_IP6, PEER_IP6) if ipv6 else (OUR_IP, PEER_IP)
    peer.ip("link", "add", "vx0", "type", "vxlan", "id", "77", "dstport", "4789",
            "remote", ours, "local", theirs, *options)  # fmt: skip
    peer.ip("link", "set", "vx0", "mtu", str(mtu), "up")
    peer.addresses("vx0", f"{PEER_INNER}/24", "fd00::2/64")


class Capture:
    """What passed on the underlay, in a file for tshark."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fields(self, display_filter: str, *names: str) -> list[list[str]]:
        """Fields of the packets that a filter shows, as tshark decodes them."""
        wanted = [argument for name in names for argument in ("-e", name)]
        shown = run("tshark", "-r", str(self.path), "-o", "ip.check_checksum:TRUE",
                    "-o", "udp.check_checksum:TRUE", "-n",
                    "-Y", display_filter, "-T", "fields", *wanted)  # fmt: skip
        return [line.split("\t") for line in shown.splitlines()]

    def complaints(self) -> list[list[str]]:
        """Packets that tshark finds malformed or warns of."""
        return self.fields(
            "_ws.malformed || _ws.expert.severity >= 0x600000",  # PI_WARN
            "frame.number", "frame.protocols", "_ws.expert.message",
        )  # fmt: skip


_LAST: Final = bytes.fromhex("02000000feed 02000000feed 88b6") + b"the last frame of a capture".ljust(46, b"\0")
"""Of an ethertype for experiments (IEEE 802): nobody answers."""


def _send_last(device: str) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as it:
        it.bind((device, 0))
        it.send(_LAST)


@contextmanager
def captured(device: str = "up0") -> Iterator[Capture]:
    """Capture all packets of a device within this."""
    path = Path(mkdtemp(prefix="capture", dir="/run")) / "underlay.pcap"
    process = subprocess.Popen(
        ["tcpdump", "-i", device, "-U", "-w", str(path), "--immediate-mode", "-Z", "root"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        while line and "listening on" not in line:
            line = process.stderr.readline()
        yield Capture(path)
        # tcpdump forgets what it has not read yet when it is told to end.
        _send_last(device)
        assert until(lambda: _LAST in path.read_bytes()), "tcpdump sees nothing more"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def inner_ping(host: Host, netns: str, address: str, count: int = 3, *options: str) -> int:
    """Answers that an instance of ours gets."""
    return pings(partial(host.attempt, "ip", "netns", "exec", netns), address, count, *options)


def settle(host: Host) -> None:
    """The first packet may meet addresses of the underlay that are still being resolved."""
    assert until(lambda: inner_ping(host, "a", PEER_INNER, 1)), "the tunnel does not come up"
