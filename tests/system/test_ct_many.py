"""Very many connections: dumped and flushed while the daemon answers all others.

``GOSSAMER_CONNECTIONS=1000000`` makes as many of them.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import pytest

from gossamer.daemon.main import pin_directory
from gossamer.datapath import layout, libbpf
from gossamer.datapath.conntrack import Conntrack
from gossamer.datapath.conntrack.tuple import canonical, pack
from gossamer.datapath.layout import CtFlag
from gossamer.datapath.loader import CT_MAP_NAMES, map_path
from gossamer.pipeline.conntrack.tuple import Tuple
from tests.system.world import Host, until

N: Final = int(os.environ.get("GOSSAMER_CONNECTIONS", "60000"))
ZONES: Final = 4
ENOUGH: Final = 4
_ESTABLISHED: Final = layout.CT_TCP_STATES.index("ESTABLISHED")
_SHARED_REACH: Final = 17
_SHARED_TOP: Final = 18
_SHARED_TRANSLATED: Final = 32
"""32-bit words of struct ct_shared."""


class Echoes:
    """An OpenFlow connection that asks for an echo every few milliseconds, and counts the answers."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._socket.settimeout(30)
        self.answered = 0
        self._stop = False
        self._thread = threading.Thread(target=self._run)

    def _message(self) -> bytes:
        head = b""
        while len(head) < 8:
            head += self._socket.recv(8 - len(head))
        rest = int.from_bytes(head[2:4], "big") - 8
        while rest:
            rest -= len(self._socket.recv(rest))
        return head

    def _run(self) -> None:
        self._socket.sendall(bytes.fromhex("0400000800000001"))
        while self._message()[1] != 0:
            pass
        while not self._stop:
            self._socket.sendall(bytes.fromhex("0402000800000002"))
            while self._message()[1] != 3:
                pass
            self.answered += 1
            time.sleep(0.003)

    def __enter__(self) -> Echoes:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join()
        self._socket.close()


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    it = Host(Path(mkdtemp(prefix="many", dir="/run")))
    it.start("tests.system.stepping_daemon")
    it.vsctl("add-br", "br0")
    yield it
    it.end()


def _connection(i: int) -> tuple[Tuple, Tuple | None]:
    """Of established TCP; each hundredth has its source translated: then with its answers' tuple."""
    src, dst = bytes((10, 1 + (i >> 16), i >> 8 & 255, i & 255)), bytes((10, 0, 0, 1 + i % 7))
    orig = Tuple(src, dst, 6, 1024 + i % 50_000, 443, i % ZONES)
    if i % 100:
        return orig, None
    return orig, Tuple(dst, b"\xcb\x00\x71\x01", 6, 443, 1024 + i // 100, i % ZONES)


def fill(rundir: Path, n: int) -> None:
    """Have the kernel know connections of which no packet was ever seen."""
    fds = {}
    for name in CT_MAP_NAMES:
        fd = libbpf.object_get(map_path(pin_directory(rundir), name))
        assert fd is not None
        fds[name] = fd
    conntrack = Conntrack(fds)
    expires = time.monotonic_ns() + 3600 * 10**9
    peer = 1, 2, 3, 0, _ESTABLISHED
    conntrack.room.make_for(n)
    # As the kernel does before it takes a slot: the daemon looks meanwhile for where the last one is.
    conntrack._shared.words32[_SHARED_REACH] = 1 << (2 * n - 1).bit_length()
    for i in range(n):
        orig, reply = _connection(i)
        if reply is None:
            key, swapped = canonical(orig)
            flags, answers = CtFlag.SWAPPED * swapped, (bytes(16), bytes(16), b"\0\0", b"\0\0")
            names = [pack(key)]
        else:
            flags, answers = int(CtFlag.SRC_NAT), layout.CT_TUPLE.unpack(pack(reply))[:4]
            names = [pack(orig, layout.CT_TRANSLATED), pack(reply, layout.CT_ALIAS)]
        value = layout.CT_CONNECTION.pack(
            0, i, expires, 3, 2, 180, 120, 5, bytes(4), bytes(16), *peer, *peer, *answers,
            0, flags | CtFlag.REPLIED, 0,
        )  # fmt: skip
        conntrack.store.enter(names, i, value)
        conntrack._shared.words32[0] += 1
        conntrack._shared.words32[_SHARED_TOP] = n
        conntrack._shared.words32[_SHARED_TRANSLATED] += len(names) - 1
        conntrack.zones._array.words32[layout.CT_ZONE.size // 4 * orig.zone + 1] += 1
    conntrack.close()
    for fd in fds.values():
        os.close(fd)


def _asked(host: Host, echoes: Echoes, *arguments: str) -> tuple[str, int]:
    """What a command of ovs-appctl answers, and the echoes that were answered before it."""
    # Not by ovs-appctl itself: while that starts and ends, the daemon has nothing to do.
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(str(host.rundir / f"ovs-vswitchd.{host.pid}.ctl"))
        control.settimeout(120)
        before = echoes.answered
        request = {"id": 0, "method": arguments[0], "params": arguments[1:]}
        control.sendall(json.dumps(request).encode())
        answer = b""
        while not answer.endswith(b"}"):  # connections are told without any
            answer += control.recv(1 << 20)
        meanwhile = echoes.answered - before
    said = json.loads(answer)
    assert said["error"] is None, said["error"]
    return said["result"], meanwhile


def test_the_daemon_answers_others_while_connections_are_dumped_and_flushed(host: Host) -> None:
    fill(host.rundir, N)
    assert int(host.appctl("dpctl/ct-get-nconns")) == N
    with Echoes(host.rundir / "br0.mgmt") as echoes:
        assert until(lambda: echoes.answered)
        text, while_dumped = _asked(host, echoes, "dpctl/dump-conntrack")
        lines = text.splitlines()
        assert len(set(lines)) == len(lines) == N
        assert (
            "tcp,orig=(src=10.1.0.200,dst=10.0.0.5,sport=1224,dport=443),"
            "reply=(src=10.0.0.5,dst=203.0.113.1,sport=443,dport=1026),"
            "protoinfo=(state=ESTABLISHED)" in lines
        )
        of_zone, _ = _asked(host, echoes, "dpctl/dump-conntrack", "-m", "-s", "zone=3")
        assert len(of_zone.splitlines()) == N // ZONES
        assert all(",zone=3," in line for line in of_zone.splitlines())
        stats, _ = _asked(host, echoes, "dpctl/ct-stats-show", "-m")
        assert f"Total: {N}\n  TCP: {N}\n" in stats
        assert f"[ESTABLISHED]={N}\n" in stats
        _, while_flushed = _asked(host, echoes, "dpctl/flush-conntrack", "zone=1")
        assert int(host.appctl("dpctl/ct-get-nconns")) == N - N // ZONES
        _, while_all = _asked(host, echoes, "dpctl/flush-conntrack")
    assert int(host.appctl("dpctl/ct-get-nconns")) == 0
    assert host.appctl("dpctl/dump-conntrack") == ""
    print(f"echoes answered before the ends of commands: {while_dumped}, {while_flushed}, {while_all}")
    # Where one waits for the end of such work, it is the only one.
    assert min(while_dumped, while_flushed, while_all) >= ENOUGH


def test_a_controllers_flush_is_done_when_its_barrier_is_answered(host: Host) -> None:
    host.appctl("dpctl/flush-conntrack")
    fill(host.rundir, 20_000)
    host.ofctl("ct-flush", "br0")
    assert int(host.appctl("dpctl/ct-get-nconns")) == 0
