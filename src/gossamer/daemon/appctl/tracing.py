"""``ofproto/trace`` and ``ofproto/trace-packet-out``: where a packet goes (ovs-vswitchd(8)).

The reference pipeline says what happens, step by step, over the switch's own
tables.  A packet that is real (``-generate``, or given in hexadecimal) also
runs through the BPF program, its outputs held back: addresses are learned,
flows credited and controllers told, and a line ``Kernel:`` says what came out
there, and whether that is what the tables say.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from gossamer.daemon.appctl.datapaths import PortNames
from gossamer.daemon.appctl.recirculation import CONFLICT, Failure, unknown
from gossamer.daemon.appctl.trace_actions import DatapathActions
from gossamer.daemon.appctl.trace_arguments import Asked, Paths, parse_arguments
from gossamer.datapath.settings import PuntReason
from gossamer.errors import DatapathError, FieldError, GossamerError
from gossamer.openflow.error import OpenFlowError
from gossamer.openflow.message import Version
from gossamer.openflow.validate import check_actions
from gossamer.pipeline import action as act
from gossamer.pipeline.action import Actions, SubField
from gossamer.pipeline.action_syntax import parse_actions
from gossamer.pipeline.conntrack.foreseen import Foreseen
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.fields import FIELDS, get_slot, put_slot
from gossamer.pipeline.format import exact_match, format_match
from gossamer.pipeline.key_parts import TUNNEL_BITS
from gossamer.pipeline.match import Match
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.packet import parse
from gossamer.pipeline.result import Result
from gossamer.pipeline.trace import behind, format_behind, format_first, format_resumed, megaflow
from gossamer.pipeline.world import World
from gossamer.switch.show import CommandError
from gossamer.switch.world import packet_out_fdb, untaught_fdb, world_of

if TYPE_CHECKING:
    from gossamer.daemon.appctl.kernel_run import KernelRun, Outcome
    from gossamer.switch.switch import Switch

Answer = Callable[[str], None]
_INSTRUCTIONS: Final = (
    (act.GotoTable, "goto_table"),
    (act.WriteActions, "write_actions"),
    (act.WriteMetadata, "write_metadata"),
    (act.ClearActions, "clear_actions"),
    (act.Meter, "meter"),
)
_PORT: Final = re.compile(r"\b(in_port=|output:|enqueue:|resubmit:|resubmit\()(\d+)")
_TITLE: Final = re.compile(r'^( *)bridge\("(.*)"\)$')
_NO_TYPE: Final = "dl_type=0x05ff"
"""How a frame without ethertype reads; the peer's flow has a zero there."""


