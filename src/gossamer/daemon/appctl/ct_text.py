"""Connections as ``dpctl/dump-conntrack`` and ``ct-stats-show`` write them (ovs-dpctl(8)).

Written for a million of them: from the kernel's records (datapath/conntrack/records.py),
with what comes again (addresses, seconds) put into words once.
"""

from __future__ import annotations

import socket
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Final

from gossamer.datapath import layout
from gossamer.datapath.conntrack.records import Key, Records, Value
from gossamer.datapath.conntrack.tuple import icmp_answer
from gossamer.datapath.layout import CT_TCP_STATES, CtFlag
from gossamer.pipeline.conntrack.tuple import IPV4

_PROTOCOLS: Final = {
    1: "icmp",
    2: "igmp",
    6: "tcp",
    17: "udp",
    33: "dccp",
    58: "icmpv6",
    132: "sctp",
    136: "udplite",
}
_TCP: Final = 6
_HELPERS: Final = {21: "ftp", 69: "tftp"}
_SHOWN_AS: Final = {"FIN_WAIT_2": "TIME_WAIT", "SYN_RECV": "ESTABLISHED"}
"""States that the short form does not tell apart, as trackers differ in them."""
_SHOWN_STATES: Final = tuple(_SHOWN_AS.get(state, state) for state in CT_TCP_STATES)
_COUNTED: Final = ("tcp", "udp", "udplite", "sctp", "icmp", "dccp", "igmp", "other")
"""In the order of ct-stats-show, which counts ICMPv6 in the total alone."""
_TRANSLATED: Final = int(CtFlag.SRC_NAT | CtFlag.DST_NAT)
_SWAPPED, _REPLIED = int(CtFlag.SWAPPED), int(CtFlag.REPLIED)
_EXPECTED: Final = int(CtFlag.EXPECTED)
_KEPT: Final = 65536
"""Addresses and seconds that stay in words."""


def protocol_name(proto: int) -> str:
    """``tcp``; a number where it has no name."""
    return _PROTOCOLS.get(proto, str(proto))


class Addresses(dict[bytes, str]):
    """Addresses of a family in words, by their 16 bytes."""

    def __init__(self, family: int, length: int) -> None:
        super().__init__()
        self._family, self._length = family, length

    def __missing__(self, raw: bytes) -> str:
        if len(self) >= _KEPT:
            self.clear()
        text = self[raw] = socket.inet_ntop(self._family, raw[: self._length])
        return text


class Moments(dict[int, str]):
    """When connections began, by the second of the clock they live by."""

    def __init__(self, now_ns: int) -> None:
        super().__init__()
        self._offset_s = time.time() - now_ns / 1e9

    def __missing__(self, created_s: int) -> str:
        if len(self) >= _KEPT:
            self.clear()
        began = self._offset_s + created_s
        whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(began))
        text = self[created_s] = f"{whole}.{int(began % 1 * 1000):03d}"
        return text


class ConnectionText:
    """Connections in words, a line each.

    `statistics` adds counters and times, `verbose` what tracking knows beside.
    """

    def __init__(self, records: Records, *, verbose: bool, statistics: bool) -> None:
        self._records = records
        self._verbose = verbose
        self._statistics = statistics
        self.addresses = Addresses(socket.AF_INET, 4), Addresses(socket.AF_INET6, 16)
        """Of IPv4 and IPv6."""
        self.moments = Moments(records.now_ns)
        """When they began, in words."""

    def lines(self, zone: int | None = None) -> Iterator[str]:
        """All of them, or those of a zone; some thousand lines at a time."""
        line = self.line
        for batch in self._records.batches(zone):
            if batch:
                yield "\n".join([line(key, value) for key, value in batch]) + "\n"

    def line(self, key: Key, value: Value) -> str:
        """One connection, without the end of the line."""
        (
            _, _, _, packets0, packets1, bytes0, bytes1, created_s, mark, label,
            _, _, _, wscale0, state0, _, _, _, wscale1, state1,
            _, _, _, _, _, flags, alg,
        ) = value  # fmt: skip
        proto, zone = key[4], key[6]
        orig, reply = self._sides(key, value, flags)
        after = ""
        if self._statistics:
            if packets0 or bytes0:
                orig += f",packets={packets0},bytes={bytes0}"
            if packets1 or bytes1:
                reply += f",packets={packets1},bytes={bytes1}"
            after = f",start={self.moments[created_s]}"
        if self._verbose:
            after += f",id={zlib.crc32(layout.CT_TUPLE.pack(*key))}"
        after += zone_text(zone)
        if self._verbose:
            after += f",status={_status(flags, packets1)}"
        if self._statistics:
            after += f",timeout={int(self._records.seconds_left(value))}"
        after += marks_text(mark, label)
        if self._verbose and proto == _TCP:
            after += _protoinfo(wscale0, state0, wscale1, state1)
        else:
            after += state_text(proto, max(state0, state1))
        after += helper_text(alg)
        if self._verbose and flags & _EXPECTED:
            parent = self._records.parent(key)
            after += f",parent=({self._tuple(*parent[:6])})" if parent is not None else ""
        return f"{_PROTOCOLS.get(proto, proto)},orig=({orig}),reply=({reply}){after}"

    def _sides(self, key: Key, value: Value, flags: int) -> tuple[str, str]:
        """The tuple of what the originator sends, and that of answers."""
        src, dst, sport, dport, proto, family, _ = key
        back = dst, src, dport, sport
        if family & 0x0F == IPV4:
            if proto == 1:
                back = dst, src, sport, icmp_answer(dport, proto)
        elif proto == 58:
            back = dst, src, sport, icmp_answer(dport, proto)
        there = src, dst, sport, dport
        if flags & _SWAPPED:
            there, back = back, there
        if flags & _TRANSLATED:
            back = value[20:24]
        return self._tuple(*there, proto, family), self._tuple(*back, proto, family)

    def _tuple(
        self, src: bytes, dst: bytes, sport: bytes, dport: bytes, proto: int, family: int
    ) -> str:
        """``src=10.0.0.1,dst=10.0.0.2,sport=1,dport=2``."""
        four, six = self.addresses
        address, icmp = (four, 1) if family & 0x0F == IPV4 else (six, 58)
        ends = f"src={address[src]},dst={address[dst]}"
        port = int.from_bytes(sport, "big")
        if proto == icmp:
            return f"{ends},id={port},type={dport[0]},code={dport[1]}"
        return f"{ends},sport={port},dport={int.from_bytes(dport, 'big')}"


