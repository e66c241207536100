"""CPUs whose clocks differ by a tick: what one has just learned is not old for the other."""

from __future__ import annotations

from tests.property.nat_world import INSIDE, OUTSIDE, NatWorld

NOW_NS, TICK_NS = 50_000_000_000_000, 4_000_000
A, B = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")


def _frame(to: bytes, sender: bytes) -> bytes:
    return to + sender + b"\x88\xb5" + bytes(46)


def test_an_address_seen_a_tick_later_elsewhere_is_known(world: NatWorld) -> None:
    world.flows("actions=NORMAL")
    third = world.add_port(3)
    clock = world.datapath.conntrack.config.set_now_ns
    clock(NOW_NS)
    world.send(OUTSIDE, _frame(A, B))
    clock(NOW_NS - TICK_NS)
    out = [c.port_id for c in world.send(INSIDE, _frame(B, A))]
    assert out == [world.ports[OUTSIDE]], f"flooded to {third} too"


def test_a_port_has_no_more_packets_for_the_controller_by_a_late_clock(world: NatWorld) -> None:
    world.flows("actions=CONTROLLER")
    clock = world.datapath.conntrack.config.set_now_ns
    clock(NOW_NS)
    limit = 5000
    world.run.run(world.ports[INSIDE], _frame(B, A), repeat=limit + 1)
    assert not world.send(INSIDE, _frame(B, A)), "all of a second's are used"
    clock(NOW_NS - TICK_NS)
    assert not world.send(INSIDE, _frame(B, A))
    clock(NOW_NS + 1_000_000_000)
    assert world.send(INSIDE, _frame(B, A))
