"""The demonstration: every example brought up, checked and taken down, in a world of its own.

It runs in network, mount and process namespaces made for it, without a route
out: whatever happens, nothing of it is left on the host.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gossamer.cli import service
from gossamer.cli.output import Output, outcome_rows, verdict
from gossamer.errors import GossamerError
from gossamer.topology import converge
from gossamer.topology.check import Outcome, run_checks
from gossamer.topology.load import load
from gossamer.topology.resources import resources

_INSIDE = "GOSSAMER_SANDBOX"
_WORLD = """
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/lock /run/gossamer
mount -t sysfs sysfs /sys 2>/dev/null || true
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
exec "$@"
"""


def examples_dir() -> Path:
    """Where the examples are: beside the sources."""
    return Path(__file__).resolve().parents[3] / "examples"


def chosen(only: Sequence[str]) -> list[Path]:
    """The examples of these names, of their files or topologies; all where none is named.

    Raises GossamerError for a name that none has.
    """
    paths = sorted(examples_dir().glob("*.yaml"))
    if not only:
        return paths
    names = {path: (path.stem, load(path).name) for path in paths}
    for name in only:
        if not any(name in of for of in names.values()):
            known = ", ".join(path.stem for path in paths)
            raise GossamerError(f"there is no example '{name}'", remedy=f"examples are {known}")
    return [path for path in paths if any(name in names[path] for name in only)]


def run(out: Output, only: Sequence[str]) -> int:
    """Exit status of the demonstration, 0 where everything is as declared.

    Raises GossamerError for an example that is not there.
    """
    examples = chosen(only)
    if os.environ.get(_INSIDE) != "inside":
        if os.geteuid() != 0:
            raise GossamerError("namespaces can be made by root only", remedy="run it as root")
        return _enter()
    os.environ["OVS_RUNDIR"] = os.environ["OVS_DBDIR"] = os.environ["OVS_LOGDIR"] = "/run/gossamer"
    tools = service.tools()
    began = time.monotonic()
    service.ensure(tools)
    out.line(f"gossamerd started in {time.monotonic() - began:.1f} s")
    results: list[tuple[str, Outcome]] = []
    for path in examples:
        results += [(path.stem, o) for o in _example(path, out)]
    rows = [
        (name, *row)
        for (name, _), row in zip(
            results, outcome_rows([o for _, o in results], out.terminal), strict=True
        )
    ]
    good = sum(o.ok for _, o in results)
    out.table("What was checked", ("example", "packets", "expected", "measured", ""), rows)
    ok = good == len(results)
    out.line(
        f"{good} of {len(results)} as declared, in {time.monotonic() - began:.0f} s: "
        f"{verdict(ok, out.terminal)}"
    )
    out.data(
        [{"example": n, "source": o.source, "target": o.target, "expected": o.expected,
          "measured": o.measured, "ok": o.ok} for n, o in results]
    )  # fmt: skip
    return 0 if ok else 1


def _example(path: Path, out: Output) -> list[Outcome]:
    tools = service.tools()
    topology = load(path)
    began = time.monotonic()
    with out.progress(f"{path.stem} up") as step:
        steps = converge.up(topology, path, tools, lambda s, i, n: step(f"{s.verb} {s.key}", i, n))
    took = time.monotonic() - began
    out.line(f"{path.stem}: up in {took:.1f} s ({len(steps)} resources)")
    with out.progress(f"{path.stem}: checking") as step:
        outcomes = run_checks(
            topology, tools, lambda e, i, n: step(f"{e.source} -> {e.target}: {e.text}", i, n)
        )
    again = converge.plan(
        converge.State(tools.rundir, topology.name), resources(topology), tools
    )
    outcomes.append(
        Outcome("up", "again", "changes nothing", f"{len(again)} changes", not again)
    )
    converge.down(converge.State(tools.rundir, topology.name), tools)
    return outcomes


def _enter() -> int:
    """Run ourselves again inside a world of our own; it ends, with all in it, when we do."""
    command = [
        "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
        "sh", "-c", _WORLD, "sh", sys.executable, "-m", "gossamer.cli.main", *sys.argv[1:],
    ]  # fmt: skip
    try:
        return subprocess.run(command, env=os.environ | {_INSIDE: "inside"}, check=False).returncode
    except FileNotFoundError:
        raise GossamerError("unshare is not installed", remedy="apt-get install util-linux") from None
