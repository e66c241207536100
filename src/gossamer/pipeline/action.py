"""Actions and instructions, as types that cannot be wrong.

An OpenFlow instruction list is kept the way it is executed (OpenFlow 1.3.5,
5.9): one tuple of actions in which apply-actions stand bare and the other
instructions follow as `Meter`, `ClearActions`, `WriteActions`,
`WriteMetadata`, `GotoTable`, in that order.  The codec splits and joins them;
everything inside the switch sees the one tuple.  What has types of its own beside
it is in modules of their own: action_choice, action_ct, action_encap, action_learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gossamer.pipeline.fields import Field
from gossamer.pipeline.of_port import OfPort

CONTROLLER_MAX_LEN: Final = 0xFFFF
"""max_len that asks for the whole packet (OFPCML_NO_BUFFER)."""


@dataclass(frozen=True, slots=True)
class SubField:
    """Bits [low, low + n_bits) of a field, for move and load (NXM 'subfield')."""

    field: Field
    low: int = 0
    n_bits: int = 0

    @property
    def shift(self) -> int:
        """Place of the lowest bit in the key."""
        return self.field.shift + self.low


class Action:
    """Base of all actions and instructions."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Output(Action):
    """Send the packet, as it is now, to an OpenFlow port, physical or reserved.

    OFPP_CONTROLLER is a `Controller`, never an Output.  `max_len` is kept
    only because it is shown back.
    """

    port: int
    max_len: int = 0


@dataclass(frozen=True, slots=True)
class OutputReg(Action):
    """Send to the port whose number a subfield holds (NXAST_OUTPUT_REG)."""

    source: SubField
    max_len: int = 0


@dataclass(frozen=True, slots=True)
class Controller(Action):
    """Send to controllers as a packet-in (OFPP_CONTROLLER, NXAST_CONTROLLER(2))."""

    max_len: int = CONTROLLER_MAX_LEN
    controller_id: int = 0
    reason: int = 1  # OFPR_ACTION
    userdata: bytes = b""
    pause: bool = False
    meter_id: int = 0
    as_output: bool = True
    """Encoded as output:CONTROLLER rather than as the Nicira action."""


@dataclass(frozen=True, slots=True)
class SetField(Action):
    """Set the masked bits of a field (OFPAT_SET_FIELD; also OF1.0's set_dl_src & co.).

    `value` and `mask` are right-aligned in the field; value has no bit outside mask.
    """

    field: Field
    value: int
    mask: int


WITH_MASK: Final = "set_field_with_mask"


@dataclass(frozen=True, slots=True)
class NamedSet(SetField):
    """A SetField that came as an action with a name of its own, kept to be shown back.

    `spelling` is the name of the wire's action, without prefix: "set_nw_ttl" (OFPAT_SET_NW_TTL),
    "set_dl_src" and its like of OpenFlow 1.0 and 1.1, "set_tunnel" and "set_tunnel64" (NXAST_*),
    "set_mpls_label" and so on.  WITH_MASK is a set_field whose mask has all bits of a field that
    fills no whole bytes, such as Open vSwitch makes of a load.
    """

    spelling: str


@dataclass(frozen=True, slots=True)
class RegLoad(Action):
    """Set a subfield (NXAST_REG_LOAD): SetField in another spelling, kept to be shown back."""

    dst: SubField
    value: int


@dataclass(frozen=True, slots=True)
class RegMove(Action):
    """Copy bits from one subfield to another of the same width (NXAST_REG_MOVE, copy_field)."""

    src: SubField
    dst: SubField


@dataclass(frozen=True, slots=True)
class PushVlan(Action):
    """Push a tag; its VID and PCP copy those of the outer tag, or are 0 (OpenFlow 1.3.5, 5.12.1)."""

    ethertype: int = 0x8100


@dataclass(frozen=True, slots=True)
class PopVlan(Action):
    """Remove the outermost tag; nothing where there is none (strip_vlan)."""


@dataclass(frozen=True, slots=True)
class StripVlan(PopVlan):
    """PopVlan by the name that OpenFlow 1.0 has for it, kept to be shown back."""


@dataclass(frozen=True, slots=True)
class SetVlanVid(Action):
    """OpenFlow 1.0/1.1 set_vlan_vid: pushes a tag where there is none and `push` is allowed."""

    vid: int
    push: bool = True


@dataclass(frozen=True, slots=True)
class SetVlanPcp(Action):
    """OpenFlow 1.0/1.1 set_vlan_pcp."""

    pcp: int
    push: bool = True


@dataclass(frozen=True, slots=True)
class DecTtl(Action):
    """Decrement the IP TTL; at 0 or 1 the packet goes to controllers `ids` as OFPR_INVALID_TTL
    and the current action list ends."""

    controller_ids: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True)
class Resubmit(Action):
    """Look up again in `table_id` (0xff: the current one) as if from `in_port` (OFPP_IN_PORT:
    unchanged), run what matches, then go on (NXAST_RESUBMIT(_TABLE))."""

    in_port: int = OfPort.IN_PORT
    table_id: int = 0xFF
    with_ct: bool = False
    """With the original direction's tuple of its connection (NXAST_RESUBMIT_TABLE_CT)."""


