"""Numbered packets at a steady rate, and what is missing of them at the other end.

usage: python -m tests.system.sequence send ADDRESS PACKETS_PER_SECOND LENGTH    until SIGTERM
       python -m tests.system.sequence receive                                   until SIGTERM

Both say at the end what they saw, as JSON.  Unlike ping, which speeds up and slows down with the
answers, this keeps sending while nothing comes through, so that an outage costs packets.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.system.world import Netns, datagrams, echo_replies, until

PORT: Final = 4500
_PACKET: Final = struct.Struct("=QQ")
"""Number, and CLOCK_MONOTONIC in ns when it was sent; one clock for all namespaces."""
_SO_RCVBUFFORCE: Final = 33
_BUFFER_BYTES: Final = 64 << 20
"""Seconds of packets: a receiver that must wait for the processor loses none."""
_TICK_S: Final = 0.001
_AT_ONCE_S: Final = 0.02
"""Packets of so long at most in a tick: the kernel's own queue holds a thousand, and where it waits for a
processor, too, it must not be filled by who does not."""


def _until_told() -> Callable[[], bool]:
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    return lambda: not told


def send(address: str, rate: int, length: int) -> dict[str, int]:
    """Send; what a tick missed that was a little late is made up for by the next."""
    going = _until_told()
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect((address, PORT))
    began = time.monotonic()
    number = 0
    rest = bytes(length - _PACKET.size)
    while going():
        due = int((time.monotonic() - began) * rate)
        if too_late := max(0, due - number - int(_AT_ONCE_S * rate)):
            began += too_late / rate
        for _ in range(due - number - too_late):
            s.send(_PACKET.pack(number, time.monotonic_ns()) + rest)
            number += 1
        time.sleep(_TICK_S)
    return {"sent": number}


def receive() -> dict[str, object]:
    """Receive; after SIGTERM, what has arrived by then."""
    going = _until_told()
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    s.bind(("", PORT))
    s.settimeout(0.1)
    print("ready", flush=True)
    seen = bytearray()
    received = duplicates = reordered = longest_ns = 0
    highest = -1
    while True:
        try:
            number, sent_ns = _PACKET.unpack_from(s.recv(2048))
        except TimeoutError:
            if going():
                continue
            break
        received += 1
        longest_ns = max(longest_ns, time.monotonic_ns() - sent_ns)
        if number >= len(seen):
            seen.extend(bytes(number + 100_000 - len(seen)))
        duplicates += seen[number]
        reordered += number < highest
        seen[number] = 1
        highest = max(highest, number)
    missing = [n for n in range(highest + 1) if not seen[n]]
    return {
        "received": received,
        "highest": highest,
        "missing": len(missing),
        "first_missing": missing[:20],
        "duplicates": duplicates,
        "reordered": reordered,
        "longest_delay_ms": round(longest_ns / 1e6, 1),
    }


class Flood:
    """Numbered packets from one namespace to another, until `end()`, of `length` bytes in UDP."""

    def __init__(
        self, source: Netns, target: Netns, address: str, rate: int, length: int = _PACKET.size
    ) -> None:
        me = (sys.executable, "-m", "tests.system.sequence")
        self._receiver = target.start(*me, "receive")
        assert self._receiver.stdout is not None
        assert self._receiver.stdout.readline() == "ready\n"
        self._target = target
        self._before = datagrams(target.run)
        self._sender = source.start(*me, "send", address, str(rate), str(length))

    def passes(self, packets: int) -> bool:
        """Whether so many more arrive."""
        at = datagrams(self._target.run)
        return until(lambda: datagrams(self._target.run) >= at + packets)

    def stop(self) -> None:
        """End it where nobody asks what arrived."""
        for process in (self._sender, self._receiver):
            stop(process)

    def __enter__(self) -> Flood:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def end(self) -> tuple[int, dict[str, Any]]:
        """How many were sent, and what receive() says of them."""
        sent: int = json.loads(end(self._sender, signal.SIGTERM))["sent"]
        until(lambda: datagrams(self._target.run) - self._before >= sent)
        return sent, json.loads(end(self._receiver, signal.SIGTERM))


class Ping:
    """ping(8) from one namespace, until `end()`."""

    def __init__(self, source: Netns, address: str, *options: str) -> None:
        self._source = source
        self._before = echo_replies(source.run)
        self._process = source.start("ping", "-n", "-q", *options, address)

    def passes(self, answers: int) -> bool:
        """Whether so many more come."""
        at = self._answers()
        return until(lambda: self._answers() >= at + answers)

    def end(self) -> tuple[int, int]:
        """How many requests were sent, and how many answers came: also to the last ones, which are
        on their way when ping is told to end."""
        said = end(self._process, signal.SIGINT)
        found = re.search(r"(\d+) packets transmitted", said)
        assert found is not None, said
        sent = int(found[1])
        until(lambda: self._answers() >= sent)
        return sent, self._answers()

    def __enter__(self) -> Ping:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it where nobody asks what came."""
        stop(self._process)

    def _answers(self) -> int:
        return echo_replies(self._source.run) - self._before


def stop(process: subprocess.Popen[str]) -> None:
    """End a command that may have ended, so that none outlives a test that fails."""
    process.kill()
    process.wait()


@contextmanager
def stopping(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """A command that runs no longer than this."""
    try:
        yield process
    finally:
        stop(process)


def end(process: subprocess.Popen[str], number: signal.Signals) -> str:
    """Tell a command in a namespace to end; what it had to say."""
    process.send_signal(number)  # `ip netns exec` becomes the command, so that it is who hears this
    output, _ = process.communicate(timeout=120)
    return output


def assert_all_arrived(sent: int, arrived: dict[str, Any]) -> None:
    """Each once, in order."""
    assert (arrived["received"], arrived["highest"]) == (sent, sent - 1), arrived
    assert (arrived["missing"], arrived["duplicates"], arrived["reordered"]) == (0, 0, 0), arrived


if __name__ == "__main__":
    kind, *rest = sys.argv[1:]
    print(json.dumps(send(rest[0], int(rest[1]), int(rest[2])) if kind == "send" else receive()))
