"""MPLS labels: pushed, popped, set and counted down, in keys and in packets."""

from __future__ import annotations

import pytest

from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action
from gossamer.pipeline.fields import get_slot
from gossamer.pipeline.flow_syntax import compose, parse_flow
from gossamer.pipeline.match import match
from gossamer.pipeline.packet import parse
from gossamer.pipeline.result import Reason, Result
from gossamer.pipeline.steps import Drop
from tests.unit.pipeline.test_execute import TCP, out, rule, run, set_field

IP_PART = TCP[14:]
ETH = TCP[:12]
TAG = b"\x81\x00\x20\x0a"


def frame(*entries: tuple[int, int], payload: bytes = IP_PART, tag: bytes = b"") -> bytes:
    """Labels as (label, ttl); the last one is the bottom."""
    stack = b"".join(
        (label << 12 | (0x100 if i == len(entries) - 1 else 0) | ttl).to_bytes(4, "big")
        for i, (label, ttl) in enumerate(entries)
    )
    return ETH + tag + b"\x88\x47" + stack + payload


def sent(*actions: Action, packet: bytes = TCP) -> bytes:
    result = run(rule(*actions, act.Output(2)), packet=packet)
    assert out(result) == [2], result.drops
    return result.outputs[0].packet


def test_the_first_label_takes_its_ttl_and_class_from_the_ip_header() -> None:
    expedited = compose(parse_flow("tcp,nw_ttl=9,nw_tos=184").match)
    pushed = sent(act.PushMpls(), packet=expedited)
    assert pushed[12:18] == bytes.fromhex("8847 00000d09")
    assert pushed[18:] == expedited[14:]


def test_a_label_over_no_ip_has_the_usual_ttl_and_one_over_ipv6_says_so() -> None:
    arp = compose(parse_flow("arp").match)
    assert sent(act.PushMpls(0x8848), packet=arp)[12:18] == bytes.fromhex("8848 00000140")
    ipv6 = compose(parse_flow("tcp6,nw_ttl=7").match)
    assert sent(act.PushMpls(), packet=ipv6)[14:18] == bytes.fromhex("00002107")


def test_a_label_goes_below_the_vlan_tag() -> None:
    tagged = ETH + TAG + b"\x08\x00" + IP_PART
    assert sent(act.PushMpls(), packet=tagged) == frame((0, 64), tag=TAG)


def test_a_second_label_copies_the_first() -> None:
    assert sent(act.PushMpls(), packet=frame((5, 9))) == frame((5, 9), (5, 9))


def test_what_was_changed_before_a_push_is_changed_below_the_label() -> None:
    actions = (set_field("ip_dst", 0x0A000009), act.PushMpls(), act.PopMpls(0x0800))
    assert sent(*actions) == sent(actions[0])


def test_below_a_label_there_are_no_fields_to_set_or_match() -> None:
    pushing = rule(act.PushMpls(), set_field("ip_dst", 1), act.Resubmit(table_id=1), act.Output(2))
    hidden = rule(act.Output(3), table_id=1, on=match(eth_type=0x0800))
    result = run(pushing, hidden)
    assert (out(result), result.outputs[0].packet) == ([2], frame((0, 64)))


def test_after_the_last_label_the_packet_is_seen_again() -> None:
    popping = rule(act.PopMpls(0x0800), act.Resubmit(table_id=1), act.Output(3))
    inner = rule(act.DecTtl(), act.Output(2), table_id=1, on=match(eth_type=0x0800, nw_proto=6))
    result = run(popping, inner, packet=frame((7, 64)))
    assert out(result) == [2, 3]
    assert get_slot(parse(result.outputs[0].packet, 0), "nw_ttl") == 63
    assert result.outputs[0].packet == sent(act.DecTtl())


def test_a_pop_to_mpls_uncovers_the_next_label() -> None:
    assert sent(act.PopMpls(0x8847), packet=frame((1, 2), (3, 4))) == frame((3, 4))


def test_a_pop_that_would_make_payload_of_other_labels_voids_the_packet() -> None:
    result = run(rule(act.Output(2), act.PopMpls(0x0800)), packet=frame((1, 2), (3, 4)))
    assert (out(result), result.drops) == ([], [Drop.MPLS_STACK])


