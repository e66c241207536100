"""Controllers of our own, that speak raw OpenFlow with a switch."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

from running_switch import RunningSwitch


class Peer:
    """A controller of our own: raw OpenFlow over a socket."""

    def __init__(self, sock: socket.socket, version: int = 4) -> None:
        self.sock, self.version, self.buffer = sock, version, b""
        sock.settimeout(60)
        self.send(0)
        hello = self.receive()
        assert hello[1] == 0

    def send(self, kind: int, body: bytes = b"", xid: int = 1) -> None:
        """Send one message."""
        self.sock.sendall(struct.pack(">BBHI", self.version, kind, 8 + len(body), xid) + body)

    def receive(self) -> bytes:
        """The next message."""
        while len(self.buffer) < 8 or len(self.buffer) < int.from_bytes(self.buffer[2:4], "big"):
            data = self.sock.recv(65536)
            assert data, "connection closed"
            self.buffer += data
        length = int.from_bytes(self.buffer[2:4], "big")
        message, self.buffer = self.buffer[:length], self.buffer[length:]
        return message

    def keep(self) -> None:
        """Answer echo requests from now on, until the connection ends."""

        def answer() -> None:
            with contextlib.suppress(AssertionError, OSError):
                while True:
                    message = self.receive()
                    if message[1] == 2:
                        self.send(3, message[8:], int.from_bytes(message[4:8], "big"))

        threading.Thread(target=answer, daemon=True).start()

    def end(self) -> None:
        """Hang up."""
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def ask(self, kind: int, body: bytes = b"", xid: int = 7) -> bytes:
        """Send a request; the answer, whatever comes unasked before it."""
        self.send(kind, body, xid)
        while True:
            message = self.receive()
            if int.from_bytes(message[4:8], "big") == xid:
                return message


def management(switch: RunningSwitch, version: int = 4, name: str = "br0") -> Peer:
    """Connect to the management socket of a bridge."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(switch.rundir / f"{name}.mgmt"))
    return Peer(sock, version)


class Listening:
    """A controller that waits for the switch."""

    def __init__(self) -> None:
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen()
        self.sock.settimeout(60)
        self.target = f"tcp:127.0.0.1:{self.sock.getsockname()[1]}"

    def accept(self, version: int = 4) -> Peer:
        """The connection of the switch; one that it has given up meanwhile is none."""
        for _ in range(20):
            with contextlib.suppress(AssertionError, BrokenPipeError, ConnectionResetError):
                return Peer(self.sock.accept()[0], version)
        raise AssertionError("the switch gives all its connections up")
