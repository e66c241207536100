"""What actions write behind a ct() that translates counts, whatever was there before: bit by bit."""

from __future__ import annotations

import pytest

from gossamer.datapath.datapath import Datapath
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.world import Port
from tests.property import ip_packets as p
from tests.property.case import BridgeCase, Case, PacketCase
from tests.property.compare import disagreement
from tests.property.connections import rule

FLOW = p.Flow(bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2)), p.UDP, 4000, 53)
TRANSLATES = "ct(commit,zone=1,nat(src=1.2.3.4:7000))"
ACTIONS = {
    "the value from before translation": (f"{TRANSLATES},set_field:10.0.0.1->ip_src,output:2", "10.0.0.1"),
    "some bits of it": (f"{TRANSLATES},set_field:0.0.0.1/0.0.0.255->ip_src,output:2", "1.2.3.1"),
    "some bits of another": (f"{TRANSLATES},set_field:0.0.0.9/0.0.0.255->ip_src,output:2", "1.2.3.9"),
    "by a move": (f"{TRANSLATES},move:NXM_OF_IP_SRC[0..15]->NXM_OF_IP_SRC[0..15],output:2", "1.2.0.1"),
    "from the stack": (
        f"push:NXM_OF_IP_SRC[],{TRANSLATES},pop:NXM_OF_IP_SRC[],output:2",
        "10.0.0.1",
    ),
    "before it": (f"set_field:10.0.0.1->ip_src,{TRANSLATES},output:2", "1.2.3.4"),
    "in a copy": (f"{TRANSLATES},clone(set_field:10.0.0.1->ip_src),output:2", "1.2.3.4"),
    "behind a copy": (
        f"clone({TRANSLATES}),{TRANSLATES},set_field:10.0.0.1->ip_src,output:2",
        "10.0.0.1",
    ),
    "then translated again": (
        f"{TRANSLATES},set_field:10.0.0.1->ip_src,ct(commit,zone=2,nat(src=5.6.7.8)),output:2",
        "5.6.7.8",
    ),
    "below a label": (
        f"{TRANSLATES},set_field:10.0.0.1->ip_src,push_mpls:0x8847,pop_mpls:0x0800,output:2",
        "10.0.0.1",
    ),
    "of a field that the packet lacks": (f"{TRANSLATES},set_field:4000->tcp_src,output:2", "1.2.3.4"),
}  # fmt: skip


def case(actions: str) -> Case:
    """Two packets of a connection by these actions."""
    bridge = BridgeCase("br0", (Port(1), Port(2)), (rule(f"table=0,ip,actions={actions}"),))
    packet = PacketCase("br0", 1, p.udp(FLOW, b"data"))
    return Case((bridge,), (packet, packet))


@pytest.mark.parametrize("what", ACTIONS)
def test_what_is_written_behind_translation_stays(datapath: Datapath, what: str) -> None:
    actions, source = ACTIONS[what]
    wanted = case(actions)
    sent = Pipeline(wanted.world()).run("br0", 1, wanted.packets[0].data).outputs[0].packet
    assert ".".join(map(str, sent[26:30])) == source
    assert disagreement(datapath, wanted) == ""


ECHO = p.Flow(bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2)), p.ICMP, 77)
OTHER_ECHO = p.Flow(bytes((10, 0, 0, 9)), bytes((10, 0, 0, 2)), p.ICMP, 77)
HEADERS = {
    "a label that came and is another type now": "push_mpls:0x8847,pop_mpls:0x1234",
    "labels that came and went to it": "push_mpls:0x8847,push_mpls:0x8847,pop_mpls:0x8847,pop_mpls:0x800",
    "a label that left its TTL": "push_mpls:0x8847,set_mpls_ttl(9),copy_ttl_in,pop_mpls:0x800,dec_ttl",
    "labels, twice": "push_mpls:0x8847,pop_mpls:0x1234,output:3,push_mpls:0x8847",
    "a backbone header": "push_pbb:0x88e7",
    "a service header": "encap(nsh(md_type=1)),encap(ethernet)",
    "a service header that came and went": "encap(nsh(md_type=1)),decap()",
    "a backbone header that came and went": "push_pbb:0x88e7,pop_pbb,output:3,set_field:9->nw_ttl",
}  # fmt: skip


@pytest.mark.parametrize("headers", HEADERS)
@pytest.mark.parametrize("flow", [FLOW, ECHO], ids=["udp", "icmp"])
def test_translation_stays_below_what_comes_and_goes(
    datapath: Datapath, flow: p.Flow, headers: str
) -> None:
    how = "nat(src=1.2.3.4)"
    rules = [f"table=0,ip,actions=ct(commit,zone=1,{how}),{HEADERS[headers]},output:2"]
    ports = (Port(1), Port(2), Port(3))
    bridge = BridgeCase("br0", ports, tuple(map(rule, rules)))
    if flow is FLOW:
        packets = [p.udp(flow, b"data")]
    else:
        # The second one gets another identifier.
        packets = [p.icmp(f, 8, 0, bytes((0, 77, 0, 1))) for f in (OTHER_ECHO, ECHO)]
    wanted = Case((bridge,), tuple(PacketCase("br0", 1, packet) for packet in packets))
    pipeline = Pipeline(wanted.world())
    for packet in wanted.packets:
        for output in pipeline.run("br0", 1, packet.data).outputs:
            assert bytes((1, 2, 3, 4)) in output.packet
            assert bytes((10, 0, 0, 1)) not in output.packet
    assert disagreement(datapath, wanted) == ""