def zone_text(zone: int) -> str:
    """Where it is not 0."""
    return f",zone={zone}" if zone else ""


def marks_text(mark: bytes, label: bytes) -> str:
    """Mark and label, where they are not 0."""
    out = f",mark={int.from_bytes(mark, 'big')}" if any(mark) else ""
    return out + (f",labels={int.from_bytes(label, 'big'):#x}" if any(label) else "")


def state_text(proto: int, state: int) -> str:
    """The short form of TCP's state: the greater one of both sides'."""
    return f",protoinfo=(state={_SHOWN_STATES[state]})" if proto == _TCP else ""


def helper_text(alg: int) -> str:
    """Where it has one."""
    return f",helper={_HELPERS.get(alg, str(alg))}" if alg else ""


def _status(flags: int, replies: int) -> str:
    names = {
        "EXPECTED": flags & _EXPECTED,
        "SEEN_REPLY": replies,
        "ASSURED": flags & _REPLIED,
        "CONFIRMED": 1,
        "SRC_NAT": flags & int(CtFlag.SRC_NAT),
        "DST_NAT": flags & int(CtFlag.DST_NAT),
    }
    return "|".join(name for name, is_set in names.items() if is_set)


def _peer_flags(wscale: int) -> str:
    names = [
        *(["WINDOW_SCALE"] if wscale & layout.CT_WSCALE_FLAG else []),
        *(["BE_LIBERAL"] if wscale & layout.CT_WSCALE_UNKNOWN else []),
    ]
    return "|".join(names) or "0"


def _protoinfo(wscale0: int, state0: int, wscale1: int, state1: int) -> str:
    scales = ""
    orig, reply = wscale0 & layout.CT_WSCALE_MASK, wscale1 & layout.CT_WSCALE_MASK
    if orig or reply:
        scales = f",wscale_orig={orig},wscale_reply={reply}"
    return (
        f",protoinfo=(state_orig={CT_TCP_STATES[state0]},state_reply={CT_TCP_STATES[state1]}"
        f"{scales},flags_orig={_peer_flags(wscale0)},flags_reply={_peer_flags(wscale1)})"
    )


def statistics_text(records: Records, zone: int | None, *, verbose: bool) -> str:
    """How many connections there are of each protocol, and of TCP in each state."""
    numbers: Counter[int] = Counter()
    states: Counter[int] = Counter()
    for proto, state0, state1 in records.states(zone):
        numbers[proto] += 1
        if verbose and proto == _TCP:
            states[max(state0, state1)] += 1
    protocols: Counter[str] = Counter()
    for proto, n in numbers.items():
        name = protocol_name(proto)
        protocols[name if name in _COUNTED or name == "icmpv6" else "other"] += n
    shown: Counter[str] = Counter()
    for state, n in states.items():
        shown[_SHOWN_STATES[state]] += n
    lines = ["Connections Stats:", f"    Total: {protocols.total()}"]
    for name in _COUNTED:
        if protocols[name]:
            title = name.capitalize() if name == "other" else name.upper()
            lines.append(f"  {title}: {protocols[name]}")
        if name == "tcp" and shown:
            lines.append("    Conn per TCP states:")
            lines += [f"\t  [{s}]={shown[s]}" for s in CT_TCP_STATES if shown[s]]
    return "".join(f"{line}\n" for line in lines)


def buckets_text(records: Records, greater_than: int) -> str:
    """How connections are spread: over one bucket, as the peer's userspace tells it too."""
    n = sum(1 for _ in records.states())
    out = f"Total Buckets: 1\nCurrent Connections: {n}\n\n"
    if n:
        rule = "+-----------+-----------------------------------------+\n"
        title = "|  Buckets  |         Connections per Buckets         |\n"
        shown = n if n > greater_than else "."
        out += f"{rule}{title}{rule}   0..  7   | {shown:>5}\n\n"
    return out
