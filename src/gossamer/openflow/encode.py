"""From messages to bytes: what the switch says."""

from __future__ import annotations

from collections.abc import Iterable
from struct import pack
from typing import Final

from gossamer.export.ipfix import ExporterStatistics
from gossamer.openflow import message as m
from gossamer.openflow.async_config import encode_config
from gossamer.openflow.encode_flow import (
    aggregate_reply,
    flow_removed,
    flow_stats_replies,
)
from gossamer.openflow.encode_group import (
    group_desc_replies,
    group_features_replies,
    group_mod,
    group_stats_replies,
)
from gossamer.openflow.encode_meter import (
    meter_config_replies,
    meter_features_replies,
    meter_mod,
    meter_stats_replies,
)
from gossamer.openflow.encode_port import (
    port_desc,
    port_desc_replies,
    port_stats_replies,
    port_status,
)
from gossamer.openflow.encode_queue import (
    queue_desc_replies,
    queue_get_config_reply,
    queue_stats_replies,
)
from gossamer.openflow.encode_table import (
    table_desc,
    table_desc_replies,
    table_stats_replies,
)
from gossamer.openflow.flow_monitor import flow_updates
from gossamer.openflow.frame import frame, multipart, multipart_nicira, onf
from gossamer.openflow.frame import nicira as nicira_message
from gossamer.openflow.match import encode_match, encode_ofp_match
from gossamer.openflow.message import PacketInFormat, Version
from gossamer.openflow.oxm import port_to_16
from gossamer.openflow.packet_in2 import encode_packet_in2
from gossamer.openflow.table_features import table_features, table_features_replies
from gossamer.pipeline.fields import BY_NAME, FIELDS, TUN_METADATA_LEN, get
from gossamer.pipeline.match import ANY, Match
from gossamer.pipeline.tlv import LAYOUT, N_FIELDS, OptionMap

__all__ = [
    "aggregate_reply",
    "barrier_reply",
    "bundle_control",
    "desc_reply",
    "echo_reply",
    "features_reply",
    "flow_monitor_paused",
    "flow_removed",
    "flow_stats_replies",
    "flow_updates",
    "get_async_reply",
    "get_config_reply",
    "group_desc_replies",
    "group_features_replies",
    "group_mod",
    "group_stats_replies",
    "meter_config_replies",
    "meter_features_replies",
    "meter_mod",
    "meter_stats_replies",
    "packet_in",
    "port_desc_replies",
    "port_stats_replies",
    "port_status",
    "queue_desc_replies",
    "queue_get_config_reply",
    "queue_stats_replies",
    "request_forward",
    "role_reply",
    "role_status",
    "table_desc_replies",
    "table_features",
    "table_features_replies",
    "table_stats_replies",
    "table_status",
    "tlv_table_reply",
]

_CAPABILITIES10: Final = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 6 | 1 << 7
_CAPABILITIES: Final = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 6
_ARP_MATCH_IP: Final = 1 << 7
_BUNDLES: Final = 1 << 9
_ACTIONS10: Final = 0xFFF


def echo_reply(data: bytes, version: int, xid: int) -> bytes:
    """OFPT_ECHO_REPLY."""
    return frame(version, 3, xid, data)


def features_reply(f: m.Features, version: int, xid: int) -> bytes:
    """OFPT_FEATURES_REPLY; up to OpenFlow 1.2 with the ports."""
    auxiliary = f.auxiliary_id if version >= Version.V13 else 0
    body = pack(">QIBB2x", f.datapath_id, f.n_buffers, f.n_tables, auxiliary)
    if version == Version.V10:
        body += pack(">II", _CAPABILITIES10, _ACTIONS10)
    else:
        more = _ARP_MATCH_IP if version == Version.V11 else 0
        more |= _BUNDLES if version >= Version.V14 else 0
        body += pack(">II", _CAPABILITIES | more, 0)
    if version < Version.V13:
        body += b"".join(port_desc(p, version) for p in f.ports)
    return frame(version, 6, xid, body)


def get_config_reply(flags: int, miss_send_len: int, version: int, xid: int) -> bytes:
    """OFPT_GET_CONFIG_REPLY."""
    return frame(version, 8, xid, pack(">HH", flags, miss_send_len))


def barrier_reply(version: int, xid: int) -> bytes:
    """OFPT_BARRIER_REPLY."""
    return frame(version, 19 if version == Version.V10 else 21, xid)


def role_reply(role: int, generation: int | None, version: int, xid: int, *, nicira: bool) -> bytes:
    """OFPT_ROLE_REPLY or NXT_ROLE_REPLY."""
    if nicira:
        return nicira_message(version, 11, xid, pack(">I", max(role, 1) - 1))
    generation = 0xFFFFFFFFFFFFFFFF if generation is None else generation
    return frame(version, 25, xid, pack(">I4xQ", role, generation))


def role_status(role: int, reason: int, generation: int | None, version: int, xid: int) -> bytes:
    """OFPT_ROLE_STATUS (OpenFlow 1.4.1, 7.4.4), or ONF's for 1.3.

    Reason 0: another controller became master, 1: the configuration changed.
    """
    generation = 0xFFFFFFFFFFFFFFFF if generation is None else generation
    body = pack(">IB3xQ", role, reason, generation)
    return onf(version, 1911, xid, body) if version < Version.V14 else frame(version, 30, xid, body)


def get_async_reply(config: m.AsyncConfig, version: int, xid: int) -> bytes:
    """OFPT_GET_ASYNC_REPLY."""
    return frame(version, 27, xid, encode_config(config, version))


