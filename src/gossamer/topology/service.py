"""A service of an instance tried from another: a server for the time of the try, a client, a few bytes there and back."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from typing import Final

from gossamer.errors import TopologyError
from gossamer.topology.command import Tools, complaint_of

PATIENCE_S: Final = 2.0
"""For an answer: TCP repeats its first packet after one second."""
_SERVES_S: Final = 60.0
"""It is ended when the try is over; the client may need long to begin where the host is busy."""
_READY: Final = "ready"
_TAKEN: Final = "taken"

# Both run inside namespaces by themselves: nothing but the standard library.
_SERVER: Final = """
import errno, socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
family, anywhere = (socket.AF_INET6, "::") if ":" in sys.argv[3] else (socket.AF_INET, "0.0.0.0")
server = socket.socket(family, kind)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
try:
    server.bind((anywhere, int(sys.argv[2])))
except OSError as e:
    if e.errno != errno.EADDRINUSE:
        raise
    print("taken", flush=True)
    sys.exit(0)
if kind == socket.SOCK_STREAM:
    server.listen()
print("ready", flush=True)
server.settimeout(float(sys.argv[4]))
try:
    if kind == socket.SOCK_STREAM:
        peer, _ = server.accept()
        peer.settimeout(float(sys.argv[4]))
        peer.sendall(peer.recv(100))
        peer.close()
    else:
        data, peer = server.recvfrom(100)
        server.sendto(data, peer)
except OSError:
    pass
"""
_CLIENT: Final = """
import socket, sys, time
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
client = socket.socket(socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET, kind)
client.settimeout(float(sys.argv[4]))
began = time.monotonic()
try:
    client.connect((sys.argv[2], int(sys.argv[3])))
    if sys.argv[5] == "ready":
        client.sendall(b"gossamer")
        if client.recv(100) != b"gossamer":
            raise OSError("another answer")
    print(f"answer in {(time.monotonic() - began) * 1000:.1f} ms")
except OSError as e:
    print("no answer" if isinstance(e, TimeoutError) else f"no answer: {e.strerror or e}")
    sys.exit(1)
"""


def exchange(
    tools: Tools, source: str, target: str, protocol: str, address: str, port: int,
    patience_s: float = PATIENCE_S,
) -> tuple[bool, str]:  # fmt: skip
    """(whether it was answered, what was measured) of a try from namespace `source` to `target`.

    A server that listens there already is taken: then TCP must connect, and no
    more.  Raises TopologyError where no try can be made.
    """
    server = subprocess.Popen(
        ["ip", "netns", "exec", target, sys.executable, "-I", "-c", _SERVER, protocol, str(port), address,
         str(_SERVES_S)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=tools.environment,
    )  # fmt: skip
    try:
        assert server.stdout is not None and server.stderr is not None
        state = server.stdout.readline().strip()
        if state not in (_READY, _TAKEN):
            raise TopologyError(
                f"no server can be started there: {server.stderr.read().strip().splitlines()[-1:]}",
                place=f"netns {target}",
                remedy=f"is {protocol}/{port} a port one may listen on?",
            )
        if state == _TAKEN and protocol == "udp":
            raise TopologyError(
                f"udp/{port} is in use there, by a server that may not answer just anything",
                place=f"netns {target}",
                remedy="expect something of another port",
            )
        done = tools.in_netns(
            source, sys.executable, "-I", "-c", _CLIENT, protocol, address, str(port), str(patience_s),
            state, timeout_s=patience_s * 2 + 20,
        )  # fmt: skip
    finally:
        server.kill()
        with suppress(subprocess.TimeoutExpired):
            server.communicate(timeout=5)
    if done.returncode and not done.stdout:
        raise TopologyError(complaint_of(done), place=f"netns {source}")
    return done.returncode == 0, done.stdout.strip()
