"""Messages about tables, queues, ports, events and monitors, in every version."""

from __future__ import annotations

from dataclasses import replace
from struct import pack

import pytest

from gossamer.openflow import encode
from gossamer.openflow import message as m
from gossamer.openflow.async_config import encode_masks, encode_properties
from gossamer.openflow.codec import Context, decode
from gossamer.openflow.frame import frame, multipart, nicira, onf
from gossamer.openflow.match import encode_ofp_match
from gossamer.openflow.packet_in2 import (
    decode_continuation,
    encode_continuation,
    encode_packet_in2,
)
from gossamer.openflow.properties import encode_number, encode_property
from gossamer.pipeline import action as act
from gossamer.pipeline.fields import BY_NAME, put
from gossamer.pipeline.group import Bucket, Group, GroupType
from gossamer.pipeline.match import match
from gossamer.pipeline.meter import Band, BandType, Meter, MeterFlag
from gossamer.pipeline.of_port import OfPort
from tests.unit.openflow.printed import needs_ofctl, printed

STATS = m.TableStats(3, "ingress", 5, 10, 7, 1_000_000)
LAST = m.TableStats(4, "last", 0, 0, 0, 1_000_000)


def request(version: int, kind: int, body: bytes, flags: int = 0) -> bytes:
    """A multipart request."""
    head = kind.to_bytes(2, "big") + flags.to_bytes(2, "big")
    if version == 1:
        return frame(1, 16, 1, head + body)
    return frame(version, 18, 1, head + bytes(4) + body)


# -- tables -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 5, 6])
def test_table_features_told_can_be_asked_for_as_they_are(version: int) -> None:
    (reply,) = encode.table_features_replies([STATS, LAST], version, 1)
    asked = decode(request(version, 12, reply[16:]), Context(version))
    assert isinstance(asked, m.TableFeaturesRequest)
    first, last = asked.tables
    ours = encode.table_features(STATS, version, 4)
    if version == 4:
        ours = replace(ours, evicts=False, vacancy=False)  # not told there
    assert first == ours
    assert last.rules and not last.rules.next_tables
    assert ours.includes(first)
    assert first.rules
    more = replace(first.rules, next_tables=first.rules.next_tables | {9})
    assert not ours.includes(replace(first, rules=more))


@needs_ofctl
@pytest.mark.parametrize("version", [4, 5, 6])
def test_ovs_ofctl_reads_our_table_features(version: int) -> None:
    text = printed(encode.table_features_replies([STATS, LAST], version, 1)[0])
    assert 'table 3 ("ingress"):' in text
    assert "max_entries=1000000" in text
    assert "next tables: 4" in text
    meter = "meter " if version < 6 else ""
    assert f"instructions: {meter}apply_actions clear_actions write_actions write_metadata" in text


def test_in_openflow_15_features_may_come_without_properties() -> None:
    body = pack(">HBB4x32sQQII", 64, 3, 1, b"new name", 0, 0, 0, 1_000_000)
    asked = decode(request(6, 12, body, flags=1), Context(6))
    assert asked == m.TableFeaturesRequest(
        body,
        (m.TableFeatures(3, "new name", 1_000_000, m.FeaturesCommand.MODIFY, 0, 0, False, False),),
        more=True,
    )


@needs_ofctl
@pytest.mark.parametrize("version", [5, 6])
def test_ovs_ofctl_reads_our_table_descriptions(version: int) -> None:
    tables = [
        m.TableDesc(1),
        m.TableDesc(2, evicts=True, vacancy_down=20, vacancy_up=80, vacancy=50),
    ]
    text = printed(encode.table_desc_replies(tables, version, 1)[0])
    assert "table 1:\n   eviction=off eviction_flags=OTHER|IMPORTANCE|LIFETIME" in text
    assert "table 2:\n   eviction=on" in text
    assert "vacancy=on vacancy_down=20% vacancy_up=80% vacancy=50%" in text
    status = encode.table_status(tables[1], m.TableReason.VACANCY_DOWN, version, 0)
    assert "VACANCY_DOWN" in printed(status)


