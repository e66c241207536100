"""Packets that the kernel leaves to the daemon: counted and learned from as the kernel does."""

from __future__ import annotations

from running_switch import RunningSwitch
from tests.system.world import until

from gossamer.datapath.settings import Punt, PuntReason
from gossamer.pipeline.fields import put_slot

PACKET = bytes.fromhex("020000000002020000000001123400000000")
LENGTH = 64
"""With what it had in the bridge before."""


def _comes_up(switch: RunningSwitch, brought: int = 0) -> int:
    """Let the packet come up by port 1; the port's id."""
    bridge = switch.switch.bridges["br0"]
    port_id = bridge.ports.by_ofport[1].port_id
    key = put_slot(brought, "in_port", 1)
    punt = Punt(
        bridge.ports.bridge_id, port_id, PuntReason.SLOW, LENGTH, 0, 0, 0, 0, len(PACKET), key, PACKET
    )
    switch.call(lambda: switch.datapath.packets.punts.append(punt))
    return port_id


def test_flows_groups_and_misses_are_counted_with_the_length_it_came_with(
    switch: RunningSwitch,
) -> None:
    switch.ofctl("add-group", "br0", "group_id=5,type=all,bucket=output:2,bucket=output:3")
    switch.ofctl("add-flow", "br0", "actions=group:5,resubmit(,7)")
    _comes_up(switch)
    assert until(lambda: len(switch.datapath.packets.sent) == 2)
    flows = switch.ofctl("dump-flows", "br0")
    assert f"n_packets=1, n_bytes={LENGTH}" in flows
    bridge_id = switch.switch.bridges["br0"].ports.bridge_id
    assert switch.datapath.group_uses == [(bridge_id, 5, (0, 1), LENGTH)]
    assert switch.datapath.misses == {(bridge_id, 7): 1}


def test_normal_learns_from_it_as_from_packets_in_the_kernel(switch: RunningSwitch) -> None:
    switch.ofctl("add-flow", "br0", "actions=NORMAL")
    port_id = _comes_up(switch)
    assert until(lambda: bool(switch.datapath.packets.sent))
    bridge_id = switch.switch.bridges["br0"].ports.bridge_id
    assert switch.datapath.fdb.taught == [(bridge_id, port_id, 0, PACKET[6:12])]


def test_the_mark_that_another_bridge_gave_it_stays(switch: RunningSwitch) -> None:
    switch.ofctl("add-flow", "br0", "priority=2,pkt_mark=7,actions=output:2")
    bridge = switch.switch.bridges["br0"]
    port_id = bridge.ports.by_ofport[2].port_id
    _comes_up(switch, put_slot(0, "pkt_mark", 7))
    assert until(lambda: bool(switch.datapath.packets.sent))
    assert switch.datapath.packets.sent == [(port_id, PACKET)]


def test_packet_outs_are_counted_by_groups_and_teach_nothing(switch: RunningSwitch) -> None:
    switch.ofctl("add-group", "br0", "group_id=5,type=indirect,bucket=output:2")
    out = f"in_port=1,packet={PACKET.hex()},actions=group:5,NORMAL"
    switch.ofctl("packet-out", "br0", out)
    bridge_id = switch.switch.bridges["br0"].ports.bridge_id
    assert switch.datapath.group_uses == [(bridge_id, 5, (0,), len(PACKET))]
    assert switch.datapath.fdb.taught == []
