"""A bridge in a capturing datapath: port 1 is the inside, port 2 the outside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gossamer.datapath.datapath import Datapath
from gossamer.datapath.settings import BridgeSettings, PortKind, PortSettings
from gossamer.datapath.testrun import Captured, TestRun
from gossamer.pipeline.action_syntax import parse_actions
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.flow_syntax import parse_flow
from tests.property.wire import Seen, see

INSIDE, OUTSIDE = 1, 2
STATE_BITS = (
    ("new", 1), ("est", 2), ("rel", 4), ("rpl", 8), ("inv", 16), ("trk", 32), ("snat", 64), ("dnat", 128),
)  # fmt: skip


def flow(text: str) -> Flow:
    """A flow as `ovs-ofctl add-flow` takes it."""
    head, actions = text.split("actions=")
    parsed = parse_flow(head.rstrip(","))
    return Flow(
        parsed.table_id or 0,
        32768 if parsed.priority is None else parsed.priority,
        parsed.match,
        parse_actions(actions),
    )


def nat_rules(how: str, zone: int = 5) -> list[str]:
    """Flows that translate what goes out as `how` says, and what comes in back."""
    show = "actions=move:NXM_NX_CT_STATE[0..7]->NXM_OF_ETH_SRC[0..7]"
    return [
        *(f"table=0,in_port=1,{ip},actions=ct(commit,zone={zone},nat({how}),table=1)" for ip in ("ip", "ipv6")),
        *(f"table=0,in_port=2,{ip},actions=ct(zone={zone},nat,table=1)" for ip in ("ip", "ipv6")),
        f"table=1,in_port=1,{show},output:2",
        f"table=1,in_port=2,{show},output:1",
    ]  # fmt: skip


class NatWorld:
    """Packets in, packets out."""

    def __init__(self, datapath: Datapath) -> None:
        self.datapath = datapath
        self.bridge = datapath.add_bridge("nat")
        datapath.configure_bridge(self.bridge, BridgeSettings())
        self.ports: dict[int, int] = {}
        for number in (INSIDE, OUTSIDE):
            self.add_port(number)
        self.run = TestRun(datapath)

    def add_port(self, number: int) -> int:
        """One more port; its id."""
        port = PortSettings(name=f"p{number}", ofport=number, kind=PortKind.DEVICE)
        self.ports[number] = self.datapath.add_port(self.bridge, port)
        return self.ports[number]

    def flows(self, *texts: str) -> None:
        """Add flows."""
        self.datapath.insert_flows(self.bridge, [flow(text) for text in texts])

    def nat(self, how: str, *, zone: int = 5) -> None:
        """Translate what goes out as `how` says; what comes in is only translated back.

        Packets show their ct_state in the last byte of their Ethernet source.
        """
        self.flows(*nat_rules(how, zone))

    def send(self, port: int, data: bytes) -> list[Captured]:
        """What comes of a frame."""
        return self.run.run(self.ports[port], data)

    def through(self, port: int, data: bytes, *, whole: bool = True) -> tuple[set[str], Seen]:
        """The one frame that comes out on the other side: its ct_state and itself."""
        out = self.send(port, data)
        assert [c.port_id for c in out] == [self.ports[3 - port]], self.datapath.drops()
        bits = out[0].data[11]
        return {name for name, bit in STATE_BITS if bits & bit}, see(out[0].data, whole=whole)

    def dropped(self, port: int, data: bytes, reason: str) -> None:
        """The frame must be dropped for a reason."""
        before = self.datapath.drops().get(reason, 0)
        assert self.send(port, data) == []
        assert self.datapath.drops().get(reason, 0) == before + 1


@contextmanager
def nat_world(datapath: Datapath) -> Iterator[NatWorld]:
    """A world, taken away at the end with all its connections."""
    world = NatWorld(datapath)
    try:
        yield world
    finally:
        datapath.remove_bridge(world.bridge)
        datapath.conntrack.flush()
        datapath.conntrack.config.set_now_ns(0)


assert BY_NAME["ct_state"], "what the flows show is a field"
