"""Random matches, actions and messages, such as OpenFlow can say."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st

from gossamer.openflow import message as m
from gossamer.openflow.match import OF_CONNECTION, has_prerequisite, says_tracked
from gossamer.openflow.oxm import allowed_bits, is_nxm_port
from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, SubField
from gossamer.pipeline.action_choice import (
    Bundle,
    BundleAlgorithm,
    HashFields,
    Multipath,
    MultipathAlgorithm,
)
from gossamer.pipeline.action_ct import CT_ALG_FTP, CT_ALG_TFTP, Ct, CtClear, Nat
from gossamer.pipeline.action_learn import Learn, LearnSpec, LearnTo
from gossamer.pipeline.field_views import NXM_IN_PORT, XREGS, XXREGS, named_bits
from gossamer.pipeline.fields import BY_NAME, FIELDS, Field
from gossamer.pipeline.group import GROUP_ANY, Bucket, Group, GroupType
from gossamer.pipeline.match import ANY, Match
from gossamer.pipeline.meter import Band, BandType, Meter, MeterFlag
from gossamer.pipeline.of_port import OfPort

V10, V11, V12, V13, V14, V15 = range(1, 7)
versions: Final = st.integers(V10, V15)
_CT_ONLY: Final = ("ct_mark", "ct_label")
_OURS: Final = ("pbb_isid", "ipv6_exthdr", "arp_op")
"""What Open vSwitch does not know, and what has other bits there than here."""
_WRITABLE: Final = [
    f for f in FIELDS if f.writable and f.name not in (*_CT_ONLY, *_OURS, "in_port")
]
_READABLE: Final = [*(f for f in FIELDS if f.name not in _OURS), *XREGS, *XXREGS]
_TARGETS: Final = [*_WRITABLE, *XREGS, *XXREGS]
_WRITABLE_LOADS: Final = [*_WRITABLE, *XREGS]
_NXM_NAMED: Final = [f for f in (*_WRITABLE, *XREGS) if f.oxm is None or f.oxm[0] < 0xFFFF]
_RESERVED: Final = [
    OfPort.IN_PORT, OfPort.TABLE, OfPort.NORMAL, OfPort.FLOOD, OfPort.ALL, OfPort.LOCAL,
]  # fmt: skip

numbers: Final = st.integers(1, 0xFEFF)
ports: Final = st.one_of(numbers, st.sampled_from([int(p) for p in _RESERVED]))


def bits(n: int) -> st.SearchStrategy[int]:
    """A number of n bits."""
    return st.one_of(st.integers(0, (1 << n) - 1), st.sampled_from((0, 1, (1 << n) - 1)))


u8, u16, u32, u64 = bits(8), bits(16), bits(32), bits(64)


@st.composite
def subfields(draw: st.DrawFn, fields: list[Field], most: int = 1024, least: int = 1) -> SubField:
    """Some bits of one of `fields`."""
    field = draw(st.sampled_from([f for f in fields if _width(f) >= least]))
    n_bits = draw(st.integers(least, min(most, _width(field))))
    return SubField(field, draw(st.integers(0, _width(field) - n_bits)), n_bits)


def _width(field: Field) -> int:
    return min(field.n_bits, named_bits(field))


@st.composite
def set_fields(draw: st.DrawFn) -> Action:
    """SetField, with a mask where the field may have one."""
    field = draw(st.sampled_from([*_TARGETS, NXM_IN_PORT]))
    if is_nxm_port(field):
        return act.SetField(field, draw(ports), 0xFFFFFFFF)
    full = allowed_bits(field)
    odd = field.n_bits < 8 * field.wire_bytes and not field.marks
    if odd and field.maskable and draw(st.booleans()):
        return act.NamedSet(field, draw(bits(field.n_bits)) & full, full, act.WITH_MASK)
    if field.name == "vlan_vid":
        return act.SetField(field, draw(bits(12)) | 0x1000, full)
    masked = field.maskable and draw(st.booleans())
    mask = (draw(bits(field.n_bits)) & full or full) if masked else full
    return act.SetField(field, draw(bits(field.n_bits)) & mask, mask)


@st.composite
def loads(draw: st.DrawFn) -> Action:
    """NXAST_REG_LOAD."""
    dst = draw(subfields(_WRITABLE_LOADS, 64))
    return act.RegLoad(dst, draw(bits(dst.n_bits)))


@st.composite
def moves(draw: st.DrawFn) -> Action:
    """NXAST_REG_MOVE."""
    src = draw(subfields(_READABLE))
    dst = draw(subfields(_TARGETS, src.n_bits))
    return act.RegMove(SubField(src.field, src.low, dst.n_bits), dst)


_SPELLINGS: Final = {
    "set_dl_src": "eth_src", "set_dl_dst": "eth_dst", "set_nw_src": "ip_src",
    "set_nw_dst": "ip_dst", "set_nw_tos": "ip_dscp", "set_tp_src": "tcp_src",
    "set_tp_dst": "tcp_dst", "set_tunnel": "tun_id", "set_tunnel64": "tun_id",
    "set_mpls_label": "mpls_label", "set_mpls_tc": "mpls_tc", "set_mpls_ttl": "mpls_ttl",
    "set_nw_ttl": "nw_ttl",
}  # fmt: skip


@st.composite
def named_sets(draw: st.DrawFn) -> Action:
    """Actions of early versions that set a field."""
    spelling = draw(st.sampled_from(sorted(_SPELLINGS)))
    f = BY_NAME[_SPELLINGS[spelling]]
    value = draw(bits(32 if spelling == "set_tunnel" else f.n_bits))
    return act.NamedSet(f, value, (1 << f.n_bits) - 1, spelling)


@st.composite
def learn_specs(draw: st.DrawFn) -> LearnSpec:
    """A part of a learned flow."""
    to = draw(st.sampled_from(LearnTo))
    if to is LearnTo.OUTPUT:
        src = draw(subfields(_READABLE, 32))
        return LearnSpec(src, src.n_bits, to)
    dst = draw(subfields(_NXM_NAMED))
    if draw(st.booleans()):
        return LearnSpec(draw(bits(dst.n_bits)), dst.n_bits, to, dst)
    src = draw(subfields(_READABLE, dst.n_bits))
    dst = SubField(dst.field, dst.low, src.n_bits)
    return LearnSpec(src, src.n_bits, to, dst)


@st.composite
def learns(draw: st.DrawFn) -> Action:
    """learn, with and without a result."""
    result = draw(st.none() | subfields(_TARGETS, 1))
    flags = draw(st.integers(0, 3)) | (4 if result else 0)
    return Learn(
        tuple(draw(st.lists(learn_specs(), max_size=4))), draw(st.integers(0, 254)), draw(u16),
        draw(u16), draw(u16), draw(u64), flags, draw(u16), draw(u16), draw(u32), result,
    )  # fmt: skip


@st.composite
def multipaths(draw: st.DrawFn) -> Action:
    """multipath into bits that can tell its links apart."""
    dst = draw(subfields(_NXM_NAMED, 64))
    links = draw(st.integers(1, min(1 << dst.n_bits, 65536)))
    return Multipath(
        draw(st.sampled_from(HashFields)), draw(u16),
        draw(st.sampled_from(MultipathAlgorithm)), links, draw(u32), dst,
    )  # fmt: skip


@st.composite
def bundles(draw: st.DrawFn) -> Action:
    """bundle and bundle_load."""
    return Bundle(
        draw(st.sampled_from(HashFields)), draw(u16),
        draw(st.sampled_from(BundleAlgorithm)), tuple(draw(st.lists(ports, max_size=5))),
        draw(st.none() | subfields(_NXM_NAMED, 64, 16)),
    )  # fmt: skip


@st.composite
def nats(draw: st.DrawFn) -> Nat:
    """nat inside of ct, with all that may stand there."""
    if draw(st.booleans()):
        return Nat()
    src = draw(st.booleans())
    length = draw(st.sampled_from((4, 16)))
    addresses = sorted(draw(st.integers(1, (1 << 8 * length) - 1)) for _ in range(2))
    first, last = (a.to_bytes(length, "big") for a in addresses)
    ports = draw(st.none() | st.lists(st.integers(1, 0xFFFF), min_size=2, max_size=2).map(sorted))
    kind = draw(st.sampled_from(("", "hash", "random")))
    # Flags are only shown behind addresses.
    return Nat(
        src, not src, (first, draw(st.sampled_from((first, last)))),
        (ports[0], ports[1]) if ports else None, draw(st.booleans()), kind == "hash",
        kind == "random",
    )  # fmt: skip


_CT_FIELDS: Final = [BY_NAME[name] for name in _CT_ONLY]


@st.composite
def cts(draw: st.DrawFn) -> Action:
    """ct, with what it may run."""
    commit = draw(st.booleans())
    zone_field = draw(st.none() | subfields(_READABLE, 16, 16))
    inside: tuple[Action, ...] = ()
    if commit:
        field = draw(st.sampled_from(_CT_FIELDS))
        mask = draw(bits(field.n_bits)) or 1
        moved = draw(subfields(_READABLE, field.n_bits))
        inside = (
            act.SetField(field, draw(bits(field.n_bits)) & mask, mask),
            act.RegMove(moved, SubField(field, 0, moved.n_bits)),
        )[draw(st.integers(0, 2)) :]
    return Ct(
        commit, commit and draw(st.booleans()), draw(st.none() | st.integers(0, 254)),
        0 if zone_field else draw(u16), zone_field,
        draw(st.none() | (nats() if commit else st.just(Nat()))),
        draw(st.sampled_from((0, CT_ALG_FTP, CT_ALG_TFTP))), inside,
    )  # fmt: skip


controllers: Final = st.builds(
    act.Controller, max_len=u16, controller_id=u16, reason=st.integers(0, 5),
    userdata=st.binary(max_size=9), pause=st.booleans(), meter_id=u32, as_output=st.just(False),
)  # fmt: skip
_simple: Final = st.one_of(
    ports.map(act.Output),
    st.builds(act.Group, u32),
    st.sampled_from(
        (
            act.PopQueue(), act.DecMplsTtl(), act.Exit(), act.DecTtl(), act.Controller(),
            act.PushMpls(0x8847), act.PushMpls(0x8848), act.PushVlan(0x8100),
        )
    ),
    st.builds(act.PopMpls, u16),
    st.builds(act.SetQueue, u32),
    st.builds(act.DecTtl, st.lists(u16, min_size=1, max_size=5).map(tuple)),
    st.builds(act.Resubmit, ports, u8, st.booleans()),
    st.builds(act.OutputReg, subfields(_READABLE, 64), u16),
    st.builds(act.OutputTrunc, ports, st.integers(14, 0xFFFFFFFF)),
    st.builds(act.StackPush, subfields(_READABLE)),
    st.builds(act.StackPop, subfields(_TARGETS)),
    st.builds(act.CheckPktLarger, subfields(_TARGETS, 1), u16),
    st.builds(act.FinTimeout, u16, u16),
    st.builds(act.Note, st.integers(0, 3).flatmap(
        lambda n: st.binary(min_size=6 + 8 * n, max_size=6 + 8 * n))),
    st.builds(act.Sample, st.integers(1, 0xFFFF), u32, u32, u32, ports, st.integers(0, 2)),
    st.builds(act.SetVlanVid, bits(12), st.booleans()),
    st.builds(act.SetVlanPcp, bits(3), st.booleans()),
)  # fmt: skip
plain_actions: Final = st.one_of(
    _simple, set_fields(), loads(), moves(), named_sets(), learns(), multipaths(), bundles(),
    controllers, cts(), st.just(CtClear()),
)  # fmt: skip
actions: Final = st.recursive(
    plain_actions,
    lambda inner: st.builds(act.Clone, st.lists(inner, max_size=3).map(tuple)),
    max_leaves=4,
)
plain_lists: Final = st.lists(_simple, max_size=3).map(tuple)
"""Lists that every version can say."""
action_lists: Final = st.lists(actions, max_size=5).map(tuple)


_MATCHED: Final = [f for f in FIELDS if f.name != "vlan_tci"]
"""But the TCI, of which OXM cannot say the priority of packets without a tag."""
_ETH_TYPE: Final = BY_NAME["eth_type"]
_CT_STATE: Final = BY_NAME["ct_state"]


def _of_connection(draw: st.DrawFn, wanted: Match, field: Field) -> Match | None:
    """A match with what a field of a packet's connection needs; None where that cannot be."""
    if not wanted.mask & _CT_STATE.full_mask:
        wanted = wanted.with_field(_CT_STATE, *draw(st.sampled_from(((1, 1), (0x20, 0x30)))))
    if not says_tracked(wanted):
        return None
    if field.name.startswith("ct_tp_") and not wanted.mask & BY_NAME["ct_nw_proto"].full_mask:
        # Ports are shown with a protocol only, there as here.
        wanted = wanted.with_field(BY_NAME["ct_nw_proto"], draw(u8))
    if field.name.startswith(("ct_nw_src", "ct_nw_dst", "ct_ipv6_")):
        eth_type = 0x800 if field.name.startswith("ct_nw") else 0x86DD
        if not wanted.mask & _ETH_TYPE.full_mask:
            wanted = wanted.with_field(_ETH_TYPE, eth_type)
        if wanted.field(_ETH_TYPE)[0] != eth_type:
            return None
    return wanted


