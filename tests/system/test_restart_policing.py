"""Ingress policing goes on over the death of the daemon: same rate, and no bucket filled anew."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import pytest

from tests.system.sequence import Flood
from tests.system.world import Host, Netns, datagrams, until

PAYLOAD: Final = 1200
FRAME_BITS: Final = (PAYLOAD + 8 + 20 + 14) * 8
"""Policing counts whole frames."""
BUCKET_S: Final = 2
"""What a bucket holds: that which its rate gives in so long."""
LEEWAY_S: Final = 0.5
"""Of the bucket: a sender that waits for the processor leaves it to fill for that long."""


class Sender:
    """Three times what may pass, from a policed port to a sink of its own."""

    def __init__(self, source: Netns, sink: Netns, address: str, kbps: int) -> None:
        self._source, self._sink, self._address = source, sink, address
        self.kbps = kbps
        self._flood: Flood | None = None

    def begin(self) -> None:
        """Send until `end()`."""
        rate = 3 * self.kbps * 1000 // FRAME_BITS
        self._flood = Flood(self._source, self._sink, self._address, rate, PAYLOAD)

    def end(self) -> None:
        """No more."""
        if self._flood is not None:
            self._flood.stop()

    def passes(self, seconds: float) -> bool:
        """Whether so much more arrives as its rate lets pass in a time."""
        assert self._flood is not None
        return self._flood.passes(int(self.kbps * 1000 / FRAME_BITS * seconds))

    def _refused(self) -> int:
        sent = self._source.run("cat", "/proc/net/snmp").stdout
        names, values = (line.split() for line in sent.splitlines() if line.startswith("Udp: "))
        return int(values[names.index("OutDatagrams")]) - datagrams(self._sink.run)

    def mark(self) -> tuple[float, int, float]:
        """What has arrived at a moment at which the bucket is empty, and the clock before and after."""
        before = self._refused()
        assert until(lambda: self._refused() > before + 100), "nothing is held back"
        began_s = time.monotonic()
        arrived = datagrams(self._sink.run)
        return began_s, arrived, time.monotonic()

    def assert_rate_since(self, then: tuple[float, int, float]) -> None:
        """What its rate gives has arrived since a mark, neither a bucket more nor less."""
        now = self.mark()
        bits = (now[1] - then[1]) * FRAME_BITS
        least_s, most_s = now[0] - then[2], now[2] - then[0]
        seconds = bits / self.kbps / 1000
        assert least_s - LEEWAY_S < seconds < most_s + LEEWAY_S, (seconds, least_s, most_s)


@pytest.fixture
def policed(host: Host) -> Iterator[tuple[Host, Sender, Sender]]:
    """Two senders, policed to 1 and 10 Mbit/s."""
    host.vsctl("add-br", "br0")
    senders = []
    for n, (name, kbps) in enumerate((("slow", 1000), ("fast", 10000)), 1):
        source = host.netns(name, f"10.0.{n}.1/24", "br0")
        sink = host.netns(f"{name}end", f"10.0.{n}.9/24", "br0")
        police(host, source, kbps)
        assert source.ping(f"10.0.{n}.9", 1) == 1
        senders.append(Sender(source, sink, f"10.0.{n}.9", kbps))
    yield host, senders[0], senders[1]
    for sender in senders:
        sender.end()


def police(host: Host, ns: Netns, kbps: int, *options: str) -> None:
    """Write a rate into the database."""
    host.check("ovs-vsctl", "--timeout=100", *options, "set", "interface", ns.device,
               f"ingress_policing_rate={kbps}", f"ingress_policing_burst={kbps * BUCKET_S}")  # fmt: skip


def test_policed_ports_keep_their_rates_while_the_daemon_dies_and_comes_back(
    policed: tuple[Host, Sender, Sender],
) -> None:
    host, *senders = policed
    for sender in senders:
        sender.begin()
    marks = [sender.mark() for sender in senders]
    for _ in range(3):
        host.kill()
        assert all(sender.passes(0.5) for sender in senders)
        host.start()
        assert all(sender.passes(0.3) for sender in senders)
    for sender, mark in zip(senders, marks, strict=True):
        sender.assert_rate_since(mark)


def test_a_rate_that_is_changed_while_the_daemon_is_dead_holds_once_it_is_back(
    policed: tuple[Host, Sender, Sender],
) -> None:
    host, slow, _ = policed
    host.kill()
    slow.kbps = 4000
    police(host, Netns("slow", "vslow"), slow.kbps, "--no-wait")
    host.start()
    slow.begin()
    mark = slow.mark()
    assert slow.passes(2)
    slow.assert_rate_since(mark)
