"""What leaves the reference pipeline has the headers its key says, whatever was done on the way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action
from gossamer.pipeline.commit import PACKET_MASK
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.flow_syntax import compose, parse_flow
from gossamer.pipeline.labels import is_mpls, labels_of
from gossamer.pipeline.match import ANY
from gossamer.pipeline.packet import dissect, parse
from gossamer.pipeline.world import Bridge, Port, World
from tests.property.examples import examples

FRAMES = [
    compose(parse_flow(text).match)
    for text in (
        "tcp,nw_src=10.0.0.1,nw_dst=10.0.0.2,nw_ttl=64,nw_tos=184,tp_src=1,tp_dst=2",
        "udp,nw_ttl=1,tp_dst=53,dl_vlan=7,dl_vlan_pcp=5",
        "udp6,ipv6_src=fd00::1,ipv6_dst=fd00::2,nw_ttl=9,tp_src=5",
        "icmp6,icmp_type=128,nw_ttl=3,dl_vlan=0",
        "arp,arp_spa=10.0.0.1,arp_op=1",
        "mpls,mpls_label=5,mpls_ttl=9,mpls_bos=1",
        "dl_type=0x1234",
    )
]


def set_to(name: str) -> st.SearchStrategy[Action]:
    f = BY_NAME[name]
    full = (1 << f.n_bits) - 1
    return st.integers(0, full).map(lambda value: act.SetField(f, value, full))


CHANGES: st.SearchStrategy[Action] = st.one_of(
    st.sampled_from(
        [
            act.PushMpls(),
            act.PushMpls(0x8848),
            act.PopMpls(0x0800),
            act.PopMpls(0x86DD),
            act.PopMpls(0x8847),
            act.PushVlan(),
            act.PushVlan(0x88A8),
            act.PopVlan(),
            act.PushPbb(),
            act.PopPbb(),
            act.CopyTtlIn(),
            act.CopyTtlOut(),
            act.DecTtl(),
            act.DecMplsTtl(),
        ]
    ),
    *(
        set_to(name)
        for name in (
            "eth_dst", "vlan_pcp", "mpls_label", "mpls_tc", "mpls_ttl", "ip_src", "ip_dscp",
            "ipv6_dst", "ipv6_label", "nw_ttl", "tcp_dst", "udp_src", "arp_spa", "arp_sha",
        )
    ),
)  # fmt: skip
COPIES = st.lists(
    st.one_of(CHANGES, st.lists(CHANGES, max_size=4).map(lambda a: act.Clone((*a, act.Output(3))))),
    max_size=8,
)


def describable(key: int) -> bool:
    """Whether a parser can see what the key says: labels end, and there is one below MPLS."""
    labels = labels_of(key)
    return not is_mpls(key >> BY_NAME["eth_type"].shift & 0xFFFF) or (
        bool(labels) and bool(labels[-1] & 0x100) and not any(e & 0x100 for e in labels[:-1])
    )


@examples(400)
@given(st.sampled_from(FRAMES), COPIES)
def test_a_frame_is_parsed_as_the_key_it_was_sent_with(frame: bytes, changes: list[Action]) -> None:
    flow = Flow(0, 1, ANY, (*changes, act.Output(2)))
    result = Pipeline(World([Bridge("br0", [Port(1), Port(2), Port(3)], [flow])])).run(
        "br0", 1, frame
    )
    for output in result.outputs:
        eth_type = result.key >> BY_NAME["eth_type"].shift & 0xFFFF
        if eth_type in (0x0800, 0x86DD) and not dissect(output.packet, 1).l3:
            continue  # a pop said that this is IP, which it is not
        if output.ofport == 2 and describable(result.key):
            assert parse(output.packet, 1) & PACKET_MASK == result.key & PACKET_MASK


@examples(200)
@given(st.sampled_from(FRAMES), st.lists(CHANGES, max_size=6))
def test_what_a_clone_did_is_not_to_be_seen_after_it(frame: bytes, changes: list[Action]) -> None:
    clone = act.Clone((*changes, act.Output(3)))
    flow = Flow(0, 1, ANY, (clone, act.Output(2)))
    result = Pipeline(World([Bridge("br0", [Port(1), Port(2), Port(3)], [flow])])).run(
        "br0", 1, frame
    )
    assert [o.packet for o in result.outputs if o.ofport == 2] in ([frame], [])
    assert result.key & PACKET_MASK == parse(frame, 1) & PACKET_MASK