@st.composite
def matches(draw: st.DrawFn) -> Match:
    """A match whose prerequisites are kept."""
    wanted = ANY
    chosen = draw(st.lists(st.sampled_from(_MATCHED), max_size=6, unique=True))
    for field in sorted(chosen, key=FIELDS.index):
        if field.name == "packet_type" and wanted.mask & _ETH_TYPE.full_mask:
            continue
        if field.name in OF_CONNECTION:
            connected = _of_connection(draw, wanted, field)
            if connected is None:
                continue
            wanted = connected
        narrowed = _with_prerequisites(draw, wanted, field)
        if narrowed.mask & field.full_mask or not has_prerequisite(narrowed, field):
            continue
        wanted = narrowed
        full = allowed_bits(field)
        masked = field.maskable and field.name != "vlan_vid" and draw(st.booleans())
        mask = (draw(bits(field.n_bits)) & full or full) if masked else full
        value = draw(_values(field)) & mask
        if field.name == "vlan_vid":
            value |= 0x1000
        wanted = wanted.with_field(field, value, mask)
    return wanted


def _values(field: Field) -> st.SearchStrategy[int]:
    if field.name == "nsh_mdtype":
        return st.sampled_from((1, 2))
    if field.name == "nsh_ttl":
        return bits(6)
    return ports if field.name in ("in_port", "actset_output") else bits(field.n_bits)


