"""The figures of bench.scale as tables and a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

COLUMNS = (
    ("cached_ns", "cached packet"),
    ("lookup_ns", "one lookup, memory warm"),
    ("cold_packet_ns", "first packet of a random flow, memory cold"),
)


def write(result: dict[str, Any], docs: Path) -> None:
    """docs/scale.md and docs/scale.svg."""
    lines = [
        "# Many flows, many masks",
        "",
        f"Kernel {result['kernel']}, {result['cpus']} CPUs; made by `make bench-scale`. The lookups are BPF"
        " test-runs, bench/scale_lookup.py says of what.",
        "",
        "![lookups against flows and masks](scale.svg)",
        "",
        "A lookup costs the same whatever the number of flows; what grows with them is waiting for memory, where a"
        " flow's place was not touched for long. It grows with the number of masks in the table, each mask that must be"
        " searched costing the same; a search ends where no later mask can have a higher priority, and these are the"
        " worst case: the last mask matches. Cached packets cost the same in all cases.",
        "",
    ]
    for name, key in (("flows (one mask)", "lookup_by_flows"), ("masks (10,000 flows)", "lookup_by_masks")):
        lines += [
            f"| {name} | " + " | ".join(f"{label}, ns" for _, label in COLUMNS) + " |",
            "| ---: | ---: | ---: | ---: |",
        ]
        for row in result[key]:
            number = row["flows"] if key == "lookup_by_flows" else row["masks"]
            lines.append(f"| {number:,} | " + " | ".join(f"{row[c]:,.0f}" for c, _ in COLUMNS) + " |")
        lines.append("")
    lines += [
        "Loaded by `ovs-ofctl add-flows` into a daemon without flows:",
        "",
        "| flows | in a bundle | s | daemon, MB | its peak, MB | maps in the kernel, MB | journal, MB"
        " | taken over after SIGKILL, s | del-flows, s |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in result["loads"]:
        if row["counted"] != row["flows"]:
            raise ValueError(f"{row['flows']} flows loaded, {row['counted']} are there")
        again = "" if row["restart_s"] is None else f"{row['restart_s']:.1f}"
        lines.append(
            f"| {row['flows']:,} | {'yes' if row['bundle'] else 'no'} | {row['load_s']:.1f} | {row['daemon_mb']:.0f}"
            f" | {row['daemon_peak_mb']:.0f} | {row['kernel_mb']:.0f} | {row['journal_mb']:.0f} | {again}"
            f" | {row['delete_s']:.1f} |"
        )
    for row in result["loads"]:
        if row["restart_s"] is not None:
            lines += [
                "",
                f"After the take-over {row['counted_after_restart']:,} flows were there. The kernel forwards meanwhile.",
            ]
        if row["most"] is not None:
            lines += ["", f"{row['most']:,} fit; to more ovs-ofctl says: `{row['refusal']}`."]
    (docs / "scale.md").write_text("\n".join(lines) + "\n")
    _plot(result, docs / "scale.svg")


def _plot(result: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
    for (column, label), colour in zip(COLUMNS, ("#2a7f62", "#c0772c", "#9aa5b1"), strict=True):
        for axes, key, number in ((left, "lookup_by_flows", "flows"), (right, "lookup_by_masks", "masks")):
            rows = result[key]
            axes.plot(
                [r[number] for r in rows], [r[column] for r in rows], marker="o", color=colour, label=label
            )
    left.set_xscale("log")
    left.set_xlabel("flows (one mask)")
    right.set_xlabel("masks (10,000 flows)")
    left.set_ylabel("ns")
    for axes in (left, right):
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    right.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path)
