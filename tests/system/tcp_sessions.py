"""Many TCP sessions that lie idle, and then exchange data.

usage: python -m tests.system.tcp_sessions serve PORT                    until killed; answers what it gets
       python -m tests.system.tcp_sessions hold ADDRESS PORT SESSIONS    a word on stdin: each session
                                                                         sends it and waits for it

`hold` says "ready" once all are established, then for each word how many sessions answered it.
"""

from __future__ import annotations

import resource
import selectors
import socket
import subprocess
import sys
import time
from typing import Final

from tests.system.world import Netns

_PATIENCE_S: Final = 60.0


def serve(port: int) -> None:
    """Answer every byte of every session."""
    _raise_limits()
    listener = socket.create_server(
        ("::", port), family=socket.AF_INET6, backlog=4096, dualstack_ipv6=True
    )
    watched = selectors.DefaultSelector()
    watched.register(listener, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in watched.select():
            assert isinstance(key.fileobj, socket.socket)
            if key.fileobj is listener:
                watched.register(listener.accept()[0], selectors.EVENT_READ)
                continue
            try:
                data = key.fileobj.recv(4096)
            except OSError:
                data = b""
            if data:
                key.fileobj.sendall(data)
            else:
                watched.unregister(key.fileobj)
                key.fileobj.close()


def hold(address: str, port: int, sessions: int) -> None:
    """Establish sessions, and try them when told to."""
    _raise_limits()
    held = [socket.create_connection((address, port), timeout=_PATIENCE_S) for _ in range(sessions)]
    print("ready", flush=True)
    for line in sys.stdin:
        word = line.strip().encode()
        for s in held:
            try:
                s.sendall(word)
            except OSError:
                continue
        answered = 0
        deadline = time.monotonic() + _PATIENCE_S
        for s in held:
            s.settimeout(max(0.01, deadline - time.monotonic()))
            got = b""
            try:
                while len(got) < len(word):
                    part = s.recv(len(word) - len(got))
                    if not part:
                        break
                    got += part
            except OSError:
                continue
            answered += got == word
        print(answered, flush=True)


def _raise_limits() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Sessions:
    """Sessions from one namespace to a server in another, until `end()`; of TCP, or of what another
    `module` with the same usage holds."""

    def __init__(
        self, client: Netns, server: Netns, address: str, port: int, number: int,
        module: str = "tests.system.tcp_sessions",
    ) -> None:  # fmt: skip
        me = (sys.executable, "-m", module)
        self.number = number
        self._server = server.start(*me, "serve", str(port))
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == "ready\n"
        self._client = subprocess.Popen(
            ["ip", "netns", "exec", client.name, *me, "hold", address, str(port), str(number)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._client.stdout is not None and self._client.stderr is not None
        said = self._client.stdout.readline()
        assert said == "ready\n", said + self._client.stderr.read()

    def answered(self, word: str) -> int:
        """How many sessions get `word` back."""
        assert self._client.stdin is not None and self._client.stdout is not None
        self._client.stdin.write(word + "\n")
        self._client.stdin.flush()
        return int(self._client.stdout.readline())

    def end(self) -> None:
        """Drop them."""
        for process in (self._client, self._server):
            process.kill()
            process.communicate()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        hold(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
