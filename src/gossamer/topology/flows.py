"""The flows of a bridge: compared with what the switch has, and changed where they differ.

Comparing is ovs-ofctl's business (``diff-flows``): it alone knows which two
texts are the same flow.  On a bridge with a controller, or with flows that
learn others, only what the file says is looked after; elsewhere the file's
flows are all there are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gossamer.errors import TopologyError
from gossamer.topology.command import Refused, Tools, complaint_of
from gossamer.topology.difference import Difference, compare, missing
from gossamer.topology.port_names import UnknownPort, numbered
from gossamer.topology.resources import Spec
from gossamer.topology.seen import Seen

_FILE_LINE: Final = re.compile(r"^ovs-ofctl: [^:\s]*:(\d+): (.*)$", re.MULTILINE)
_SWITCH_ERROR: Final = re.compile(r"^Error (OFP\w+) for: OFPT_FLOW_MOD .*?: ADD (.*)$", re.MULTILINE)
_EXPIRES: Final = re.compile(r"\b(idle|hard)_timeout=")
_NOT_MATCH: Final = re.compile(
    r"(cookie|idle_timeout|hard_timeout|importance|duration|n_packets|n_bytes)=[^,\s]*"
    r"|send_flow_rem|check_overlap|reset_counts|no_packet_counts|no_byte_counts"
)
_EXPLAINED: Final = {
    "OFPBAC_BAD_OUT_PORT": "it sends to a port the bridge does not have",
    "OFPBAC_BAD_OUT_GROUP": "it sends to a group the bridge does not have",
    "OFPMMFC_UNKNOWN_METER": "it uses a meter the bridge does not have",
    "OFPBAC_BAD_TYPE": "it has an action the switch does not know",
    "OFPBMC_BAD_PREREQ": "a field lacks the one it depends on, such as tcp before tp_dst",
}


@dataclass(frozen=True, slots=True)
class _Diff:
    lacking: tuple[str, ...]
    surplus: tuple[str, ...]


def _target(tools: Tools, bridge: str) -> str:
    """The bridge's socket: a plain name could as well be a file in the current directory."""
    return f"unix:{tools.rundir}/{bridge}.mgmt"


def _diff(tools: Tools, bridge: str, flows: Sequence[str], declared: Sequence[str]) -> _Diff:
    """Raises Refused with the flow that cannot be understood, as it was `declared`."""
    done = tools.attempt(
        "ovs-ofctl", "diff-flows", _target(tools, bridge), "/dev/stdin", stdin="\n".join(flows) + "\n"
    )
    if done.returncode not in (0, 2):
        wrong = _FILE_LINE.search(done.stderr)
        if wrong:
            raise _refused(int(wrong[1]) - 1, declared, wrong[2])
        raise Refused(complaint_of(done), remedy="does ovs-ofctl show reach the bridge?")
    lines = done.stdout.splitlines()
    return _Diff(
        tuple(line[1:].strip() for line in lines if line.startswith("+")),
        tuple(line[1:].strip() for line in lines if line.startswith("-")),
    )


def _numbered(seen: Seen, spec: Spec) -> list[str]:
    """The flows as ovs-ofctl takes them.  Raises Refused where one names a port that is not there."""
    bridge = spec["bridge"]
    numbers: dict[str, int | str] = {
        p.name: p.ofport for p in seen.ports.values() if p.bridge == bridge and p.ofport
    }
    numbers |= {name: numbers[d] for name, d in spec.get("ports", {}).items() if d in numbers}
    numbers[bridge] = "LOCAL"
    out = []
    for i, flow in enumerate(spec["flows"]):
        try:
            out.append(numbered(flow, numbers))
        except UnknownPort as e:
            raise Refused(
                f"bridge {bridge} has no port {e}",
                attribute=f"flows[{i}]",
                remedy=f"its ports are {', '.join(sorted(numbers))}",
            ) from None
    return out


