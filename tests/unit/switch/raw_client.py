"""A controller that says and reads bytes, for what no tool asks."""

from __future__ import annotations

import socket
import struct
from pathlib import Path


class RawClient:
    """A connection to BRIDGE.mgmt; `say()` sends a message, `hear()` reads the next one."""

    def __init__(self, rundir: Path, version: int, bridge: str = "br0") -> None:
        self.version = version
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.settimeout(60)
        self._socket.connect(str(rundir / f"{bridge}.mgmt"))
        self._waiting = b""
        self._socket.sendall(struct.pack(">BBHI", version, 0, 8, 1))
        assert self.hear()[1] == 0, "the first message is a HELLO"

    def say(self, kind: int, body: bytes = b"", xid: int = 7) -> None:
        """Send one message."""
        self.send(struct.pack(">BBHI", self.version, kind, 8 + len(body), xid) + body)

    def send(self, raw: bytes) -> None:
        """Send bytes."""
        self._socket.sendall(raw)

    def hear(self) -> bytes:
        """The next message, whole."""
        while len(self._waiting) < 8 or len(self._waiting) < self._length():
            data = self._socket.recv(65536)
            assert data, "the switch closed the connection"
            self._waiting += data
        length = self._length()
        message, self._waiting = self._waiting[:length], self._waiting[length:]
        return message

    def _length(self) -> int:
        return int.from_bytes(self._waiting[2:4], "big")

    def answer(self, kind: int, body: bytes = b"") -> bytes:
        """Say something and hear what comes next."""
        self.say(kind, body)
        return self.hear()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
