"""Cached paths: the numbers of their operations, and how they are written."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from gossamer.daemon.appctl.odp_actions import changes
from gossamer.daemon.appctl.odp_match import format_odp_match
from gossamer.daemon.appctl.path_actions import path_actions
from gossamer.daemon.appctl.paths import CachedPath, Op, PathOp
from gossamer.datapath.key_words import words_of
from gossamer.datapath.operations import CtDo
from gossamer.pipeline.fields import SLOTS, put_slot
from gossamer.pipeline.flow_syntax import compose, parse_flow
from gossamer.pipeline.match import ANY, Match
from gossamer.pipeline.packet import parse

_HEADER = Path(__file__).parents[3] / "bpf" / "program.h"


_VLAN, _QINQ, _MPLS, _IP = (
    int.from_bytes(n.to_bytes(2, "big"), sys.byteorder) for n in (0x8100, 0x88A8, 0x8847, 0x0800)
)
"""Ethertypes as the kernel has them: in network order."""


def op(code: PathOp, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> Op:
    return Op(int(code), 0, a, b, c, d)


def write(slot: str, value: int, mask: int) -> list[Op]:
    """The operations that write bits of a slot."""
    place = SLOTS[slot]
    values, masks = words_of(put_slot(0, slot, value)), words_of(put_slot(0, slot, mask))
    words = range(place.offset // 4, (place.offset + place.length + 3) // 4)
    return [op(PathOp.SET, w, values[w], masks[w]) for w in words if masks[w]]


def actions(*ops: Op, match: Match = ANY) -> str:
    return path_actions(CachedPath(1, match, ops, ()), lambda i: f"p{i}", lambda flow: flow)


def text(flow: str, *, full: bool = False, userspace: bool = False) -> str:
    match = parse_flow(flow).match
    return format_odp_match(match, str, full=full, userspace=userspace)


def key(flow: str) -> int:
    parsed = parse_flow(flow)
    return parse(compose(parsed.match), parsed.in_port)


def test_operations_have_the_numbers_of_the_kernels_header() -> None:
    body = re.search(r"enum path_op \{(.*?)\};", _HEADER.read_text(), re.DOTALL)
    assert body is not None
    bare = re.sub(r"/\*.*?\*/", "", body[1], flags=re.DOTALL)
    names = [name.strip().removeprefix("DO_") for name in bare.split(",") if name.strip()]
    assert [(o.name, int(o)) for o in PathOp] == [(n, i) for i, n in enumerate(names)][: len(PathOp)]


def test_a_path_without_output_is_a_drop() -> None:
    assert actions() == "drop"
    assert actions(op(PathOp.DROP, b=5)) == "drop"
    assert actions(*write("nw_ttl", 63, 0xFF)) == "drop"


def test_outputs_come_in_order_by_their_port() -> None:
    assert actions(op(PathOp.OUTPUT, b=3), op(PathOp.NORMAL), op(PathOp.OUTPUT, b=4)) == "p3,normal,p4"


def test_written_bits_are_shown_before_the_output_that_has_them() -> None:
    tcp = parse_flow("in_port=1,tcp").match
    shown = actions(
        *write("eth_src", 7, (1 << 48) - 1),
        *write("nw_dst", 0x0A000009, 0xFFFFFFFF),
        *write("tp_dst", 8080, 0xFFFF),
        op(PathOp.OUTPUT, b=2),
        *write("nw_ttl", 63, 0xFF),
        op(PathOp.OUTPUT, b=3),
        match=tcp,
    )
    assert shown == (
        "set(eth(src=00:00:00:00:00:07)),set(ipv4(dst=10.0.0.9)),set(tcp(dst=8080)),p2,"
        "set(ipv4(ttl=63)),p3"
    )


def test_partly_written_fields_show_which_bits() -> None:
    ip = parse_flow("ip").match
    assert actions(*write("nw_tos", 0x10, 0xFC), op(PathOp.FLOOD), match=ip) == (
        "set(ipv4(tos=0x10/0xfc)),flood"
    )


def test_a_tag_is_pushed_with_what_was_written_to_it() -> None:
    shown = actions(
        op(PathOp.PUSH_VLAN, _VLAN), *write("vlan_tci", 0x100A, 0x1FFF), op(PathOp.OUTPUT, b=2)
    )
    assert shown == "push_vlan(vid=10,pcp=0),p2"


def test_a_tag_of_another_kind_says_so_and_popping_takes_it_back() -> None:
    assert actions(op(PathOp.PUSH_VLAN, _QINQ), op(PathOp.OUTPUT, b=2)) == (
        "push_vlan(tpid=0x88a8,vid=0,pcp=0),p2"
    )
    pushed = (op(PathOp.PUSH_VLAN, _VLAN), op(PathOp.POP_VLAN), op(PathOp.OUTPUT, b=2))
    assert actions(*pushed) == "p2"
    assert actions(op(PathOp.POP_VLAN), op(PathOp.ALL)) == "pop_vlan,all"


def test_another_vlan_replaces_the_tag_that_is_there() -> None:
    tagged = parse_flow("dl_vlan=5").match
    shown = actions(*write("vlan_tci", 0x1006, 0x1FFF), op(PathOp.OUTPUT, b=1), match=tagged)
    assert shown == "pop_vlan,push_vlan(vid=6,pcp=0),p1"


def test_labels_are_pushed_with_what_was_written_to_them_and_popped() -> None:
    ip = parse_flow("ip").match
    shown = actions(
        *write("nw_ttl", 9, 0xFF),
        op(PathOp.PUSH_MPLS, _MPLS),
        *write("mpls_lse0", 10 << 12 | 0x100 | 64, 0xFFFFFFFF),
        op(PathOp.OUTPUT, b=2),
        op(PathOp.POP_MPLS, _IP),
        op(PathOp.OUTPUT, b=3),
        match=ip,
    )
    assert shown == (
        "set(ipv4(ttl=9)),push_mpls(label=10,tc=0,ttl=64,bos=1,eth_type=0x8847),p2,"
        "pop_mpls(eth_type=0x800),p3"
    )
    undone = (op(PathOp.PUSH_MPLS, _MPLS), op(PathOp.POP_MPLS, _IP), op(PathOp.OUTPUT, b=1))
    assert actions(*undone, match=ip) == "p1"


def test_a_label_takes_its_ttl_from_what_it_covers() -> None:
    known = parse_flow("ip,nw_ttl=64,nw_tos=16").match
    shown = actions(
        *write("nw_ttl", 63, 0xFF),
        op(PathOp.PUSH_MPLS, _MPLS),
        *write("mpls_lse0", 10 << 12, 0xFFFFF000),
        op(PathOp.OUTPUT, b=2),
        match=known,
    )
    assert shown == "set(ipv4(ttl=63)),push_mpls(label=10,tc=4,ttl=63,bos=1,eth_type=0x8847),p2"


def test_a_packet_in_says_why_and_of_which_flow() -> None:
    shown = actions(op(PathOp.CONTROLLER, 128, 1 << 16 | 3, 0, 0x7))
    assert shown == (
        "userspace(pid=0,controller(reason=1,dont_send=0,continuation=0,recirc_id=0,"
        "rule_cookie=0x7,controller_id=3,max_len=128))"
    )


def test_what_is_undone_afterwards_stands_in_a_clone() -> None:
    ip = parse_flow("ip").match
    shown = actions(
        op(PathOp.SAVE),
        *write("nw_ttl", 9, 0xFF),
        op(PathOp.OUTPUT, b=1),
        op(PathOp.RESTORE),
        op(PathOp.METER, b=4),
        op(PathOp.TRUNCATE, b=60),
        op(PathOp.OUTPUT, b=2),
        match=ip,
    )
    assert shown == "clone(set(ipv4(ttl=9)),p1),meter(4),trunc(60),p2"


def test_an_operation_of_a_newer_kernel_program_is_not_passed_over() -> None:
    assert actions(Op(200, 0, 0, 0, 0, 0)) == "op(200)"


def test_matches_are_written_as_the_peers_datapath_flows() -> None:
    assert text("in_port=3") == "recirc_id(0),in_port(3),eth()"
    assert text("in_port=3", userspace=True) == "recirc_id(0),in_port(3),packet_type(ns=0,id=0)"
    assert text("in_port=1,tcp,nw_dst=10.0.0.0/24,tp_dst=80,dl_src=00:00:00:00:00:01") == (
        "recirc_id(0),in_port(1),eth(src=00:00:00:00:00:01),eth_type(0x0800),"
        "ipv4(dst=10.0.0.0/255.255.255.0,proto=6),tcp(dst=80)"
    )
    assert text("in_port=1,arp,arp_op=1,arp_tpa=10.0.0.2") == (
        "recirc_id(0),in_port(1),eth(),eth_type(0x0806),arp(tip=10.0.0.2,op=1)"
    )
    assert text("in_port=1,icmp6,icmp_type=135,nd_target=fe80::1") == (
        "recirc_id(0),in_port(1),eth(),eth_type(0x86dd),ipv6(proto=58),icmpv6(type=135),"
        "nd(target=fe80::1)"
    )


def test_a_tag_encloses_what_it_carries() -> None:
    assert text("in_port=1,udp,dl_vlan=5,tp_src=53") == (
        "recirc_id(0),in_port(1),eth(),eth_type(0x8100),vlan(vid=5),"
        "encap(eth_type(0x0800),ipv4(proto=17),udp(src=53))"
    )


def test_the_long_form_shows_what_is_not_looked_at_with_a_mask_of_zero() -> None:
    shown = text("in_port=1,udp", full=True)
    assert shown.startswith("skb_priority(0/0),skb_mark(0/0),ct_state(0/0),ct_zone(0/0),")
    assert "recirc_id(0),dp_hash(0/0),in_port(1)," in shown
    assert "ipv4(src=0.0.0.0/0.0.0.0,dst=0.0.0.0/0.0.0.0,proto=17,tos=0/0,ttl=0/0," in shown
    assert shown.endswith("udp(src=0/0,dst=0/0)")


def test_the_difference_of_two_keys_is_what_makes_one_the_other() -> None:
    was = key("in_port=1,tcp,nw_dst=10.0.0.1,tp_dst=80,nw_ttl=64")
    now = key("in_port=1,tcp,nw_dst=10.0.0.9,tp_dst=81,nw_ttl=63,dl_vlan=10,dl_dst=00:00:00:00:00:02")
    assert changes(was, now) == [
        "set(eth(dst=00:00:00:00:00:02))",
        "set(ipv4(dst=10.0.0.9,ttl=63))",
        "set(tcp(dst=81))",
        "push_vlan(vid=10,pcp=0)",
    ]
    assert changes(now, was)[-1] == "pop_vlan"
    assert changes(was, was) == []


def test_a_paths_name_is_a_uuid_of_its_match() -> None:
    one, other = CachedPath(1, ANY, (), ()), CachedPath(2, ANY, (), ())
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", one.ufid)
    assert one.ufid == CachedPath(1, ANY, (op(PathOp.NORMAL),), ()).ufid != other.ufid


def test_tracking_shows_what_is_committed_and_where_the_copy_goes_on() -> None:
    native = int.from_bytes((0x5).to_bytes(4, "big"), sys.byteorder)
    ops = (
        Op(PathOp.CT_SET, 0, 0, native, native, 0),
        Op(PathOp.CT, CtDo.COMMIT | CtDo.TABLE | CtDo.NAT, 7, 0, 3, 0),
        Op(PathOp.QUEUE, 0, 0, 8, 0, 0),
        Op(PathOp.OUTPUT, 0, 0, 2, 0, 0),
    )
    assert actions(*ops) == (
        "ct(commit,zone=7,mark=0x5/0x5,nat),recirc(0x4),set(skb_priority(0x10008)),p2"
    )
