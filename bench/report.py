"""The figures as a table and a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

LOADS: Final = {
    "one sender": ("packets_per_second", "new_flows_per_second"),
    "a sender on each core": ("packets_of_every_core", "new_flows_of_every_core"),
    "overload": ("forwarded_per_second", "new_flows_forwarded_per_second"),
}
"""What is offered: the keys of packets and of new flows a second."""


def write(result: dict[str, Any], docs: Path) -> None:
    """docs/bench.md and docs/bench.svg."""
    pps: dict[str, float] = result["packets_per_second"]
    lines = [
        "# Measured",
        "",
        f"Kernel {result['kernel']}, {result['cpus']} CPUs, medians of {result['rounds']} interleaved"
        " rounds; made by `make bench`.",
        "",
        *_rates("60-byte packets a second, sender included", pps),
        "",
        "The same with a sender on each core: what a whole host forwards when its instances keep it busy. A"
        " switch that works in threads beside the senders has to share their cores.",
        "",
        *_rates("60-byte packets a second, a sender on each core", result["packets_of_every_core"]),
        "",
        "The same where the kernel makes the packets itself as they come in, without a system call each"
        " (`bench/generator.c`): more than anybody forwards, so what arrives is what the switch can do.",
        "",
        *_rates("60-byte packets a second, under overload", result["forwarded_per_second"]),
    ]
    over = result["new_flows_forwarded_per_second"]
    ours_over = next(v for k, v in over.items() if k.startswith("Gossamer"))
    cores = result["new_flows_of_every_core"]
    ours_cores = next(v for k, v in cores.items() if k.startswith("Gossamer"))
    new = result["new_flows_per_second"]
    ours = next(v for k, v in new.items() if k.startswith("Gossamer"))
    load, rss, ports = result["load_100k_s"], result["rss_mb"], result["add_port_ms"]
    tcp, ping = result["tcp_gbps"], result["ping_us"]
    lines += [
        "",
        "| what | Gossamer | Linux bridge | OVS userspace | bare redirect |",
        "| --- | ---: | ---: | ---: | ---: |",
        f"| new flows a second (each packet a new five-tuple) | {ours:,.0f} | | {new['OVS userspace']:,.0f} | |",
        f"| the same, a sender on each core | {ours_cores:,.0f} | | {cores['OVS userspace']:,.0f} | |",
        f"| the same under overload | {ours_over:,.0f} | | {over['OVS userspace']:,.0f} | |",
        "| TCP, one stream, Gbit/s | "
        + " | ".join(f"{tcp[k]:.1f}" for k in ("Gossamer, NORMAL", "Linux bridge", "OVS userspace", "bare TC redirect"))
        + " |",
        "| ping round trip, µs | "
        + " | ".join(f"{ping[k]:.1f}" for k in ("Gossamer, NORMAL", "Linux bridge", "OVS userspace", "bare TC redirect"))
        + " |",
        f"| loading 100,000 flows with ovs-ofctl, s | {load['Gossamer']:.2f} | | {load['OVS userspace']:.2f} | |",
        f"| daemon's memory with them, MB | {rss['Gossamer']:.0f} | | {rss['OVS userspace']:.0f} | |",
        f"| adding the 1st / the 500th port, ms ([who takes it](ports.md)) | {ports['first']:.1f} / {ports['500th']:.1f} | | | |",
        "",
        *_aims(result),
        "",
    ]
    (docs / "bench.md").write_text("\n".join(lines))
    _plot(pps, docs / "bench.svg")


def _rates(what: str, pps: dict[str, float]) -> list[str]:
    bridge, ovs, bare = pps["Linux bridge"], pps["OVS userspace"], pps["bare TC redirect"]
    return [
        f"| {what} | million | of the bridge | of OVS userspace | of the bare redirect |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {label} | {value / 1e6:.3f} | {value / bridge:.2f} | {value / ovs:.2f} | {value / bare:.2f} |"
            for label, value in pps.items()
        ),
    ]


def _aims(result: dict[str, Any]) -> list[str]:
    """Each aim under each load, beside what a program that only redirects makes of it.

    A load that even the bare redirect cannot turn into the aim says something of the sender, not of the switch.
    """
    lines = [
        "What was aimed at: the least of ours, beside the bare redirect_peer, which looks at nothing and is the limit of"
        " any switch under that load.",
        "",
        "| aim | load | limit | Gossamer | reached |",
        "| --- | --- | ---: | ---: | --- |",
    ]
    aims = (("Linux bridge", 1.5), ("OVS userspace", 3.0), ("bare TC redirect", 0.85))
    for peer, aim in aims:
        for load, (packets, _) in LOADS.items():
            pps: dict[str, float] = result[packets]
            least = min(v for k, v in pps.items() if k.startswith("Gossamer")) / pps[peer]
            limit = pps["bare TC redirect_peer"] / pps[peer]
            lines.append(_aim(f"packets: {aim} times {peer}", load, limit, least, aim))
    for load, (packets, flows) in LOADS.items():
        new: dict[str, float] = result[flows]
        ours = next(v for k, v in new.items() if k.startswith("Gossamer")) / new["OVS userspace"]
        limit = result[packets]["bare TC redirect_peer"] / new["OVS userspace"]
        lines.append(_aim("new flows: 8 times OVS userspace", load, limit, ours, 8.0))
    return lines


def _aim(what: str, load: str, limit: float, ours: float, aim: float) -> str:
    reached = "yes" if ours >= aim else "no" if limit >= aim else "out of reach of all"
    return f"| {what} | {load} | {limit:.2f} | {ours:.2f} | {reached} |"


def _plot(pps: dict[str, float], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.2))
    labels = list(pps)[::-1]
    colours = ["#2a7f62" if label.startswith("Gossamer") else "#9aa5b1" for label in labels]
    axes.barh(labels, [pps[label] / 1e6 for label in labels], color=colours)
    axes.set_xlabel("million 60-byte packets a second")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)
