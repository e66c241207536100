"""How the headers of two keys differ, and what leaves the switch, told as datapath actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gossamer.pipeline.action_ct import CT_ALG_FTP, Ct
from gossamer.pipeline.conntrack.asking import request_of
from gossamer.pipeline.fields import FIELDS, VLAN_CFI, get, get_slot
from gossamer.pipeline.format import (
    exact_match,
    format_hex,
    format_mac,
    format_port,
    format_value,
)
from gossamer.pipeline.format_ct import format_nat
from gossamer.pipeline.format_field import format_masked_hex
from gossamer.pipeline.labels import labels_of
from gossamer.pipeline.match import ANY
from gossamer.pipeline.result import Resumed
from gossamer.pipeline.steps import Step, StepKind
from gossamer.pipeline.world import World

_WHOLE_LABEL: Final = (1 << 128) - 1
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
        if f.slot in _NO_HEADER or f.slot.startswith(("reg", "ct_")):
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


def ct_exec(mark: tuple[int, int], label: tuple[int, int]) -> list[str]:
    """What exec() writes, as parts of a datapath's ct(): value and mask of each, if any.  Open vSwitch
    leaves out a label's mask that is all ones, not so a mark's."""
    parts = [f"mark={format_hex(mark[0])}/{format_hex(mark[1])}"] if mark[1] else []
    if label[1]:
        parts.append(f"label={format_masked_hex(*label, _WHOLE_LABEL)}")
    return parts


def tracking(step: Step, resumed: Sequence[Resumed]) -> list[str]:
    """The ct() of a step as datapath actions: it, and where a copy goes on."""
    action = step.action
    assert isinstance(action, Ct)
    request = request_of(action, step.before, Step(StepKind.ACTION))
    parts = ["force_commit" if action.force else "commit"] if action.commit else []
    parts += [f"zone={request.zone}"] if request.zone else []
    parts += ct_exec(request.mark, request.label)
    if action.alg:
        parts.append(f"helper={'ftp' if action.alg == CT_ALG_FTP else 'tftp'}")
    if action.nat is not None:
        parts.append(format_nat(action.nat))
    out = [f"ct({','.join(parts)})" if parts else "ct"]
    below = {id(s) for s in step.steps if s.kind is StepKind.RESUME}
    return out + [f"recirc({n:#x})" for n, r in enumerate(resumed, 1) if id(r.step) in below]


def datapath_actions(world: World, first: Step, resumed: Sequence[Resumed]) -> str:
    """What leaves the switch below a step, in order: header changes, connections that are tracked, and
    the ports copies go to; `resumed` are all copies that went on after a ct()."""
    parts: list[str] = []
    _collect(world, first, first.key, parts, resumed)
    return ",".join(parts) or "drop"


def _collect(
    world: World, step: Step, key: int, parts: list[str], resumed: Sequence[Resumed]
) -> int:
    for below in step.steps:
        if below.kind is StepKind.RESUME:
            continue  # shown below a title of its own
        if isinstance(below.action, Ct):
            parts += [*header_changes(key, below.key), *tracking(below, resumed)]
            key = below.key
            continue
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
            key = _collect(world, below, key, parts, resumed)
    return key
