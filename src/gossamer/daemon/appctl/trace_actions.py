"""The datapath actions at the end of a trace: what leaves the switch, and what is changed for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gossamer.daemon.appctl.datapaths import PortNames
from gossamer.daemon.appctl.odp_actions import changes, to_controller
from gossamer.daemon.appctl.odp_headers import header_off, header_on, sampled, service_changes
from gossamer.daemon.appctl.odp_tunnel import format_outer
from gossamer.pipeline import action as act
from gossamer.pipeline.action_ct import Ct
from gossamer.pipeline.action_encap import Decap, Encap, PacketType
from gossamer.pipeline.fields import get_slot, put_slot
from gossamer.pipeline.header_changes import tracking
from gossamer.pipeline.key_parts import TUNNEL_BITS
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.result import Result
from gossamer.pipeline.steps import Step, StepKind

if TYPE_CHECKING:
    from gossamer.pipeline.result import Punt
    from gossamer.switch.switch import Switch

_COVERING: Final = (act.PushMpls, act.PushPbb)
"""Actions that put a header before others, which must be right by then."""
_TRANSLATED: Final = ("nw_src", "nw_dst", "ipv6_src", "ipv6_dst", "tp_src", "tp_dst")


@dataclass(slots=True)
class _Leaving:
    """Datapath actions being written."""

    committed: int
    """The key as the headers say by now."""
    latest: int = 0
    """The key after the step before."""
    parts: list[str] = field(default_factory=list)
    pending: Encap | None = None
    """A header that goes on, with all that is set of it by then, before anything else is done."""

    def header(self, action: Encap | Decap, after: int) -> None:
        """A header goes on or comes off; `after` is the key then."""
        self.commit(self.latest)
        if isinstance(action, Decap):
            self.parts.append(header_off(self.committed, after))
        else:
            self.pending = action
        self.committed = after

    def translated(self, key: int) -> None:
        """NAT has written what it wants to the headers; `key` has it."""
        for slot in _TRANSLATED:
            self.committed = put_slot(self.committed, slot, get_slot(key, slot))

    def commit(self, key: int) -> None:
        """Write what makes the headers say `key`."""
        if key and self.pending is not None:
            self.parts.append(header_on(self.pending, key))
            if self.pending.packet_type == PacketType.ETHERNET:
                for address in ("eth_dst", "eth_src"):
                    self.committed = put_slot(self.committed, address, get_slot(key, address))
            else:
                self.committed = key
            self.pending = None
        if key:
            self.parts += service_changes(self.committed, key)
            # What goes with a packet into a tunnel is told where it leaves by one.
            here = self.committed & TUNNEL_BITS
            self.parts += changes(self.committed, key & ~TUNNEL_BITS | here)
            key = key & ~TUNNEL_BITS | here
            self.committed = key


def _tracks(clone: act.Clone) -> bool:
    """Whether a clone does what cannot be undone, so that Open vSwitch's datapath needs one too."""
    return any(isinstance(action, Ct) for action in clone.actions)


class DatapathActions:
    """Those of one run of the reference pipeline; `real`: controllers are told of its packet-ins."""

    def __init__(self, switch: Switch, result: Result, ports: PortNames, *, real: bool) -> None:
        self._switch = switch
        self._result = result
        self._ports = ports
        self._real = real

    def text(self, first: Step, key: int) -> str:
        """What leaves the switch below a step that begins with this key, in order: header changes,
        ports, packet-ins."""
        leaving = _Leaving(key)
        self._leave(first, leaving, list(self._result.punts), last=True)
        return ",".join(leaving.parts) or "drop"

    def _leave(self, first: Step, leaving: _Leaving, punts: list[Punt], *, last: bool) -> None:
        """What leaves below a step; `last`: nothing follows it."""
        below = [step for step in first.steps if step.kind is not StepKind.RESUME]
        actions = [step for step in below if step.kind is not StepKind.DETAIL]
        for step in below:
            ends = last and step is actions[-1] if actions else last
            if isinstance(step.action, act.Clone) and _tracks(step.action) and not ends:
                inner = _Leaving(leaving.committed, leaving.latest)
                self._leave(step, inner, punts, last=True)
                leaving.parts.append(f"clone({','.join(inner.parts)})")
                leaving.latest = step.key or leaving.latest
                continue
            self._write(step, leaving, punts)
            leaving.latest = step.key or leaving.latest
            self._leave(step, leaving, punts, last=ends)

    def _write(self, step: Step, leaving: _Leaving, punts: list[Punt]) -> None:
        if isinstance(step.action, _COVERING):
            leaving.commit(leaving.latest)
        elif isinstance(step.action, (Encap, Decap)):
            leaving.header(step.action, step.key)
        elif isinstance(step.action, act.Sample) and self._samples(step):
            leaving.commit(leaving.latest)
            leaving.parts.append(self._sample(step, step.action))
        elif isinstance(step.action, Ct):
            leaving.commit(leaving.latest)
            leaving.parts += tracking(step, self._result.resumed)
            for copy in step.steps:
                if copy.kind is StepKind.RESUME:
                    leaving.translated(copy.key)
        elif step.kind is StepKind.OUTPUT:
            leaving.commit(step.key)
            if step.outer is not None:
                leaving.parts.append(f"set(tunnel({format_outer(step.outer)}))")
            leaving.parts.append(self._port(step.bridge, step.port))
        elif step.kind is StepKind.PUNT:
            leaving.commit(step.key)
            leaving.parts.append(self._punt(step, punts))

    def _port(self, bridge: str, ofport: int) -> str:
        return self._ports.in_bridge(self._switch.bridges[bridge])(ofport)

    def _samples(self, step: Step) -> bool:
        return any(sampled.action is step.action for sampled in self._result.samples)

    def _sample(self, step: Step, action: act.Sample) -> str:
        bridge = next(s.bridge for s in self._result.samples if s.action is action)
        if action.sampling_port in (OfPort.ANY, get_slot(step.key, "in_port")):
            return sampled(action, str(OfPort.ANY.value))
        return sampled(action, self._port(bridge, action.sampling_port))

    def _punt(self, step: Step, punts: list[Punt]) -> str:
        """The packet-in of a step: of those not told yet the one with this packet."""
        found = next(
            p for p in punts if p.bridge == step.bridge and p.packet == step.packet
        )
        punts.remove(found)
        return to_controller(
            found.reason,
            found.action.controller_id,
            found.action.max_len,
            found.flow.cookie if found.flow else 0,
            dont_send=not self._real,
            pause=found.action.pause,
        )
