"""The steps a packet took: a tree that the pipeline writes as it runs.

Bridges hold tables, tables hold actions, actions hold what they led to:
changes, resubmitted tables, outputs, bridges behind patch ports.  `trace.py`
shows it as text, or as data.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from gossamer.pipeline.action import Action, Actions
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.wrap import Outer


class StepKind(StrEnum):
    """What a step is."""

    BRIDGE = "bridge"
    """The packet enters `bridge` by `port`."""
    TABLE = "table"
    """A lookup in `table_id`: it found `flow`, or nothing."""
    ACTION_SET = "action_set"
    ACTION_SET_IS = "action_set_is"
    """write_actions left these `actions` in the action set."""
    ACTION_SET_WAS = "action_set_was"
    """clear_actions emptied it of these `actions`."""
    RESUME = "resume"
    """A copy that went through a ct() enters `table_id` of `bridge`."""
    BUCKET = "bucket"
    """A bucket of a group runs; `text` names it."""
    LEARNED = "learned"
    """A learn action asks for `flow`."""
    ACTION = "action"
    DETAIL = "detail"
    WARNING = "warning"
    ERROR = "error"
    OUTPUT = "output"
    """`packet` leaves `bridge` by `port`."""
    PUNT = "punt"
    """`packet` goes to the controllers."""


class Drop(StrEnum):
    """Why a packet, or a copy of it, ended (bpf/drop.h counts the same)."""

    NO_RECEIVE = "no_receive"
    NO_RULE = "no_rule"
    BY_RULE = "by_rule"
    TTL = "ttl"
    TOO_DEEP = "too_deep"
    VLAN_INGRESS = "vlan_ingress"
    VLAN_STACK = "vlan_stack"
    RESERVED_MAC = "reserved_mac"
    SAME_PORT = "same_port"
    NO_MEMBER = "no_member"
    NO_PORT = "no_port"
    NO_FORWARD = "no_forward"
    PASSES = "passes"
    PARSE = "parse"
    NO_GROUP = "no_group"
    NO_BUCKET = "no_bucket"
    MPLS_STACK = "mpls_stack"
    METER = "meter"
    FRAGMENT = "fragment"
    PACKET_TYPE = "packet_type"
    CT_FULL = "ct_full"
    CT_ZONE_LIMIT = "ct_zone_limit"
    CT_NAT_FULL = "ct_nat_full"
    CT_FRAGMENT = "ct_fragment"
    TUNNEL_LOOP = "tunnel_loop"
    TUNNEL_ROUTE = "tunnel_route"


@dataclass(slots=True)
class Step:
    """One step; which members mean something depends on `kind`."""

    kind: StepKind
    text: str = ""
    bridge: str = ""
    port: int = 0
    table_id: int = 0
    flow: Flow | None = None
    action: Action | None = None
    actions: Actions = ()
    packet: bytes = b""
    key: int = 0
    """The flow key after this step."""
    before: int = 0
    """The flow key before it: of a ct(), after which none of a connection's fields is left."""
    drop: Drop | None = None
    outer: Outer | None = None
    """What a packet that leaves by a tunnel port is wrapped in."""
    steps: list[Step] = field(default_factory=list)

    def add(self, step: Step) -> Step:
        """Put a step below this one."""
        self.steps.append(step)
        return step

    def detail(self, text: str) -> None:
        """Say something of what happened here."""
        self.steps.append(Step(StepKind.DETAIL, text))

    def warn(self, text: str, drop: Drop | None = None, port: int = 0) -> None:
        """Say that something ended here, and why; at a port where that is why."""
        self.steps.append(Step(StepKind.WARNING, text, drop=drop, port=port))

    def error(self, text: str, drop: Drop | None = None) -> None:
        """Say what cannot be; with a reason, that the packet was given up for it."""
        self.steps.append(Step(StepKind.ERROR, text, drop=drop))
