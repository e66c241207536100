"""Actions and instructions, as types that cannot be wrong.

An OpenFlow instruction list is kept the way it is executed (OpenFlow 1.3.5,
5.9): one tuple of actions in which apply-actions stand bare and the other
instructions follow as `Meter`, `ClearActions`, `WriteActions`,
`WriteMetadata`, `GotoTable`, in that order.  The codec splits and joins them;
everything inside the switch sees the one tuple.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from gossamer.pipeline.fields import Field


class OfPort(IntEnum):
    """Reserved port numbers, in their 32-bit form (OpenFlow 1.3.5, 7.2.1)."""

    MAX = 0xFFFFFF00
    IN_PORT = 0xFFFFFFF8
    TABLE = 0xFFFFFFF9
    NORMAL = 0xFFFFFFFA
    FLOOD = 0xFFFFFFFB
    ALL = 0xFFFFFFFC
    CONTROLLER = 0xFFFFFFFD
    LOCAL = 0xFFFFFFFE
    ANY = 0xFFFFFFFF  # OFPP_NONE in OpenFlow 1.0


NO_BUFFER: Final = 0xFFFFFFFF
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


@dataclass(frozen=True, slots=True)
class NamedSet(SetField):
    """A SetField that came as an action with a name of its own, kept to be shown back.

    `spelling`: "set_nw_ttl" (OFPAT_SET_NW_TTL), "set_tp_src" and "set_tp_dst" (of SCTP, in
    OpenFlow 1.0 and 1.1), "set_tunnel" and "set_tunnel64" (NXAST_*).
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
class Exit(Action):
    """End the whole pipeline now, action set included (NXAST_EXIT)."""


@dataclass(frozen=True, slots=True)
class Meter(Action):
    """Instruction: pass the packet through a meter first."""

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
