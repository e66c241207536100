"""Many exchanges over UDP that lie idle, and then are tried.

usage: python -m tests.system.udp_sessions serve PORT                    until killed; answers what it gets
       python -m tests.system.udp_sessions hold ADDRESS PORT SESSIONS    a word on stdin: each socket
                                                                         sends it and waits for it

The server tells each the source port it sees.  `hold` says "ready" once all were answered, then for each
word how many sockets get it back and are still seen by the port of the first time.
"""

from __future__ import annotations

import resource
import selectors
import socket
import sys
import time
from typing import Final

_PATIENCE_S: Final = 60.0
_AGAIN_S: Final = 0.5
"""What a full queue lost is sent again."""


def serve(port: int) -> None:
    """Answer each datagram with itself and the port it came from."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", port))
    print("ready", flush=True)
    while True:
        data, peer = s.recvfrom(2048)
        try:
            s.sendto(data + b" %d" % peer[1], peer)
        except OSError:
            continue  # a flood's sender, to whom there is no way


def exchange(held: list[socket.socket], word: bytes) -> list[bytes]:
    """What each is told as its port; empty where it gets no answer."""
    told = [b""] * len(held)
    left = set(range(len(held)))
    deadline = time.monotonic() + _PATIENCE_S
    with selectors.DefaultSelector() as watched:
        for i, s in enumerate(held):
            watched.register(s, selectors.EVENT_READ, i)
        while left and time.monotonic() < deadline:
            for i in left:
                held[i].send(word)
            until = time.monotonic() + _AGAIN_S
            while left and time.monotonic() < until:
                for key, _ in watched.select(until - time.monotonic()):
                    answer, port = held[key.data].recv(2048).rsplit(b" ", 1)
                    if answer == word:
                        told[key.data] = port
                        left.discard(key.data)
    return told


def hold(address: str, port: int, sessions: int) -> None:
    """Have sockets answered, and try them when told to."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    held = []
    for _ in range(sessions):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.connect((address, port))
        held.append(s)
    first = exchange(held, b"first")
    print("ready" if all(first) else f"{first.count(b'')} have no answer", flush=True)
    for line in sys.stdin:
        told = exchange(held, line.strip().encode())
        print(sum(t == f for t, f in zip(told, first, strict=True)), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        hold(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
