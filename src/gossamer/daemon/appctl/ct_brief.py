"""Connections as ``dpctl/dump-conntrack`` writes them without -m (ovs-dpctl(8)), for millions.

Of a record only what is shown is taken apart, and what comes again is put into words once:
halves of addresses, and all that stands behind the tuples.  What is not of the usual kind (ICMP) goes the
long way, by ct_text.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import repeat
from struct import Struct
from typing import Final

from gossamer.daemon.appctl.ct_text import (
    ConnectionText,
    helper_text,
    marks_text,
    protocol_name,
    state_text,
    zone_text,
)
from gossamer.datapath import layout
from gossamer.datapath.conntrack.records import Records, unpacked
from gossamer.datapath.conntrack.store import KEY_AT, VALUE_AT
from gossamer.datapath.layout import CtFlag
from gossamer.pipeline.conntrack.timeouts import NS_PER_S
from gossamer.pipeline.conntrack.tuple import IPV4

_SHOWN: Final = Struct(">8xHH12xHH12xHH4s52x20s11xB11xB36sxxBB8x")
"""Of struct ct_record: IPv4 addresses by halves, ports, kind, mark and label, both states, reply, flags, alg."""
_COUNTED: Final = Struct(f"={VALUE_AT + 8}xQ4QI{layout.CT_RECORD_SIZE - VALUE_AT - 52}x")
"""Of it, in another order of bytes: expires, packets and bytes of both sides, created_s."""
_SRC, _DST = KEY_AT, KEY_AT + 16
_END: Final = _DST + 16
"""Bytes of it."""
_ENDS: Final = Struct(">16s16sHH")
_EXPIRES: Final = 7
"""64-bit word of it."""
_ICMP: Final = (1, 58)
_SWAPPED: Final = int(CtFlag.SWAPPED)
_TRANSLATED: Final = int(CtFlag.SRC_NAT | CtFlag.DST_NAT)
_KEPT: Final = 65536
"""Ends of lines that stay in words."""
_NOTHING: Final = repeat(("", "", "", ""))

After = tuple[bytes, bytes, int, int]
"""What the end of a line says: kind, mark and label, the greater state, helper."""


class _Afters(dict[After, tuple[str, str, str]]):
    """Of lines the beginning, and the end: what stands before the time that is left, and behind it."""

    def __missing__(self, key: After) -> tuple[str, str, str]:
        if len(self) >= _KEPT:
            self.clear()
        kind, marks, state, alg = key
        behind = marks_text(marks[:4], marks[4:]) + state_text(kind[0], state) + helper_text(alg)
        zone = zone_text(int.from_bytes(kind[2:], sys.byteorder))
        self[key] = texts = f"{protocol_name(kind[0])},orig=(src=", zone, behind
        return texts


class _Halves(dict[int, str]):
    """Halves of IPv4 addresses: all of them have room."""

    def __missing__(self, half: int) -> str:
        text = self[half] = f"{half >> 8}.{half & 0xFF}"
        return text


class BriefText:
    """Connections in words, a line each; `statistics` adds counters and times."""

    def __init__(self, records: Records, *, statistics: bool = False) -> None:
        self._records = records
        self._statistics = statistics
        self._long = ConnectionText(records, verbose=False, statistics=statistics)
        self._afters = _Afters()
        self._halves = _Halves()

    def lines(self, zone: int | None = None) -> Iterator[str]:
        """All of them, or those of a zone; some thousand lines at a time."""
        for window in self._records.windows():
            found = self._of_window(window, zone)
            if found:
                yield "\n".join(found) + "\n"

    def _counted(self, window: bytes) -> Iterator[tuple[str, str, str, str]]:
        """Of each record: counters of both sides, when it began, how long it lives."""
        now, moments = self._records.now_ns, self._long.moments
        for expires, packets0, packets1, bytes0, bytes1, created_s in _COUNTED.iter_unpack(window):
            yield (
                f",packets={packets0},bytes={bytes0}" if packets0 or bytes0 else "",
                f",packets={packets1},bytes={bytes1}" if packets1 or bytes1 else "",
                f",start={moments[created_s]}",
                f",timeout={(expires - now) // NS_PER_S}",
            )

    def _of_window(self, window: bytes, zone: int | None) -> list[str]:
        now, afters, long, halves = self._records.now_ns, self._afters, self._long, self._halves
        four, six = long.addresses
        ending = memoryview(window).cast("Q")[_EXPIRES :: layout.CT_RECORD_SIZE // 8].tolist()
        its_zone = None if zone is None else zone.to_bytes(2, sys.byteorder)
        counted = self._counted(window) if self._statistics else _NOTHING
        out = []
        for i, (
            (s0, s1, d0, d1, sport, dport, kind, marks, state0, state1, reply, flags, alg),
            (there, back, started, left),
        ) in enumerate(zip(_SHOWN.iter_unpack(window), counted, strict=False)):
            proto, family = kind[0], kind[1]
            if not family or ending[i] <= now or (its_zone is not None and kind[2:] != its_zone):
                continue
            if proto in _ICMP:
                out.append(long.line(*unpacked(window, i)))
                continue
            if family & 0x0F == IPV4:
                a, b = f"{halves[s0]}.{halves[s1]}", f"{halves[d0]}.{halves[d1]}"
            else:
                at = i * layout.CT_RECORD_SIZE
                a = six[window[at + _SRC : at + _DST]]
                b = six[window[at + _DST : at + _END]]
            if flags & _SWAPPED:
                a, b, sport, dport = b, a, dport, sport
            state = state0 if state0 > state1 else state1
            before, in_zone, after = afters[kind, marks, state, alg]
            if flags & _TRANSLATED:
                address = four if family & 0x0F == IPV4 else six
                c, d, from_, to = _ENDS.unpack(reply)
                answers = f"src={address[c]},dst={address[d]},sport={from_},dport={to}"
            else:
                answers = f"src={b},dst={a},sport={dport},dport={sport}"
            out.append(
                f"{before}{a},dst={b},sport={sport},dport={dport}{there}),"
                f"reply=({answers}{back}){started}{in_zone}{left}{after}"
            )
        return out
