"""Which asynchronous messages a connection gets (OpenFlow 1.4, 7.3.10; ovs-ofctl(8)).

A mask a kind of message and a role: bit n stands for reason n.  Two reasons
are ours alone: a packet-in that a table-miss flow of the controller sent
(`EXPLICIT_MISS`), and one the switch sends because nothing matched
(`IMPLICIT_MISS`), which no controller of OpenFlow 1.3 or later expects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from gossamer.openflow import message as m


class PacketInReason(IntEnum):
    """ofp_packet_in_reason of OpenFlow 1.4, and two more."""

    NO_MATCH = 0
    ACTION = 1
    INVALID_TTL = 2
    ACTION_SET = 3
    GROUP = 4
    PACKET_OUT = 5
    EXPLICIT_MISS = 6
    IMPLICIT_MISS = 7

    def wire(self, version: int) -> int:
        """The reason as a version can say it."""
        if self is PacketInReason.IMPLICIT_MISS:
            return PacketInReason.NO_MATCH
        if self is PacketInReason.EXPLICIT_MISS:
            return PacketInReason.ACTION if version < 4 else PacketInReason.NO_MATCH
        if self > PacketInReason.INVALID_TTL and version < 5:
            return PacketInReason.ACTION
        return self

    @property
    def is_miss(self) -> bool:
        """Nothing but a table-miss matched."""
        return self in (self.NO_MATCH, self.EXPLICIT_MISS, self.IMPLICIT_MISS)


_EVERY_PORT_STATUS: Final = 0b111
_EVERY_ROLE_STATUS: Final = 0b111
_KINDS: Final = (
    "packet_in", "port_status", "flow_removed", "role_status", "table_status", "requestforward"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AsyncConfig:
    """Masks of reasons; those named `slave_*` hold in that role, the others in all others."""

    packet_in: int
    port_status: int
    flow_removed: int
    slave_packet_in: int = 0
    slave_port_status: int = _EVERY_PORT_STATUS
    slave_flow_removed: int = 0
    role_status: int = _EVERY_ROLE_STATUS
    slave_role_status: int = _EVERY_ROLE_STATUS
    table_status: int = 0
    slave_table_status: int = 0
    requestforward: int = 0
    slave_requestforward: int = 0

    def message(self) -> m.AsyncConfig:
        """As it is told to the peer, without the reasons that are ours alone."""
        masks = {kind: (getattr(self, kind), getattr(self, f"slave_{kind}")) for kind in _KINDS}
        normally, as_slave = masks["packet_in"]
        masks["packet_in"] = (normally & _ON_WIRE, as_slave & _ON_WIRE)
        return m.AsyncConfig(masks)

    def changed(
        self, masks: Mapping[str, tuple[int | None, int | None]], version: int
    ) -> AsyncConfig:
        """Self with what a peer of `version` asks for; None leaves a mask as it is."""
        wanted: dict[str, int] = {}
        for kind, pair in masks.items():
            for prefix, mask in zip(("", "slave_"), pair, strict=True):
                name = prefix + kind
                if mask is None or name not in AsyncConfig.__dataclass_fields__:
                    continue
                wanted[name] = _with_misses(mask, version) if kind == "packet_in" else mask
        return replace(self, **wanted)


_ON_WIRE: Final = (1 << PacketInReason.EXPLICIT_MISS) - 1


def _with_misses(mask: int, version: int) -> int:
    """Who wants packets that did not match wants those of table-miss flows too."""
    mask &= _ON_WIRE
    if mask & 1 << PacketInReason.NO_MATCH:
        mask |= 1 << PacketInReason.EXPLICIT_MISS
        if version <= 3:
            mask |= 1 << PacketInReason.IMPLICIT_MISS
    return mask


def default_config(version: int) -> AsyncConfig:
    """What a connection gets that did not ask for anything else."""
    packet_in = 0b111011 | 1 << PacketInReason.EXPLICIT_MISS
    if version <= 3:
        packet_in |= 1 << PacketInReason.IMPLICIT_MISS
    flow_removed = {1: 0b111, 2: 0b1111, 3: 0b1111, 4: 0b1111}.get(version, 0b111111)
    return AsyncConfig(packet_in, _EVERY_PORT_STATUS, flow_removed)
