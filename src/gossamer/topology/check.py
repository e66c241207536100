"""Are the expectations so?  Real packets: ping, connections to a port, iperf3 for rates."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import ip_interface

from gossamer.errors import TopologyError
from gossamer.topology.command import Tools, complaint_of
from gossamer.topology.expectation import Expectation, address_between, expectations
from gossamer.topology.model import Topology
from gossamer.topology.names import netns_name
from gossamer.topology.seen import Seen
from gossamer.topology.service import PATIENCE_S, exchange

_PING_TRIES = 3
_RATE_S = 8
_OMIT_S = 2
"""What a bucket that was full at the start lets through is not the rate."""
_PORT = 5201
_LAST_S = 8
"""What the last try waits for an answer that should come, on a host that is busy."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One expectation and what was measured."""

    source: str
    target: str
    expected: str
    measured: str
    ok: bool


def run_checks(
    topology: Topology, tools: Tools, progress: Callable[[Expectation, int, int], None] | None = None
) -> list[Outcome]:
    """Check every expectation, one after the other.

    Raises TopologyError where one cannot be tried at all: an instance that is
    not there, a tool that is missing.
    """
    wanted = expectations(topology)
    _refuse_absent(topology, wanted, tools)
    out: list[Outcome] = []
    for i, expectation in enumerate(wanted):
        if progress:
            progress(expectation, i, len(wanted))
        out.append(_check(topology, expectation, tools))
    return out


def _refuse_absent(topology: Topology, wanted: list[Expectation], tools: Tools) -> None:
    """What is not there reaches nothing, which proves nothing."""
    there = Seen(tools).namespaces
    for name in {n: None for e in wanted for n in (e.source, e.target)}:
        if netns_name(topology.name, name) not in there:
            raise TopologyError(
                f"{name} is not up: there is no namespace {netns_name(topology.name, name)}",
                place=topology.name,
                remedy="gossamer up FILE first",
            )


def _check(topology: Topology, e: Expectation, tools: Tools) -> Outcome:
    netns = netns_name(topology.name, e.source)
    address = address_between(topology, e.source, e.target)
    if e.service not in ("", "icmp"):
        return _service(topology, e, netns, address, tools)
    if e.kind == "rate":
        outcome = _rate(topology, e, netns, address, tools)
        if outcome.ok:
            return outcome
        # A busy host may have starved the sender: once more, and it is said.
        again = _rate(topology, e, netns, address, tools)
        return replace(again, measured=f"{again.measured}, after {outcome.measured}")
    if _shared(topology, e.target, address):
        return _by_arrival(topology, e, netns, address, tools)
    if e.kind == "reachable":
        # The first try may meet addresses that are still being resolved.
        for tries, patience_s in ((2, 1), (_PING_TRIES, 1), (_PING_TRIES, _LAST_S)):
            received, rtt = _ping(tools, netns, address, tries, patience_s)
            if received == tries:
                return Outcome(e.source, e.to, e.text, f"{received}/{tries} answers, {rtt}", True)
        return Outcome(e.source, e.to, e.text, f"{received}/{tries} answers", received == tries)
    # What was resolved before an edit says nothing about now.
    tools.run("ip", "-n", netns, "neigh", "flush", "to", address)
    received, _ = _ping(tools, netns, address, _PING_TRIES)
    neighbour = tools.run("ip", "-n", netns, "neigh", "show", address)
    resolved = "lladdr" in neighbour and "FAILED" not in neighbour
    measured = f"{received}/{_PING_TRIES} answers"
    if resolved and not e.service:
        measured += ", but its hardware address answers"
    return Outcome(e.source, e.to, e.text, measured, received == 0 and not (resolved and not e.service))


def _service(topology: Topology, e: Expectation, netns: str, address: str, tools: Tools) -> Outcome:
    """A connection to a port, and an exchange on it."""
    target = netns_name(topology.name, e.target)
    protocol, _, port = e.service.partition("/")
    for patience_s in (PATIENCE_S,) if e.kind == "blocked" else (PATIENCE_S, _LAST_S):
        # The first try may meet addresses that are still being resolved.
        answered, measured = exchange(tools, netns, target, protocol, address, int(port), patience_s)
        if answered:
            break
    return Outcome(e.source, e.to, e.text, measured, answered == (e.kind == "reachable"))


def _shared(topology: Topology, target: str, address: str) -> bool:
    """True where somebody else has the address too: then an answer does not say whose it is."""
    return any(
        str(ip_interface(a).ip) == address
        for name, machine in topology.machines.items()
        if name != target
        for port in machine.ports
        for a in port.all_addresses()
    )