def _with_prerequisites(draw: st.DrawFn, wanted: Match, field: Field) -> Match:
    p = field.prerequisite
    needs: list[tuple[str, int]] = []
    if p.vlan:
        needs.append(("vlan_vid", 0x1000 | draw(bits(12))))
    if p.eth_types:
        needs.append(("eth_type", draw(st.sampled_from(p.eth_types))))
    if p.nw_proto is not None:
        needs.append(("nw_proto", p.nw_proto))
    if p.icmpv6_types:
        needs.append(("icmpv6_type", draw(st.sampled_from(p.icmpv6_types))))
    for name, value in needs:
        f = BY_NAME[name]
        if name == "eth_type" and wanted.field(BY_NAME["packet_type"])[0]:
            continue  # that says it, or says that there is none
        if not wanted.mask & f.full_mask:
            wanted = wanted.with_field(f, value)
    return wanted


@st.composite
def groups(draw: st.DrawFn, *, numbered: bool) -> Group:
    """A group of any type; `numbered`: with numbers of buckets of its own."""
    kind = draw(st.sampled_from(GroupType))
    n = 1 if kind is GroupType.INDIRECT else draw(st.integers(0, 4))
    ids = draw(st.lists(st.integers(0, 0xFFFFFF00), min_size=n, max_size=n, unique=True))
    out: list[Bucket] = []
    for i in range(n):
        watched = kind in (GroupType.SELECT, GroupType.FAST_FAILOVER)
        port = draw(numbers) if kind is GroupType.FAST_FAILOVER else int(OfPort.ANY)
        group = draw(st.sampled_from((GROUP_ANY, 7))) if watched else GROUP_ANY
        weight = draw(u16) if kind is GroupType.SELECT else 0
        body = tuple(draw(st.lists(_simple.filter(_stays), max_size=3)))
        out.append(Bucket(body, ids[i] if numbered else i, weight, port, group))
    method, parameter = "", 0
    if numbered and kind is GroupType.SELECT and draw(st.booleans()):
        method, parameter = draw(st.sampled_from(("hash", "dp_hash"))), draw(u64)
    return Group(draw(u32), kind, tuple(out), method, parameter)


def _stays(action: Action) -> bool:
    """Actions that are the same again in every version."""
    return not isinstance(action, (act.SetVlanVid, act.SetVlanPcp, act.PushVlan))


meters: Final = st.builds(
    Meter,
    u32,
    st.sampled_from((MeterFlag.KBPS, MeterFlag.PKTPS | MeterFlag.BURST, MeterFlag(0xC))),
    st.lists(
        st.one_of(
            st.builds(Band, st.just(BandType.DROP), u32, u32),
            st.builds(Band, st.just(BandType.DSCP_REMARK), u32, u32, u8),
        ),
        max_size=3,
    ).map(tuple),
)


def async_masks(kinds: int) -> st.SearchStrategy[dict[str, Any]]:
    """Masks of the first kinds of events, with reasons that all versions have."""
    pair = {"table_status": st.sampled_from((0, 8, 16, 24))}
    return st.fixed_dictionaries(
        {
            kind: st.tuples(*(pair.get(kind, st.integers(0, 3)),) * 2)
            for kind in m.ASYNC_KINDS[:kinds]
        }
    )
