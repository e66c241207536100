"""Tunnels against the kernel's: ``python -m bench.tunnels [SECONDS] [ROUNDS]``, in the sandbox.

Two machines as namespaces, a cable between them, and an instance on each; one way with VXLAN ports
of ours, one with GRE, one with the kernel's VXLAN device and Linux bridge.  They take turns, so that
what else the machine does hits all alike.  Then a bridge with 1,000 tunnels.  Writes docs/tunnels.json,
docs/tunnels.md and docs/tunnels.svg.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.peers import Peer, build_senders, sh
from gossamer.datapath.datapath import Datapath
from gossamer.datapath.settings import PortKind, PortSettings
from gossamer.datapath.tunnel_settings import LocalAddress, TunnelKind, TunnelSettings
from gossamer.pipeline import action as act
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import Match
from gossamer.pipeline.of_port import OfPort

DOCS = Path(__file__).resolve().parent.parent / "docs"
ADDRESSES = {"a": "192.0.2.1", "b": "192.0.2.2"}
MANY = 1000
MTU = 1450
LABELS = {"vxlan": "Gossamer, VXLAN", "gre": "Gossamer, GRE", "kernel": "Linux VXLAN device, bridge"}


class Overlay(Peer):
    """Two machines, `NAME-ha` and `NAME-hb`; each instance's port is on its machine."""

    def __init__(self, name: str, kind: str) -> None:
        super().__init__(name, LABELS[kind])
        self.kind = kind
        self.ends: list[subprocess.Popen[str]] = []
        for side in "ab":
            machine = f"{name}-h{side}"
            sh("ip", "netns", "add", machine)
            sh("ip", "link", "set", f"{name}{side}", "netns", machine)
            sh("ip", "-n", machine, "link", "set", f"{name}{side}", "up")
            sh("ip", "-n", f"{name}-{side}", "link", "set", "eth0", "mtu", str(MTU))
        sh("ip", "-n", f"{name}-ha", "link", "add", "cable", "type", "veth", "peer", "name", "cable",
           "netns", f"{name}-hb")  # fmt: skip
        for side in "ab":
            machine = f"{name}-h{side}"
            sh("ip", "-n", machine, "addr", "add", f"{ADDRESSES[side]}/24", "dev", "cable")
            sh("ip", "-n", machine, "link", "set", "cable", "up")
            other = ADDRESSES["b" if side == "a" else "a"]
            if kind == "kernel":
                self._kernel(machine, f"{name}{side}", ADDRESSES[side], other)
            else:
                self._ours(machine, f"{name}{side}", ADDRESSES[side], other)
        assert " 0% packet loss" in self.exec("a", "ping", "-n", "-q", "-c", "2", "10.0.0.2")

    def _kernel(self, machine: str, port: str, local: str, remote: str) -> None:
        for line in (
            "link add dev br0 type bridge",
            f"link add vx0 type vxlan id 77 dstport 4789 local {local} remote {remote} dev cable",
            "link set vx0 master br0", f"link set {port} master br0", "link set vx0 up",
            "link set br0 up",
        ):  # fmt: skip
            sh("ip", "-n", machine, *line.split())

    def _ours(self, machine: str, port: str, local: str, remote: str) -> None:
        end = subprocess.Popen(
            ["ip", "netns", "exec", machine, sys.executable, "-m", "bench.tunnels", "--end",
             self.kind, port, local, remote],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert end.stdout is not None
        assert end.stdout.readline() == "ready\n"
        self.ends.append(end)

    def stop(self) -> None:
        """Take it away."""
        for end in self.ends:
            end.communicate("")
        for netns in ("a", "b", "ha", "hb"):
            sh("ip", "netns", "del", f"{self.name}-{netns}")


def end_of(kind: str, port: str, local: str, remote: str) -> None:
    """One machine's switch, until nobody wants it any more."""
    datapath, bridge = _open()
    mac = _peer_mac(port)
    datapath.add_port(
        bridge, PortSettings(port, 1, PortKind.DEVICE, _ifindex(port), peer_mac=mac)
    )
    tunnel = datapath.add_port(bridge, PortSettings("tun0", 2, PortKind.TUNNEL))
    datapath.set_tunnel(tunnel, _settings(kind, remote, 77))
    datapath.set_local_addresses([LocalAddress(socket.inet_aton(local), _ifindex("cable"))])
    datapath.attach_uplink(_ifindex("cable"))
    print("ready", flush=True)
    sys.stdin.read()
    datapath.destroy()


def _open() -> tuple[Datapath, int]:
    datapath = Datapath.open(Path(f"/sys/fs/bpf/bench-{os.getpid()}"))
    bridge = datapath.add_bridge("br0")
    normal = (act.Output(OfPort.NORMAL),)
    datapath.insert_flows(bridge, [Flow(0, 0, Match(0, 0), normal)])
    return datapath, bridge


def _settings(kind: str, remote: str, key: int) -> TunnelSettings:
    return TunnelSettings(
        TunnelKind.GRE if kind == "gre" else TunnelKind.VXLAN, socket.inet_aton(remote),
        in_key=key, out_key=key, dst_port=0 if kind == "gre" else 4789,
    )  # fmt: skip


def _ifindex(device: str) -> int:
    return int(Path(f"/sys/class/net/{device}/ifindex").read_text())


def _peer_mac(device: str) -> bytes:
    """Of the instance behind a device."""
    side = device[-1]
    shown = sh("ip", "-n", f"{device[:-1]}-{side}", "-o", "link", "show", "eth0")
    return bytes.fromhex(shown.split("link/ether ")[1].split()[0].replace(":", ""))


def many_tunnels() -> dict[str, float]:
    """1,000 tunnels to as many peers on one bridge: set-up, memory, and a packet's way through."""
    from gossamer.datapath.testrun import TestRun

    datapath = Datapath.open(Path(f"/sys/fs/bpf/many-{os.getpid()}"), capturing=True)
    try:
        bridge = datapath.add_bridge("br0")
        inside = datapath.add_port(bridge, PortSettings("in", 1))
        run = TestRun(datapath)
        frame = bytes.fromhex("020000000002020000000001" "0800") + b"\x45" + bytes(45)
        out: dict[str, float] = {}
        first = _memory_kb()

        def add(n: int) -> None:
            port = datapath.add_port(bridge, PortSettings(f"t{n}", 2 + n, PortKind.TUNNEL))
            remote = f"198.51.{n >> 8}.{n & 255}"
            datapath.set_tunnel(port, _settings("vxlan", remote, 1000 + n))

        def cost(tunnel: int) -> float:
            send = Flow(0, 0, Match(0, 0), (act.Output(2 + tunnel),))
            datapath.insert_flows(bridge, [send])
            best = float("inf")
            for _ in range(15):
                run.run(inside, frame, repeat=300)
                best = min(best, run.duration_ns)
            return best

        add(0)
        out["ns_with_1"] = cost(0)
        began = time.monotonic()
        with datapath.transaction():
            for n in range(1, MANY):
                add(n)
        out["set_up_s"] = time.monotonic() - began
        out["memory_kb_each"] = (_memory_kb() - first) / MANY
        out["ns_with_1000"] = cost(MANY - 1)
        return out
    finally:
        datapath.destroy()


def _memory_kb() -> float:
    """Of this process; the kernel's arrays are there from the beginning."""
    fields = Path("/proc/self/status").read_text().split("VmRSS:")[1].split()
    return float(fields[0])


def main() -> None:
    """Measure, and write the figures."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    build_senders()
    overlays = {kind: Overlay(f"b{kind[0]}", kind) for kind in LABELS}
    figures: dict[str, dict[str, list[float]]] = {k: {"tcp": [], "pps": []} for k in LABELS}
    try:
        for _ in range(rounds):
            for kind, overlay in overlays.items():
                figures[kind]["tcp"].append(overlay.tcp_gbps(int(seconds)))
                figures[kind]["pps"].append(overlay.packets_per_second(seconds, 64))
    finally:
        for overlay in overlays.values():
            overlay.stop()
    result = {
        "kernel": os.uname().release,
        "rounds": rounds,
        "tcp_gbps": {k: statistics.median(v["tcp"]) for k, v in figures.items()},
        "packets_per_second": {k: statistics.median(v["pps"]) for k, v in figures.items()},
        "all": figures,
        "many": many_tunnels(),
    }
    (DOCS / "tunnels.json").write_text(json.dumps(result, indent=1) + "\n")
    (DOCS / "tunnels.md").write_text(report(result))
    plot(result, DOCS / "tunnels.svg")
    print(report(result))


def report(result: dict[str, object]) -> str:
    """A page of figures."""
    tcp: dict[str, float] = result["tcp_gbps"]  # type: ignore[assignment]
    pps: dict[str, float] = result["packets_per_second"]  # type: ignore[assignment]
    many: dict[str, float] = result["many"]  # type: ignore[assignment]
    lines = [
        "# Tunnels, measured",
        "",
        f"Kernel {result['kernel']}, medians of {result['rounds']} interleaved rounds; made by"
        " `make bench-tunnels`. Two machines as namespaces, joined by a veth pair, an instance on each.",
        "",
        "| | TCP, one stream, Gbit/s | to the kernel's | 60-byte packets a second | to the kernel's |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for kind, label in LABELS.items():
        lines.append(
            f"| {label} | {tcp[kind]:.1f} | {tcp[kind] / tcp['kernel']:.2f} |"
            f" {pps[kind]:,.0f} | {pps[kind] / pps['kernel']:.2f} |"
        )
    lines += [
        "",
        f"1,000 tunnels to as many remotes on one bridge: set up in {many['set_up_s']:.2f} s,"
        f" {many['memory_kb_each']:.1f} KB of the daemon's memory each; a packet into one of them takes"
        f" {many['ns_with_1000']:.0f} ns, where there is but one {many['ns_with_1']:.0f} ns"
        " (BPF test-run, route and sending left out).",
        "",
    ]
    return "\n".join(lines)


def plot(result: dict[str, object], path: Path) -> None:
    """Both figures, side by side."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3))
    for axis, key, title in zip(
        axes, ("tcp_gbps", "packets_per_second"), ("TCP, Gbit/s", "60-byte packets a second"),
        strict=True,
    ):  # fmt: skip
        values: dict[str, float] = result[key]  # type: ignore[assignment]
        axis.barh([LABELS[k] for k in LABELS], [values[k] for k in LABELS])
        axis.set_title(title)
        axis.invert_yaxis()
    axes[1].set_yticklabels([])
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--end"]:
        end_of(*sys.argv[2:])
    else:
        main()