def _by_arrival(
    topology: Topology, e: Expectation, netns: str, address: str, tools: Tools
) -> Outcome:
    """Whether echo requests arrive at the target itself, by its own count of them."""
    target = netns_name(topology.name, e.target)
    for tries in (2, _PING_TRIES, _PING_TRIES):
        before = _echoes(tools, target, address)
        received, _ = _ping(tools, netns, address, tries)
        arrived = _echoes(tools, target, address) - before
        if e.kind == "reachable" and received == arrived == tries:
            return Outcome(e.source, e.target, e.text, f"{arrived}/{tries} arrived, answered", True)
        if e.kind == "blocked" and arrived:
            break
    measured = f"{arrived}/{tries} arrived"
    if received:
        measured += ", answered" if arrived else ", another of that address answers"
    return Outcome(e.source, e.target, e.text, measured, e.kind == "blocked" and arrived == 0)


def _echoes(tools: Tools, netns: str, address: str) -> int:
    """Echo requests that a namespace has received (snmp counters, RFC 4293)."""
    name, file = ("Icmp6InEchos", "snmp6") if ":" in address else ("InEchos", "snmp")
    done = tools.in_netns(netns, "cat", f"/proc/net/{file}")
    if done.returncode:
        raise TopologyError(complaint_of(done), place=netns, remedy="is /proc mounted?")
    if file == "snmp6":
        found = re.search(rf"^{name}\s+(\d+)", done.stdout, re.MULTILINE)
        return int(found[1]) if found else 0
    names, values = (line.split() for line in done.stdout.splitlines() if line.startswith("Icmp:"))
    return int(dict(zip(names, values, strict=True))[name])


def _ping(tools: Tools, netns: str, address: str, tries: int, patience_s: int = 1) -> tuple[int, str]:
    done = tools.in_netns(
        netns, "ping", "-n", "-c", str(tries), "-i", "0.2", "-W", str(patience_s), address, timeout_s=60
    )
    if done.returncode > 1 and "nreachable" not in done.stderr:
        # It did not even try: that must not pass for "blocked".
        raise TopologyError(complaint_of(done), place=netns, remedy="is ping(8) installed?")
    received = re.search(r"(\d+) received", done.stdout)
    rtt = re.search(r"= [\d.]+/([\d.]+)/", done.stdout)
    return int(received[1]) if received else 0, f"{rtt[1]} ms" if rtt else ""


def _rate(
    topology: Topology, e: Expectation, netns: str, address: str, tools: Tools
) -> Outcome:
    server = subprocess.Popen(
        ["ip", "netns", "exec", netns_name(topology.name, e.target), "iperf3", "-s", "-1", "-J",
         "-p", str(_PORT)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=tools.environment,
    )  # fmt: skip
    report = ""
    try:
        _wait_listening(topology, e.target, tools)
        command = ["iperf3", "-c", address, "-p", str(_PORT), "-t", str(_OMIT_S + _RATE_S)]
        if e.udp:
            # Twice what may pass: what arrives is then what the policer lets through.
            command += ["-u", "-l", "1200", "-b", str(int(e.rate_bps * 2))]
        tools.in_netns(netns, *command, timeout_s=_RATE_S + _OMIT_S + 30)
        report, _ = server.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        report = ""  # the client never came through; said below
    finally:
        if server.poll() is None:
            server.kill()
            server.communicate()
    measured = _received_bps(report)
    if measured is None:
        return Outcome(e.source, e.to, e.text, "no iperf3 session", False)
    off = abs(measured - e.rate_bps) / e.rate_bps
    text = f"{measured / 1e6:.2f} Mbit/s ({(measured / e.rate_bps - 1) * 100:+.1f} %)"
    return Outcome(e.source, e.to, e.text, text, off <= e.tolerance)


def _wait_listening(topology: Topology, target: str, tools: Tools) -> None:
    netns = netns_name(topology.name, target)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if str(_PORT) in tools.run("ip", "netns", "exec", netns, "ss", "-Hltn", f"sport = :{_PORT}"):
            return
        time.sleep(0.05)
    raise TopologyError(
        f"iperf3 does not listen in {target}", place=netns, remedy="is iperf3(1) installed?"
    )


def _received_bps(report: str) -> float | None:
    """What the server received, as its own report has it, without the first seconds.

    (iperf3's own --omit counts the losses of the omitted seconds all the same.)
    """
    try:
        intervals = [i["sum"] for i in json.loads(report)["intervals"]]
    except (ValueError, KeyError):
        return None
    kept = [i for i in intervals if i["start"] >= _OMIT_S - 0.01 and i["seconds"] > 0.5]
    seconds = sum(float(i["seconds"]) for i in kept)
    return sum(float(i["bytes"]) for i in kept) * 8 / seconds if seconds else None
