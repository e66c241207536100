"""Headers around packets: encap() and decap(), and packets without Ethernet header."""

from __future__ import annotations

import pytest

from gossamer.pipeline.action_syntax import parse_actions
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.fields import BY_NAME, get, get_slot
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.flow_syntax import compose, parse_flow
from gossamer.pipeline.packet import parse
from gossamer.pipeline.result import Result
from gossamer.pipeline.steps import Drop
from gossamer.pipeline.tunnel import PacketTypeMode, Tunnel, TunnelKind
from gossamer.pipeline.world import Bridge, Port, World
from gossamer.pipeline.wrap import encapsulate
from tests.unit.pipeline.test_execute import TCP

ZEROS = bytes(12)
BASE = bytes.fromhex("0fc60103000000ff")
NSH = ZEROS + b"\x89\x4f" + BASE + bytes(16) + TCP
REMOTE = bytes(10) + b"\xff\xff" + bytes((10, 9, 9, 9))


def run(*flows: str, packet: bytes = TCP, ports: tuple[Port, ...] = ()) -> Result:
    made = []
    for i, flow in enumerate(flows):
        on, _, actions = flow.partition("actions=")
        found = parse_flow(on)
        made.append(Flow(found.table_id or 0, 100 - i, found.match, parse_actions(actions)))
    bridge = Bridge("br0", (Port(1), Port(2), Port(3), *ports), made)
    return Pipeline(World([bridge])).run("br0", 1, packet)


def sent(actions: str, packet: bytes = TCP) -> bytes:
    result = run(f"actions={actions},output:2", packet=packet)
    assert [o.ofport for o in result.outputs] == [2], result.drops
    return result.outputs[0].packet


def test_a_service_header_is_a_packet_type_of_its_own_until_ethernet_is_around_it() -> None:
    assert sent("encap(nsh(md_type=1)),encap(ethernet)") == NSH
    bare = run("actions=encap(nsh(md_type=1)),output:2")
    assert (bare.outputs, bare.drops) == ([], [Drop.PACKET_TYPE])


def test_options_are_filled_up_to_words() -> None:
    packet = sent("encap(nsh(md_type=2,tlv(0x1234,5,0xabcdef))),encap(ethernet)")
    assert packet == ZEROS + bytes.fromhex("894f 0fc40203 000000ff 12340503 abcdef00") + TCP


FIELDS = {
    "nsh_flags": 2, "nsh_ttl": 9, "nsh_mdtype": 1, "nsh_np": 3, "nsh_spi": 0x123456, "nsh_si": 7,
    "nsh_c1": 0x11, "nsh_c2": 0xFFFFFFFF, "nsh_c3": 3, "nsh_c4": 0x80000000,
}  # fmt: skip


def test_each_field_is_written_and_read() -> None:
    setting = [
        f"set_field:{value}->{name}" for name, value in FIELDS.items() if BY_NAME[name].writable
    ]
    packet = sent(",".join(["encap(nsh(md_type=1))", *setting, "encap(ethernet)"]))
    key = parse(packet, 1)
    assert {name: get(key, BY_NAME[name]) for name in FIELDS} == FIELDS
    assert packet[14:38] == bytes.fromhex("22460103 12345607 00000011 ffffffff 00000003 80000000")
    assert packet[38:] == TCP


@pytest.mark.parametrize(
    "header",
    ["4fc60103000000ff", "0fc70103000000ff", "0fc50103000000ff", "0fc10203000000ff", "0fff0203000000ff"],
    ids=["version", "type 1 too long", "type 1 too short", "shorter than itself", "longer than the frame"],
)
def test_a_wrong_header_is_not_looked_into(header: str) -> None:
    packet = ZEROS + b"\x89\x4f" + bytes.fromhex(header) + bytes(40)
    key = parse(packet, 1)
    assert not any(get(key, BY_NAME[name]) for name in FIELDS)
    assert sent("set_field:5->nsh_si", packet) == packet


def test_what_is_inside_comes_out_as_what_it_is() -> None:
    assert sent("decap(),decap()", NSH) == TCP
    inner_ip = NSH[:17] + b"\x01" + NSH[18:38] + TCP[14:]
    result = run(
        "actions=decap(),decap(),resubmit(,1)",
        "table=1,packet_type=(1,0x800),nw_ttl=64,actions=dec_ttl,encap(ethernet),output:2",
        packet=inner_ip,
    )
    (out,) = result.outputs
    assert out.packet[:14] == ZEROS + b"\x08\x00"
    assert get(parse(out.packet, 1), BY_NAME["nw_ttl"]) == 63


