"""Connections that a helper read of in another one (docs/conntrack.md, Helpers)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gossamer.pipeline.action_ct import Nat
from gossamer.pipeline.conntrack.tuple import Tuple


@dataclass(frozen=True, slots=True)
class Expectation:
    """A connection to come, and what it gets from its parent, whose original tuple `parent` is.

    `first` is the tuple of its first packet, with source port 0, and with a source address of zeros
    where that may be any.  With `nat`, answers are translated: their destination where
    `nat_destination`, else their source, and its port too where `nat_port` is not 0.
    """

    first: Tuple
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
    """Those there are."""

    def __init__(self) -> None:
        self._by_first: dict[Tuple, Expectation] = {}

    def __iter__(self) -> Iterator[Expectation]:
        return iter(self._by_first.values())

    def __len__(self) -> int:
        return len(self._by_first)

    def add(self, expectation: Expectation) -> None:
        """Expect one more, in the place of another one with the same first packet."""
        self._by_first[expectation.first] = expectation

    def remove(self, expectation: Expectation) -> None:
        """It has come."""
        del self._by_first[expectation.first]

    def find(self, packet: Tuple) -> Expectation | None:
        """The one that a packet of this tuple meets."""
        exact = replace(packet, sport=0)
        from_anywhere = replace(exact, src=bytes(len(packet.src)))
        return self._by_first.get(exact) or self._by_first.get(from_anywhere)