def request_forward(request: m.GroupMod | m.MeterMod, version: int, xid: int) -> bytes:
    """OFPT_REQUESTFORWARD (OpenFlow 1.4.1, 7.4.6), or what extensions have for it before.

    `xid` is the transaction of the request that is forwarded; the message itself has none.
    """
    if isinstance(request, m.GroupMod):
        inner = group_mod(request, version, xid)
    else:
        inner = meter_mod(request, version, xid)
    if version >= Version.V14:
        return frame(version, 32, 0, inner)
    return (
        onf(version, 2350, 0, inner)
        if version == Version.V13
        else nicira_message(version, 132, 0, inner)
    )


def table_status(desc: m.TableDesc, reason: m.TableReason, version: int, xid: int) -> bytes:
    """OFPT_TABLE_STATUS (OpenFlow 1.4.1, 7.4.5)."""
    return frame(version, 31, xid, bytes((reason,)) + bytes(7) + table_desc(desc))


def flow_monitor_paused(version: int, xid: int, *, resumed: bool) -> bytes:
    """Updates were left out from here on, or are sent again."""
    if version >= Version.V14:
        body = (8).to_bytes(2, "big") + (6 if resumed else 5).to_bytes(2, "big") + bytes(4)
        return multipart(version, 16, xid, body)
    if version == Version.V13:
        return onf(version, 1872 if resumed else 1871, xid, b"")
    return nicira_message(version, 23 if resumed else 22, xid, b"")


def tlv_table_reply(maps: Iterable[OptionMap], version: int, xid: int) -> bytes:
    """NXT_TLV_TABLE_REPLY."""
    body = pack(">IH10x", TUN_METADATA_LEN, N_FIELDS)
    for o in maps:
        body += pack(">HBBH2x", o.option_class, o.option_type, o.length, o.index)
    return nicira_message(version, 26, xid, body)


def ipfix_reply(
    sets: Iterable[tuple[int, ExporterStatistics]], version: int, xid: int, *, flow: bool
) -> bytes:
    """NXST_IPFIX_FLOW, or NXST_IPFIX_BRIDGE: counters of exporters, by collector set."""
    body = b"".join(
        pack(
            ">10QI4x", s.flows, s.current_flows, s.packets, s.ipv4_packets, s.ipv6_packets,
            s.other_ipv4_packets + s.other_ipv6_packets, s.other_ipv4_packets,
            s.other_ipv6_packets, s.messages, s.errors, number,
        )
        for number, s in sets
    )  # fmt: skip
    return multipart_nicira(version, 4 if flow else 3, xid, body)


def bundle_control(c: m.BundleControl, version: int, xid: int) -> bytes:
    """OFPT_BUNDLE_CONTROL, or its ONF form for OpenFlow 1.3."""
    body = pack(">IHH", c.bundle_id, c.type, c.flags)
    return onf(version, 2300, xid, body) if c.onf else frame(version, 33, xid, body)


def desc_reply(d: m.Desc, version: int, xid: int) -> bytes:
    """OFPMP_DESC."""
    body = b"".join(
        text.encode()[: n - 1].ljust(n, b"\0")
        for text, n in ((d.mfr, 256), (d.hw, 256), (d.sw, 256), (d.serial, 32), (d.dp, 256))
    )
    return multipart(version, 0, xid, body)


_CONNECTION: Final = tuple(f for f in FIELDS if f.name.startswith("ct_"))
_METADATA_FIELDS: Final = tuple(
    f
    for f in FIELDS
    if f.name in ("in_port", "metadata", "pkt_mark") or f.name.startswith(("reg", "tun_", "ct_"))
)


def pipeline_match(key: int, *, with_in_port: bool = True) -> Match:
    """The pipeline fields of a key that are not zero, as a packet-in tells them."""
    match = ANY
    for f in _METADATA_FIELDS:
        value = (key >> f.shift) & ((1 << f.n_bits) - 1)
        if value and (with_in_port or f.name != "in_port"):
            match = match.with_field(f, value)
    if any(key >> f.shift & ((1 << f.n_bits) - 1) for f in _CONNECTION):
        # What the addresses of the connection are is not told without it, as in Open vSwitch.
        eth_type = BY_NAME["eth_type"]
        match = match.with_field(eth_type, get(key, eth_type))
    for f in LAYOUT.fields.values():
        if key & f.marks:
            match = match.with_field(f, (key >> f.shift) & ((1 << f.n_bits) - 1))
    return match


def packet_in(
    p: m.PacketIn, version: int, format: PacketInFormat = PacketInFormat.STANDARD, xid: int = 0
) -> bytes:
    """A packet-in in the form the connection asked for (OpenFlow 1.3.5, 7.4.1)."""
    if format == PacketInFormat.NXT_PACKET_IN2:
        return encode_packet_in2(p, pipeline_match(p.key), version, xid)
    if format == PacketInFormat.NXT_PACKET_IN:
        match = encode_match(pipeline_match(p.key), Version.V10)
        head = pack(
            ">IHBBQH6x", p.buffer_id, p.total_len, p.reason, p.table_id, p.cookie, len(match)
        )
        body = head + match + bytes(-len(match) % 8) + bytes(2) + p.data
        return nicira_message(version, 17, xid, body)
    if version == Version.V10:
        head = pack(">IHHBx", p.buffer_id, p.total_len, port_to_16(p.in_port), p.reason)
        return frame(version, 10, xid, head + p.data)
    if version == Version.V11:
        head = pack(">IIIHBB", p.buffer_id, p.in_port, p.in_port, p.total_len, p.reason, p.table_id)
        return frame(version, 10, xid, head + p.data)
    head = pack(">IHBB", p.buffer_id, p.total_len, p.reason, p.table_id)
    if version >= Version.V13:
        head += p.cookie.to_bytes(8, "big")
    match_bytes = encode_ofp_match(pipeline_match(p.key), version)
    return frame(version, 10, xid, head + match_bytes + bytes(2) + p.data)
