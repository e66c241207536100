"""Connections of another version's maps (bpf/inherit.h): taken over while packets go through both versions.

Here both are laid out alike; tests/system/test_ct_restart.py has one that is laid out otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import pytest

from gossamer.datapath import libbpf
from gossamer.datapath.conntrack.connection import Connection
from gossamer.datapath.conntrack.earlier import EarlierConnections
from gossamer.datapath.datapath import Datapath
from gossamer.datapath.layout import CtConfigFlag
from gossamer.datapath.libbpf import lib
from gossamer.datapath.loader import CT_MAP_NAMES
from gossamer.pipeline.conntrack.expected import Expectation
from gossamer.pipeline.conntrack.sequences import SequenceShift
from gossamer.pipeline.conntrack.tuple import Tuple
from tests.property.nat_world import INSIDE, OUTSIDE, NatWorld
from tests.property.wire import ACK, SYN, tcp, udp

ME, MASK, PEER = "10.0.0.1", "198.51.100.1", "192.0.2.9"
RST: Final = 0x04
_START: Final = 3_000_000_000
_FAR: Final = 50_000_000
"""Bytes that are far beyond any window."""


class Versions:
    """Two of them with the same rules; what the old one keeps of connections is pinned in `folder`."""

    def __init__(self, old: Datapath, new: Datapath, folder: Path) -> None:
        self.old, self.new = NatWorld(old), NatWorld(new)
        for world in (self.old, self.new):
            world.nat(f"src={MASK}")
        self.folder = folder

    def earlier(self) -> EarlierConnections:
        new = self.new.datapath
        return EarlierConnections(self.folder, new._loaded.map_fds, new.conntrack)


@pytest.fixture(scope="module")
def datapaths() -> Iterator[tuple[Datapath, Datapath]]:
    pins = [Path(mkdtemp(prefix="inherited", dir="/sys/fs/bpf")) for _ in range(2)]
    old, new = (Datapath.open(folder, capturing=True) for folder in pins)
    yield old, new
    old.destroy()
    new.destroy()


@pytest.fixture
def versions(datapaths: tuple[Datapath, Datapath]) -> Iterator[Versions]:
    old, new = datapaths
    folder = Path(mkdtemp(prefix="old", dir="/sys/fs/bpf")) / "conntrack-1"
    folder.mkdir()
    for name in CT_MAP_NAMES:
        libbpf.check(lib.bpf_obj_pin(old._loaded.map_fds[name], str(folder / name).encode()), name)
    it = Versions(old, new, folder)
    yield it
    assert not folder.exists(), "what is taken over is not needed any more"
    folder.parent.rmdir()
    for world in (it.old, it.new):
        world.datapath.remove_bridge(world.bridge)
        world.datapath.conntrack.flush()
        world.datapath.conntrack.config.set_flags(CtConfigFlag(0))
        world.datapath.conntrack.config.set_now_ns(0)


def _begin(world: NatWorld, port: int = 4000) -> None:
    """A session through the translation, established; both sides begin at _START."""
    world.through(INSIDE, tcp(ME, port, PEER, 80, SYN, _START))
    world.through(OUTSIDE, tcp(PEER, 80, MASK, port, SYN | ACK, _START, _START + 1))
    assert _out(world, 1, port) == {"trk", "est", "snat"}


def _out(world: NatWorld, at: int, port: int = 4000, flags: int = ACK) -> set[str]:
    """What a segment of the inside's is, `at` bytes on; the other side is as far."""
    state, seen = world.through(INSIDE, tcp(ME, port, PEER, 80, flags, _START + at, _START + at, b"x"))
    assert seen.way == (MASK, port, PEER, 80)
    return state


def _in(world: NatWorld, at: int, port: int = 4000) -> set[str]:
    """The same of the outside's."""
    state, seen = world.through(OUTSIDE, tcp(PEER, 80, MASK, port, ACK, _START + at, _START + at, b"x"))
    assert seen.way == (PEER, 80, ME, port)
    return state


def _connection(world: NatWorld, port: int = 4000) -> Connection:
    found = world.datapath.conntrack.find(Tuple(bytes((10, 0, 0, 1)), bytes((192, 0, 2, 9)), 6, port, 80, 5))
    assert found is not None
    return found


