"""Packets that wait at a controller, with ovs-ofctl as the controller that sends them on."""

from __future__ import annotations

import pytest
from running_switch import RunningSwitch, Watching
from tests.system.world import until

from gossamer.datapath.settings import Punt, PuntReason
from gossamer.openflow.message import PacketInFormat
from gossamer.pipeline.fields import put_slot
from gossamer.pipeline.of_port import OfPort
from gossamer.switch.session import Session

PACKET = "112233445566aabbccddeeff0800"


def sent(switch: RunningSwitch) -> list[str]:
    names = {p.port_id: n for n, p in switch.switch.bridges["br0"].ports.ports.items()}
    return sorted(names[port_id] for port_id, _ in switch.datapath.packets.sent)


def met(key: int, table_id: int = 0) -> Punt:
    """A packet that met a controller(pause) in the kernel; on its way through the tables from the
    first on, or from the one before `table_id`."""
    return Punt(1, 1, PuntReason.SLOW, 0, table_id, 0, 0, 0, 14, key, bytes.fromhex(PACKET))


def listens(session: Session) -> bool:
    """The monitor has said all it says before it waits: the format of packet-ins is not the last."""
    feed = session.feed
    return bool(feed.miss_send_len) and feed.packet_in_format is not PacketInFormat.STANDARD


@pytest.mark.parametrize(
    ("actions", "ports"),
    [
        ("controller(pause),output:2", ["v1", "v2"]),
        ("controller(pause),resubmit(,9)", ["v1", "v3"]),
        ("controller(pause),goto_table:9", ["v1", "v3"]),
        ("controller(pause),output:2,write_actions(output:1)", ["v1", "v1", "v2"]),
        ("controller(pause),write_actions(output:2),goto_table:9", ["v1", "v2", "v3"]),
        ("resubmit(,8),clear_actions", ["v1", "v2"]),
        ("controller(pause),output:NXM_NX_REG3[]", ["v1", "v2"]),
        ("controller(pause),exit", []),
        ("controller(pause)", ["v1"]),
    ],
)
@pytest.mark.parametrize("version", [10, 13])
def test_what_was_left_to_do_is_done_when_the_packet_comes_back(
    switch: RunningSwitch, actions: str, ports: list[str], version: int
) -> None:
    switch.ofctl("add-flow", "br0",
                 "in_port=local,actions=set_field:2->reg3,set_field:0x77->metadata,resubmit(,3),output:1")  # fmt: skip
    switch.ofctl("add-flow", "br0", f"table=3,in_port=local,actions={actions}")
    switch.ofctl("add-flow", "br0", "table=8,actions=controller(pause),output:2")
    switch.ofctl("add-flow", "br0", "table=9,reg3=2,metadata=0x77,actions=output:3")
    key = put_slot(0, "in_port", OfPort.LOCAL)
    switch.call(lambda: switch.devices.change("br0", admin_up=True))
    assert until(lambda: switch.switch.bridges["br0"].ports.ports["br0"].admin_up)
    with Watching(switch, "monitor", "br0", "resume", "65534", version=version) as monitor:
        assert until(lambda: any(listens(s) for s in switch.sessions()))
        switch.call(lambda: switch.datapath.packets.punts.append(met(key)))
        assert monitor.shows("NXT_PACKET_IN2"), monitor.seen
        until(lambda: sent(switch) == ports and monitor.shows("NXT_RESUME", 0.1))
    assert sent(switch) == ports, monitor.seen


def test_a_packet_out_waits_too(switch: RunningSwitch) -> None:
    switch.ofctl("add-flow", "br0", "in_port=1,actions=controller(pause),output:2")
    with Watching(switch, "monitor", "br0", "resume", "65534") as monitor:
        assert until(lambda: any(listens(s) for s in switch.sessions()))
        switch.ofctl("packet-out", "br0", f"in_port=1,packet={PACKET},actions=table")
        assert monitor.shows("NXT_PACKET_IN2"), monitor.seen
        assert until(lambda: sent(switch) == ["v2"])


def test_a_packet_that_went_through_a_ct_begins_at_the_table_it_went_on_at(
    switch: RunningSwitch,
) -> None:
    switch.ofctl("add-flow", "br0", "actions=output:1")
    switch.ofctl("add-flow", "br0", "table=4,ct_state=+trk+new,reg3=2,ip,actions=controller(pause),output:2")  # fmt: skip
    switch.call(lambda: switch.devices.change("br0", admin_up=True))
    assert until(lambda: switch.switch.bridges["br0"].ports.ports["br0"].admin_up)
    key = put_slot(put_slot(put_slot(0, "in_port", OfPort.LOCAL), "reg3", 2), "ct_state", 0x21)
    with Watching(switch, "monitor", "br0", "resume", "65534") as monitor:
        assert until(lambda: any(listens(s) for s in switch.sessions()))
        switch.call(lambda: switch.datapath.packets.punts.append(met(key, table_id=5)))
        assert monitor.shows("continuation.conntracked=true"), monitor.seen
        assert until(lambda: sent(switch) == ["v2"]), monitor.seen
