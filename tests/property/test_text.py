"""What is shown of flows can be read again."""

from __future__ import annotations

from hypothesis import assume, given

from gossamer.pipeline.action import Actions
from gossamer.pipeline.action_syntax import parse_actions
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.flow_syntax import parse_flow
from gossamer.pipeline.format import format_actions, format_match
from gossamer.pipeline.match import Match
from tests.property import openflow_strategies as some
from tests.property.examples import examples

often = examples(300)
_GBP_FLAGS = BY_NAME["tun_gbp_flags"]
_ERSPAN_VER = BY_NAME["tun_erspan_ver"]
_PACKET_TYPE = BY_NAME["packet_type"]
_IP_FRAG = BY_NAME["ip_frag"]
_OF_ERSPAN = sum(BY_NAME[f"tun_erspan_{name}"].full_mask for name in ("idx", "dir", "hwid"))
_NAMED_FRAGS = {(0, 0), (0, 3), (1, 1), (1, 3), (3, 3), (0, 2)}
"""What the words for fragments stand for; other masks say the same or cannot be said."""


@often
@given(some.matches())
def test_matches_can_be_read_again(wanted: Match) -> None:
    # Open vSwitch, and so we, show these flags without their mask.
    assume(wanted.field(_GBP_FLAGS)[1] in (0, 0xFF))
    assume(wanted.field(_ERSPAN_VER)[1] in (0, 0xFF))
    # An Ethernet packet is what every match is of; it is not shown.
    assume(wanted.field(_PACKET_TYPE) != (0, 0xFFFFFFFF))
    assume(wanted.field(_IP_FRAG) in _NAMED_FRAGS)
    # What depends on the version of ERSPAN is shown with it only.
    assume(not wanted.mask & _OF_ERSPAN)
    assert parse_flow(format_match(wanted)).match == wanted


@often
@given(some.action_lists)
def test_actions_can_be_read_again(wanted: Actions) -> None:
    text = format_actions(wanted)
    # A resubmit with neither port nor table can be sent, but not be said.
    assume("resubmit(,)" not in text and "resubmit(,,ct)" not in text)
    assert format_actions(parse_actions(text)) == text
