"""Connections that a helper read of in another one (docs/conntrack.md, Helpers)."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, replace

from gossamer.pipeline.action import Nat
from gossamer.pipeline.conntrack.tuple import Tuple


@dataclass(frozen=True, slots=True)
class Expected:
    """What the connection gets from its parent, whose original tuple `parent` is.

    With `nat`, answers are translated: their destination where `nat_destination`, else their
    source, and its port too where `nat_port` is not 0.
    """

    parent: Tuple
    mark: int = 0
    label: int = 0
    nat: bytes | None = None
    nat_destination: bool = False
    nat_port: int = 0

    def translation(self) -> Nat | None:
        """The same as what a nat(...) would ask for."""
        if self.nat is None:
            return None
        ports = (self.nat_port, self.nat_port) if self.nat_port else None
        return Nat(
            src=self.nat_destination,
            dst=not self.nat_destination,
            addresses=(self.nat, self.nat),
            ports=ports,
        )


class Expectations:
    """Those there are, by the tuple of the first packet: its source port 0, and its source address
    all zero where that may be any."""

    def __init__(self) -> None:
        self.of: MutableMapping[Tuple, Expected] = {}

    def find(self, packet: Tuple) -> tuple[Tuple, Expected] | None:
        """The one that a packet of this tuple meets, with its own tuple."""
        exact = replace(packet, sport=0)
        for t in (exact, replace(exact, src=bytes(len(packet.src)))):
            expected = self.of.get(t)
            if expected is not None:
                return t, expected
        return None
