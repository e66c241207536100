"""'Where did my packet go': a pipeline's steps as ofproto/trace text.

The text is that of ``ovs-appctl ofproto/trace``: the flow, each table with the
rule that matched, each action with what it led to, bridges behind patch ports
below the output to them, then the final flow and what leaves the switch.  What
Open vSwitch does not say and a person wants to know is added in its manner:
``>>`` lines for copies that are dropped, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from gossamer.pipeline.action_ct import Ct, Nat
from gossamer.pipeline.conntrack.foreseen import Foreseen
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.fields import SLOTS, get_slot, put_slot
from gossamer.pipeline.flow_syntax import FlowText, compose, parse_flow
from gossamer.pipeline.format import exact_match, format_key, format_match
from gossamer.pipeline.format_field import format_ct_state, format_hex, format_ip, format_ipv6
from gossamer.pipeline.header_changes import datapath_actions
from gossamer.pipeline.key_parts import TUNNEL_BITS
from gossamer.pipeline.match import Match
from gossamer.pipeline.packet import parse
from gossamer.pipeline.result import Result
from gossamer.pipeline.steps import Step
from gossamer.pipeline.steps_text import steps_as_text, steps_below_as_text
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
    lines = format_first(result, key)
    lines.append(f"Megaflow: {behind(0, format_match(megaflow(result, key)))}")
    lines.append(f"Datapath actions: {datapath_actions(world, result.steps, result.resumed)}")
    shown = partial(datapath_actions, world, resumed=result.resumed)
    return "\n".join(lines) + "\n" + format_resumed(world, result, shown)


def format_first(result: Result, key: int, recirc_id: int = 0) -> list[str]:
    """Lines of how a packet fared as it came, or as it went on behind a ct() by `recirc_id`, to its
    final flow."""
    if recirc_id:
        return format_thawed(result.steps, recirc_id, recirc_id - 1, key, result.key)
    lines = [f"Flow: {format_key(key)}", *steps_as_text(result.steps), ""]
    final = put_slot(result.key, "in_port", get_slot(key, "in_port"))
    return [*lines, f"Final flow: {'unchanged' if final == key else format_key(final)}"]


def format_thawed(first: Step, recirc_id: int, table_id: int, key: int, final: int) -> list[str]:
    """Lines of how a packet fared that went on behind a ct() at a table."""
    thaw = ("    thaw", f"        Resuming from table {table_id}")
    steps = (*thaw, *steps_below_as_text(first))
    return format_behind(first.bridge, recirc_id, steps, key, final)


def format_behind(
    bridge: str, recirc_id: int, steps: Iterable[str], key: int, final: int
) -> list[str]:
    """Lines of a packet behind a ct(), whose steps are these, to its final flow."""
    title = f'bridge("{bridge}")'
    return [
        f"Flow: {_resumed_key(recirc_id, key)}",
        "",
        title,
        "-" * len(title),
        *steps,
        "",
        f"Final flow: {'unchanged' if final == key else _resumed_key(recirc_id, final)}",
    ]


_RULE: Final = "=" * 79


def format_resumed(world: World, result: Result, leaving: Callable[[Step], str]) -> str:
    """What became of copies that went on after a ct(), each below a title of its own; `leaving` says
    what leaves the switch below a step."""
    lines: list[str] = []
    for number, resumed in enumerate(result.resumed, 1):
        step = resumed.step
        lines += ["", _RULE, f"recirc({number:#x}) - {_resumption(world, number, step.key)}"]
        if isinstance(step.action, Ct) and step.action.nat is not None:
            lines += _simulated(step.action.nat, resumed.asked, step.key)
        lines += [_RULE, ""]
        lines += format_thawed(step, number, step.table_id, step.key, resumed.key)
        mask = exact_match(step.key).mask & resumed.consulted
        mask = put_slot(mask, "in_port", (1 << 32) - 1) | put_slot(0, "eth_type", 0xFFFF)
        mask |= put_slot(0, "nw_frag", 3) & exact_match(step.key).mask
        looked = behind(number, format_match(Match(step.key & mask, mask)))
        lines.append(f"Megaflow: {looked}")
        lines.append(f"Datapath actions: {leaving(step)}")
    return "\n".join([*lines, ""]) if lines else ""


def _resumption(world: World, number: int, key: int) -> str:
    tracking = world.tracking
    if isinstance(tracking, Foreseen) and tracking.defaults[number - 1]:
        return "resume conntrack with default ct_state=trk|new (use --ct-next to customize)"
    state = get_slot(key, "ct_state")
    return f"resume conntrack with ct_state={format_ct_state(state, 0xFFFFFFFF)}"


def _simulated(nat: Nat, before: int, after: int) -> list[str]:
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
    return behind(number, format_key(key))


def behind(number: int, flow: str) -> str:
    """A flow in the datapath's terms: of packets that went on as this copy, 0 for those that came."""
    parts = flow.split(",")
    at = next((i for i, p in enumerate(parts) if not p.startswith(_OF_CONNECTION)), len(parts))
    return ",".join([f"recirc_id={format_hex(number)}", *parts[:at], "eth", *parts[at:]])


def megaflow(result: Result, key: int) -> Match:
    """The packets that would have gone the same way, as far as the tables looked at them."""
    state = (1 << 8 * SLOTS["in_port"].length) - 1
    mask = put_slot(result.consulted, "in_port", state)
    for name in ("metadata", *(f"reg{i}" for i in range(16))):
        mask = put_slot(mask, name, 0)
    mask = put_slot(mask, "eth_type", 0xFFFF)
    mask |= put_slot(0, "nw_frag", 3) & exact_match(key).mask
    return Match(key & mask, mask)
