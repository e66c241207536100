"""The commands a person types."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from gossamer.cli import demo as demo_command
from gossamer.cli import service
from gossamer.cli.output import Output, counted, outcome_rows, report
from gossamer.errors import GossamerError, TopologyError
from gossamer.topology import converge
from gossamer.topology.check import Outcome, run_checks
from gossamer.topology.command import Tools
from gossamer.topology.ending import Ending, drops
from gossamer.topology.journey import at, journey
from gossamer.topology.load import load
from gossamer.topology.model import Topology
from gossamer.topology.names import veth_name
from gossamer.topology.trace import apart, flow_between

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_file = click.argument("file", type=click.Path(path_type=Path))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gossamer")
def cli() -> None:
    """Gossamer: the virtual network of a Linux cloud."""


@cli.command()
@_file
@click.option("--check/--no-check", "with_checks", default=False, help="Run the expectations too.")
@_json
def up(file: Path, with_checks: bool, as_json: bool) -> None:
    """Bring a topology up, or to what its file says now.

    What somebody changed by hand is put right, and told.
    """
    out = Output(as_json)
    topology = load(file)
    tools = service.tools()
    with service.ensured(tools), out.progress(f"{topology.name} up") as step:
        steps = converge.up(
            topology, file, tools, lambda s, i, n: step(f"{s.verb} {s.key}", i, n)
        )
    if steps:
        out.table("", ("change", "what", "because"), _step_rows(steps))
    out.line(
        f"{topology.name}: {counted(len(steps), 'change')}" if steps
        else f"{topology.name}: nothing to change"
    )  # fmt: skip
    result: dict[str, Any] = {"name": topology.name, "changes": _step_data(steps)}
    outcomes = _run_checks(topology, tools, out) if with_checks else []
    if with_checks:
        result["checks"] = _outcome_data(outcomes)
    out.data(result)
    if not all(o.ok for o in outcomes):
        raise SystemExit(1)


_MOST_TOLD: Final = 10
"""Differences of one resource in a table."""


def _step_rows(steps: Sequence[converge.Step]) -> list[tuple[str, str, str]]:
    """One row a difference, of which there may be hundreds; creations and deletions have none."""
    rows: list[tuple[str, str, str]] = []
    for s in steps:
        first, *rest = s.texts[:_MOST_TOLD] or ("",)
        rows.append((str(s.verb), s.key, first))
        rows += [("", "", text) for text in rest]
        if len(s.texts) > _MOST_TOLD:
            rows.append(("", "", f"and {len(s.texts) - _MOST_TOLD} more"))
    return rows


def _step_data(steps: Sequence[converge.Step]) -> list[dict[str, Any]]:
    return [{"verb": str(s.verb), "key": s.key, "differences": list(s.texts)} for s in steps]


@cli.command()
@click.argument("what", required=False)
@_json
def down(what: str | None, as_json: bool) -> None:
    """Remove a topology, by name or file.

    The only one that is up need not be named.
    """
    out = Output(as_json)
    tools = service.tools()
    state = _state(what, tools.rundir)
    with service.ensured(tools), out.progress(f"{state.name} down") as step:
        steps = converge.down(state, tools, lambda s, i, n: step(f"{s.verb} {s.key}", i, n))
    out.line(f"{state.name}: {len(steps)} removed")
    out.data({"name": state.name, "removed": [s.key for s in steps]})


def _state(what: str | None, rundir: Path) -> converge.State:
    states = {s.name: s for s in converge.known(rundir)}
    if what is None:
        if len(states) != 1:
            raise TopologyError(
                "no topology is up" if not states else f"{len(states)} topologies are up",
                remedy="name one: " + ", ".join(states) if states else "gossamer up FILE",
            )
        return next(iter(states.values()))
    name = what if what in states else load(Path(what)).name if Path(what).is_file() else what
    if name not in states:
        raise TopologyError(f"{name!r} is not up", remedy="see gossamer status")
    return states[name]


@cli.command()
@_json
def status(as_json: bool) -> None:
    """What is up, and what was changed by hand.

    Topologies, bridges, and ports with their packets.
    """
    out = Output(as_json)
    tools = service.tools()
    alive = service.running(tools)
    states = converge.known(tools.rundir)
    drifts = {s.name: converge.drift(s, tools) if alive else [] for s in states}
    ports = _ports(tools) if alive else []
    hosts = [spec["host"] for s in states for key, spec in s.resources.items() if key.startswith("daemon/")]
    for host in hosts:
        if tools.at(host).answers():
            ports += _ports(tools.at(host))
    state = "running" if alive else "not running" if os.geteuid() == 0 else "only root can see"
    out.line(f"gossamerd: {state} ({tools.rundir})")
    if states:
        out.table("", ("topology", "resources", "changed by hand", "file"),
                  [(s.name, str(len(s.resources)), str(len(drifts[s.name])) if alive else "?", s.source)
                   for s in states])  # fmt: skip
    for name, drift in drifts.items():
        if drift:
            out.table(f"{name} is not as declared; gossamer up repairs:", ("what", "found"),
                      [row[1:] for row in _step_rows(drift)])  # fmt: skip
    if ports:
        out.table("", ("host", "bridge", "port", "ofport", "link", "packets in/out"),
                  [(p["host"] or "-", p["bridge"], p["port"], _shown(p["ofport"]), _shown(p["link"]),
                    f"{_shown(p['rx_packets'])}/{_shown(p['tx_packets'])}") for p in ports])  # fmt: skip
    out.data(
        {
            "running": alive,
            "rundir": str(tools.rundir),
            "topologies": [
                {"name": s.name, "file": s.source, "resources": list(s.resources),
                 "drift": _step_data(drifts[s.name]) if alive else None}
                for s in states
            ],
            "ports": ports,
        }
    )  # fmt: skip


def _ports(tools: Tools) -> list[dict[str, Any]]:
    """Every port of every bridge, with what the database says of it."""
    columns = "--columns=name,ofport,link_state,statistics"
    table = json.loads(tools.vsctl("--format=json", columns, "list", "interface"))
    interfaces = {row[0]: row for row in table["data"]}
    out: list[dict[str, Any]] = []
    for bridge in tools.vsctl("list-br").split():
        for port in tools.vsctl("list-ports", bridge).split():
            _, ofport, link, statistics = interfaces.get(port, (port, None, None, ["map", []]))
            counted = dict(statistics[1])
            out.append(
                {"host": tools.netns, "bridge": bridge, "port": port, "ofport": ofport if isinstance(ofport, int) else None,
                 "link": link if isinstance(link, str) else None,
                 "rx_packets": counted.get("rx_packets"), "tx_packets": counted.get("tx_packets")}
            )  # fmt: skip
    return out


def _shown(value: Any) -> str:
    return "-" if value is None else str(value)


@cli.command()
@click.argument("what", required=False)
@_json
def check(what: str | None, as_json: bool) -> None:
    """Run a topology's expectations again.

    With real packets; exit status 1 where one is not so.
    """
    out = Output(as_json)
    tools = service.tools()
    source = Path(what) if what and Path(what).is_file() else Path(_state(what, tools.rundir).source)
    outcomes = _run_checks(load(source), tools, out)
    out.data(_outcome_data(outcomes))
    if not all(o.ok for o in outcomes):
        raise SystemExit(1)


def _run_checks(topology: Topology, tools: Tools, out: Output) -> list[Outcome]:
    """The outcomes, shown."""
    with out.progress(f"{topology.name}: checking") as step:
        outcomes = run_checks(
            topology, tools, lambda e, i, n: step(f"{e.source} -> {e.target}: {e.text}", i, n)
        )
    if outcomes:
        out.table(topology.name, ("packets", "expected", "measured", ""), outcome_rows(outcomes, out.terminal))
    else:
        out.line(f"{topology.name}: nothing is expected; write expect: lines")
    return outcomes


def _outcome_data(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    return [{"source": o.source, "target": o.target, "expected": o.expected,
             "measured": o.measured, "ok": o.ok} for o in outcomes]  # fmt: skip


@cli.command()
@click.argument("source")
@click.argument("target")
@click.option("--tcp", "tcp", type=click.IntRange(1, 65535), help="A TCP packet to this port.")
@click.option("--udp", "udp", type=click.IntRange(1, 65535), help="A UDP packet to this port.")
@click.option("--topology", "name", help="Which topology, where more than one is up.")
@_json
def trace(
    source: str, target: str, tcp: int | None, udp: int | None, name: str | None, as_json: bool
) -> None:
    """Where would a packet go?

    SOURCE and TARGET are instances, or a bridge and a flow.

    \b
    gossamer trace vm1 vm3 --tcp 80
    gossamer trace br0 in_port=vm1.eth0,tcp,nw_dst=10.0.0.1,tp_dst=80
    """
    out = Output(as_json)
    tools = service.tools()
    states = converge.known(tools.rundir)
    if "=" in target or _is_bridge(source, states, tools):
        _trace_flow(source, _with_device(target, states), tools, out)
        return
    state = _state(name, tools.rundir) if name else _state_with(source, target, states)
    topology = load(Path(state.source))
    protocol = f"tcp/{tcp}" if tcp else f"udp/{udp}" if udp else "icmp"
    first = flow_between(topology, source, target, protocol, tools)
    legs = list(journey(topology, first, tools))
    arrives = any(e.instance == target for leg in legs for e in leg.endings)
    out.data(
        {"arrives": arrives,
         "legs": [{"host": leg.stage.host, "bridge": leg.stage.bridge, "flow": leg.stage.flow,
                   "trace": leg.trace, "endings": [e.text for e in leg.endings]} for leg in legs]}
    )  # fmt: skip
    for stage in () if as_json else (leg.stage for leg in legs):
        out.line((f"host {stage.host}, " if stage.host else "") + f"bridge {stage.bridge}, flow {stage.flow}")
        click.echo(at(topology, stage.host, tools).appctl("ofproto/trace", *stage.question))
    out.line(f"{source} -> {target}: {'arrives' if arrives else 'does not arrive'}")
    by_rule = any(reason.endswith("_rule") for leg in legs for reason in leg.trace["drops"])
    if not arrives and not by_rule and (why := apart(topology, source, target)):
        out.line(f"  {why}")
    _show_endings(out, [e for leg in legs for e in leg.endings])


def _is_bridge(name: str, states: Sequence[converge.State], tools: Tools) -> bool:
    if any(f"instance/{name}" in s.resources for s in states) or not service.running(tools):
        return False
    return name in tools.vsctl("list-br").split()


def _state_with(source: str, target: str, states: Sequence[converge.State]) -> converge.State:
    """The topology that has both instances, or the only one."""
    both = [s for s in states if {f"instance/{source}", f"instance/{target}"} <= s.resources.keys()]
    if len(both) == 1 or len(states) == 1:
        return (both or list(states))[0]
    if not states:
        raise TopologyError("no topology is up", remedy="gossamer up FILE")
    names = ", ".join(s.name for s in both or states)
    raise TopologyError(
        f"instances {source} and {target} are in {len(both) or 'none'} of {len(states)} topologies",
        remedy=f"say which one with --topology: {names}",
    )


def _with_device(flow: str, states: Sequence[converge.State]) -> str:
    """A flow with its in_port=vm1.eth0 by the name of the port on the bridge."""

    def device(found: re.Match[str]) -> str:
        instance, number = found[1], int(found[2])
        owner = next((s.name for s in states if f"instance/{instance}" in s.resources), None)
        return f"in_port={veth_name(owner, instance, number)}" if owner else found[0]

    return re.sub(r"in_port=([a-z0-9-]+)\.eth([0-9]+)", device, flow)


def _show_endings(out: Output, endings: Sequence[Ending]) -> None:
    for text in dict.fromkeys(e.text for e in endings):
        out.line(f"  {text}")


def _trace_flow(bridge: str, flow: str, tools: Tools, out: Output) -> None:
    """A flow of one bridge, as it is asked for, and where its packets end."""
    try:
        told = tools.appctl("gossamer/trace", bridge, flow)
    except TopologyError as e:
        known = "gossamer status lists ports; in_port=vm1.eth0 is one of an instance"
        raise TopologyError(e.message, remedy=e.remedy or known) from None
    if out.as_json:
        click.echo(told, nl=False)
        return
    click.echo(tools.appctl("ofproto/trace", bridge, flow))
    trace = json.loads(told)
    leaving = [Ending(f"{o['bridge']}: leaves by {o['port']}") for o in trace["outputs"]]
    out.line(f"{bridge}, {flow}:")
    _show_endings(out, (*leaving, *drops(trace)))


@cli.command()
@click.option("--only", multiple=True, help="Only these examples.")
@_json
def demo(only: tuple[str, ...], as_json: bool) -> None:
    """Bring all examples up and check them with real packets."""
    raise SystemExit(demo_command.run(Output(as_json), only))


def main() -> None:
    """Entry point: errors are told in two lines."""
    try:
        cli(standalone_mode=False)
    except GossamerError as e:
        report(e, "--json" in sys.argv)
        sys.exit(1)
    except click.ClickException as e:
        e.show()
        sys.exit(e.exit_code)
    except OSError as e:
        denied = e.errno in (errno.EACCES, errno.EPERM)
        remedy = "run it as root" if denied else "is there room, and is it writable?"
        report(GossamerError(e.strerror or str(e), place=str(e.filename or ""), remedy=remedy),
               "--json" in sys.argv)  # fmt: skip
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
