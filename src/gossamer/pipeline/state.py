"""What is known of a packet while a bridge translates it: its key, and what is to be done with it.

The counterpart in the kernel is bpf/state.h.
"""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.pipeline import action as act
from gossamer.pipeline.action_ct import Ct
from gossamer.pipeline.action_set import ActionSet
from gossamer.pipeline.commit import Buffer
from gossamer.pipeline.conntrack.tracker import Request
from gossamer.pipeline.fields import put_slot
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.frozen import Freezing, Frozen
from gossamer.pipeline.result import LearnedFlow
from gossamer.pipeline.steps import Drop, Step
from gossamer.pipeline.world import Bridge


@dataclass(frozen=True, slots=True)
class At:
    """Where an action stands: in a rule of a table, and in a step of the trace."""

    table_id: int
    flow: Flow | None
    step: Step


@dataclass(frozen=True, slots=True)
class Effect:
    """Something to be performed, with the packet as it was when the action came up.

    `copies` are the buckets and clones it stands in, outermost first, by numbers of their own;
    `written` as in a State.
    """

    action: act.Output | act.OutputTrunc | act.Controller | act.Meter | Ct | act.Sample
    key: int
    buffer: Buffer
    step: Step
    copies: tuple[int, ...] = ()
    written: tuple[int, ...] = ()
    reason: int = 0
    table_id: int = 0
    flow: Flow | None = None
    request: Request | None = None
    """Of a ct(): what it asks; and the action set that goes along with its copy."""
    action_set: ActionSet | None = None
    frozen: Frozen | None = None
    """Of a controller(pause): how to go on."""


class State:
    """One packet in one bridge."""

    def __init__(
        self,
        bridge: Bridge,
        key: int,
        buffer: Buffer,
        n_bytes: int,
        action_set: ActionSet | None = None,
    ) -> None:
        self.bridge = bridge
        self.action_set = ActionSet() if action_set is None else action_set.copy()
        self.key = put_slot(key, "actset_output", self.action_set.output_port)
        self.buffer = buffer
        self.n_bytes = n_bytes
        """Length of the frame as it came."""
        self.stack: list[bytes] = []
        self.copies: tuple[int, ...] = ()
        """The buckets and clones under way, as in an Effect."""
        self.written: tuple[int, ...] = ()
        """For each ct() that this copy went through: bits of the key that actions wrote behind it."""
        self.packet_out = False
        self.in_action_set = False
        self.in_bucket = False
        self.exited = False
        self.freezing: Freezing | None = None
        """A controller(pause) was met: what rules under way have left to do is being kept."""
        self.top_flow: Flow | None = None
        """The first rule passed, of which the action set and what is outside of all rules tell."""
        self.failure: Drop | None = None
        """Why all of this is void."""
        self.why_nothing = Drop.BY_RULE
        self.consulted = 0
        """Bits of the key that decided something."""
        self.effects: list[Effect] = []
        self.learned: list[LearnedFlow] = []

    @property
    def stopped(self) -> bool:
        """Whether no further action is run."""
        return self.exited or self.failure is not None

    def write(self, bits: int) -> None:
        """An action writes these bits of the key."""
        self.written = tuple(written | bits for written in self.written)

    def fail(self, step: Step, text: str, drop: Drop) -> None:
        """Void all of this translation."""
        step.error(text, drop)
        self.failure = drop
