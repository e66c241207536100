"""A controller that keeps its connections and programs nothing: HELLO, and answers to echo requests.

As a program (``quiet_controller.py ADDRESS PORT``) it serves inside a namespace, over TCP.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading

_HELLO, _ECHO_REQUEST, _ECHO_REPLY = 0, 2, 3
_OPENFLOW13 = 4


class QuietController:
    """Listens at once; `refused` says why connections ended, `answered` how many echo requests each had."""

    def __init__(self, address: str, port: int = 0, context: ssl.SSLContext | None = None) -> None:
        self._listener = socket.create_server((address, port))
        self._context = context
        self._open: list[socket.socket] = []
        self.port = int(self._listener.getsockname()[1])
        self.refused: list[str] = []
        self.answered: list[int] = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        """Accept until it is closed."""
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(sock,), daemon=True).start()

    def _talk(self, sock: socket.socket) -> None:
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            self._open.append(sock)
            number = len(self.answered)
            self.answered.append(0)
            sock.sendall(_message(_HELLO, 1, b""))
            stream = sock.makefile("rb")
            while header := stream.read(8):
                body = stream.read(int.from_bytes(header[2:4], "big") - 8)
                if header[1] == _ECHO_REQUEST:
                    xid = int.from_bytes(header[4:8], "big")
                    sock.sendall(_message(_ECHO_REPLY, xid, body))
                    self.answered[number] += 1
        except OSError as e:
            self.refused.append(str(e))

    def close(self) -> None:
        """Hang up."""
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept()
        self._listener.close()
        for sock in self._open:
            sock.close()


def _message(kind: int, xid: int, body: bytes) -> bytes:
    length = 8 + len(body)
    return bytes((_OPENFLOW13, kind)) + length.to_bytes(2, "big") + xid.to_bytes(4, "big") + body


if __name__ == "__main__":
    QuietController(sys.argv[1], int(sys.argv[2])).serve()
