"""What controllers say, to bytes: the inverse of `codec.decode()`."""

from __future__ import annotations

from functools import singledispatch
from struct import pack

from gossamer.openflow import encode
from gossamer.openflow import message as m
from gossamer.openflow.action_encode import encode_actions
from gossamer.openflow.async_config import encode_masks, encode_properties
from gossamer.openflow.encode_port import features10
from gossamer.openflow.frame import frame, nicira, onf
from gossamer.openflow.instruction import encode_instructions
from gossamer.openflow.match import encode_match, encode_ofp_match
from gossamer.openflow.oxm import port_to_16
from gossamer.openflow.packet_in2 import encode_packet_in2
from gossamer.openflow.properties import encode_number, encode_property
from gossamer.pipeline.fields import BY_NAME, NX_VENDOR, ONF_VENDOR, put
from gossamer.pipeline.match import Match

V10, V11, V12, V13, V14, V15 = range(1, 7)
XID = 0x1234
_ANY = 0xFFFFFFFF


def encode_request(message: m.Message, version: int) -> bytes:
    """A whole message with transaction `XID`."""
    return _encode(message, version)


def _multipart(version: int, kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    head = pack(">HH", kind, flags)
    if version == V10:
        return frame(V10, 16, XID, head + body)
    return frame(version, 18, XID, head + bytes(4) + body)


def _multipart_nicira(version: int, subtype: int, body: bytes) -> bytes:
    head = pack(">II", NX_VENDOR, subtype) + (bytes(4) if version == V10 else b"")
    return _multipart(version, 0xFFFF, head + body)


@singledispatch
def _encode(message: object, version: int) -> bytes:
    raise NotImplementedError(type(message).__name__)


_EMPTY = {m.Hello: 0, m.FeaturesRequest: 5, m.GetConfigRequest: 7, m.GetAsyncRequest: 26}
_STATS = {
    m.DescRequest: 0, m.TableStatsRequest: 3, m.TableDescRequest: 14, m.MeterFeaturesRequest: 11,
}  # fmt: skip


@_encode.register(m.Hello | m.FeaturesRequest | m.GetConfigRequest | m.GetAsyncRequest)
def _(message: m.Hello, version: int) -> bytes:
    return frame(version, _EMPTY[type(message)], XID)


@_encode.register(m.DescRequest | m.TableStatsRequest | m.TableDescRequest | m.MeterFeaturesRequest)
def _(message: m.DescRequest, version: int) -> bytes:
    return _multipart(version, _STATS[type(message)])


@_encode.register
def _(message: m.Error, version: int) -> bytes:
    return frame(version, 1, XID, pack(">HH", message.kind, message.code) + message.data)


@_encode.register
def _(message: m.EchoRequest, version: int) -> bytes:
    return frame(version, 2, XID, message.data)


@_encode.register
def _(message: m.EchoReply, version: int) -> bytes:
    return frame(version, 3, XID, message.data)


@_encode.register
def _(message: m.SetConfig, version: int) -> bytes:
    return frame(version, 9, XID, pack(">HH", message.flags, message.miss_send_len))


@_encode.register
def _(message: m.BarrierRequest, version: int) -> bytes:
    return frame(version, 18 if version == V10 else 20, XID)


@_encode.register
def _(message: m.PacketOut, version: int) -> bytes:
    actions = encode_actions(message.actions, version)
    if version == V10:
        head = pack(">IHH", message.buffer_id, port_to_16(message.in_port), len(actions))
    elif version < V15:
        head = pack(">IIH6x", message.buffer_id, message.in_port, len(actions))
    else:
        head = pack(">IH2x", message.buffer_id, len(actions))
        head += encode_ofp_match(message.match, version)
    return frame(version, 13, XID, head + actions + message.data)


@_encode.register
def _(message: m.FlowMod, version: int) -> bytes:
    match = encode_ofp_match(message.match, version)
    instructions = encode_instructions(message.actions, version)
    if version == V10:
        body = match + pack(
            ">QHHHHIHH", message.cookie, message.command, message.idle_timeout,
            message.hard_timeout, message.priority, message.buffer_id,
            port_to_16(message.out_port), message.flags & 3,
        )  # fmt: skip
        return frame(version, 14, XID, body + instructions)
    adds = message.command == 0
    keeps = version == V11 and not message.cookie_mask
    body = pack(
        ">QQBBHHHIIIHH", message.cookie if adds or keeps else message.match_cookie,
        message.cookie_mask, message.table_id, message.command, message.idle_timeout,
        message.hard_timeout, message.priority, message.buffer_id, message.out_port,
        message.out_group, message.flags & (3 if version == V11 else 31), message.importance,
    )  # fmt: skip
    return frame(version, 14, XID, body + match + instructions)


@_encode.register
def _(message: m.PortMod, version: int) -> bytes:
    if version == V10:
        body = pack(
            ">H6sIII4x", port_to_16(message.port), message.hw_addr, message.config, message.mask,
            features10(message.advertise),
        )  # fmt: skip
        return frame(version, 15, XID, body)
    body = pack(">I4x6s2xII", message.port, message.hw_addr, message.config, message.mask)
    if version < V14:
        return frame(version, 16, XID, body + pack(">I4x", message.advertise))
    return frame(version, 16, XID, body + encode_number(0, message.advertise, 4))


@_encode.register
def _(message: m.TableMod, version: int) -> bytes:
    body = pack(">B3xI", message.table_id, message.config)
    if message.eviction_flags is not None:
        body += encode_number(2, message.eviction_flags, 4)
    if message.vacancy_up:
        body += encode_property(3, bytes((message.vacancy_down, message.vacancy_up, 0, 0)))
    return frame(version, 17, XID, body)


@_encode.register
def _(message: m.GroupMod, version: int) -> bytes:
    return encode.group_mod(message, version, XID)


@_encode.register
def _(message: m.MeterMod, version: int) -> bytes:
    return encode.meter_mod(message, version, XID)


@_encode.register
def _(message: m.RoleRequest, version: int) -> bytes:
    if message.nicira:
        return nicira(version, 10, XID, pack(">I", message.role - 1))
    return frame(version, 24, XID, pack(">I4xQ", message.role, message.generation_id or 0))


@_encode.register
def _(message: m.SetAsync, version: int) -> bytes:
    masks = {kind: (a or 0, b or 0) for kind, (a, b) in message.masks.items()}
    if version >= V14:
        return frame(version, 28, XID, encode_properties(masks, version))
    if len(masks) > 3:
        return nicira(version, 27, XID, encode_properties(masks, version))
    body = encode_masks(masks)
    return frame(version, 28, XID, body) if version == V13 else nicira(version, 19, XID, body)


_WORDS = {
    m.SetFlowFormat: (12, "format"), m.SetPacketInFormat: (16, "format"),
    m.FlowMonitorCancel: (21, "monitor_id"),
}  # fmt: skip


@_encode.register(m.SetFlowFormat | m.SetPacketInFormat | m.FlowMonitorCancel)
def _(message: m.SetFlowFormat, version: int) -> bytes:
    subtype, name = _WORDS[type(message)]
    body = pack(">I", getattr(message, name))
    if version == V13 and subtype == 21:
        return onf(version, 1870, XID, body)
    return nicira(version, subtype, XID, body)


@_encode.register
def _(message: m.FlowModTableId, version: int) -> bytes:
    return nicira(version, 15, XID, bytes((message.enable,)) + bytes(7))


@_encode.register
def _(message: m.SetControllerId, version: int) -> bytes:
    return nicira(version, 20, XID, pack(">6xH", message.controller_id))


@_encode.register
def _(message: m.FlowAge, version: int) -> bytes:
    return nicira(version, 18, XID, b"")


@_encode.register
def _(message: m.TlvTableRequest, version: int) -> bytes:
    return nicira(version, 25, XID, b"")


@_encode.register
def _(message: m.TlvTableMod, version: int) -> bytes:
    rows = (
        pack(">HBBH2x", row.option_class, row.option_type, row.length, row.index)
        for row in message.maps
    )
    return nicira(version, 24, XID, pack(">H6x", message.command) + b"".join(rows))


@_encode.register
def _(message: m.ConnectionFlush, version: int) -> bytes:
    if message == m.ConnectionFlush(message.zone) and message.zone is not None:
        return nicira(version, 29, XID, pack(">6xH", message.zone))
    body = pack(">B7x", message.proto)
    for kind, t in enumerate((message.orig, message.reply)):
        body += _connection_tuple(kind, t)
    if message.zone is not None:
        body += pack(">HHHxx", 2, 6, message.zone)
    return nicira(version, 32, XID, body)


def _connection_tuple(kind: int, t: m.ConnectionTuple) -> bytes:
    inner = b""
    for number, address in enumerate((t.src, t.dst)):
        if address:
            full = address if len(address) == 16 else bytes(10) + b"\xff\xff" + address
            inner += pack(">HH16s4x", number, 20, full)
    for number, value in ((2, t.sport), (3, t.dport), (4, t.icmp_id)):
        if value:
            inner += pack(">HHHxx", number, 6, value)
    for number, value in ((5, t.icmp_type), (6, t.icmp_code)):
        if value is not None:
            inner += pack(">HHB3x", number, 5, value)
    return pack(">HH4x", kind, 8 + len(inner)) + inner if inner else b""


@_encode.register
def _(message: m.IpfixStatsRequest, version: int) -> bytes:
    return _multipart_nicira(version, 4 if message.flow else 3, b"")


@_encode.register
def _(message: m.Resume, version: int) -> bytes:
    key = 0
    for f in (BY_NAME["in_port"], BY_NAME["metadata"], BY_NAME["reg1"]):
        key = put(key, f, message.metadata.field(f)[0])
    packet = m.PacketIn(
        message.data, message.total_len, message.reason, message.table_id, message.cookie, 0, key,
        continuation=message.continuation,
    )  # fmt: skip
    raw = encode_packet_in2(packet, message.metadata, version, XID)
    return raw[:12] + pack(">I", 28) + raw[16:]


@_encode.register
def _(message: m.QueueConfigRequest, version: int) -> bytes:
    if message.multipart:
        return _multipart(version, 15, pack(">II", message.port, message.queue_id))
    if version == V10:
        return frame(version, 20, XID, pack(">H2x", port_to_16(message.port)))
    return frame(version, 22, XID, pack(">I4x", message.port))


@_encode.register
def _(message: m.BundleControl, version: int) -> bytes:
    return encode.bundle_control(message, version, XID)


@_encode.register
def _(message: m.BundleAdd, version: int) -> bytes:
    body = pack(">I2xH", message.bundle_id, message.flags) + message.message
    return onf(version, 2301, XID, body) if message.onf else frame(version, 34, XID, body)


def _nxm(match: Match) -> tuple[int, bytes]:
    body = encode_match(match, V10)
    return len(body), body + bytes(-len(body) % 8)


@_encode.register
def _(message: m.FlowStatsRequest, version: int) -> bytes:
    kind = 2 if message.aggregate else 17 if message.stats_only else 1
    if message.nicira:
        length, match = _nxm(message.match)
        head = pack(">HHB3x", port_to_16(message.out_port), length, message.table_id)
        return _multipart_nicira(version, kind - 1, head + match)
    if version == V10:
        body = encode_ofp_match(message.match, version)
        return _multipart(
            V10, kind, body + pack(">BxH", message.table_id, port_to_16(message.out_port))
        )
    body = pack(
        ">B3xII4xQQ", message.table_id, message.out_port, message.out_group, message.cookie,
        message.cookie_mask,
    )  # fmt: skip
    return _multipart(version, kind, body + encode_ofp_match(message.match, version))


@_encode.register
def _(message: m.TableFeaturesRequest, version: int) -> bytes:
    return _multipart(version, 12, message.body, int(message.more))


@_encode.register
def _(message: m.PortStatsRequest, version: int) -> bytes:
    if version == V10:
        return _multipart(V10, 4, pack(">H6x", port_to_16(message.port)))
    return _multipart(version, 4, pack(">I4x", message.port))


@_encode.register
def _(message: m.PortDescRequest, version: int) -> bytes:
    return _multipart(version, 13, pack(">I4x", message.port) if version == V15 else b"")


@_encode.register
def _(message: m.QueueStatsRequest, version: int) -> bytes:
    if version == V10:
        port = 0xFFFC if message.port == _ANY else port_to_16(message.port)
        return _multipart(V10, 5, pack(">H2xI", port, message.queue_id))
    return _multipart(version, 5, pack(">II", message.port, message.queue_id))


@_encode.register
def _(message: m.GroupStatsRequest, version: int) -> bytes:
    body = pack(">I4x", message.group_id)
    return _multipart_nicira(V10, 7, body) if version == V10 else _multipart(version, 6, body)


@_encode.register
def _(message: m.GroupDescRequest, version: int) -> bytes:
    body = pack(">I4x", message.group_id)
    if version == V10:
        return _multipart_nicira(V10, 8, body)
    return _multipart(version, 7, body if version == V15 else b"")


@_encode.register
def _(message: m.GroupFeaturesRequest, version: int) -> bytes:
    return _multipart_nicira(version, 9, b"") if version < V12 else _multipart(version, 8)


@_encode.register
def _(message: m.MeterStatsRequest, version: int) -> bytes:
    return _multipart(version, 9, pack(">I4x", message.meter_id))


@_encode.register
def _(message: m.MeterConfigRequest, version: int) -> bytes:
    return _multipart(version, 10, pack(">I4x", message.meter_id))


@_encode.register
def _(message: m.FlowMonitorRequest, version: int) -> bytes:
    body = b""
    for w in message.monitors:
        if version <= V12:
            length, match = _nxm(w.match)
            body += pack(
                ">IHHHB5x", w.monitor_id, w.flags, port_to_16(w.out_port), length, w.table_id
            ) + match  # fmt: skip
            continue
        match = encode_ofp_match(w.match, version)
        if version == V13:
            body += pack(">IHHIB3x", w.monitor_id, w.flags, 0, w.out_port, w.table_id) + match
            continue
        flags = w.flags & 31 | (1 << 6 if w.flags & 32 else 0)
        body += pack(
            ">IIIHBB", w.monitor_id, w.out_port, w.out_group, flags, w.table_id, w.command
        ) + match  # fmt: skip
    if version <= V12:
        return _multipart_nicira(version, 2, body)
    if version == V13:
        return _multipart(version, 0xFFFF, pack(">II", ONF_VENDOR, 1870) + body)
    return _multipart(version, 16, body)
