"""Tracking for traces that say what it says: ``ofproto/trace --ct-next`` (ovs-vswitchd(8))."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gossamer.pipeline.commit import Frame
from gossamer.pipeline.conntrack.fragments import Fragments
from gossamer.pipeline.conntrack.reading import Reading, addresses, read
from gossamer.pipeline.conntrack.tracker import NEW, TRK, Request, Verdict
from gossamer.pipeline.conntrack.tuple import Tuple
from gossamer.pipeline.fields import ETH_IPV4, ETH_IPV6, get_slot


class Foreseen:
    """Each ct() with a table takes the next of some states; NAT takes the first it may."""

    def __init__(self, states: Iterable[int] = ()) -> None:
        self._states = list(states)
        self._fragments = Fragments()
        self.defaults: list[bool] = []
        """Of each copy that went on: whether nobody had foreseen its state."""

    @property
    def fragments(self) -> Fragments:
        """Fragments under way."""
        return self._fragments

    def read(self, frame: Frame) -> Reading | None:
        """What a packet says, also one that no host sends: what is traced often has no ports."""
        key, reading = frame.key, read(frame)
        if reading is not None or get_slot(key, "eth_type") not in (ETH_IPV4, ETH_IPV6):
            return reading
        src, dst = addresses(key)
        ports = get_slot(key, "tp_src"), get_slot(key, "tp_dst")
        t = Tuple(src, dst, get_slot(key, "nw_proto"), *ports)
        return Reading(t) if frame.headers.l4 and t.has_ports else None

    def track(
        self,
        reading: Reading | None,
        before: int,
        request: Request,
        now_ns: int,
        frame: Frame | None = None,
    ) -> Verdict:
        """What was foreseen."""
        if not request.goes_on:
            return Verdict(before)
        self.defaults.append(not self._states)
        state = self._states.pop(0) if self._states else TRK | NEW
        mark, label = request.mark[0], request.label[0]
        return Verdict(state, mark, label, translated=_first(reading, request))


def _first(reading: Reading | None, request: Request) -> Tuple | None:
    nat = request.nat
    if reading is None or reading.error or nat is None or nat.addresses is None:
        return None
    t, address = reading.tuple, nat.addresses[0]
    if len(address) != len(t.src):
        return None
    low = nat.ports[0] if nat.ports else None
    if nat.src:
        return replace(t, src=address, sport=low or t.sport)
    return replace(t, dst=address, dport=low or t.dport)
