"""A collector of IPFIX, written from RFC 7011 alone: what it makes of messages."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

Value = bytes
Record = list[tuple[tuple[int, int], Value]]
"""((enterprise, element), value), in the template's order."""


@dataclass
class Message:
    """One message: its header, and its data records."""

    export_s: int
    sequence: int
    domain: int
    records: list[Record] = field(default_factory=list)
    templates: list[int] = field(default_factory=list)
    """Numbers of the templates that it defines."""


def number(record: Record, element: int, enterprise: int = 0) -> int:
    """The value of an element that a record has once."""
    (value,) = [v for e, v in record if e == (enterprise, element)]
    return int.from_bytes(value, "big")


def values(record: Record, element: int, enterprise: int = 0) -> list[bytes]:
    """All values of an element."""
    return [v for e, v in record if e == (enterprise, element)]


class Collector:
    """Remembers templates, by domain."""

    def __init__(self) -> None:
        self._templates: dict[tuple[int, int], list[tuple[int, int, int]]] = {}

    def read(self, data: bytes) -> Message:
        """A message; asserts that it is well formed."""
        version, length, export_s, sequence, domain = struct.unpack_from("!HHIII", data)
        assert (version, length) == (10, len(data))
        message = Message(export_s, sequence, domain)
        at = 16
        while at < len(data):
            set_id, set_length = struct.unpack_from("!HH", data, at)
            assert 4 <= set_length <= len(data) - at
            body = data[at + 4 : at + set_length]
            at += set_length
            if set_id == 2:
                self._read_templates(message, body)
            else:
                assert set_id >= 256, "a set of data"
                self._read_records(message, set_id, body)
        return message

    def _read_templates(self, message: Message, body: bytes) -> None:
        at = 0
        while at < len(body):
            template_id, count = struct.unpack_from("!HH", body, at)
            at += 4
            fields = []
            for _ in range(count):
                element, length = struct.unpack_from("!HH", body, at)
                at += 4
                enterprise = 0
                if element & 0x8000:
                    (enterprise,) = struct.unpack_from("!I", body, at)
                    at += 4
                fields.append((enterprise, element & 0x7FFF, length))
            self._templates[message.domain, template_id] = fields
            message.templates.append(template_id)

    def _read_records(self, message: Message, template_id: int, body: bytes) -> None:
        at = 0
        while at < len(body):
            record: Record = []
            for enterprise, element, length in self._templates[message.domain, template_id]:
                if length == 0xFFFF:
                    length, at = body[at], at + 1
                    if length == 255:
                        length, at = int.from_bytes(body[at : at + 2], "big"), at + 2
                value = body[at : at + length]
                assert len(value) == length, "a record that is cut"
                record.append(((enterprise, element), value))
                at += length
            message.records.append(record)