@dataclass(frozen=True, slots=True)
class Enqueue(Action):
    """Output to a port's queue (OFPAT_ENQUEUE, OpenFlow 1.0)."""

    port: int
    queue_id: int


@dataclass(frozen=True, slots=True)
class SetQueue(Action):
    """Choose the queue of later outputs."""

    queue_id: int


@dataclass(frozen=True, slots=True)
class PopQueue(SetQueue):
    """Choose the default queue again (NXAST_POP_QUEUE)."""

    queue_id: int = 0


@dataclass(frozen=True, slots=True)
class Note(Action):
    """Bytes that do nothing but are shown back (NXAST_NOTE)."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Group(Action):
    """Pass a copy of the packet through a group (OpenFlow 1.3.5, 5.6)."""

    group_id: int


@dataclass(frozen=True, slots=True)
class PushMpls(Action):
    """Push a label; its values copy the label below, or the IP header (OpenFlow 1.3.5, 5.12.1)."""

    ethertype: int = 0x8847


@dataclass(frozen=True, slots=True)
class PopMpls(Action):
    """Remove the outermost label; `ethertype` is that of what follows."""

    ethertype: int = 0x0800


@dataclass(frozen=True, slots=True)
class DecMplsTtl(Action):
    """Decrement the outermost label's TTL; at 0 or 1 as DecTtl."""


@dataclass(frozen=True, slots=True)
class CopyTtlOut(Action):
    """Copy the TTL of the next header into the outermost one (OpenFlow 1.3.5, 5.12)."""


@dataclass(frozen=True, slots=True)
class CopyTtlIn(Action):
    """Copy the outermost TTL into the next header (OpenFlow 1.3.5, 5.12)."""


@dataclass(frozen=True, slots=True)
class PushPbb(Action):
    """Push a Provider Backbone header (OpenFlow 1.3.5, 5.12)."""

    ethertype: int = 0x88E7


@dataclass(frozen=True, slots=True)
class PopPbb(Action):
    """Remove the Provider Backbone header."""


@dataclass(frozen=True, slots=True)
class OutputTrunc(Action):
    """Output no more than the first `max_len` bytes (NXAST_OUTPUT_TRUNC)."""

    port: int
    max_len: int


@dataclass(frozen=True, slots=True)
class Clone(Action):
    """Run `actions` on a copy: what they change is changed back (NXAST_CLONE)."""

    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class StackPush(Action):
    """Put a subfield's bits on the stack (NXAST_STACK_PUSH)."""

    source: SubField


@dataclass(frozen=True, slots=True)
class StackPop(Action):
    """Take bits from the stack into a subfield; nothing where it is empty (NXAST_STACK_POP)."""

    dst: SubField


@dataclass(frozen=True, slots=True)
class CheckPktLarger(Action):
    """Set a bit to whether the packet is longer than `length` bytes (NXAST_CHECK_PKT_LARGER)."""

    dst: SubField
    length: int


@dataclass(frozen=True, slots=True)
class DeleteField(Action):
    """Remove an optional field, a Geneve option (NXAST_DELETE_FIELD)."""

    field: Field


@dataclass(frozen=True, slots=True)
class Conjunction(Action):
    """This flow is one alternative of clause `clause` (from 0) of `n_clauses` (NXAST_CONJUNCTION)."""

    conj_id: int
    clause: int
    n_clauses: int


@dataclass(frozen=True, slots=True)
class FinTimeout(Action):
    """Shorten the flow's timeouts when a FIN or RST passes (NXAST_FIN_TIMEOUT)."""

    idle_timeout: int
    hard_timeout: int


@dataclass(frozen=True, slots=True)
class Sample(Action):
    """Sample packets to a collector set (NXAST_SAMPLE, SAMPLE2, SAMPLE3)."""

    probability: int
    collector_set_id: int
    obs_domain_id: int
    obs_point_id: int
    sampling_port: int = OfPort.ANY
    direction: int = 0


@dataclass(frozen=True, slots=True)
class Exit(Action):
    """End the whole pipeline now, action set included (NXAST_EXIT)."""


@dataclass(frozen=True, slots=True)
class Meter(Action):
    """Instruction (an action in OpenFlow 1.5): pass the packet through a meter first."""

    meter_id: int


@dataclass(frozen=True, slots=True)
class ClearActions(Action):
    """Instruction: empty the action set."""


@dataclass(frozen=True, slots=True)
class WriteActions(Action):
    """Instruction: merge into the action set (OpenFlow 1.3.5, 5.10)."""

    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class WriteMetadata(Action):
    """Instruction: set masked bits of the metadata field."""

    value: int
    mask: int


@dataclass(frozen=True, slots=True)
class GotoTable(Action):
    """Instruction: continue in a later table; replaces the rest of this rule."""

    table_id: int


Actions = tuple[Action, ...]
DROP: Final[Actions] = ()
"""No action at all: the packet is dropped."""