class Tracing:
    """The commands, over a switch, what runs packets in its kernel, and the paths cached there."""

    def __init__(self, switch: Switch, kernel: KernelRun, paths: Paths) -> None:
        self._switch = switch
        self._kernel = kernel
        self._paths = paths

    def trace(self, argv: Sequence[str], answer: Answer, fail: Answer) -> None:
        """ofproto/trace.  Answers later where a packet is to run in the kernel.

        Raises CommandError for wrong arguments.
        """
        asked = parse_arguments(self._switch, argv, self._paths)
        port = asked.bridge.ports.by_ofport.get(asked.in_port)
        if not asked.real:
            answer(_Trace(self._switch, asked, None).text())
        elif port is None:
            answer(self._without_kernel(asked, "in_port is no port of the bridge"))
        elif asked.recirc_id:
            answer(self._without_kernel(asked, "no packet comes in behind a ct()"))
        elif asked.state.mask:
            why = "no packet brings registers, metadata or a tunnel along"
            answer(self._without_kernel(asked, why))
        else:
            self._kernel.when_ready(lambda error: self._run(argv, error, answer, fail))

    def _without_kernel(self, asked: Asked, why: str) -> str:
        return _Trace(self._switch, asked, None).text(f"Kernel: not asked: {why}")

    def _run(
        self, argv: Sequence[str], error: GossamerError | None, answer: Answer, fail: Answer
    ) -> None:
        """The kernel is ready, or cannot be: tables and ports may have changed meanwhile."""
        try:
            asked = parse_arguments(self._switch, argv, self._paths)
            port = asked.bridge.ports.by_ofport.get(asked.in_port)
            if error is not None or port is None:
                answer(self._without_kernel(asked, str(error or "in_port is gone")))
                return
            trace = _Trace(self._switch, asked, None)
            try:
                answer(trace.text(self._in_kernel(trace, asked, port.port_id)))
            except DatapathError as e:  # such as a frame that ends within its IP header
                answer(self._without_kernel(asked, str(e)))
        except GossamerError as e:
            fail(str(e))

    def trace_packet_out(self, argv: Sequence[str]) -> str:
        """ofproto/trace-packet-out: actions, as a controller's packet-out has them.

        Raises CommandError for wrong arguments.
        """
        *words, text = argv
        asked_bridge = self._switch.bridges.get(next((w for w in words if w[:1] != "-"), ""))
        ports = (
            {p.name: p.ofport for p in asked_bridge.ports.ports.values()} if asked_bridge else {}
        )
        try:
            actions = parse_actions(text, ports)
        except FieldError as e:
            # A word that is no action could only have been a port.
            told = re.sub(r"^there is no port", "unknown action", e.message)
            raise CommandError(told.replace("'", "")) from None
        for action in actions:
            for kind, name in _INSTRUCTIONS:
                if isinstance(action, kind):
                    raise CommandError(f"{name} instruction not allowed here")
        asked = parse_arguments(self._switch, words, self._paths, packet_out=True)
        if asked.consistent:
            try:
                check_actions(actions, asked.flow, 0, Version.V13)
            except OpenFlowError as e:
                raise CommandError(f"Bad actions: OFPBAC_{_short(e)}") from None
        return _Trace(self._switch, asked, actions).text()

    def _in_kernel(self, trace: _Trace, asked: Asked, port_id: int) -> str:
        outcome = self._kernel.run(port_id, asked.packet)
        came_up = (*outcome.others, *outcome.punts)
        for bridge in self._switch.bridges.values():
            bridge.punts([p for p in came_up if p.bridge_id == bridge.ports.bridge_id])
        return trace.compare(outcome)


