"""A client of ovsdb-server in the role of ovs-vswitchd that does nothing (RFC 7047).

usage: python -m bench.idle_client SOCKET

Whatever is asked for, it says at once that it is done: cur_cfg becomes next_cfg.
"""

from __future__ import annotations

import json
import socket
import sys
from typing import Any


class Server:
    """The connection."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._number = 0
        self._text = ""
        self._decoder = json.JSONDecoder()

    def ask(self, method: str, *params: Any) -> None:
        """Send a request, whose answer comes among the other messages."""
        self._number += 1
        self.send({"method": method, "id": self._number, "params": params})

    def send(self, message: dict[str, Any]) -> None:
        """Send a message."""
        self._socket.sendall(json.dumps(message).encode())

    def receive(self) -> dict[str, Any] | None:
        """The next message, None where the server has ended."""
        while True:
            try:
                message, end = self._decoder.raw_decode(self._text)
            except ValueError:
                data = self._socket.recv(1 << 16)
                if not data:
                    return None
                self._text += data.decode()
                continue
            self._text = self._text[end:]
            found: dict[str, Any] = message
            return found


def main(path: str) -> None:
    """Serve until the server ends."""
    server = Server(path)
    columns = {"Open_vSwitch": {"columns": ["next_cfg"]}}
    server.ask("monitor", "Open_vSwitch", None, columns)
    while (message := server.receive()) is not None:
        if message.get("method") == "echo":
            server.send({"id": message["id"], "result": message["params"], "error": None})
            continue
        tables = message["params"][1] if message.get("method") == "update" else message["result"]
        if not isinstance(tables, dict):
            continue  # the answer to what was written
        for uuid, row in tables["Open_vSwitch"].items():
            done = {"op": "update", "table": "Open_vSwitch", "where": [["_uuid", "==", ["uuid", uuid]]],
                    "row": {"cur_cfg": row["new"]["next_cfg"]}}  # fmt: skip
            server.ask("transact", "Open_vSwitch", done)


if __name__ == "__main__":
    main(sys.argv[1])
