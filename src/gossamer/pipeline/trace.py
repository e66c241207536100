"""'Where did my packet go': a pipeline's steps as ofproto/trace text, or as data.

The text is that of ``ovs-appctl ofproto/trace``: the flow, each table with the
rule that matched, each action with what it led to, bridges behind patch ports
below the output to them, then the final flow and what leaves the switch.  What
Open vSwitch does not say and a person wants to know is added in its manner:
``>>`` lines for copies that are dropped, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from gossamer.pipeline import action as act
from gossamer.pipeline.conntrack.foreseen import Foreseen
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.fields import (
    FIELDS,
    SLOTS,
    VLAN_CFI,
    get,
    get_slot,
    put_slot,
)
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.flow_syntax import FlowText, compose, parse_flow
from gossamer.pipeline.format import (
    exact_match,
    format_action,
    format_actions,
    format_hex,
    format_key,
    format_mac,
    format_match,
    format_port,
    format_subfield,
    format_value,
)
from gossamer.pipeline.format_field import format_ct_state, format_ip, format_ipv6
from gossamer.pipeline.journey import TUNNEL_BITS
from gossamer.pipeline.labels import labels_of
from gossamer.pipeline.learning import SEND_FLOW_REM
from gossamer.pipeline.match import ANY, Match
from gossamer.pipeline.packet import parse
from gossamer.pipeline.result import Result
from gossamer.pipeline.steps import Step, StepKind
from gossamer.pipeline.world import World


def trace_flow(world: World, bridge: str, flow: str) -> tuple[str, Result]:
    """Trace the packet that a flow in ovs-ofctl(8) syntax describes.

    Returns the ofproto/trace text and the result.  Nothing is learned or
    counted in `world`'s shared tables; its Fdb objects may learn.  Raises
    FieldError for a flow that cannot be understood.
    """
    ports = {p.name: p.ofport for p in world.bridges[bridge].ports.values() if p.name}
    parsed: FlowText = parse_flow(flow, ports)
    brought = parsed.match.value & TUNNEL_BITS
    return trace_packet(world, bridge, parsed.in_port, compose(parsed.match), brought)


def trace_packet(
    world: World, bridge: str, in_port: int, packet: bytes, brought: int = 0
) -> tuple[str, Result]:
    """Trace a packet; returns the ofproto/trace text and the result.

    `brought` is what it has from a tunnel, as Pipeline.run() takes it.  Raises
    PacketError for a frame without Ethernet header.
    """
    result = Pipeline(world).run(bridge, in_port, packet, brought)
    return format_trace(world, result, parse(packet, in_port) | brought), result


def format_trace(world: World, result: Result, key: int) -> str:
    """The steps of a result as ``ovs-appctl ofproto/trace`` shows them; `key` is the packet's
    as it came."""
    lines = [f"Flow: {format_key(key)}"]
    _Text(lines).steps([_as_open_vswitch_nests(result.steps)], 0)
    final = put_slot(result.key, "in_port", get_slot(key, "in_port"))
    lines.append("")
    lines.append(f"Final flow: {'unchanged' if final == key else format_key(final)}")
    lines.append(f"Megaflow: recirc_id=0,eth,{format_match(megaflow(result, key))}")
    lines.append(f"Datapath actions: {datapath_actions(world, result)}")
    return "\n".join(lines) + "\n" + format_resumed(world, result)


_RULE: Final = "=" * 79


def format_resumed(world: World, result: Result) -> str:
    """What became of copies that went on after a ct(), each below a title of its own."""
    lines: list[str] = []
    for number, resumed in enumerate(result.resumed, 1):
        step = resumed.step
        lines += ["", _RULE, f"recirc({number:#x}) - {_resumption(world, number, step.key)}"]
        if isinstance(step.action, act.Ct) and step.action.nat is not None:
            lines += _simulated(step.action.nat, resumed.asked, step.key)
        lines += [_RULE, "", f"Flow: {_resumed_key(number, step.key)}"]
        title = f'bridge("{step.bridge}")'
        lines += ["", title, "-" * len(title), "    thaw"]
        lines.append(f"        Resuming from table {step.table_id}")
        _Text(lines).steps(_as_open_vswitch_nests(step).steps, 0)
        final = "unchanged" if resumed.key == step.key else _resumed_key(number, resumed.key)
        mask = exact_match(step.key).mask & resumed.consulted
        mask = put_slot(mask, "in_port", (1 << 32) - 1) | put_slot(0, "eth_type", 0xFFFF)
        looked = format_match(Match(step.key & mask, mask))
        parts: list[str] = []
        _collect(world, step, step.key, parts)
        lines += ["", f"Final flow: {final}", f"Megaflow: recirc_id={number:#x},eth,{looked}"]
        lines.append(f"Datapath actions: {','.join(parts) or 'drop'}")
    return "\n".join([*lines, ""]) if lines else ""


def _resumption(world: World, number: int, key: int) -> str:
    tracking = world.tracking
    if isinstance(tracking, Foreseen) and tracking.defaults[number - 1]:
        return "resume conntrack with default ct_state=trk|new (use --ct-next to customize)"
    state = get_slot(key, "ct_state")
    return f"resume conntrack with ct_state={format_ct_state(state, 0xFFFFFFFF)}"


def _simulated(nat: act.Nat, before: int, after: int) -> list[str]:
    def endpoints(key: int) -> str:
        if nat.addresses is None:
            return ""
        ipv4 = len(nat.addresses[0]) == 4
        names = ("nw_src", "nw_dst") if ipv4 else ("ipv6_src", "ipv6_dst")
        parts = []
        for name, port in zip(names, ("tp_src", "tp_dst"), strict=True):
            address = get_slot(key, name)
            text = format_ip(address, 0xFFFFFFFF, 32) if ipv4 else f"[{format_ipv6(address)}]"
            parts.append(f"{name}={text},{port}={get_slot(key, port)}")
        return ",".join(parts)

    return [
        "Replacing src/dst IP/ports to simulate NAT:",
        f" Initial flow: {endpoints(before)}",
        f" Modified flow: {endpoints(after)}",
    ]


_OF_CONNECTION: Final = ("ct_", "pkt_mark", "dp_hash", "conj_id", "packet_type")


def _resumed_key(number: int, key: int) -> str:
    parts = format_key(key).split(",")
    at = next((i for i, p in enumerate(parts) if not p.startswith(_OF_CONNECTION)), len(parts))
    return ",".join([f"recirc_id={number:#x}", *parts[:at], "eth", *parts[at:]])


def megaflow(result: Result, key: int) -> Match:
    """The packets that would have gone the same way, as far as the tables looked at them."""
    state = (1 << 8 * SLOTS["in_port"].length) - 1
    mask = put_slot(result.consulted, "in_port", state)
    for name in ("metadata", *(f"reg{i}" for i in range(16))):
        mask = put_slot(mask, name, 0)
    mask = put_slot(mask, "eth_type", 0xFFFF)
    mask |= put_slot(0, "nw_frag", 3) & exact_match(key).mask
    return Match(key & mask, mask)


_NESTING: Final = (StepKind.BRIDGE, StepKind.TABLE, StepKind.ACTION_SET)


class _Text:
    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def steps(self, steps: list[Step], level: int) -> None:
        shown = list(_flat(steps))
        for i, step in enumerate(shown):
            # The last of a list stands under its parent, as nothing follows it there.
            terminal = step.kind not in _NESTING
            self.step(step, level, int(i + 1 < len(shown) or terminal))

    def step(self, step: Step, level: int, more: int) -> None:
        indent = "    " * (level + more)
        match step.kind:
            case StepKind.BRIDGE:
                title = f'bridge("{step.bridge}")'
                self.lines += ["", indent + title, indent + "-" * len(title)]
            case StepKind.TABLE:
                self.lines.append(indent + self.table(step))
            case StepKind.ACTION_SET:
                self.lines.append(indent + "--. Executing action set:")
            case StepKind.ACTION:
                self.lines.append(indent + (format_action(step.action) if step.action else "drop"))
                if step.action is not None:
                    self.lines += [f"{indent} -> {text}" for text in changes(step)]
            case StepKind.ACTION_SET_IS | StepKind.ACTION_SET_WAS:
                verb = "is" if step.kind is StepKind.ACTION_SET_IS else "was"
                if step.actions:
                    text = f"action set {verb}: {format_actions(step.actions)}"
                else:
                    text = f"action set {verb} empty"
                self.lines.append(f"{indent} -> {text}")
            case StepKind.LEARNED if step.flow is not None:
                self.lines.append(f"{indent} -> {_learned(step.flow)}")
            case StepKind.BUCKET:
                self.lines.append(indent + step.text)
            case StepKind.DETAIL:
                self.lines.append(f"{indent} -> {step.text}")
            case StepKind.WARNING:
                self.lines.append(f"{indent} >> {step.text}")
            case StepKind.ERROR:
                self.lines.append(f"{indent} >>>> {step.text} <<<<")
        if step.kind is not StepKind.ACTION:
            self.steps(step.steps, level + 2 * more)
        if step.kind is StepKind.TABLE and step.flow is None:
            punted = any(s.kind is StepKind.PUNT for s in step.steps)
            self.lines.append(
                "    " * (level + 2 * more + 1) + ("CONTROLLER:65535" if punted else "drop")
            )

    def table(self, step: Step) -> str:
        if step.flow is None:
            punted = any(s.kind is StepKind.PUNT for s in step.steps)
            called = 'No match, and a "packet-in" is called for.' if punted else "No match."
            return f"{step.table_id:2d}. {called}"
        text = format_match(step.flow.match)
        text += f"{', ' if text else ''}priority {step.flow.priority}"
        if step.flow.cookie:
            text += f", cookie {step.flow.cookie:#x}"
        return f"{step.table_id:2d}. {text}"


def _as_open_vswitch_nests(first: Step) -> Step:
    """The first bridge's steps with its action set below the last table, where Open vSwitch
    shows it."""
    *tables, last = first.steps or [Step(StepKind.TABLE)]
    if last.kind is not StepKind.ACTION_SET or not tables:
        return first
    table = replace(tables[-1], steps=[*tables[-1].steps, last])
    return replace(first, steps=[*tables[:-1], table])


def _flat(steps: list[Step]) -> Iterator[Step]:
    """Steps as lines: what an action led to follows it on its own level."""
    for step in steps:
        if step.kind in (StepKind.OUTPUT, StepKind.PUNT, StepKind.RESUME):
            continue
        yield step
        if step.kind is StepKind.ACTION:
            yield from _flat(step.steps)


def changes(step: Step) -> list[str]:
    """What an action made of the bits it wrote, where its text does not say so itself."""
    if any(below.kind is StepKind.ERROR for below in step.steps):
        return []
    match step.action:
        case (
            act.RegMove(dst=dst)
            | act.StackPop(dst=dst)
            | act.Multipath(dst=dst)
            | act.Bundle(dst=act.SubField() as dst)
        ):
            value, full = (step.key >> dst.shift) & ((1 << dst.n_bits) - 1), dst.field.n_bits
            whole = dst.n_bits == full
            text = format_value(dst.field, value, (1 << full) - 1) if whole else format_hex(value)
            return [f"{format_subfield(dst)} is now {text}"]
        case _:
            return []


def _learned(flow: Flow) -> str:
    parts = [f"table={flow.table_id}"]
    if text := format_match(flow.match):
        parts.append(text)
    parts.append(f"priority={flow.priority}")
    if flow.cookie:
        parts.append(f"cookie={flow.cookie:#x}")
    if flow.idle_timeout_s:
        parts.append(f"idle={flow.idle_timeout_s}")
    if flow.hard_timeout_s:
        parts.append(f"hard={flow.hard_timeout_s}")
    if flow.flags & SEND_FLOW_REM:
        parts.append("send_flow_rem")
    return f"{' '.join(parts)} actions={format_actions(flow.actions)}"


def datapath_actions(world: World, result: Result) -> str:
    """What leaves the switch, in order: header changes, and the ports copies go to."""
    parts: list[str] = []
    _collect(world, result.steps, result.steps.key, parts)
    return ",".join(parts) or "drop"


def _collect(world: World, step: Step, key: int, parts: list[str]) -> int:
    for below in step.steps:
        if below.kind is StepKind.RESUME:
            continue  # shown below a title of its own
        if below.kind in (StepKind.OUTPUT, StepKind.PUNT):
            parts += header_changes(key, below.key)
            key = below.key
            bridge = world.bridges.get(below.bridge)
            name = bridge.port_name(below.port) if bridge else str(below.port)
            if below.kind is StepKind.OUTPUT:
                parts.append(name if not name.isdigit() else format_port(below.port))
            else:
                parts.append("userspace(controller)")
        else:
            key = _collect(world, below, key, parts)
    return key


_NO_HEADER: Final = frozenset(("in_port", "vlan_tci", "metadata", "actset_output", "conj_id"))


def header_changes(old: int, new: int) -> list[str]:
    """How the headers of two keys differ, one text a change: fields first, then tags."""
    out: list[str] = []
    tags_of_old = [get_slot(old, t) for t in ("vlan1_tci", "vlan_tci") if get_slot(old, t)]
    tags_of_new = [get_slot(new, t) for t in ("vlan1_tci", "vlan_tci") if get_slot(new, t)]
    kept = 0
    while kept < min(len(tags_of_old), len(tags_of_new)) and tags_of_old[kept] == tags_of_new[kept]:
        kept += 1
    # What came to light or went out of sight with a label is no change of it.
    described = exact_match(old) if get_slot(old, "eth_type") == get_slot(new, "eth_type") else ANY
    seen = 0
    for f in FIELDS:
        if f.slot in _NO_HEADER or f.slot.startswith("reg"):
            continue
        if f.full_mask & seen or not described.satisfies(f.prerequisite):
            continue
        if get(old, f) != get(new, f):
            seen |= f.full_mask
            value, full = get(new, f), (1 << f.n_bits) - 1
            text = format_mac(value) if f.n_bits == 48 else format_value(f, value, full)
            out.append(f"set({f.name}={text})")
    out += _label_changes(old, new)
    out += ["pop_vlan"] * (len(tags_of_old) - kept)
    for tci in tags_of_new[kept:]:
        out.append(f"push_vlan(vid={tci & 0xFFF},pcp={(tci & ~VLAN_CFI) >> 13})")
    return out


def _label_changes(old: int, new: int) -> list[str]:
    """Labels taken off and put on, where their number or the ethertype is another."""
    eth_type = get_slot(new, "eth_type")
    before, after = labels_of(old), labels_of(new)
    if get_slot(old, "eth_type") == eth_type and len(before) == len(after):
        return []
    kept = 0
    while kept < min(len(before), len(after)) and before[-1 - kept] == after[-1 - kept]:
        kept += 1
    out = [f"pop_mpls(eth_type={eth_type:#x})"] * (len(before) - kept)
    for entry in reversed(after[: len(after) - kept]):
        out.append(
            f"push_mpls(label={entry >> 12},tc={entry >> 9 & 7},ttl={entry & 0xFF},"
            f"bos={entry >> 8 & 1},eth_type={eth_type:#x})"
        )
    return out


def trace_as_data(world: World, result: Result) -> dict[str, Any]:
    """The same as JSON values: steps as a tree, outputs, packet-ins, reasons of drops."""
    return {
        "outputs": [
            {
                "bridge": o.bridge,
                "port": world.bridges[o.bridge].port_name(o.ofport),
                "ofport": o.ofport,
                "packet": o.packet.hex(),
            }
            for o in result.outputs
        ],
        "packet_ins": [
            {"bridge": p.bridge, "reason": p.reason, "table": p.table_id, "packet": p.packet.hex()}
            for p in result.punts
        ],
        "drops": [str(d) for d in result.drops],
        "steps": _step_as_data(result.steps, result.steps.key),
    }


_MAX_NESTING: Final = 150
"""Steps within steps, as deep as JSON is written for them; loops go deeper."""


def _step_as_data(step: Step, before: int, depth: int = 0) -> Mapping[str, Any]:
    out: dict[str, Any] = {"kind": str(step.kind)}
    if step.text:
        out["text"] = step.text
    if step.drop:
        out["drop"] = str(step.drop)
    match step.kind:
        case StepKind.BRIDGE:
            out |= {"bridge": step.bridge, "in_port": step.port}
        case StepKind.RESUME:
            out |= {"bridge": step.bridge, "in_port": step.port, "table": step.table_id}
            out["ct_state"] = get_slot(step.key, "ct_state")
        case StepKind.TABLE:
            out["table"] = step.table_id
            out["flow"] = (
                {
                    "priority": step.flow.priority,
                    "match": format_match(step.flow.match),
                    "cookie": step.flow.cookie,
                }
                if step.flow
                else None
            )
        case StepKind.LEARNED if step.flow is not None:
            out["flow"] = _learned(step.flow)
        case StepKind.ACTION_SET_IS | StepKind.ACTION_SET_WAS:
            out["actions"] = [format_action(a) for a in step.actions]
        case StepKind.ACTION if step.action is not None:
            out["action"] = format_action(step.action)
            if step.key and step.key != before:
                out["changes"] = header_changes(before, step.key)
        case StepKind.OUTPUT | StepKind.PUNT:
            out |= {"bridge": step.bridge, "ofport": step.port, "packet": step.packet.hex()}
            if tun_id := get_slot(step.key, "tun_id"):
                out["tun_id"] = tun_id
    key = before if step.kind is StepKind.ACTION else step.key or before
    if step.steps and depth >= _MAX_NESTING:
        return out | {"text": "steps within are left out"}
    below = []
    for s in step.steps:
        below.append(_step_as_data(s, key, depth + 1))
        key = s.key or key
    if below:
        out["steps"] = below
    return out