def test_a_table_mod_sets_eviction_and_vacancy() -> None:
    body = pack(">B3xI", 7, 0b1100) + encode_number(2, 4, 4)
    body += encode_property(3, bytes((10, 90, 0, 0)))
    wanted = m.TableMod(7, 0b1100, None, True, True, 10, 90, 4)
    assert decode(frame(5, 17, 1, body), Context(5)) == wanted


# -- queues -------------------------------------------------------------------------------------


@needs_ofctl
@pytest.mark.parametrize("version", range(1, 7))
def test_ovs_ofctl_reads_our_queues(version: int) -> None:
    stats = m.QueueStats(3, 7, 100, 20, 1, 4.5)
    text = printed(encode.queue_stats_replies([stats], version, 1)[0])
    assert "port 3 queue 7: bytes=100, pkts=20, errors=1" in text
    assert ("duration=4.500s" in text) is (version >= 4)
    queues = [m.QueueDesc(3, 7, 100, 505), m.QueueDesc(3, 8)]
    if version < 5:
        reply = encode.queue_get_config_reply(3, queues, version, 1)
    else:
        (reply,) = encode.queue_desc_replies(queues, version, 1)
    assert "queue 7: min_rate:10.0% max_rate:50.5%\nqueue 8:\n" in printed(reply)


@pytest.mark.parametrize("version", range(1, 7))
def test_queue_statistics_are_asked_of_any_port(version: int) -> None:
    body = pack(">H2xI", 0xFFFC, 5) if version == 1 else pack(">II", OfPort.ANY, 5)
    asked = decode(request(version, 5, body), Context(version))
    assert asked == m.QueueStatsRequest(OfPort.ANY, 5)


# -- ports --------------------------------------------------------------------------------------

MAC = bytes.fromhex("020000000001")


def test_port_mods_have_three_layouts() -> None:
    wanted = m.PortMod(5, MAC, 1, 0x21, 0x801)
    ten = pack(">H6sIII4x", 5, MAC, 0x11, 0x21, 0x81)
    assert decode(frame(1, 15, 1, ten), Context(1)) == wanted
    later = pack(">I4x6s2xIII4x", 5, MAC, 1, 0x21, 0x801)
    for version in (2, 3, 4):
        assert decode(frame(version, 16, 1, later), Context(version)) == wanted
    latest = pack(">I4x6s2xII", 5, MAC, 1, 0x21) + encode_number(0, 0x801, 4)
    for version in (5, 6):
        assert decode(frame(version, 16, 1, latest), Context(version)) == wanted


# -- events -------------------------------------------------------------------------------------

CONFIG = m.AsyncConfig(
    {
        "packet_in": (0b11, 0b1),
        "port_status": (0b111, 0b10),
        "flow_removed": (0b1111, 0b100),
        "role_status": (1, 2),
        "table_status": (8, 16),
        "requestforward": (3, 1),
    }
)


@pytest.mark.parametrize("version", [4, 5, 6])
def test_what_is_told_of_events_can_be_asked_for(version: int) -> None:
    reply = encode.get_async_reply(CONFIG, version, 1)
    asked = decode(frame(version, 28, 1, reply[8:]), Context(version))
    wanted = dict(list(CONFIG.masks.items())[: 3 if version == 4 else 6])
    assert asked == m.SetAsync(dict(wanted))


@needs_ofctl
@pytest.mark.parametrize("version", [4, 5, 6])
def test_ovs_ofctl_reads_our_events(version: int) -> None:
    text = printed(encode.get_async_reply(CONFIG, version, 1))
    assert "PACKET_IN: no_match action" in text
    if version > 4:
        assert "TABLE_STATUS: vacancy_down" in text
        assert "REQUESTFORWARD: group_mod_request meter_mod_request" in text


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_nicira_s_messages_choose_events_in_early_versions(version: int) -> None:
    first = dict(list(CONFIG.masks.items())[:3])
    legacy = nicira(version, 19, 1, encode_masks(CONFIG.masks))
    assert decode(legacy, Context(version)) == m.SetAsync(dict(first))
    whole = nicira(version, 27, 1, encode_properties(CONFIG.masks, version))
    assert decode(whole, Context(version)) == m.SetAsync(dict(CONFIG.masks))