def test_a_pop_without_label_does_nothing() -> None:
    assert sent(act.PopMpls(0x1234)) == TCP


def test_a_fourth_label_voids_the_packet_and_so_does_a_pop_of_four() -> None:
    three = frame((1, 1), (2, 2), (3, 3))
    four = frame((1, 1), (2, 2), (3, 3), (4, 4))
    for action, packet in ((act.PushMpls(), three), (act.PopMpls(0x8847), four)):
        result = run(rule(act.Output(2), action), packet=packet)
        assert (out(result), result.drops) == ([], [Drop.MPLS_STACK])
    assert sent(act.PopMpls(0x8847), packet=three) == frame((2, 2), (3, 3))


def test_the_outermost_of_four_labels_can_be_set() -> None:
    four = [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert sent(set_field("mpls_label", 9), packet=frame(*four)) == frame((9, 1), *four[1:])


def test_a_copy_under_a_label_is_undone() -> None:
    clone = act.Clone((set_field("ip_dst", 0x0A000009), act.PushMpls(), act.Output(3)))
    result = run(rule(clone, act.Output(2)))
    assert [(o.ofport, o.packet[12:14]) for o in result.outputs] == [
        (3, b"\x88\x47"),
        (2, b"\x08\0"),
    ]
    assert result.outputs[1].packet == TCP


def test_a_copy_without_its_label_is_undone() -> None:
    labelled = frame((1, 2))
    clone = act.Clone((act.PopMpls(0x0800), act.DecTtl(), act.Output(3)))
    result = run(rule(clone, set_field("mpls_ttl", 8), act.Output(2)), packet=labelled)
    assert [o.packet for o in result.outputs] == [sent(act.DecTtl()), frame((1, 8))]


def test_the_ttl_of_a_label_counts_down_and_its_end_goes_to_the_controllers() -> None:
    assert sent(act.DecMplsTtl(), packet=frame((1, 2))) == frame((1, 1))
    result = run(rule(act.DecMplsTtl(), act.Output(2)), packet=frame((1, 1)))
    assert (out(result), [p.reason for p in result.punts]) == ([], [Reason.INVALID_TTL])


def test_counting_down_a_label_that_is_not_there_ends_the_list() -> None:
    result: Result = run(rule(act.DecMplsTtl(), act.Output(2)))
    assert (out(result), result.punts) == ([], [])


@pytest.mark.parametrize("tag", [b"", TAG])
def test_ttls_are_copied_between_labels_and_to_and_from_ip(tag: bytes) -> None:
    two = frame((1, 10), (2, 20), tag=tag)
    assert sent(act.CopyTtlOut(), packet=two) == frame((1, 20), (2, 20), tag=tag)
    assert sent(act.CopyTtlIn(), packet=two) == frame((1, 10), (2, 10), tag=tag)
    one = frame((1, 10), tag=tag)
    assert sent(act.CopyTtlOut(), packet=one) == frame((1, 64), tag=tag)
    inner = sent(set_field("nw_ttl", 10))[14:]
    assert sent(act.CopyTtlIn(), packet=one) == frame((1, 10), tag=tag, payload=inner)


def test_ttls_of_no_ip_are_left_alone() -> None:
    for packet in (TCP, frame((1, 10), payload=b"\x12\x34"), frame((1, 10), payload=b"\x45\0\0")):
        assert sent(act.CopyTtlIn(), packet=packet) == packet
        assert sent(act.CopyTtlOut(), packet=packet) == packet


def test_the_action_set_pops_before_it_pushes_and_sets_last() -> None:
    written = act.WriteActions(
        (
            act.Output(2),
            set_field("mpls_label", 77),
            act.DecMplsTtl(),
            act.PushVlan(),
            act.PushMpls(),
            act.PopMpls(0x8847),
        )
    )
    result = run(rule(written), packet=frame((1, 5), (2, 6)))
    assert result.outputs[0].packet == frame((77, 5), (2, 6), tag=b"\x81\0\0\0")
