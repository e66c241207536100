"""A log of connections: those that begin, those that are denied, those that end.

Switched on by `Open_vSwitch.other_config:conntrack-log`, a list of ``new``,
``denied`` and ``end``; off by default.  One line an event, at most
`conntrack-log-rate` of them a second (100 unless set); what was not written is
counted in a line of its own.  Reading is limited too, so a flood of events
fills the kernel's ring, not the daemon's time.
"""

from __future__ import annotations

import logging
import select
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from gossamer.datapath.conntrack.events import Event, EventType
from gossamer.pipeline.conntrack.tuple import IPV4

if TYPE_CHECKING:
    from gossamer.switch.contract import Poller
    from gossamer.switch.switch import Switch

log = logging.getLogger(__name__)

EVENTS_KEY: Final = "conntrack-log"
RATE_KEY: Final = "conntrack-log-rate"
DEFAULT_RATE: Final = 100
_WORDS: Final = ("new", "denied", "end")
_NAMES: Final = {
    EventType.NEW: "event=new",
    EventType.INVALID: "event=denied reason=invalid",
    EventType.DENIED: "event=denied reason=rule",
    EventType.GONE: "event=end",
}
_PROTOCOLS: Final = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}


class ConntrackLog:
    """Reads the kernel's events and writes them to the log."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        self._wanted: frozenset[str] = frozenset()
        self._rate = DEFAULT_RATE
        self._asked: tuple[str | None, str | None] = (None, None)
        self._second = 0
        self._written = 0
        self._suppressed = 0

    def configure(self, other_config: Mapping[str, str]) -> None:
        """Follow the configuration; words that mean nothing are told and passed over."""
        asked = other_config.get(EVENTS_KEY), other_config.get(RATE_KEY)
        if asked == self._asked:
            return
        self._asked = asked
        words = {word.strip() for word in (asked[0] or "").split(",")} - {""}
        for word in sorted(words - set(_WORDS)):
            known = ", ".join(_WORDS)
            log.warning("other_config:%s: %r is none of %s", EVENTS_KEY, word, known)
        self._wanted = frozenset(words & set(_WORDS))
        self._rate = DEFAULT_RATE
        if asked[1] is not None:
            if asked[1].isdigit() and int(asked[1]):
                self._rate = int(asked[1])
            else:
                log.warning("other_config:%s: %r is no number from 1", RATE_KEY, asked[1])
        self._switch.datapath.conntrack.events.tell(
            new="new" in self._wanted,
            invalid="denied" in self._wanted,
            gone="end" in self._wanted,
        )

    def run(self, now_s: float) -> None:
        """Write what came, as far as this second's lines go."""
        if not self._wanted:
            return
        if int(now_s) != self._second:
            self._second = int(now_s)
            self._written = 0
            if self._suppressed:
                log.warning("event=suppressed n=%d rate=%d", self._suppressed, self._rate)
                self._suppressed = 0
        elif self._written >= self._rate:
            return
        for event in self._switch.datapath.conntrack.events.read():
            if self._written < self._rate:
                self._written += 1
                log.info("%s", self._line(event))
            else:
                self._suppressed += 1

    def wait(self, poller: Poller) -> None:
        """Wake for the next event, or for the next second where this one's lines are written."""
        if not self._wanted:
            return
        if self._written < self._rate:
            poller.fd_wait(self._switch.datapath.conntrack.events.fd, select.POLLIN)
        else:
            poller.timer_wait_until((self._second + 1) * 1000 + 1)

    def _line(self, event: Event) -> str:
        t = event.orig
        family = socket.AF_INET if t.family == IPV4 else socket.AF_INET6
        parts = [
            _NAMES[event.type],
            f"proto={_PROTOCOLS.get(t.proto, t.proto)}",
            f"src={socket.inet_ntop(family, t.src)} dst={socket.inet_ntop(family, t.dst)}",
        ]
        if t.is_icmp:
            # What a rule drops is told without the identifier.
            identifier = "" if event.type is EventType.DENIED else f"id={t.sport} "
            parts.append(f"{identifier}type={t.dport >> 8} code={t.dport & 0xFF}")
        elif t.sport or t.dport:
            parts.append(f"sport={t.sport} dport={t.dport}")
        parts.append(f"zone={t.zone}")
        if event.mark:
            parts.append(f"mark={event.mark:#x}")
        parts += self._place(event.in_port_id)
        if event.type is EventType.GONE:
            parts.append(f"packets={event.n_packets[0]}/{event.n_packets[1]}")
            parts.append(f"bytes={event.n_bytes[0]}/{event.n_bytes[1]}")
        return " ".join(parts)

    def _place(self, port_id: int) -> list[str]:
        for bridge in self._switch.bridges.values() if port_id else ():
            port = bridge.ports.by_port_id.get(port_id)
            if port is not None:
                return [f"bridge={bridge.name}", f"port={port.name}"]
        return []