GROUP = Group(9, GroupType.ALL, (Bucket((act.Output(3),), 0, 0),))
METER = Meter(3, MeterFlag.KBPS, (Band(BandType.DROP, 1000),))


@needs_ofctl
@pytest.mark.parametrize("version", range(1, 7))
def test_ovs_ofctl_reads_forwarded_requests(version: int) -> None:
    changed = m.GroupMod(m.GroupCommand.ADD, GROUP)
    text = printed(encode.request_forward(changed, version, 5))
    assert "reason=group_mod" in text
    assert "group_id=9,type=all" in text
    if version >= 4:
        limited = m.MeterMod(m.MeterCommand.ADD, METER)
        text = printed(encode.request_forward(limited, version, 5))
        assert "reason=meter_mod" in text and "meter=3 kbps" in text


@needs_ofctl
@pytest.mark.parametrize("version", [4, 5, 6])
def test_ovs_ofctl_reads_role_status(version: int) -> None:
    text = printed(encode.role_status(3, 0, 17, version, 0))
    assert "role=secondary generation_id=17 reason=primary_request" in text


# -- flow monitors ------------------------------------------------------------------------------

WATCHED = match(in_port=3)


def monitor_request(version: int) -> bytes:
    """A request of each version, for additions and removals, with actions."""
    flags = 1 | 2 | 4 | 16
    if version <= 3:
        tlv = bytes.fromhex("000000020003")
        body = pack(">IHHHB5x", 7, flags, 0xFFFF, len(tlv), 0xFF) + tlv + bytes(2)
        head = pack(">II", 0x2320, 2) + (bytes(4) if version == 1 else b"")
        return request(version, 0xFFFF, head + body)
    wanted = encode_ofp_match(WATCHED, version)
    if version == 4:
        body = pack(">IHHIB3x", 7, flags, len(wanted), OfPort.ANY, 0xFF) + wanted
        return request(version, 0xFFFF, pack(">II", 0x4F4E4600, 1870) + body)
    body = pack(">IIIHBB", 7, OfPort.ANY, m.ANY_GROUP, flags, 0xFF, 0) + wanted
    return request(version, 16, body)


@pytest.mark.parametrize("version", range(1, 7))
def test_every_version_has_flow_monitors(version: int) -> None:
    asked = decode(monitor_request(version), Context(version))
    watched = m.FlowMonitor(7, 23, OfPort.ANY, 0xFF, WATCHED)
    assert asked == m.FlowMonitorRequest((watched,), nicira=version < 5)


def test_own_changes_come_whole_where_that_is_asked_for() -> None:
    def flags(wanted: int) -> int:
        body = pack(">IIIHBB", 7, OfPort.ANY, m.ANY_GROUP, wanted, 0xFF, 0)
        asked = decode(request(5, 16, body + encode_ofp_match(WATCHED, 5)), Context(5))
        assert isinstance(asked, m.FlowMonitorRequest)
        return asked.monitors[0].flags

    assert flags(2) == 2
    assert flags(2 | 1 << 5) == flags(2 | 1 << 6) == 2 | 32


@needs_ofctl
@pytest.mark.parametrize("version", range(1, 7))
def test_ovs_ofctl_reads_flow_updates(version: int) -> None:
    event = m.FlowUpdateEvent
    common = {"table_id": 2, "priority": 9, "match": WATCHED, "cookie": 5}
    updates = [
        m.FlowUpdate(event.INITIAL, actions=(act.Output(4),), **common),  # type: ignore[arg-type]
        m.FlowUpdate(event.ADDED, actions=(act.Output(5),), **common),  # type: ignore[arg-type]
        m.FlowUpdate(event.REMOVED, reason=1, **common),  # type: ignore[arg-type]
        m.FlowUpdate(event.ABBREVIATED, xid=0x77),
    ]
    context = Context(version)
    (reply,) = encode.flow_updates(updates, version, context, 0, nicira=version < 5)
    text = printed(reply)
    initial = "INITIAL" if version >= 5 else "ADDED"
    assert f"event={initial} table=2" in text and "actions=output:4" in text
    assert "event=ADDED table=2" in text and "actions=output:5" in text
    assert "event=DELETED reason=hard" in text
    assert "event=ABBREV xid=0x77" in text


