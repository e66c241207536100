"""Open vSwitch reads and shows what we say as we do, and refuses what we refuse."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from struct import pack
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.openflow import encode
from gossamer.openflow import message as m
from gossamer.openflow.action import decode_actions, encode_actions
from gossamer.openflow.codec import Context
from gossamer.openflow.error import OpenFlowError, decode_error
from gossamer.openflow.frame import frame
from gossamer.openflow.instruction import decode_instructions, encode_instructions
from gossamer.openflow.match import (
    decode_match,
    decode_ofp_match,
    encode_match,
    encode_ofp_match,
)
from gossamer.pipeline.action import Actions
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.format import format_actions, format_match
from gossamer.pipeline.match import Match
from tests.property import openflow_strategies as some
from tests.property import peer as peers
from tests.property.examples import examples
from tests.unit.openflow.error_cases import CASES, Case

_TOOLS: Final = ("ovs-vswitchd", "ovsdb-server", "ovs-ofctl")
needs_peer = pytest.mark.skipif(
    not all(map(shutil.which, _TOOLS)), reason="needs Debian's Open vSwitch"
)
in_batches = examples(10)


def ofctl(*arguments: str, text: str = "") -> str:
    """What ovs-ofctl prints."""
    done = subprocess.run(
        ["ovs-ofctl", *arguments], input=text, check=True, capture_output=True, text=True
    )
    return done.stdout


@needs_peer
@pytest.mark.parametrize("version", range(1, 7))
@in_batches
@given(lists=st.lists(some.action_lists, min_size=1, max_size=40))
def test_open_vswitch_shows_our_actions_as_we_do(version: int, lists: list[Actions]) -> None:
    bodies = [body for body in (encode_actions(a, version) for a in lists) if body]
    text = ofctl(
        "parse-actions", f"OpenFlow1{version - 1}", text="\n".join(b.hex() for b in bodies)
    )
    ours = [_shown_actions(body, version) for body in bodies]
    # Below a list stands what Open vSwitch would have said otherwise.
    theirs = [block.split("\n")[0] for block in text.split("\n\n") if block]
    assert theirs == ours


def _shown_actions(body: bytes, version: int) -> str:
    """As ovs-ofctl shows actions, or why it does not."""
    try:
        return f"actions={format_actions(decode_actions(body, version))}"
    except OpenFlowError as e:
        code = e.code.name.removeprefix("BAD_ACTION_")
        return f"bad OpenFlow1{version - 1} actions: OFPBAC_{code}"


_ERSPAN: Final = tuple(f"tun_erspan_{name}" for name in ("ver", "idx", "dir", "hwid"))
"""Open vSwitch shows a match on version 0 of ERSPAN as no match."""

_NSH_MDTYPE: Final = BY_NAME["nsh_mdtype"]
_NSH_CONTEXT: Final = tuple(f"nsh_c{i}" for i in range(1, 5))
"""Open vSwitch takes these without a match on metadata of type 1, but shows them only with it."""


def _unknown_there(wanted: Match) -> bool:
    names = ("pbb_isid", "ipv6_exthdr", *_ERSPAN)
    if wanted.field(_NSH_MDTYPE) != (1, 0xFF):
        names += _NSH_CONTEXT
    return any(f.field.name in names for f in wanted.fields())


@needs_peer
@pytest.mark.parametrize("version", range(1, 7))
@in_batches
@given(matches=st.lists(some.matches(), min_size=1, max_size=40))
def test_open_vswitch_shows_our_matches_as_we_do(
    version: int, matches: list[Match], tmp_path_factory: pytest.TempPathFactory
) -> None:
    kept = [m for m in matches if not _unknown_there(m)]
    messages, ours = [], []
    for wanted in kept:
        body = encode_ofp_match(wanted, version)
        if version == 1:
            raw = body + pack(">QHHHHIHH", 0, 0, 0, 0, 9, 0xFFFFFFFF, 0xFFFF, 0)
        else:
            raw = pack(">QQBBHHHIIIHH", 0, 0, 0, 0, 0, 0, 9, *(0xFFFFFFFF,) * 3, 0, 0) + body
        messages.append(frame(version, 14, 1, raw))
        ours.append(_shown_match(body, version))
    path = tmp_path_factory.mktemp("messages") / "messages"
    path.write_bytes(b"".join(messages))
    printed = [line for line in ofctl("ofp-parse", str(path)).splitlines() if "OFPT" in line]
    theirs = [line.partition(" ADD ")[2] or line.partition(": ")[2] for line in printed]
    assert [t.removesuffix(" actions=drop") for t in theirs] == ours


def _shown_match(body: bytes, version: int) -> str:
    """As ovs-ofctl shows a match, or why it does not."""
    try:
        wanted, _ = decode_ofp_match(body, 0, version)
    except OpenFlowError as e:
        return f"***decode error: OFPBMC_{e.code.name.removeprefix('BAD_MATCH_')}***"
    whole = version == 1 and not int.from_bytes(body[:4], "big") & 0x3FFFFF
    return format_match(wanted, 65535 if whole else 9)


@needs_peer
@pytest.mark.parametrize("version", range(1, 7))
@in_batches
@given(
    flows=st.lists(
        st.tuples(some.matches(), some.plain_lists, some.u8, some.u16, some.u64),
        min_size=1,
        max_size=20,
    )
)
def test_open_vswitch_shows_our_flow_statistics_as_we_mean_them(
    version: int,
    flows: list[tuple[Match, Actions, int, int, int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    stats = [
        m.FlowStats(table, priority, wanted, actions, cookie, 1.5, 10, 20, 1, 0, 7, 700)
        for wanted, actions, table, priority, cookie in flows
        if not _unknown_there(wanted)
    ]
    replies = encode.flow_stats_replies(stats, version, Context(version), 1, nicira=version == 1)
    path = tmp_path_factory.mktemp("messages") / "messages"
    path.write_bytes(b"".join(replies))
    theirs = [line for line in ofctl("ofp-parse", str(path)).splitlines() if "actions=" in line]
    assert len(theirs) == len(stats)
    for line, flow in zip(theirs, stats, strict=True):
        assert f"cookie={flow.cookie:#x}" in line or not flow.cookie
        assert f"table={flow.table_id}, n_packets=7, n_bytes=700, idle_timeout=10" in line
        instructions = decode_instructions(encode_instructions(flow.actions, version), version)
        wanted = _of_statistics(flow.match, version)
        shown = format_match(wanted, flow.priority)
        assert line.endswith(f"{shown}{' ' if shown else ''}actions={format_actions(instructions)}")


def _of_statistics(wanted: Match, version: int) -> Match:
    """What a version can say of a match."""
    if version == 1:
        return decode_match(encode_match(wanted, version))
    return decode_ofp_match(encode_ofp_match(wanted, version), 0, version)[0]


# -- refusals -----------------------------------------------------------------------------------

_OUR_WORDS: Final = (
    ("a table-mod of an unknown miss", "taken for 'to the controller' there"),
    ("goto_table to table 255", "taken there, though no flow can be in it"),
    ("a meter before 1.3", "read there, and refused since it cannot say that there is none"),
    ("set_field of an unknown field", "a wrong length there, whatever the length"),
    ("push_pbb", "not known there"),
    ("pop_pbb", "not known there"),
    ("a PBB service", "not known there"),
    ("a flow monitor with unknown flags in 1.4", "told in the form of OpenFlow 1.0 there"),
    ("a flow monitor with unknown flags in 1.5", "told in the form of OpenFlow 1.0 there"),
    ("a flow monitor that watches nothing", "told in the form of OpenFlow 1.0 there"),
)
"""Where Open vSwitch answers otherwise, and how."""
_BARRIER: Final = b"\0\0\x77\x77"


class Channel:
    """An OpenFlow connection to a bridge of the peer."""

    def __init__(self, path: Path, version: int) -> None:
        self.version = version
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(str(path))
        self._buffer = b""
        self._socket.sendall(frame(version, 0, 1, pack(">HHI", 1, 8, 1 << version)))

    def errors(self, message: bytes) -> list[bytes]:
        """Bodies of the errors that answer a message."""
        kind = 18 if self.version == 1 else 20
        barrier = frame(self.version, kind, int.from_bytes(_BARRIER, "big"))
        self._socket.sendall(message + barrier)
        out: list[bytes] = []
        while True:
            answer = self._read()
            if answer[1] == kind + 1 and answer[4:8] == _BARRIER:
                return out
            if answer[1] == 1:
                out.append(answer[8:])

    def _read(self) -> bytes:
        while len(self._buffer) < 8 or len(self._buffer) < self._length():
            data = self._socket.recv(65536)
            assert data, "the peer hung up"
            self._buffer += data
        length = self._length()
        message, self._buffer = self._buffer[:length], self._buffer[length:]
        return message

    def _length(self) -> int:
        return int.from_bytes(self._buffer[2:4], "big")


@needs_peer
def test_open_vswitch_refuses_what_we_refuse_with_the_same_error(tmp_path: Path) -> None:
    protocols = ",".join(f"OpenFlow1{minor}" for minor in range(6))
    wrong: list[str] = []
    with peers.Peer(tmp_path) as peer:
        peer.run(
            "ovs-vsctl", "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=dummy",
            "fail-mode=secure", f"protocols={protocols}",
        )  # fmt: skip
        channels = {v: Channel(tmp_path / "br0.mgmt", v) for v in range(1, 7)}
        for case in CASES:
            if case.name.startswith(tuple(name for name, _ in _OUR_WORDS)):
                continue
            errors = channels[case.version].errors(case.message)
            if not errors or not errors[0].startswith(case.body):
                wrong.append(f"{case.name}: {[_name(e, case) for e in errors]}")
    assert not wrong


def _name(body: bytes, case: Case) -> str:
    code, _ = decode_error(body, case.version)
    return code.name if code else body[:12].hex()