class _Trace:
    """One packet, run through the reference pipeline, and its text."""

    def __init__(self, switch: Switch, asked: Asked, actions: Actions | None) -> None:
        self.switch = switch
        self.asked = asked
        self.world = world_of(switch, packet_out_fdb if asked.real else untaught_fdb)
        self.world.tracking = Foreseen(asked.ct_next)
        self.key = parse(asked.packet, asked.in_port) | asked.state.value
        # What a recirc_id stands for is not told with the flow.
        self.shown = self.key & ~(asked.state.mask & ~asked.flow.mask)
        self.failure: Failure | None = None
        if not asked.resumable:
            self.failure = unknown(asked.recirc_id)
        elif asked.recirc_id and actions is not None:
            self.failure = CONFLICT
        try:
            self.result = Result() if self.failure else self._run(actions)
        except GossamerError as e:
            raise CommandError(str(e)) from None
        self.ports = PortNames(switch, names=asked.names)

    def _run(self, actions: Actions | None) -> Result:
        asked, pipeline = self.asked, Pipeline(self.world)
        name, packet = asked.bridge.name, asked.packet
        brought = asked.state.value & TUNNEL_BITS
        if asked.recirc_id:
            table_id = asked.recirc_id - 1
            return pipeline.run_at(name, asked.in_port, packet, table_id, asked.state.value)
        mask = asked.state.mask & ~TUNNEL_BITS
        if not mask:
            if actions is None:
                return pipeline.run(name, asked.in_port, packet, brought)
            return pipeline.execute_actions(name, asked.in_port, packet, actions, brought)
        # What no packet brings along is loaded first, by actions that are not shown.
        loads = _loads(asked.state.value, mask)
        then = (act.Output(OfPort.TABLE),) if actions is None else actions
        result = pipeline.execute_actions(
            name, asked.in_port, packet, (*loads, *then), brought
        )
        steps = result.steps.steps[len(loads) :]
        if actions is None and steps:
            steps = [*steps[0].steps, *steps[1:]]
        result.steps.steps = steps
        return result

    def text(self, kernel: str = "") -> str:
        """The peer's text; `kernel` is a line of ours before the final flow."""
        leaving = DatapathActions(self.switch, self.result, self.ports, real=self.asked.real)
        resumed = format_resumed(
            self.world, self.result, lambda step: leaving.text(step, step.key)
        )
        number = self.asked.recirc_id
        if self.failure is None:
            *steps, final = format_first(self.result, self.shown, number)
        else:
            *steps, final = format_behind(
                self.asked.bridge.name, number, self.failure.steps, self.shown, self.shown
            )
        lines = [
            *steps,
            *([kernel] if kernel else []),
            final,
            f"Megaflow: {behind(number, format_match(self.megaflow()))}",
            f"Datapath actions: {leaving.text(self.result.steps, self.key)}",
        ]
        if self.failure is not None:
            lines.append(f"Translation failed ({self.failure.end}), packet is dropped.")
        text = "\n".join(lines) + "\n" + resumed
        text = re.sub(r"\bin_port=NONE\b", "in_port=ANY", text)
        if not self.asked.typed:
            text = text.replace(_NO_TYPE, "dl_type=0x0000")
        return name_ports(text, self.world, self.asked.bridge.name) if self.asked.names else text

    def megaflow(self) -> Match:
        """The packets that go the same way, told by fields that they have: a packet without tag
        is known by its ethertype."""
        looked = megaflow(self.result, self.key)
        mask = looked.mask & exact_match(self.key).mask
        if not get_slot(self.key, "vlan_tci"):
            mask = put_slot(mask, "vlan_tci", 0)
        return Match(self.key & mask, mask)

    def compare(self, outcome: Outcome) -> str:
        """What came out of the kernel, and whether the tables say the same."""
        parts = [self.ports.by_id(port_id) for port_id, _ in outcome.outputs]
        packet_ins = sum(1 for punt in outcome.punts if punt.reason < PuntReason.LEARN)
        parts += ["userspace(controller)"] * packet_ins
        shown = ",".join(parts)
        if not shown:
            reasons = ",".join(sorted(set(outcome.drops)))
            shown = f"drop ({reasons})" if reasons else "drop"
        ids = {
            (b.name, port.ofport): port.port_id
            for b in self.switch.bridges.values()
            for port in b.ports.ports.values()
        }
        wanted = Counter((ids.get((o.bridge, o.ofport), 0), o.packet) for o in self.result.outputs)
        same = wanted == Counter(outcome.outputs) and packet_ins == len(self.result.punts)
        verdict = "as the tables say" if same else "NOT what the tables say"
        return f"Kernel: {shown} -- {verdict}"


def _loads(value: int, mask: int) -> Actions:
    """Actions that give a key the state in `mask`."""
    out = []
    for f in FIELDS:
        bits = (mask >> f.shift) & ((1 << f.n_bits) - 1)
        if bits and f.name != "in_port":
            full = SubField(f, 0, f.n_bits)
            out.append(act.RegLoad(full, (value >> f.shift) & ((1 << f.n_bits) - 1)))
            mask &= ~f.full_mask
    return tuple(out)


def _short(error: OpenFlowError) -> str:
    """MATCH_INCONSISTENT of BAD_ACTION_MATCH_INCONSISTENT."""
    return error.code.name.removeprefix("BAD_ACTION_")


def name_ports(text: str, world: World, first: str) -> str:
    """A trace with ports by name: those of the bridge under whose title a line stands."""
    inside: list[tuple[int, Mapping[int, str]]] = [(0, _names(world, first))]
    out = []
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        title = _TITLE.match(line)
        if title is not None:
            while len(inside) > 1 and inside[-1][0] >= indent:
                inside.pop()
            inside.append((indent, _names(world, title[2])))
        elif line.startswith(("Flow:", "Final flow:", "Megaflow:")):
            inside = [(0, _names(world, first))]
        elif line.strip() and not line.strip(" -"):
            pass  # the line under a title
        else:
            while len(inside) > 2 and line.strip() and indent <= inside[-1][0]:
                inside.pop()
        names = {} if "-> action set " in line else inside[-1][1]  # the peer names none there
        out.append(_PORT.sub(lambda m: m[1] + names.get(int(m[2]), m[2]), line))  # noqa: B023
    return "\n".join(out) + "\n"


def _names(world: World, bridge: str) -> Mapping[int, str]:
    return {port.ofport: port.name for port in world.bridges[bridge].ports.values() if port.name}
