"""Small requests to the kernel's routing sockets (netlink(7), rtnetlink(7)).

What is asked for each port that comes, and for each event of a device: a request here costs some
10 us, where a library that knows all attributes takes one or two milliseconds.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

NLM_F_ACK: Final = 0x4
NLM_F_ECHO: Final = 0x8
NLM_F_DUMP: Final = 0x300
_NLM_F_REQUEST: Final = 0x1
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_KIND: Final = 0x3FFF
"""Of an attribute's type: without NLA_F_NESTED and NLA_F_NET_BYTEORDER."""
_ROOM: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Message:
    """An answer: its type (RTM_*), and what follows the header."""

    kind: int
    body: bytes


class Rtnetlink:
    """A socket of its own, for one request at a time."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._sequence = 0

    def ask(self, kind: int, body: bytes, flags: int = NLM_F_ACK) -> list[Message]:
        """Send a request of type `kind` (RTM_*); returns all that answers it.

        `flags` have NLM_F_ACK or NLM_F_DUMP, by which the end of the answers is known.
        Raises OSError with the kernel's errno where it refuses.
        """
        self._sequence = self._sequence % 0xFFFFFFFF + 1
        length = _HEADER.size + len(body)
        head = _HEADER.pack(length, kind, _NLM_F_REQUEST | flags, self._sequence, 0)
        self._socket.send(head + body)
        answers: list[Message] = []
        while True:
            for found, sequence, content in _messages(self._socket.recv(_ROOM)):
                if sequence != self._sequence:
                    continue  # of a request that ended early
                if found == _NLMSG_DONE:
                    return answers
                if found == _NLMSG_ERROR:
                    (error,) = struct.unpack_from("=i", content)
                    if error:
                        raise OSError(-error, os.strerror(-error))
                    return answers
                answers.append(Message(found, content))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, sequence, body) of the messages in a datagram."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, at)
        yield kind, sequence, data[at + _HEADER.size : at + length]
        at += max(length + 3 & ~3, _HEADER.size)


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute of a request, padded to four bytes."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length & 3)


def attributes(data: bytes, start: int = 0) -> dict[int, bytes]:
    """The attributes from offset `start` on, by their types; of several of one type the last."""
    out: dict[int, bytes] = {}
    while start + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        out[kind & _KIND] = data[start + _ATTRIBUTE.size : start + length]
        start += max(length + 3 & ~3, _ATTRIBUTE.size)
    return out


def text(value: bytes | None) -> str:
    """A string that ends with a zero; "" for none."""
    return os.fsdecode(value.split(b"\0")[0]) if value else ""
