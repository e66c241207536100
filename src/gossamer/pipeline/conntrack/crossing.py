"""A packet on its way through a ct(): read, tracked, and written as NAT wants it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from gossamer.pipeline.commit import Buffer, Frame, Origin, with_origin
from gossamer.pipeline.conntrack.fragments import Refused
from gossamer.pipeline.conntrack.quoted import quoted, translated, with_identifier
from gossamer.pipeline.conntrack.reading import Reading
from gossamer.pipeline.conntrack.sequences import moved
from gossamer.pipeline.conntrack.tracker import (
    DNAT,
    SNAT,
    TRK,
    Request,
    Tracking,
    Verdict,
)
from gossamer.pipeline.conntrack.tuple import Tuple
from gossamer.pipeline.fields import ETH_IPV4, FRAG_ANY, get_slot, put_slot
from gossamer.pipeline.steps import Drop

CT_SLOTS: Final = (
    "ct_state", "ct_zone", "ct_mark", "ct_label", "ct_nw_proto", "ct_nw_src", "ct_nw_dst",
    "ct_ipv6_src", "ct_ipv6_dst",
    "ct_tp_src", "ct_tp_dst",
)  # fmt: skip


def untracked(key: int) -> int:
    """The key of a packet of which tracking has said nothing."""
    for slot in CT_SLOTS:
        key = put_slot(key, slot, 0)
    return key


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What NAT did to a packet: slots of the key, with what they were and are, and the bytes that
    no slot tells of, if they changed."""

    slots: tuple[tuple[str, int, int], ...] = ()
    was: Buffer | None = None
    now: Buffer | None = None
    _remade: dict[int, Buffer] = field(default_factory=dict, compare=False)
    """By the id of a buffer that was made of the packet later."""

    def here(self, key: int, buffer: Buffer) -> tuple[int, Buffer]:
        """The key and buffer that ct() met."""
        for slot, _, new in self.slots:
            key = put_slot(key, slot, new)
        return key, buffer if self.now is None else self.now

    def behind(
        self, key: int, buffer: Buffer, written: tuple[int, ...], nth: int
    ) -> tuple[int, Buffer]:
        """A key and buffer that were made behind this ct(), the `nth` of their State: as NAT has
        it, but for the bits that were written since, also what headers that came after it hide."""
        for slot, old, new in self.slots:
            kept, now = get_slot(written[nth], slot), get_slot(key, slot)
            if now & ~kept == old & ~kept:
                key = put_slot(key, slot, new & ~kept | now & kept)
        if self.now is not None and buffer is self.was:
            return key, self.now
        origin = buffer.origin
        if origin is None or len(origin.written) <= nth:
            return key, buffer
        if id(buffer) not in self._remade:
            self._remade[id(buffer)] = self._remake(buffer, origin, nth)
        return key, self._remade[id(buffer)]

    def _remake(self, buffer: Buffer, origin: Origin, nth: int) -> Buffer:
        key, before = self.behind(origin.key, origin.buffer, origin.written, nth)
        if key == origin.key and before is origin.buffer:
            return buffer
        after = with_origin(key, before, origin.written, origin.change)
        assert after is not None, "the header found room before"
        return after[1]


@dataclass(frozen=True, slots=True)
class Crossing:
    """What came of a ct(): the key and buffer of the copy that goes on at a table, and what NAT
    wrote, or why the packet ends."""

    key: int = 0
    buffer: Buffer | None = None
    rewritten: Rewritten = Rewritten()
    drop: Drop | None = None


