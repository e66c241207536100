"""Which events a connection hears of."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class GetAsyncRequest:
    """OFPT_GET_ASYNC_REQUEST."""


@dataclass(frozen=True, slots=True)
class SetAsync:
    """Which events a connection gets: by kind, (as master or equal, as slave) masks of reasons.

    Kinds: "packet_in", "port_status", "flow_removed"; those absent stay.
    """

    masks: dict[str, tuple[int | None, int | None]]


@dataclass(frozen=True, slots=True)
class AsyncConfig:
    """What a connection gets, by kind: (master or equal, slave)."""

    masks: dict[str, tuple[int, int]] = field(default_factory=dict)
