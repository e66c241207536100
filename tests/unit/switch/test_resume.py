"""Packets that wait at a controller, with ovs-ofctl as the controller that sends them on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_datapath import wait_until
from running_switch import RunningSwitch, Watching

from gossamer.datapath.settings import Punt
from gossamer.openflow.message import PacketInFormat
from gossamer.pipeline.fields import put_slot
from gossamer.switch.session import Session

PACKET = "112233445566aabbccddeeff0800"


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[RunningSwitch]:
    running = RunningSwitch(tmp_path)
    running.apply()
    running.ofctl("del-flows", "br0")
    yield running
    running.stop()


def sent(switch: RunningSwitch) -> list[str]:
    names = {p.port_id: n for n, p in switch.switch.bridges["br0"].ports.ports.items()}
    return sorted(names[port_id] for port_id, _ in switch.datapath.sent)


def paused(switch: RunningSwitch, key: int) -> Punt:
    flow = next(f for f in switch.switch.bridges["br0"].tables if f.table_id == 3)
    return Punt(1, 1, 1, 0, 3, flow.flow_id, 0, 0xFFFF, 14, key, bytes.fromhex(PACKET))


def listens(session: Session) -> bool:
    """The monitor has said all it says before it waits: the format of packet-ins is not the last."""
    feed = session.feed
    return bool(feed.miss_send_len) and feed.packet_in_format is not PacketInFormat.STANDARD


@pytest.mark.parametrize(
    ("actions", "ports"),
    [
        ("controller(pause),output:2", ["v2"]),
        ("controller(pause),resubmit(,9)", ["v3"]),
        ("controller(pause),goto_table:9", ["v3"]),
        ("controller(pause),output:2,write_actions(output:1)", ["v1", "v2"]),
        ("controller(pause),output:NXM_NX_REG3[]", ["v2"]),
        ("controller(pause)", []),
    ],
)
@pytest.mark.parametrize("version", [10, 13])
def test_what_was_left_to_do_is_done_when_the_packet_comes_back(
    switch: RunningSwitch, actions: str, ports: list[str], version: int
) -> None:
    switch.ofctl("add-flow", "br0", f"table=3,in_port=local,actions={actions}")
    switch.ofctl("add-flow", "br0", "table=9,reg3=2,metadata=0x77,actions=output:3")
    key = put_slot(put_slot(put_slot(0, "in_port", 0xFFFFFFFE), "reg3", 2), "metadata", 0x77)
    switch.call(lambda: switch.devices.change("br0", admin_up=True))
    assert wait_until(lambda: switch.switch.bridges["br0"].ports.ports["br0"].admin_up)
    with Watching(switch, "monitor", "br0", "resume", "65534", version=version) as monitor:
        sessions = switch.switch.bridges["br0"].controllers.sessions
        assert wait_until(lambda: any(listens(s) for s in sessions()))
        switch.call(lambda: switch.datapath.punts.append(paused(switch, key)))
        assert monitor.shows("NXT_PACKET_IN2"), monitor.seen
        wait_until(lambda: sent(switch) == ports and monitor.shows("NXT_RESUME", 0.1))
    assert sent(switch) == ports, monitor.seen


def test_a_packet_out_waits_too(switch: RunningSwitch) -> None:
    switch.ofctl("add-flow", "br0", "in_port=1,actions=controller(pause),output:2")
    with Watching(switch, "monitor", "br0", "resume", "65534") as monitor:
        sessions = switch.switch.bridges["br0"].controllers.sessions
        assert wait_until(lambda: any(listens(s) for s in sessions()))
        switch.ofctl("packet-out", "br0", f"in_port=1,packet={PACKET},actions=table")
        assert monitor.shows("NXT_PACKET_IN2"), monitor.seen
        assert wait_until(lambda: sent(switch) == ["v2"])