class Traveller:
    """What is known of one packet on all its way, in all its copies: which fragment it is."""

    def __init__(self, port: tuple[str, int]) -> None:
        self._port = port
        """Bridge and port by which it entered the switch."""
        self._fragment: Reading | Refused | None = None
        self._ports: list[tuple[int, int]] = []
        """Of a later fragment, which has none to be read: by the number in the key."""

    def cross(
        self, tracking: Tracking, key: int, buffer: Buffer, request: Request, now_ns: int
    ) -> Crossing:
        """A ct() on a copy with this key and buffer."""
        frame = buffer.frame.commit(key)
        reading = self._read(tracking, frame, request.zone, now_ns)
        if reading is Refused.OVERLAP:
            return Crossing(drop=Drop.CT_FRAGMENT)
        known = reading if isinstance(reading, Reading) else None
        before = get_slot(key, "ct_state") if get_slot(key, "ct_zone") == request.zone else 0
        before = before if before & TRK else 0
        verdict = tracking.track(known, before, request, now_ns, frame)
        if verdict.drop is not None:
            return Crossing(drop=verdict.drop)
        rewritten = Rewritten()
        if verdict.translated is not None and known is not None:
            now = verdict.state & ~before
            rewritten = self._rewrite(frame, buffer, known, verdict.translated, now)
        if verdict.shifts is not None:
            now_is = Buffer(moved(frame, *verdict.shifts), tags=buffer.tags)
            rewritten = replace(rewritten, was=buffer, now=now_is)
        key, buffer = rewritten.here(key, buffer)
        return Crossing(_told(untracked(key), verdict, request.zone), buffer, rewritten)

    def _read(
        self, tracking: Tracking, frame: Frame, zone: int, now_ns: int
    ) -> Reading | Refused | None:
        reading = tracking.read(frame)
        fragment = get_slot(frame.key, "nw_frag") & FRAG_ANY
        if reading is None or not fragment or reading.error:
            return reading
        if self._fragment is None:
            self._fragment = tracking.fragments.enter(frame, reading, zone, now_ns, self._port)
            if isinstance(self._fragment, Reading):
                t = self._fragment.tuple
                self._ports.append((t.sport, t.dport))
        if isinstance(self._fragment, Refused):
            return self._fragment
        if not reading.later:
            return reading
        first = self._fragment.tuple
        sport, dport = self._ports[get_slot(frame.key, "transport")]
        t = Tuple(reading.tuple.src, reading.tuple.dst, first.proto, sport, dport)
        return Reading(t, later=True)

    def _rewrite(
        self, frame: Frame, buffer: Buffer, reading: Reading, to: Tuple, bits: int
    ) -> Rewritten:
        key = frame.key
        wanted: dict[str, int] = {}
        family = ("nw_src", "nw_dst") if to.is_ipv4 else ("ipv6_src", "ipv6_dst")
        if bits & SNAT or not reading.error:
            wanted[family[0]] = int.from_bytes(to.src, "big")
        if bits & DNAT or not reading.error:
            wanted[family[1]] = int.from_bytes(to.dst, "big")
        if reading.error:
            return self._rewrite_error(frame, buffer, to, bits, wanted)
        if reading.later:
            wanted["transport"] = len(self._ports)
            self._ports.append((to.sport, to.dport))
        elif to.has_ports:
            wanted |= {"tp_src": to.sport, "tp_dst": to.dport}
        elif to.is_icmp and to.sport != reading.tuple.sport:
            now = Buffer(with_identifier(frame, to.sport), tags=buffer.tags)
            return Rewritten(_changes(key, wanted), buffer, now)
        return Rewritten(_changes(key, wanted))

    def _rewrite_error(
        self, frame: Frame, buffer: Buffer, to: Tuple, bits: int, wanted: dict[str, int]
    ) -> Rewritten:
        """`to` answers the packet that is quoted; only the side that NAT changes is written."""
        found = quoted(frame)
        assert found is not None, "what was tracked was quoted"
        inside = replace(to.reversed(), zone=0)
        if not bits & SNAT:
            inside = replace(inside, dst=found.tuple.dst)
        if not bits & DNAT:
            inside = replace(inside, src=found.tuple.src)
        now = Buffer(translated(frame, inside), tags=buffer.tags)
        return Rewritten(_changes(frame.key, wanted), buffer, now)


def _changes(key: int, wanted: dict[str, int]) -> tuple[tuple[str, int, int], ...]:
    return tuple(
        (slot, get_slot(key, slot), value)
        for slot, value in wanted.items()
        if get_slot(key, slot) != value
    )


def _told(key: int, verdict: Verdict, zone: int) -> int:
    """The key with what tracking says of the packet."""
    fields = {
        "ct_state": verdict.state,
        "ct_zone": zone,
        "ct_mark": verdict.mark,
        "ct_label": verdict.label,
    }
    t = verdict.original
    if t is not None:
        fields["ct_nw_proto"] = t.proto
        if get_slot(key, "eth_type") == ETH_IPV4:
            fields["ct_nw_src"] = int.from_bytes(t.src, "big")
            fields["ct_nw_dst"] = int.from_bytes(t.dst, "big")
        else:
            fields["ct_ipv6_src"] = int.from_bytes(t.src, "big")
            fields["ct_ipv6_dst"] = int.from_bytes(t.dst, "big")
        if t.is_icmp:
            fields |= {"ct_tp_src": t.dport >> 8, "ct_tp_dst": t.dport & 0xFF}
        elif t.has_ports:
            fields |= {"ct_tp_src": t.sport, "ct_tp_dst": t.dport}
    for slot, value in fields.items():
        key = put_slot(key, slot, value)
    return key
