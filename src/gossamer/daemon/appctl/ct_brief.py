"""Connections as ``dpctl/dump-conntrack`` writes them without -m and -s (ovs-dpctl(8)), for millions.

Of a record only what is shown is taken apart, and what comes again is put into words once:
addresses, and all that stands behind the tuples.  What is not of the usual kind (ICMP) goes the
long way, by ct_text.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
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
from gossamer.datapath.layout import CtFlag
from gossamer.pipeline.conntrack.tuple import IPV4

_SHOWN: Final = Struct(">8x16s16sHH4s52x20s11xB11xB36sxxBB8x")
"""Of struct ct_record: src, dst, sport, dport, kind, mark and label, both states, reply, flags, alg."""
_ENDS: Final = Struct(">16s16sHH")
_EXPIRES: Final = 7
"""64-bit word of it."""
_ICMP: Final = (1, 58)
_SWAPPED: Final = int(CtFlag.SWAPPED)
_TRANSLATED: Final = int(CtFlag.SRC_NAT | CtFlag.DST_NAT)
_KEPT: Final = 65536
"""Ends of lines that stay in words."""

After = tuple[bytes, bytes, int, int]
"""What the end of a line says: kind, mark and label, the greater state, helper."""


class _Afters(dict[After, str]):
    """Ends of lines."""

    def __missing__(self, key: After) -> str:
        if len(self) >= _KEPT:
            self.clear()
        kind, marks, state, alg = key
        self[key] = text = (
            zone_text(int.from_bytes(kind[2:], sys.byteorder))
            + marks_text(marks[:4], marks[4:])
            + state_text(kind[0], state)
            + helper_text(alg)
        )
        return text


class BriefText:
    """Connections in words, a line each."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._long = ConnectionText(records, verbose=False, statistics=False)
        self._afters = _Afters()

    def lines(self, zone: int | None = None) -> Iterator[str]:
        """All of them, or those of a zone; some thousand lines at a time."""
        for window in self._records.windows():
            found = self._of_window(window, zone)
            if found:
                yield "\n".join(found) + "\n"

    def _of_window(self, window: bytes, zone: int | None) -> list[str]:
        now, afters, long = self._records.now_ns, self._afters, self._long
        four, six = long.addresses
        ending = memoryview(window).cast("Q")[_EXPIRES :: layout.CT_RECORD_SIZE // 8].tolist()
        its_zone = None if zone is None else zone.to_bytes(2, sys.byteorder)
        out = []
        for i, (src, dst, sport, dport, kind, marks, state0, state1, reply, flags, alg) in enumerate(
            _SHOWN.iter_unpack(window)
        ):
            proto, family = kind[0], kind[1]
            if not family or ending[i] <= now or (its_zone is not None and kind[2:] != its_zone):
                continue
            if proto in _ICMP:
                out.append(long.line(*unpacked(window, i)))
                continue
            address = four if family & 0x0F == IPV4 else six
            a, b = address[src], address[dst]
            if flags & _SWAPPED:
                a, b, sport, dport = b, a, dport, sport
            after = afters[kind, marks, max(state0, state1), alg]
            if flags & _TRANSLATED:
                c, d, from_, to = _ENDS.unpack(reply)
                back = f"src={address[c]},dst={address[d]},sport={from_},dport={to}"
            else:
                back = f"src={b},dst={a},sport={dport},dport={sport}"
            out.append(
                f"{protocol_name(proto)},orig=(src={a},dst={b},sport={sport},dport={dport}),"
                f"reply=({back}){after}"
            )
        return out