def test_a_session_goes_on_with_its_translation_where_it_was(versions: Versions) -> None:
    _begin(versions.old)
    before = _connection(versions.old)
    earlier = versions.earlier()
    assert earlier.begin() == 1
    earlier.end()
    assert versions.new.datapath.conntrack.count == 1
    assert versions.new.datapath.conntrack.zones.limit(5).count == 1
    after = _connection(versions.new)
    assert (after.orig, after.reply, after.flags, after.peers, after.n_packets, after.n_bytes) == (
        before.orig, before.reply, before.flags, before.peers, before.n_packets, before.n_bytes,
    )  # fmt: skip
    assert abs(after.timeout_s - before.timeout_s) < 10
    assert _in(versions.new, 1) == {"trk", "est", "rpl", "dnat"}
    assert "inv" in _out(versions.new, _FAR), "windows are looked at again"


def test_what_begins_after_the_copy_is_taken_over_at_the_end(versions: Versions) -> None:
    earlier = versions.earlier()
    assert earlier.begin() == 0
    _begin(versions.old)
    earlier.end()
    assert _in(versions.new, 1) == {"trk", "est", "rpl", "dnat"}


def test_a_stream_that_went_far_since_the_copy_goes_on_in_either_version(versions: Versions) -> None:
    _begin(versions.old)
    earlier = versions.earlier()
    earlier.begin()
    # Each side goes on in steps that fit the windows; the copy knows nothing of it.
    for at in range(50_000, _FAR, 50_000):
        versions.old.send(INSIDE, tcp(ME, 4000, PEER, 80, ACK, _START + at, _START + at - 50_000, b"x"))
        versions.old.send(OUTSIDE, tcp(PEER, 80, MASK, 4000, ACK, _START + at, _START + at, b"x"))
    assert _out(versions.new, _FAR) == {"trk", "est", "snat"}
    assert _in(versions.old, _FAR + 100_000) == {"trk", "est", "rpl", "dnat"}, "what comes back has the old ones"
    earlier.end()
    assert _out(versions.new, _FAR + 100_000) == {"trk", "est", "snat"}
    assert _in(versions.new, _FAR + 100_000) == {"trk", "est", "rpl", "dnat"}
    assert "inv" in _out(versions.new, 3 * _FAR)


def test_what_ended_since_the_copy_lives_no_longer_than_it_did(versions: Versions) -> None:
    _begin(versions.old)
    earlier = versions.earlier()
    earlier.begin()
    assert _connection(versions.new).timeout_s > 80_000
    _out(versions.old, 1, flags=RST | ACK)
    earlier.end()
    ended = _connection(versions.new)
    assert ended.timeout_s <= 30
    assert ended.peers is not None
    assert [p.state for p in ended.peers] == ["TIME_WAIT"] * 2


def test_a_session_that_began_anew_with_the_same_ports_is_the_later_one(versions: Versions) -> None:
    conntracks = [w.datapath.conntrack for w in (versions.old, versions.new)]
    for conntrack in conntracks:
        conntrack.config.set_now_ns(1000 * 10**9)
    _begin(versions.old)
    earlier = versions.earlier()
    earlier.begin()
    _out(versions.old, 1, flags=RST | ACK)
    for conntrack in conntracks:
        conntrack.config.set_now_ns(1005 * 10**9)
    versions.old.through(INSIDE, tcp(ME, 4000, PEER, 80, SYN, 7))
    earlier.end()
    anew = _connection(versions.new)
    assert anew.peers is not None
    assert [p.state for p in anew.peers] == ["SYN_SENT", "CLOSED"]
    assert versions.new.datapath.conntrack.count == 1


