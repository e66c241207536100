"""Hostile OpenFlow: mutated messages into the decoder.

``python -m tests.fuzz.openflow_codec 1000000``: only OpenFlowError may come
out, and memory must not grow with the number of messages.
"""

from __future__ import annotations

import random
import resource
import sys

from gossamer.openflow import encode
from gossamer.openflow import message as m
from gossamer.openflow.codec import Context, decode
from gossamer.openflow.error import OpenFlowError, encode_error
from gossamer.openflow.frame import frame
from gossamer.pipeline import action as act
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.group import Bucket, Group, GroupType
from gossamer.pipeline.match import match
from gossamer.pipeline.meter import Band, BandType, Meter, MeterFlag
from tests.property.openflow_requests import encode_request
from tests.unit.openflow.every_action import EVERYWHERE

_MATCHES = (
    match(in_port=1, eth_type=0x800, nw_proto=6, ip_src=(0x0A000000, 0xFF000000), tcp_dst=80),
    match(eth_type=0x86DD, nw_proto=58, icmpv6_type=135, nd_target=(1, 3), nd_sll=5),
    match(vlan_vid=0x1005, vlan_pcp=3, eth_type=0x806, arp_op=1, arp_sha=7),
    match(eth_type=0x8847, mpls_label=5, mpls_bos=1, metadata=(1, 0xFF), reg3=9, tun_id=8),
    match(eth_type=0x88E7, pbb_isid=(1, 5)),
    match(eth_type=0x86DD, ipv6_exthdr=(1, 3), ipv6_src=(1 << 64, 1 << 64)),
)
_GROUP = Group(
    7,
    GroupType.SELECT,
    (Bucket((act.Output(1),), 0, 10), Bucket((act.DecTtl(), act.Output(2)), 1, 20, 2)),
)
_HASHED = Group(
    8, GroupType.SELECT, _GROUP.buckets, "hash", 77, BY_NAME["ip_src"].full_mask, ("ip_src",)
)
_METER = Meter(3, MeterFlag.KBPS, (Band(BandType.DROP, 9), Band(BandType.DSCP_REMARK, 5, 0, 2)))
_PAUSED = m.Continuation(bytes(16), (m.PausedActions(2, 7, (act.Output(3),)),), (), (b"x",))
_MONITOR = m.FlowMonitor(7, 23, 3, 0xFF, _MATCHES[0])
_INSTRUCTIONS = (
    act.Output(1),
    act.ClearActions(),
    act.WriteActions((act.Output(2), act.Group(7))),
    act.WriteMetadata(5, 0xFF),
    act.GotoTable(7),
)


def _messages(version: int) -> list[m.Message]:
    flows: list[m.Message] = [
        m.FlowMod(0, 0, 1, wanted, (act.Output(1),), version=version) for wanted in _MATCHES
    ]
    flows += [m.FlowMod(0, 0, 1, match(), (a,), version=version) for a, _ in EVERYWHERE]
    flows.append(m.FlowMod(0, 0, 1, match(), _INSTRUCTIONS, version=version))
    masks = dict.fromkeys(m.ASYNC_KINDS, (1, 0))
    return [
        *flows,
        m.GroupMod(m.GroupCommand.ADD, _GROUP),
        m.GroupMod(m.GroupCommand.ADD, _HASHED),
        m.MeterMod(m.MeterCommand.ADD, _METER),
        m.SetAsync(masks),  # type: ignore[arg-type]
        m.PacketOut(0xFFFFFFFF, 1, (act.Output(2),), b"packet", match(in_port=1)),
        m.PortMod(1, bytes(6), 1, 1, 1),
        m.TableMod(1, 12, 0, True, True, 10, 90, 1),
        m.FlowStatsRequest(0, _MATCHES[0]),
        m.FlowMonitorRequest((_MONITOR, _MONITOR), nicira=version < m.Version.V14),
        m.Resume(b"packet", 6, 1, 2, 1, match(in_port=1), _PAUSED),
    ]


def seeds(version: int) -> list[bytes]:
    """Messages that are right, of every type there is."""
    out = [encode_request(message, version) for message in _messages(version)]
    if version >= m.Version.V13:
        tables = [m.TableStats(n, "table", 0, 0, 0, 9) for n in range(2)]
        (features,) = encode.table_features_replies(tables, version, 1)
        out.append(encode_request(m.TableFeaturesRequest(features[16:]), version))
    stats = 16 if version == 1 else 18
    out += [
        frame(version, stats, 1, kind.to_bytes(2, "big") + bytes(6) + bytes(n))
        for kind in (*range(18), 0xFFFF)
        for n in (0, 8, 40)
    ]
    out += [frame(version, kind, 1, bytes(n)) for kind in range(36) for n in (0, 4, 8, 16, 32)]
    for vendor in (0x2320, 0x4F4E4600):
        for subtype in (*range(10, 33), 1870, 2300, 2301):
            head = vendor.to_bytes(4, "big") + subtype.to_bytes(4, "big")
            out.append(frame(version, 4, 1, head + bytes(24)))
    return out


def mutate(data: bytes, rng: random.Random) -> bytes:
    """The message with a few bytes wrong, cut or repeated; its length field mostly right."""
    raw = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        kind = rng.random()
        at = rng.randrange(len(raw)) if raw else 0
        if kind < 0.6 and raw:
            raw[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind < 0.8:
            del raw[at : at + rng.randint(1, 16)]
        else:
            raw[at:at] = raw[at : at + rng.randint(1, 24)]
    if len(raw) >= 4 and rng.random() < 0.9:
        raw[2:4] = (len(raw) & 0xFFFF).to_bytes(2, "big")
    return bytes(raw)


def run(count: int, seed: int = 1) -> tuple[int, int]:
    """(accepted, refused) of `count` mutated messages.  Anything but OpenFlowError escapes."""
    rng = random.Random(seed)
    pool = {version: seeds(version) for version in range(1, 7)}
    accepted = refused = 0
    for _ in range(count):
        version = rng.randint(1, 6)
        data = mutate(rng.choice(pool[version]), rng)
        context = Context(version, flow_mod_table_id=rng.random() < 0.5)
        try:
            message = decode(data, context)
        except OpenFlowError as e:
            encode_error(e.code, version, data, 1)
            refused += 1
            continue
        accepted += 1
        if not rng.randrange(8):
            # What was accepted can be said again.
            decode(encode_request(message, version), Context(version))
    return accepted, refused


def main() -> None:
    """Run, and say what memory did."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    run(count // 10, seed=2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    accepted, refused = run(count)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{count} messages: {accepted} accepted, {refused} refused; memory {before} -> {after} KiB"
    )
    if after > before + 200_000:
        raise SystemExit("memory grows")


if __name__ == "__main__":
    main()