@needs_ofctl
@pytest.mark.parametrize("version", range(1, 7))
def test_ovs_ofctl_reads_that_a_monitor_paused(version: int) -> None:
    for resumed in (False, True):
        text = printed(encode.flow_monitor_paused(version, 0, resumed=resumed))
        assert ("RESUMED" if resumed else "PAUSED") in text


@pytest.mark.parametrize("version", range(1, 5))
def test_monitors_are_cancelled(version: int) -> None:
    body = (7).to_bytes(4, "big")
    raw = onf(4, 1870, 1, body) if version == 4 else nicira(version, 21, 1, body)
    assert decode(raw, Context(version)) == m.FlowMonitorCancel(7)


# -- packet-in with a continuation --------------------------------------------------------------

PAUSED = m.Continuation(
    bytes(range(16)),
    (
        m.PausedActions(2, 0x77, (act.Resubmit(table_id=9), act.Output(3))),
        m.PausedActions(0, 5, (act.DecTtl(),)),
    ),
    (act.Output(8),),
    (b"\1\2", b"\3"),
    mirrors=5,
)


@pytest.mark.parametrize("version", range(1, 7))
def test_a_continuation_comes_back_as_it_went(version: int) -> None:
    assert decode_continuation(encode_continuation(PAUSED, version), version) == PAUSED


def packet_in(version: int) -> tuple[m.PacketIn, bytes]:
    """A packet-in, and its bytes."""
    key = put(put(0, BY_NAME["in_port"], 3), BY_NAME["reg1"], 0x55)
    p = m.PacketIn(b"packet" * 12, 72, 1, 4, 0x99, 3, key, userdata=b"user", continuation=PAUSED)
    raw = encode.packet_in(p, version, m.PacketInFormat.NXT_PACKET_IN2)
    return p, raw


@pytest.mark.parametrize("version", range(1, 7))
def test_a_packet_in_can_be_resumed(version: int) -> None:
    p, raw = packet_in(version)
    resumed = decode(nicira(version, 28, 1, raw[16:]), Context(version))
    metadata = match(in_port=3, reg1=0x55)
    if version == 6:
        metadata = match(in_port=3).with_field(BY_NAME["reg1"], 0x55)
        metadata = metadata.with_field(BY_NAME["reg0"], 0)
    assert isinstance(resumed, m.Resume)
    assert resumed == m.Resume(p.data, 72, 4, 0x99, 1, resumed.metadata, PAUSED)
    assert resumed.metadata.covers(metadata) or metadata.covers(resumed.metadata)


@needs_ofctl
@pytest.mark.parametrize("version", range(1, 7))
def test_ovs_ofctl_reads_a_packet_in_with_a_continuation(version: int) -> None:
    _, raw = packet_in(version)
    text = printed(raw)
    assert "table_id=4" in text and "cookie=0x99" in text and "reg1=0x55" in text
    assert "userdata=75.73.65.72" in text
    assert "continuation.bridge=" in text
    assert "continuation.stack=(top) 0x3 0x102 (bottom)" in text
    assert "continuation.actions=unroll_xlate(table=2, cookie=119),resubmit(,9),output:3," in text
    assert "continuation.action_set=output:8" in text
    assert "continuation.mirrors=0x5" in text


def test_packet_in_formats_are_nicira_s_in_every_version() -> None:
    p, _ = packet_in(4)
    raw = encode.packet_in(p, 4, m.PacketInFormat.NXT_PACKET_IN)
    assert raw[8:16] == bytes.fromhex("0000232000000011")
    assert encode_packet_in2(p, match(in_port=3), 4, 0)[8:16] == bytes.fromhex("000023200000001e")
    assert multipart(4, 5, 1, b"")[1] == 19
