"""A rate limit that no port can use up alone."""

from __future__ import annotations

from gossamer.switch.pacing import PacketInLimits, PacketInPacer


def test_without_a_rate_everything_goes_at_once() -> None:
    pacer = PacketInPacer(PacketInLimits(), 0.0)
    assert pacer.offer(1, b"a", 0.0) == [b"a"]
    assert pacer.next_s is None


def test_beyond_the_burst_packets_wait_for_the_rate() -> None:
    pacer = PacketInPacer(PacketInLimits(rate=100, burst=2), 0.0)
    sent = [pacer.offer(1, bytes([i]), 0.0) for i in range(4)]
    assert sent == [[b"\0"], [b"\1"], [], []]
    assert pacer.next_s is not None and 0.009 < pacer.next_s < 0.011
    assert pacer.due(0.005) == []
    assert pacer.due(0.0101) == [b"\2"]
    assert pacer.due(0.0202) == [b"\3"]
    assert pacer.next_s is None


def test_ports_take_turns() -> None:
    pacer = PacketInPacer(PacketInLimits(rate=100, burst=1), 0.0)
    pacer.offer(1, b"first", 0.0)
    for i in range(50):
        pacer.offer(1, b"flood%d" % i, 0.0)
    pacer.offer(2, b"quiet", 0.0)
    served = [m for step in range(1, 4) for m in pacer.due(step * 0.0101)]
    assert b"quiet" in served[:2]


def test_when_too_many_wait_the_longest_queue_loses_its_oldest() -> None:
    pacer = PacketInPacer(PacketInLimits(rate=1, burst=1, queue_size=10), 0.0)
    for i in range(20):
        pacer.offer(1, b"%d" % i, 0.0)
    pacer.offer(2, b"other", 0.0)
    assert pacer.dropped == 10
    served = [m for step in range(1, 20) for m in pacer.due(step * 1.01)]
    assert len(served) == 10 and b"other" in served and b"19" in served and b"1" not in served


def test_tokens_do_not_pile_up_beyond_the_burst() -> None:
    pacer = PacketInPacer(PacketInLimits(rate=1000, burst=3), 0.0)
    assert sum(len(pacer.offer(1, b"x", 60.0)) for _ in range(10)) == 3
