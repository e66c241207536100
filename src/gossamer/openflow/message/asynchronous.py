"""Which events a connection hears of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

ASYNC_KINDS: Final = (
    "packet_in", "port_status", "flow_removed", "role_status", "table_status", "requestforward"
)  # fmt: skip
"""Events that can be chosen, in the order of their properties (OpenFlow 1.4.1, 7.3.10)."""


@dataclass(frozen=True, slots=True)
class GetAsyncRequest:
    """OFPT_GET_ASYNC_REQUEST."""


@dataclass(frozen=True, slots=True)
class SetAsync:
    """Which events a connection gets: by kind, (as master or equal, as slave) masks of reasons.

    Kinds: those of `ASYNC_KINDS`; those absent stay.
    """

    masks: dict[str, tuple[int | None, int | None]]


@dataclass(frozen=True, slots=True)
class AsyncConfig:
    """What a connection gets, by kind: (master or equal, slave)."""

    masks: dict[str, tuple[int, int]] = field(default_factory=dict)
