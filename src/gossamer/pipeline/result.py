"""What became of a packet: what the reference pipeline hands back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from gossamer.pipeline import action as act
from gossamer.pipeline.action_learn import Learn
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.frozen import Frozen
from gossamer.pipeline.steps import Drop, Step, StepKind
from gossamer.pipeline.wrap import Outer


class Reason:
    """Why a packet goes to the controllers (ofp_packet_in_reason, OpenFlow 1.4)."""

    NO_MATCH: Final = 0
    ACTION: Final = 1
    INVALID_TTL: Final = 2
    ACTION_SET: Final = 3
    GROUP: Final = 4
    PACKET_OUT: Final = 5


@dataclass(frozen=True, slots=True)
class Output:
    """A packet that leaves `bridge` by port `ofport` (never a patch port), by a tunnel port
    in `outer`; `key` is what was known of it then."""

    bridge: str
    ofport: int
    packet: bytes
    outer: Outer | None = None
    key: int = 0


@dataclass(frozen=True, slots=True)
class Punt:
    """A packet for the controllers of `bridge`, as it was, whole; `key` as it stood.

    `flow` is the rule that sent it, None for a table miss or a packet-out.
    """

    bridge: str
    in_port: int
    reason: int
    table_id: int
    flow: Flow | None
    action: act.Controller
    key: int
    packet: bytes
    frozen: Frozen | None = None
    """How to go on, of a packet that waits until the controller sends it back."""


@dataclass(frozen=True, slots=True)
class GroupUse:
    """A group a packet went through; `buckets` are the indexes of those to be credited."""

    bridge: str
    group_id: int
    buckets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MeterUse:
    """A meter a packet went through; `band` is the index of the band that applied, or None."""

    bridge: str
    meter_id: int
    band: int | None


@dataclass(frozen=True, slots=True)
class LearnedFlow:
    """A flow that a learn action asks for; it is for the caller to add (`flow` is the rule
    that holds the action, None in a packet-out; `key` the packet as it was)."""

    bridge: str
    action: Learn
    flow: Flow | None
    key: int
    learned: Flow


@dataclass(frozen=True, slots=True)
class Resumed:
    """A copy that went on at a table after a ct(): its step, the key with which that was asked for,
    and the key and what tables looked at in the end."""

    step: Step
    asked: int
    key: int
    consulted: int


@dataclass(frozen=True, slots=True)
class Sampled:
    """A packet for the collectors of `bridge`: `key` as it stood, `n_bytes` its length as it came."""

    bridge: str
    action: act.Sample
    key: int
    n_bytes: int


@dataclass(slots=True)
class Result:
    """What became of a packet."""

    outputs: list[Output] = field(default_factory=list)
    punts: list[Punt] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)
    """The rules passed, in order; each is to be credited once for each time it is here."""
    misses: list[tuple[str, int]] = field(default_factory=list)
    """(bridge, table) of lookups that found nothing."""
    groups: list[GroupUse] = field(default_factory=list)
    meters: list[MeterUse] = field(default_factory=list)
    learned: list[LearnedFlow] = field(default_factory=list)
    samples: list[Sampled] = field(default_factory=list)
    key: int = 0
    """The flow key at the end of the first bridge's translation."""
    consulted: int = 0
    """Bits of the key that some table looked at in the first bridge."""
    resumed: list[Resumed] = field(default_factory=list)
    n_truncated: int = 0
    """Of the outputs, those cut short."""
    drops: list[Drop] = field(default_factory=list)
    """Why the packet or copies of it ended; empty where all went somewhere."""
    steps: Step = field(default_factory=lambda: Step(StepKind.BRIDGE))
