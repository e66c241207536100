"""All protocols but TCP: whether one side has spoken, or both (docs/conntrack.md)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gossamer.pipeline.conntrack.tcp import Move


class Heard(Enum):
    """What was heard of a connection."""

    FIRST = 0
    MULTIPLE = 1
    BOTH = 2


@dataclass(slots=True)
class Exchange:
    """A connection without sequence numbers; `query`: one of ICMP."""

    query: bool
    heard: Heard = Heard.FIRST

    @property
    def first_timeout(self) -> str:
        """The name of the timeout it begins with."""
        return "icmp_first" if self.query else "udp_first"

    def move(self, reply: bool) -> tuple[Move, str]:
        """What a packet makes of it, and the name of the timeout it begins."""
        if reply:
            self.heard = Heard.BOTH
        elif self.heard is Heard.FIRST and not self.query:
            self.heard = Heard.MULTIPLE
        both = self.heard is Heard.BOTH
        if self.query:
            timeout = "icmp_reply" if both else "icmp_first"
        else:
            timeout = "udp_multiple" if both else "udp_single"
        return Move.ESTABLISHED if both else Move.NEW, timeout
