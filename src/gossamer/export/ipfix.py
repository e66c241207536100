"""The exporter of IPFIX: flows of sampled packets, as messages to collectors (RFC 7011).

Templates go ahead of the first record that needs them, and again every ten minutes, since nobody
knows of a datagram that was lost (RFC 7011, section 8.4).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from gossamer.export.flow_cache import MICROSECONDS, FlowCache, FlowEntry
from gossamer.export.flow_record import Template, shape_of
from gossamer.export.observation import Observation

VERSION: Final = 10
TEMPLATE_SET: Final = 2
TEMPLATE_INTERVAL_S: Final = 600
MAX_MESSAGE: Final = 1400
"""Bytes: what a datagram holds that is not to be cut into fragments."""
DEFAULT_PORT: Final = 4739
_HEADER: Final = struct.Struct("!HHIII")
_SET: Final = struct.Struct("!HH")


@dataclass(frozen=True, slots=True)
class ExporterStatistics:
    """What an exporter has done."""

    flows: int = 0
    current_flows: int = 0
    packets: int = 0
    ipv4_packets: int = 0
    ipv6_packets: int = 0
    other_ipv4_packets: int = 0
    """Those of them whose layer 4 records have no elements for."""
    other_ipv6_packets: int = 0
    messages: int = 0
    errors: int = 0
    """Messages that some collector did not get."""


class _Message:
    """A message being written."""

    def __init__(self) -> None:
        self.sets: list[tuple[int, bytearray]] = []
        self.n_records = 0
        self.length = _HEADER.size

    def room(self, set_id: int, n_bytes: int) -> bool:
        new_set = not self.sets or self.sets[-1][0] != set_id
        return self.length + n_bytes + (_SET.size if new_set else 0) <= MAX_MESSAGE

    def put(self, set_id: int, data: bytes) -> None:
        if not self.sets or self.sets[-1][0] != set_id:
            self.sets.append((set_id, bytearray()))
            self.length += _SET.size
        self.sets[-1][1].extend(data)
        self.length += len(data)

    def encode(self, export_s: int, sequence: int, domain: int) -> bytes:
        head = _HEADER.pack(VERSION, self.length, export_s & 0xFFFFFFFF, sequence, domain)
        return head + b"".join(
            _SET.pack(set_id, _SET.size + len(data)) + data for set_id, data in self.sets
        )


class _Domain:
    """An observation domain: its templates and its sequence numbers are its own."""

    def __init__(self) -> None:
        self.sequence = 0
        self.told: dict[int, float] = {}
        """When each template was sent last."""


class IpfixExporter:
    """Collects flows and reports them.

    `send` sends a message to all collectors, and says how many did not get it.  Times are seconds
    since 1970.
    """

    def __init__(
        self, active_timeout_s: int, max_flows: int, send: Callable[[bytes], int]
    ) -> None:
        self._cache = FlowCache(active_timeout_s, max_flows)
        self._send = send
        self._domains: dict[int, _Domain] = {}
        self._done = ExporterStatistics()

    def observe(self, seen: Observation, now_s: float) -> None:
        """A sampled packet."""
        before = len(self._cache)
        ended = self._cache.add(seen, int(now_s * MICROSECONDS))
        shape = shape_of(seen)
        known, done = bool(shape.transport), self._done
        self._done = replace(
            done,
            flows=done.flows + len(self._cache) + len(ended) - before,
            packets=done.packets + 1,
            ipv4_packets=done.ipv4_packets + (shape.version == 4 and known),
            ipv6_packets=done.ipv6_packets + (shape.version == 6 and known),
            other_ipv4_packets=done.other_ipv4_packets + (shape.version == 4 and not known),
            other_ipv6_packets=done.other_ipv6_packets + (shape.version == 6 and not known),
        )
        self._report(ended, now_s)

    def run(self, now_s: float) -> None:
        """Report what is due."""
        self._report(self._cache.expire(int(now_s * MICROSECONDS)), now_s)

    def next_s(self) -> float | None:
        """When something is due; None: nothing is."""
        moment = self._cache.next_us()
        return None if moment is None else moment / MICROSECONDS

    def flush(self, now_s: float) -> None:
        """Report all flows: the exporter ends."""
        self._report(self._cache.clear(), now_s)

    def statistics(self) -> ExporterStatistics:
        """Counters."""
        return replace(self._done, current_flows=len(self._cache))

    def _report(self, ended: Iterable[FlowEntry], now_s: float) -> None:
        by_domain: dict[int, list[FlowEntry]] = {}
        for entry in ended:
            by_domain.setdefault(entry.domain, []).append(entry)
        for number, entries in by_domain.items():
            domain = self._domains.setdefault(number, _Domain())
            self._report_domain(number, domain, entries, now_s)

    def _report_domain(
        self, number: int, domain: _Domain, entries: list[FlowEntry], now_s: float
    ) -> None:
        export_s = int(now_s) + 1  # rounded up: flows began and ended before
        message = _Message()

        def put(set_id: int, data: bytes) -> None:
            nonlocal message
            if not message.room(set_id, len(data)):
                self._finish(message, number, domain, export_s)
                message = _Message()
            message.put(set_id, data)

        templates = {entry.template.template_id: entry.template for entry in entries}
        for template in self._untold(domain, templates.values(), now_s):
            put(TEMPLATE_SET, template.definition())
        for entry in sorted(entries, key=lambda e: e.template.template_id):
            template = entry.template
            data = template.record(entry.flow_key, entry.counts, entry.reason, export_s)
            put(template.template_id, data)
            message.n_records += 1
        self._finish(message, number, domain, export_s)

    def _untold(
        self, domain: _Domain, templates: Iterable[Template], now_s: float
    ) -> Iterable[Template]:
        """The templates that collectors have not heard of, or not for long."""
        for template in templates:
            told = domain.told.get(template.template_id)
            if told is None or now_s - told >= TEMPLATE_INTERVAL_S:
                domain.told[template.template_id] = now_s
                yield template

    def _finish(self, message: _Message, number: int, domain: _Domain, export_s: int) -> None:
        if not message.sets:
            return
        failed = self._send(message.encode(export_s, domain.sequence, number))
        done = self._done
        self._done = replace(done, messages=done.messages + 1, errors=done.errors + failed)
        domain.sequence = (domain.sequence + message.n_records) & 0xFFFFFFFF
