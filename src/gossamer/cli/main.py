"""The commands a person types."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gossamer.cli import demo as demo_command
from gossamer.cli import service
from gossamer.cli.output import Output, outcome_rows, report
from gossamer.errors import GossamerError, TopologyError
from gossamer.topology import converge
from gossamer.topology.check import run_checks
from gossamer.topology.load import load
from gossamer.topology.trace import flow_between

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
@click.pass_context
def up(context: click.Context, file: Path, with_checks: bool, as_json: bool) -> None:
    """Bring the network of a topology FILE up, or to what the file says now."""
    out = Output(as_json)
    topology = load(file)
    tools = service.tools()
    service.ensure(tools)
    with out.progress(f"{topology.name} up") as step:
        steps = converge.up(
            topology, file, tools, lambda s, i, n: step(f"{s.verb} {s.key}", i, n)
        )
    out.table("", ("change", "what"), [(str(s.verb), s.key) for s in steps]) if steps else None
    out.line(f"{topology.name}: {len(steps)} changes" if steps else f"{topology.name}: nothing to change")
    if with_checks:
        context.invoke(check, file=file, as_json=as_json)
    else:
        out.data({"name": topology.name, "changes": [{"verb": s.verb, "key": s.key} for s in steps]})


@cli.command()
@click.argument("what", required=False)
@_json
def down(what: str | None, as_json: bool) -> None:
    """Remove a topology: by NAME or FILE, or the only one that is up."""
    out = Output(as_json)
    tools = service.tools()
    state = _state(what, tools.rundir)
    with out.progress(f"{state.name} down") as step:
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
    name = what if what in states else load(Path(what)).name if Path(what).exists() else what
    if name not in states:
        raise TopologyError(f"{name!r} is not up", remedy="see gossamer status")
    return states[name]


@cli.command()
@_json
def status(as_json: bool) -> None:
    """What is up: topologies, bridges, ports and their traffic."""
    out = Output(as_json)
    tools = service.tools()
    alive = service.running(tools)
    states = converge.known(tools.rundir)
    bridges = tools.vsctl("list-br").split() if alive else []
    ports: list[tuple[str, str, str, str, str]] = []
    for bridge in bridges:
        for port in tools.vsctl("list-ports", bridge).split():
            raw = tools.attempt(
                "ovs-vsctl", "--timeout=15", "--if-exists", "get", "interface", port, "ofport",
                "link_state", "statistics:rx_packets", "statistics:tx_packets",
            )  # fmt: skip
            shown = (raw.stdout.split("\n") + [""] * 4)[:4]
            ports.append((bridge, port, shown[0], shown[1].strip("[]") or "-", f"{shown[2] or '-'}/{shown[3] or '-'}"))
    out.line(f"gossamerd: {'running' if alive else 'not running'} ({tools.rundir})")
    out.table("", ("topology", "resources", "file"),
              [(s.name, str(len(s.resources)), s.source) for s in states]) if states else None  # fmt: skip
    if ports:
        out.table("", ("bridge", "port", "ofport", "link", "packets in/out"), ports)
    out.data(
        {
            "running": alive,
            "topologies": [{"name": s.name, "file": s.source} for s in states],
            "ports": [
                {"bridge": b, "port": p, "ofport": o, "link": k, "packets": c} for b, p, o, k, c in ports
            ],
        }
    )


@cli.command()
@click.argument("what", required=False)
@_json
def check(what: str | None = None, as_json: bool = False, file: Path | None = None) -> None:
    """Run the expectations of a topology again, with real packets."""
    out = Output(as_json)
    tools = service.tools()
    source = file or (Path(what) if what and Path(what).exists() else Path(_state(what, tools.rundir).source))
    topology = load(source)
    with out.progress(f"{topology.name}: checking") as step:
        outcomes = run_checks(
            topology, tools, lambda e, i, n: step(f"{e.source} -> {e.target}: {e.text}", i, n)
        )
    out.table(topology.name, ("packets", "expected", "measured", ""), outcome_rows(outcomes, out.terminal))
    out.data([{"source": o.source, "target": o.target, "expected": o.expected,
               "measured": o.measured, "ok": o.ok} for o in outcomes])  # fmt: skip
    if not all(o.ok for o in outcomes):
        raise SystemExit(1)


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
    """Where would a packet go?  SOURCE and TARGET are instances, or a bridge and a flow.

    \b
    gossamer trace vm1 vm3 --tcp 80
    gossamer trace br0 in_port=1,tcp,nw_dst=10.0.0.1,tp_dst=80
    """
    out = Output(as_json)
    tools = service.tools()
    bridge, flow = source, target
    if "=" not in target:
        topology = load(Path(_state(name, tools.rundir).source))
        protocol = f"tcp/{tcp}" if tcp else f"udp/{udp}" if udp else "icmp"
        bridge, flow = flow_between(topology, source, target, protocol, tools)
    if as_json:
        click.echo(tools.appctl("gossamer/trace", bridge, flow), nl=False)
        return
    out.line(f"bridge {bridge}, flow {flow}")
    click.echo(tools.appctl("ofproto/trace", bridge, flow), nl=False)


@cli.command()
@click.option("--only", multiple=True, help="Only these examples.")
@_json
def demo(only: tuple[str, ...], as_json: bool) -> None:
    """Bring all examples up on real packets, check them, and say what was so."""
    raise SystemExit(demo_command.run(Output(as_json), only))


def main() -> None:
    """Entry point: errors are told in two lines."""
    try:
        cli(standalone_mode=False)
    except GossamerError as e:
        report(e)
        sys.exit(1)
    except click.ClickException as e:
        e.show()
        sys.exit(e.exit_code)
    except (click.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