def flow_differences(tools: Tools, seen: Seen, spec: Spec) -> list[Difference]:
    """Flows that are missing, and flows that are nobody's."""
    bridge = spec["bridge"]
    if bridge not in seen.bridges:
        return [missing(f"bridge {bridge} with its flows")]
    try:
        flows = _numbered(seen, spec)
    except Refused as e:
        return [Difference(e.attribute, e.message)]
    diff = _diff(tools, bridge, flows, spec["flows"])
    # A flow with a timeout that is gone has run its time.
    out = [missing(f"flow {f}", "flows") for f in diff.lacking if not _EXPIRES.search(f)]
    if not spec.get("shared"):
        out += [Difference("flows", f"flow {f} is not in the file") for f in diff.surplus]
    if "fragments" in spec:
        shown = tools.run("ovs-ofctl", "get-frags", _target(tools, bridge)).strip()
        out += compare("fragments", spec["fragments"], shown)
    return out


def ensure_flows(tools: Tools, seen: Seen, spec: Spec, old: Spec | None) -> None:
    """Make it so; flows that are right keep their counters.  Ports may have got numbers: look again."""
    bridge, declared = spec["bridge"], spec["flows"]
    if "fragments" in {**(old or {}), **spec}:
        tools.run("ovs-ofctl", "set-frags", _target(tools, bridge), spec.get("fragments", "normal"))
    now = Seen(tools)
    flows = _numbered(now, spec)
    if not spec.get("shared"):
        _apply(tools, "replace-flows", bridge, flows, flows, declared)
        return
    before = (old or {}).get("flows", ())
    gone = _numbered(now, {**(old or spec), "flows": [f for f in before if f not in declared]})
    if gone:
        deletions = [f"delete_strict {match_of(f)}" for f in gone]
        _apply(tools, "add-flows", bridge, deletions, flows, declared)
    lacking = _diff(tools, bridge, flows, declared).lacking
    if lacking:
        _apply(tools, "add-flows", bridge, lacking, flows, declared)


def _apply(
    tools: Tools,
    command: str,
    bridge: str,
    lines: Sequence[str],
    flows: Sequence[str],
    declared: Sequence[str],
) -> None:
    """Give lines to ovs-ofctl.  `flows` are all of the bridge, as numbered and as `declared`."""
    done = tools.attempt(
        "ovs-ofctl", "--bundle", command, _target(tools, bridge), "-", stdin="\n".join(lines) + "\n"
    )
    if done.returncode == 0:
        return
    wrong = _FILE_LINE.search(done.stderr)
    if wrong and lines is flows:
        raise _refused(int(wrong[1]) - 1, declared, wrong[2])
    refused = _SWITCH_ERROR.search(done.stderr)
    if refused:
        code, text = refused[1], refused[2]
        raise _refused(_index_of(tools, text, flows), declared, _EXPLAINED.get(code, code), code)
    raise Refused(complaint_of(done), attribute="flows", remedy="see ovs-fields(7) and ovs-actions(7)")


def _refused(index: int | None, flows: Sequence[str], why: str, code: str = "") -> Refused:
    named = f" ({code})" if code and code != why else ""
    if index is None or index >= len(flows):
        return Refused(f"a flow is refused: {why}{named}", attribute="flows")
    return Refused(
        f"the flow {flows[index]!r} is refused: {why}{named}",
        attribute=f"flows[{index}]",
        remedy="see ovs-fields(7) and ovs-actions(7) for what a flow may say",
    )


def _index_of(tools: Tools, shown: str, flows: Sequence[str]) -> int | None:
    """Which of the flows the switch's complaint shows: the one that is printed the same."""
    for i, flow in enumerate(flows):
        parsed = tools.attempt("ovs-ofctl", "parse-flow", flow)
        if parsed.returncode == 0 and parsed.stdout.partition(": ADD ")[2].strip() == shown.strip():
            return i
    return None


def match_of(flow: str) -> str:
    """A flow without its actions and whatever else a deletion does not look at."""
    before = re.split(r"[,\s]*\bactions?=", flow, maxsplit=1)[0]
    return re.sub(r"[,\s]+", ",", _NOT_MATCH.sub("", before)).strip(",")


def delete_flows(tools: Tools, spec: Spec) -> None:
    """They go with their bridge, which goes in the same breath."""


def flow_conflict(seen: Seen, spec: Spec) -> TopologyError | None:
    """A bridge of ours has no flows but ours."""
    return None
