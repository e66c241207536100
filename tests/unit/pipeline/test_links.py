"""Multipath and bundle, cut outputs, length checks: what is chosen and what leaves."""

from __future__ import annotations

from collections import Counter

import pytest

from gossamer.pipeline import action as act
from gossamer.pipeline.action_choice import (
    Bundle,
    BundleAlgorithm,
    HashFields,
    Multipath,
    MultipathAlgorithm,
)
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.fields import get_slot, put_slot
from gossamer.pipeline.links import link, looks_at, member
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.packet import parse
from gossamer.pipeline.result import Result
from gossamer.pipeline.steps import Drop
from gossamer.pipeline.world import Bridge, Port, World
from tests.unit.pipeline.test_execute import TCP, out, rule, run, sub

KEY = parse(TCP, 1)
KEYS = [put_slot(put_slot(KEY, "tp_src", n), "nw_src", n * 7) for n in range(2000)]
SYMMETRIC = [f for f in HashFields if f.name.startswith("SYMMETRIC")]


def multipath(algorithm: MultipathAlgorithm, n: int, arg: int = 0) -> Multipath:
    return Multipath(HashFields.SYMMETRIC_L4, 0, algorithm, n, arg, sub("reg1", 0, 16))


def bundle(algorithm: BundleAlgorithm, *members: int) -> Bundle:
    return Bundle(HashFields.SYMMETRIC_L4, 0, algorithm, members)


@pytest.mark.parametrize("algorithm", list(MultipathAlgorithm))
@pytest.mark.parametrize("n", [1, 2, 3, 7, 100])
def test_every_link_gets_its_share(algorithm: MultipathAlgorithm, n: int) -> None:
    shares = Counter(link(key, multipath(algorithm, n)) for key in KEYS)
    assert set(shares) <= set(range(n))
    wanted = len(KEYS) / n
    assert all(abs(shares[i] - wanted) < 5 * wanted**0.5 for i in range(n))


def test_hrw_moves_only_what_the_new_link_gets() -> None:
    before = [link(key, multipath(MultipathAlgorithm.HRW, 4)) for key in KEYS]
    after = [link(key, multipath(MultipathAlgorithm.HRW, 5)) for key in KEYS]
    assert all(new in (old, 4) for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("fields", SYMMETRIC)
def test_both_directions_take_the_same_link(fields: HashFields) -> None:
    action = Multipath(fields, 3, MultipathAlgorithm.MODULO_N, 1000, 0, sub("reg1", 0, 16))
    for key in KEYS[:50]:
        back = key
        for pair in (("nw_src", "nw_dst"), ("tp_src", "tp_dst"), ("eth_src", "eth_dst")):
            for one, other in (pair, pair[::-1]):
                back = put_slot(back, one, get_slot(key, other))
        assert link(key, action) == link(back, action)


@pytest.mark.parametrize("fields", list(HashFields))
def test_only_the_bits_it_looks_at_decide(fields: HashFields) -> None:
    action = Multipath(fields, 0, MultipathAlgorithm.MODULO_N, 65536, 0, sub("reg1", 0, 16))
    for key in (KEY, put_slot(KEY, "nw_proto", 17)):
        assert link(key & looks_at(fields), action) == link(key, action)
        changed = key ^ looks_at(fields) & (0xFF << 8)
        assert link(changed, action) == link(changed & looks_at(fields), action)


def test_ports_of_udp_count_only_where_named() -> None:
    def of(fields: HashFields) -> set[int]:
        action = Multipath(fields, 0, MultipathAlgorithm.MODULO_N, 65536, 0, sub("reg1", 0, 16))
        udp = put_slot(KEY, "nw_proto", 17)
        return {link(put_slot(udp, "tp_src", n), action) for n in range(20)}

    assert len(of(HashFields.SYMMETRIC_L3L4)) == 1
    assert len(of(HashFields.SYMMETRIC_L3L4_UDP)) > 1


def test_active_backup_takes_the_first_that_is_alive() -> None:
    action = bundle(BundleAlgorithm.ACTIVE_BACKUP, 5, 6, 7)
    assert member(KEY, action, lambda port: port != 5) == 6
    assert member(KEY, action, lambda port: False) == OfPort.ANY


def test_hrw_spreads_over_those_alive_and_moves_only_the_dead_ones_packets() -> None:
    action = bundle(BundleAlgorithm.HRW, 5, 6, 7)
    before = [member(key, action, lambda port: True) for key in KEYS]
    after = [member(key, action, lambda port: port != 6) for key in KEYS]
    assert set(before) == {5, 6, 7}
    assert all(new == old or old == 6 for old, new in zip(before, after, strict=True))
    assert set(after) == {5, 7}


def world(*actions: act.Action, down: int = 0) -> Result:
    ports = [Port(n, up=n != down) for n in (1, 2, 3)]
    return Pipeline(World([Bridge("br0", ports, [rule(*actions)])])).run("br0", 1, TCP)


def test_a_bundle_outputs_to_its_member_or_loads_it() -> None:
    action = bundle(BundleAlgorithm.ACTIVE_BACKUP, 2, 3)
    assert [out(world(action)), out(world(action, down=2))] == [[2], [3]]
    loading = Bundle(*(getattr(action, n) for n in action.__slots__[:4]), sub("reg1", 0, 16))
    assert get_slot(world(loading).key, "reg1") == 2
    nobody = Bundle(HashFields.ETH_SRC, 0, BundleAlgorithm.HRW, (9,), sub("reg1", 0, 16))
    assert get_slot(world(nobody).key, "reg1") == 0xFFFF


def test_a_multipath_writes_its_link_into_a_field() -> None:
    action = multipath(MultipathAlgorithm.MODULO_N, 1000)
    assert get_slot(run(rule(action)).key, "reg1") == link(KEY, action)


def test_an_output_can_be_cut_and_the_next_one_is_whole() -> None:
    result = world(act.OutputTrunc(2, 20), act.Output(3))
    assert [o.packet for o in result.outputs] == [TCP[:20], TCP]


def test_a_cut_output_goes_to_no_patch_port_and_not_back() -> None:
    ports = [Port(1), Port(2, peer=("br1", 1))]
    bridge = Bridge("br0", ports, [rule(act.OutputTrunc(2, 20), act.OutputTrunc(1, 20))])
    result = Pipeline(World([bridge, Bridge("br1", [Port(1)])])).run("br0", 1, TCP)
    assert (out(result), result.drops) == ([], [Drop.BY_RULE])


def test_a_packet_is_larger_than_fewer_bytes_only() -> None:
    for length, larger in ((len(TCP) - 1, 1), (len(TCP), 0)):
        result = run(rule(act.PushVlan(), act.CheckPktLarger(sub("reg0", 3, 1), length)))
        assert get_slot(result.key, "reg0") == larger << 3
