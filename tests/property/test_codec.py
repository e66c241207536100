"""Whatever OpenFlow can say comes back from bytes as it went, and bytes from messages."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, Final, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.openflow import encode
from gossamer.openflow import message as m
from gossamer.openflow.action import decode_actions, encode_actions
from gossamer.openflow.codec import Context, decode
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.match import decode_match, decode_ofp_match, encode_match, encode_ofp_match
from gossamer.pipeline import action as act
from gossamer.pipeline.group import GROUP_ALL, Group, GroupType
from gossamer.pipeline.match import Match, match
from gossamer.pipeline.meter import Meter, MeterFlag
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.tlv import MAX_OPTION, N_FIELDS, OptionMap
from tests.fuzz.openflow_codec import mutate
from tests.property import openflow_strategies as some
from tests.property.examples import examples
from tests.property.openflow_requests import XID, encode_request

V10, V11, V12, V13, V14, V15 = range(1, 7)
quickly = examples(120)


@quickly
@given(some.matches(), some.versions)
def test_matches_come_back(wanted: Match, version: int) -> None:
    body = encode_match(wanted, version)
    assert decode_match(body) == wanted
    again = encode_match(decode_match(body), version)
    assert again == body
    if version >= V12:
        whole = encode_ofp_match(wanted, version)
        assert decode_ofp_match(whole, 0, version) == (wanted, len(whole))


@quickly
@given(some.action_lists, some.versions)
def test_actions_come_back_in_the_words_of_the_version(
    wanted: tuple[act.Action, ...], version: int
) -> None:
    body = encode_actions(wanted, version)
    try:
        said = decode_actions(body, version)
    except OpenFlowError as e:
        # ONF's fields have headers that are too long for learn and multipath.
        if e.code is not ErrorCode.BAD_ACTION_BAD_SET_TYPE:
            raise
        return
    again = encode_actions(said, version)
    assert decode_actions(again, version) == said
    # OpenFlow 1.5 says a load as a set_field with a mask, even one of all the field's bits.
    assert version == V15 or again == body


ports, u8, u16, u32, u64 = some.ports, some.u8, some.u16, some.u32, some.u64
_COMMANDS: Final = st.sampled_from(m.GroupCommand)
_SIMPLE: Final = match(eth_type=0x800, nw_proto=6, tcp_dst=80)
simple_matches: Final = st.sampled_from((match(), match(in_port=3), _SIMPLE))


def _group_mods(version: int) -> st.SearchStrategy[m.GroupMod]:
    numbered = version in (V10, V15)
    changes = st.builds(
        m.GroupMod,
        st.sampled_from((m.GroupCommand.ADD, m.GroupCommand.MODIFY, m.GroupCommand.ADD_OR_MODIFY)),
        some.groups(numbered=numbered),
    )
    deletions = u32.map(lambda n: m.GroupMod(m.GroupCommand.DELETE, Group(n, GroupType.ALL, ())))
    if not numbered:
        return changes | deletions
    removals = st.builds(
        m.GroupMod,
        st.just(m.GroupCommand.REMOVE_BUCKET),
        u32.map(lambda n: Group(n, GroupType.SELECT, ())),
        st.sampled_from((0, m.BUCKET_ALL, m.BUCKET_FIRST, m.BUCKET_LAST)),
    )
    return changes | deletions | removals


def _meter_mods(version: int) -> st.SearchStrategy[m.MeterMod]:
    changes = st.builds(
        m.MeterMod, st.sampled_from((m.MeterCommand.ADD, m.MeterCommand.MODIFY)), some.meters
    )
    gone = u32.map(lambda n: m.MeterMod(m.MeterCommand.DELETE, Meter(n, MeterFlag(0), ())))
    return changes | gone


def _flow_mods(version: int) -> st.SearchStrategy[m.FlowMod]:
    def built(command: int, wanted: Match, numbers: tuple[int, ...], flags: int) -> m.FlowMod:
        table, priority, cookie, idle, hard = numbers
        raw = encode_request(
            m.FlowMod(
                command, table, priority, wanted, (act.Output(1), act.Resubmit(table_id=2)),
                cookie, idle_timeout=idle, hard_timeout=hard, flags=flags, xid=XID,
                version=version,
            ),
            version,
        )  # fmt: skip
        decoded = decode(raw, Context(version))
        assert isinstance(decoded, m.FlowMod)
        assert (decoded.command, decoded.match, decoded.xid) == (command, wanted, XID)
        assert (decoded.idle_timeout, decoded.hard_timeout) == (idle, hard)
        return decoded

    return st.builds(
        built, st.integers(0, 4), simple_matches, st.tuples(u8, u16, u64, u16, u16),
        st.integers(0, 3),
    )  # fmt: skip


def _set_async(version: int) -> st.SearchStrategy[m.SetAsync]:
    kinds = st.just(6) if version >= V14 else st.just(3)
    if version < V14:
        kinds = st.sampled_from((3, 6))
    return kinds.flatmap(some.async_masks).map(m.SetAsync)


def _packet_outs(version: int) -> st.SearchStrategy[m.PacketOut]:
    def built(port: int, data: bytes) -> m.PacketOut:
        actions = (act.Output(2), act.Group(5))
        wanted = match(in_port=port, metadata=7) if version == V15 else match()
        return m.PacketOut(0xFFFFFFFF, port, actions, data, wanted)

    return st.builds(built, some.numbers, st.binary(max_size=40))


def _monitors(version: int) -> st.SearchStrategy[m.FlowMonitorRequest]:
    group = u32 if version >= V14 else st.just(m.ANY_GROUP)
    one = st.builds(
        m.FlowMonitor, u32, st.integers(0, 63).map(lambda flags: flags | 2), some.numbers, u8,
        simple_matches, group,
    )  # fmt: skip
    return st.lists(one, max_size=3).map(
        lambda monitors: m.FlowMonitorRequest(tuple(monitors), nicira=version < V14)
    )


def _table_mods(version: int) -> st.SearchStrategy[m.TableMod]:
    if version < V13:
        return st.builds(lambda t, miss: m.TableMod(t, miss, miss), u8, st.integers(0, 2))
    if version == V13:
        return st.builds(m.TableMod, u8, u32)
    return st.builds(
        lambda t, config, down, flags: m.TableMod(
            t, config, None, bool(config & 4), bool(config & 8), down, 100, flags
        ),
        u8, u32, st.integers(0, 100), st.none() | u32,
    )  # fmt: skip


def _port_mods(version: int) -> st.SearchStrategy[m.PortMod]:
    bits = 0x7F if version == V10 else 0x65
    return st.builds(
        lambda port, mac, config, mask: m.PortMod(
            port, mac, config & mask & bits, mask & bits, 0x801
        ),
        some.numbers, st.binary(min_size=6, max_size=6), u8, u8,
    )  # fmt: skip


def _flow_stats(version: int) -> st.SearchStrategy[m.FlowStatsRequest]:
    if version == V10:
        return st.builds(
            m.FlowStatsRequest, u8, simple_matches, some.numbers, aggregate=st.booleans(),
            nicira=st.booleans(),
        )  # fmt: skip
    return st.builds(
        m.FlowStatsRequest, u8, simple_matches, some.numbers, u32, u64, u64,
        aggregate=st.booleans(),
    )  # fmt: skip


def _table_features(version: int) -> st.SearchStrategy[m.TableFeaturesRequest]:
    def built(number: int, name: str, more: bool) -> m.TableFeaturesRequest:
        stats = [m.TableStats(n, name, 0, 0, 0, 5) for n in (number, number + 1)]
        body = encode.table_features_replies(stats, version, 1)[0][16:]
        tables = tuple(encode.table_features(s, version, number + 1) for s in stats)
        if version == V13:
            tables = tuple(replace(t, evicts=False, vacancy=False) for t in tables)
        return m.TableFeaturesRequest(body, tables, more)

    names = st.text("abcdef", max_size=31)
    return st.builds(built, st.integers(0, 253), names, st.booleans())


def _resumes(version: int) -> st.SearchStrategy[m.Resume]:
    paused = st.builds(m.PausedActions, u8, u64, st.just((act.Output(1), act.Resubmit(table_id=3))))
    continuation = st.builds(
        m.Continuation, st.binary(min_size=16, max_size=16),
        st.lists(paused, max_size=3).map(tuple), st.sampled_from(((), (act.Output(9),))),
        st.lists(st.binary(max_size=16), max_size=3).map(tuple), u32, st.booleans(),
    )  # fmt: skip
    return st.binary(min_size=1, max_size=60).flatmap(
        lambda data: st.builds(
            m.Resume, st.just(data), st.integers(len(data), 99), u8, u64, u8,
            st.just(match(in_port=3, metadata=9)), continuation,
        )
    )  # fmt: skip


def _bundle_adds(version: int) -> st.SearchStrategy[m.BundleAdd]:
    inner = encode_request(m.BarrierRequest(), version)
    return st.builds(m.BundleAdd, u32, u16, st.just(inner), st.just(version == V13))


def _constant(strategy: st.SearchStrategy[Any]) -> Any:
    return lambda version: strategy


def _roles(version: int) -> st.SearchStrategy[m.RoleRequest]:
    extension = st.integers(1, 3).map(lambda role: m.RoleRequest(role, None, nicira=True))
    if version < V12:
        return extension
    standard = st.builds(
        lambda role, generation: m.RoleRequest(role, generation if role >= 2 else None),
        st.integers(0, 3), u64,
    )  # fmt: skip
    return extension | standard


def _queues(version: int) -> st.SearchStrategy[m.QueueConfigRequest]:
    if version >= V14:
        return st.builds(m.QueueConfigRequest, ports, u32, st.just(True))
    return st.builds(m.QueueConfigRequest, some.numbers)


def _group_descs(version: int) -> st.SearchStrategy[m.GroupDescRequest]:
    return st.builds(m.GroupDescRequest, u32 if version in (V10, V15) else st.just(GROUP_ALL))


_bytes = st.binary(max_size=40)
_tlv_changes = st.builds(
    m.TlvTableMod,
    st.integers(0, 2),
    st.lists(
        st.builds(
            OptionMap,
            u16,
            st.integers(0, 255),
            st.integers(1, MAX_OPTION // 4).map(lambda words: 4 * words),
            st.integers(0, N_FIELDS - 1),
        ),
        max_size=4,
    ).map(tuple),
)
_MESSAGES: Final[dict[type, tuple[int, int, Any]]] = {
    m.Hello: (V10, V15, _constant(st.builds(m.Hello))),
    m.Error: (V10, V15, _constant(st.builds(m.Error, u16, u16, _bytes))),
    m.EchoRequest: (V10, V15, _constant(st.builds(m.EchoRequest, _bytes))),
    m.EchoReply: (V10, V15, _constant(st.builds(m.EchoReply, _bytes))),
    m.FeaturesRequest: (V10, V15, _constant(st.builds(m.FeaturesRequest))),
    m.GetConfigRequest: (V10, V15, _constant(st.builds(m.GetConfigRequest))),
    m.SetConfig: (V10, V15, _constant(st.builds(m.SetConfig, st.integers(0, 3), u16))),
    m.BarrierRequest: (V10, V15, _constant(st.builds(m.BarrierRequest))),
    m.PacketOut: (V10, V15, _packet_outs),
    m.FlowMod: (V10, V15, _flow_mods),
    m.PortMod: (V10, V15, _port_mods),
    m.TableMod: (V11, V15, _table_mods),
    m.GroupMod: (V10, V15, _group_mods),
    m.MeterMod: (V13, V15, _meter_mods),
    m.RoleRequest: (V10, V15, _roles),
    m.GetAsyncRequest: (V13, V15, _constant(st.builds(m.GetAsyncRequest))),
    m.SetAsync: (V10, V15, _set_async),
    m.SetFlowFormat: (V10, V10, _constant(st.sampled_from((0, 2)).map(m.SetFlowFormat))),
    m.SetPacketInFormat: (V10, V15, _constant(st.integers(0, 2).map(m.SetPacketInFormat))),
    m.FlowModTableId: (V10, V15, _constant(st.builds(m.FlowModTableId, st.booleans()))),
    m.SetControllerId: (V10, V15, _constant(st.builds(m.SetControllerId, u16))),
    m.FlowAge: (V10, V15, _constant(st.builds(m.FlowAge))),
    m.ConnectionFlush: (
        V10,
        V15,
        _constant(
            st.builds(
                m.ConnectionFlush,
                st.none() | u16,
                st.integers(0, 255),
                st.builds(
                    m.ConnectionTuple,
                    st.just(b"") | st.binary(min_size=4, max_size=4),
                    st.just(b"") | st.binary(min_size=4, max_size=4),
                    u16,
                    u16,
                ),
                st.builds(m.ConnectionTuple, icmp_type=st.none() | st.integers(0, 255)),
            )
        ),
    ),
    m.IpfixStatsRequest: (V10, V15, _constant(st.builds(m.IpfixStatsRequest, st.booleans()))),
    m.TlvTableMod: (V10, V15, _constant(_tlv_changes)),
    m.TlvTableRequest: (V10, V15, _constant(st.builds(m.TlvTableRequest))),
    m.FlowMonitorCancel: (V10, V13, _constant(st.builds(m.FlowMonitorCancel, u32))),
    m.Resume: (V10, V15, _resumes),
    m.QueueConfigRequest: (V10, V15, _queues),
    m.BundleControl: (V14, V15, _constant(st.builds(m.BundleControl, u32, u16, u16))),
    m.BundleAdd: (V13, V15, _bundle_adds),
    m.DescRequest: (V10, V15, _constant(st.builds(m.DescRequest))),
    m.FlowStatsRequest: (V10, V15, _flow_stats),
    m.TableStatsRequest: (V10, V15, _constant(st.builds(m.TableStatsRequest))),
    m.TableFeaturesRequest: (V13, V15, _table_features),
    m.TableDescRequest: (V14, V15, _constant(st.builds(m.TableDescRequest))),
    m.PortStatsRequest: (V10, V15, _constant(st.builds(m.PortStatsRequest, ports))),
    m.PortDescRequest: (V15, V15, _constant(st.builds(m.PortDescRequest, ports))),
    m.QueueStatsRequest: (V10, V15, _constant(st.builds(m.QueueStatsRequest, some.numbers, u32))),
    m.GroupStatsRequest: (V10, V15, _constant(st.builds(m.GroupStatsRequest, u32))),
    m.GroupDescRequest: (V10, V15, _group_descs),
    m.GroupFeaturesRequest: (V10, V15, _constant(st.builds(m.GroupFeaturesRequest))),
    m.MeterStatsRequest: (V13, V15, _constant(st.builds(m.MeterStatsRequest, u32))),
    m.MeterConfigRequest: (V13, V15, _constant(st.builds(m.MeterConfigRequest, u32))),
    m.MeterFeaturesRequest: (V13, V15, _constant(st.builds(m.MeterFeaturesRequest))),
    m.FlowMonitorRequest: (V10, V15, _monitors),
}
"""By type of message: the first version, the last, and what makes one for a version."""


def test_every_type_of_message_is_here() -> None:
    assert set(get_args(m.Message)) == set(_MESSAGES)


@pytest.mark.parametrize("kind", _MESSAGES, ids=lambda kind: kind.__name__)
@examples(40)
@given(data=st.data())
def test_messages_come_back(kind: type, data: st.DataObject) -> None:
    since, until, make = _MESSAGES[kind]
    version = data.draw(st.integers(since, until))
    message = data.draw(make(version))
    raw = encode_request(message, version)
    context = Context(version)
    assert decode(raw, context) == message
    assert encode_request(decode(raw, context), version) == raw


@pytest.mark.parametrize("kind", _MESSAGES, ids=lambda kind: kind.__name__)
@examples(40)
@given(data=st.data())
def test_what_hostile_bytes_say_is_refused_or_can_be_said_again(
    kind: type, data: st.DataObject
) -> None:
    since, until, make = _MESSAGES[kind]
    version = data.draw(st.integers(since, until))
    raw = encode_request(data.draw(make(version)), version)
    hostile = mutate(raw, random.Random(data.draw(u32)))
    context = Context(version)
    try:
        message = decode(hostile, context)
    except OpenFlowError:
        return
    once = encode_request(message, version)
    assert encode_request(decode(once, context), version) == once


def test_ports_of_16_bits_are_those_of_32() -> None:
    for port in (1, 0xFEFF, int(OfPort.LOCAL)):
        raw = encode_request(m.PortStatsRequest(port), V10)
        assert decode(raw, Context(V10)) == m.PortStatsRequest(port)