def test_a_take_over_that_was_killed_is_begun_again_and_nothing_counts_twice(versions: Versions) -> None:
    conntrack = versions.new.datapath.conntrack
    for port in range(4000, 4100):
        _begin(versions.old, port)
    killed = versions.earlier()
    assert killed.begin() == 100
    killed.close()
    _begin(versions.old, 5000)
    again = versions.earlier()
    assert again.begin() == 101
    assert conntrack.config.has_flag(CtConfigFlag.INHERITS)
    again.end()
    assert not conntrack.config.has_flag(CtConfigFlag.INHERITS)
    assert conntrack.config.sequence_check, "that it was off meanwhile was nobody's wish"
    assert (conntrack.count, conntrack.zones.limit(5).count) == (101, 101)
    assert conntrack.flush() == 101


def test_an_upgrade_from_another_layout_that_was_killed_begins_anew() -> None:
    pins = Path(mkdtemp(prefix="inherited", dir="/sys/fs/bpf"))
    first = Datapath.open(pins, capturing=True)
    first.converge()
    assert not first.found_running
    left = pins / "maps-1"
    left.mkdir()
    libbpf.check(lib.bpf_obj_pin(first._loaded.map_fds["fdb"], str(left / "fdb").encode()), "fdb")
    second = Datapath.open(pins, capturing=True)
    assert (second.takeover, second.found_running) == (False, True)
    second.add_bridge("br0")
    second.converge()
    assert not left.exists()
    assert not second.found_running
    third = Datapath.open(pins, capturing=True)
    assert third.takeover, "there is nothing older any more"
    first.close()
    second.close()
    third.destroy()


def test_settings_limits_counts_and_what_helpers_know_come_along(versions: Versions) -> None:
    old, new = versions.old.datapath.conntrack, versions.new.datapath.conntrack
    versions.old.flows(
        "table=0,priority=40000,in_port=1,ip,nw_proto=17,"
        "actions=ct(commit,zone=7,alg=tftp,exec(set_field:0x1234->ct_mark,set_field:5->ct_label)),output:2"
    )
    old.config.maximum, old.config.default_limit, old.config.sequence_check = 5000, 70, False
    old.zones.set_limit(7, 99)
    old.zones.set_policy(7, 3)
    old.zones.set_timeouts(3, {"udp_first": 777})
    versions.old.send(INSIDE, udp(ME, 4000, PEER, 69))
    orig = Tuple(bytes((10, 0, 0, 1)), bytes((192, 0, 2, 9)), 17, 4000, 69, 7)
    before = old.find(orig)
    assert before is not None
    expectation = Expectation(Tuple(orig.dst, orig.src, 17, 0, 4000, 7), orig, 0x77, 0x88)
    old.expectations.add(expectation)
    shifts = SequenceShift(10, -1, 2), SequenceShift(20, 3, -4)
    old.sequences.set_shifts(before, *shifts)
    created = old.counters()["created"]
    earlier = versions.earlier()
    earlier.begin()
    earlier.end()
    assert (new.config.maximum, new.config.default_limit, new.config.sequence_check) == (5000, 70, False)
    assert (new.zones.limit(7).limit, new.zones.limit(7).count, new.zones.policies()) == (99, 1, {7: 3})
    assert new.zones.timeouts(3)["udp_first"] == 777
    assert new.counters()["created"] == created
    after = new.find(orig)
    assert after is not None
    assert (after.mark, after.label, after.policy, after.alg) == (0x1234, 5, 3, 69)
    assert list(new.expectations) == [expectation]
    assert new.sequences.shifts(after) == shifts
    new.sequences.forget(after.key)
    new.expectations.remove(expectation)
    new.config.maximum, new.config.default_limit, new.config.sequence_check = 3_000_000, 0, True


def test_what_cannot_have_its_ports_any_more_is_left_out_and_breaks_nothing(versions: Versions) -> None:
    earlier = versions.earlier()
    earlier.begin()
    _begin(versions.new)
    # Another one from inside has the same ports outside by now.
    versions.old.flows(
        f"table=0,priority=40000,in_port=1,ip,nw_src=10.0.0.2,actions=ct(commit,zone=5,nat(src={MASK}),table=1)"
    )
    versions.old.through(INSIDE, tcp("10.0.0.2", 4000, PEER, 80))
    earlier.end()
    assert versions.new.datapath.conntrack.count == 1
    assert _in(versions.new, 1) == {"trk", "est", "rpl", "dnat"}
