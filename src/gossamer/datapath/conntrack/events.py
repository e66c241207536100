"""What the kernel tells of connections: that they began, ended, or were refused."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from gossamer.datapath import layout
from gossamer.datapath.conntrack.config import Config
from gossamer.datapath.conntrack.tuple import unpack
from gossamer.datapath.layout import CtConfigFlag, CtFlag
from gossamer.datapath.maps import Ring
from gossamer.pipeline.conntrack.tuple import Tuple


class EventType(IntEnum):
    """bpf/conntrack.h, enum ct_event_type."""

    NEW = 1
    INVALID = 2
    GONE = 3
    DENIED = 4


@dataclass(frozen=True, slots=True)
class Event:
    """Something the kernel told of a connection; `time_s` on time.monotonic()'s clock."""

    time_s: float
    type: EventType
    in_port_id: int
    """Where the packet came in; 0 for GONE."""
    orig: Tuple
    """Of the originator; of INVALID the packet's own."""
    mark: int
    flags: CtFlag
    n_packets: tuple[int, int]
    n_bytes: tuple[int, int]


class Events:
    """The `ct_events` ring, opened when somebody listens."""

    def __init__(self, map_fd: int, config: Config) -> None:
        self._fd = map_fd
        self._config = config
        self._ring: Ring | None = None
        self._waiting: list[Event] = []

    def tell(self, *, new: bool = False, invalid: bool = False, gone: bool = False) -> None:
        """Which events the kernel is to tell; none unless asked."""
        self._config.set_flag(CtConfigFlag.TELL_NEW, new)
        self._config.set_flag(CtConfigFlag.TELL_INVALID, invalid)
        self._config.set_flag(CtConfigFlag.TELL_GONE, gone)

    @property
    def fd(self) -> int:
        """Readable when there are events."""
        return self._open().fd

    def read(self) -> list[Event]:
        """The events that came since the last call."""
        self._open().consume()
        out, self._waiting = self._waiting, []
        return out

    def close(self) -> None:
        """Let go of the ring."""
        if self._ring is not None:
            self._ring.close()

    def _open(self) -> Ring:
        if self._ring is None:
            self._ring = Ring(self._fd, lambda raw: self._waiting.append(_event(raw)))
        return self._ring


def _event(raw: bytes) -> Event:
    now, kind, in_port, packet, mark, flags, p0, p1, b0, b1 = layout.CT_EVENT.unpack(
        raw[: layout.CT_EVENT.size]
    )
    return Event(
        now / 1e9,
        EventType(kind),
        in_port,
        unpack(packet),
        int.from_bytes(mark, "big"),
        CtFlag(flags),
        (p0, p1),
        (b0, b1),
    )