def test_rules_without_packet_type_match_frames_where_they_look_at_headers() -> None:
    result = run(
        "actions=encap(nsh(md_type=1)),resubmit(,1)",
        "table=1,dl_dst=00:00:00:00:00:00,actions=output:3",
        "table=1,dl_type=0x894f,nsh_si=255,actions=output:3",
        "table=1,packet_type=(1,0x894f),nsh_si=255,actions=decap(),output:2",
        "table=1,actions=output:3",
    )
    assert [o.ofport for o in result.outputs] == [2]


def test_what_a_clone_puts_around_the_packet_goes_with_it() -> None:
    result = run("actions=clone(encap(nsh(md_type=1)),encap(ethernet),output:3),output:2")
    assert [o.packet for o in result.outputs] == [NSH, TCP]


@pytest.mark.parametrize(
    "actions",
    ["encap(ethernet)", "encap(mpls),decap()", "decap(),decap()", "encap(mpls),encap(nsh(md_type=1))"],
)
def test_a_header_that_does_not_fit_the_packet_drops_it(actions: str) -> None:
    result = run(f"actions=output:3,{actions},output:2")
    assert (result.outputs, result.drops) == ([], [Drop.PACKET_TYPE])


def test_ethernet_does_not_come_off_a_tagged_frame() -> None:
    tagged = compose(parse_flow("tcp,dl_vlan=5").match)
    assert run("actions=decap(),encap(ethernet),output:2", packet=tagged).drops == [Drop.PACKET_TYPE]


def test_labels_carry_frames_and_packets() -> None:
    label = bytes.fromhex("00005140")
    on_frame = sent("encap(mpls),set_field:5->mpls_label,encap(ethernet)")
    assert on_frame == ZEROS + b"\x88\x47" + label + TCP
    assert sent("decap(),decap(packet_type(ns=0,type=0))", on_frame) == TCP
    on_ip = sent("decap(),encap(mpls_mc),set_field:5->mpls_label,encap(ethernet)")
    assert on_ip == ZEROS + b"\x88\x48" + label + TCP[14:]
    out = sent("decap(),decap(packet_type(ns=1,type=0x800)),encap(ethernet)", on_ip)
    assert out == ZEROS + TCP[12:]
    two = sent("encap(mpls),encap(mpls),encap(ethernet)")
    assert two[14:22] == bytes.fromhex("00000040 00000140")
    assert run("actions=" + "encap(mpls)," * 4 + "output:2").drops == [Drop.MPLS_STACK]


def test_the_ttl_of_a_service_header_runs_out() -> None:
    one = sent("set_field:2->nsh_ttl", NSH)
    assert sent("dec_nsh_ttl", one) == sent("set_field:1->nsh_ttl", NSH)
    result = run("actions=dec_nsh_ttl,output:2", packet=sent("set_field:1->nsh_ttl", NSH))
    assert (len(result.punts), result.outputs) == (1, [])


def test_packets_go_into_tunnels_that_carry_them_without_ethernet() -> None:
    tunnel = Tunnel(TunnelKind.GRE, REMOTE, packet_type=PacketTypeMode.PTAP)
    port = Port(7, tunnel=tunnel)
    for actions, inside in (
        ("encap(nsh(md_type=1))", b"\x89\x4f" + NSH[14:]),
        ("decap()", TCP[12:]),
        ("dec_ttl", None),
    ):
        result = run(f"ip,actions={actions},output:7", ports=(port,))
        (out,) = result.outputs
        assert out.outer is not None
        packet = encapsulate(out.outer, out.packet, out.key, REMOTE)
        assert packet[20:] == b"\0\0" + (inside or b"\x65\x58" + out.packet)


def test_controllers_get_a_packet_as_it_is() -> None:
    (punt,) = run("actions=encap(nsh(md_type=1)),controller").punts
    assert punt.packet == NSH[14:]


def test_the_ttl_of_a_service_header_has_eight_bits_until_it_is_written() -> None:
    assert sent("set_field:0xc5->nsh_ttl", NSH) == sent("set_field:5->nsh_ttl", NSH)
    kept = run("actions=set_field:0xc5->nsh_ttl,move:nsh_ttl[]->reg1[0..7],output:2", packet=NSH)
    assert get_slot(kept.key, "reg1") == 0xC5
