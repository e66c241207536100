"""Headers that go around packets and come off, as the peer's datapath actions say it (ovs-dpctl(8))."""

from __future__ import annotations

from gossamer.daemon.appctl.odp_actions import pop_mpls
from gossamer.pipeline import action as act
from gossamer.pipeline.action_encap import Encap, NshTlv, PacketType
from gossamer.pipeline.fields import BY_NAME, ETH_NSH, FIELDS, NSH, get, get_slot
from gossamer.pipeline.format_field import format_mac
from gossamer.pipeline.packet import NSH_MD_CONTEXT

_HEX = ("nsh_spi", "nsh_c1", "nsh_c2", "nsh_c3", "nsh_c4")
_NSH_FIELDS = (
    "nsh_flags", "nsh_ttl", "nsh_mdtype", "nsh_np", "nsh_spi", "nsh_si", *_HEX[1:],
)  # fmt: skip
_TRANSPARENT_ETHERNET = 0x6558


def header_on(action: Encap, key: int) -> str:
    """A header put on, as it is when the packet leaves: `key` is the packet's then."""
    if action.packet_type == PacketType.ETHERNET:
        src, dst = (format_mac(get_slot(key, name)) for name in ("eth_src", "eth_dst"))
        return f"push_eth(src={src},dst={dst})"
    if action.packet_type == PacketType.NSH:
        options = b"".join(
            p.tlv_class.to_bytes(2, "big") + bytes((p.tlv_type, len(p.data))) + p.data
            + bytes(-len(p.data) % 4)
            for p in action.properties
            if isinstance(p, NshTlv)
        )  # fmt: skip
        is_context = get(key, BY_NAME["nsh_mdtype"]) == NSH_MD_CONTEXT
        names = _NSH_FIELDS if is_context else _NSH_FIELDS[:6]
        more = [] if is_context or not options else [f"md2=0x{options.hex().lstrip('0')}"]
        return f"push_nsh({','.join([_said(key, name) for name in names] + more)})"
    lse = get_slot(key, "mpls_lse0")
    return (
        f"add_mpls(label={lse >> 12},tc={lse >> 9 & 7},ttl={lse & 0xFF},bos={lse >> 8 & 1},"
        f"eth_type=0x{action.packet_type & 0xFFFF:x})"
    )


def header_off(before: int, after: int) -> str:
    """A header taken off: `before` and `after` are keys."""
    kind = get_slot(before, "packet_type")
    if kind == PacketType.ETHERNET:
        return "pop_eth"
    if kind == PacketType.NSH:
        return "pop_nsh()"
    frame = get_slot(after, "packet_type") == PacketType.ETHERNET
    return pop_mpls(_TRANSPARENT_ETHERNET if frame else get_slot(after, "eth_type"))


def service_changes(old: int, new: int) -> list[str]:
    """What makes the network service header of `old` that of `new`; nothing where one has none."""
    if get_slot(old, "eth_type") != ETH_NSH or get_slot(new, "eth_type") != ETH_NSH:
        return []
    changed = {f.name for f in FIELDS if f.prerequisite is NSH and get(old, f) != get(new, f)}
    said = [_said(new, name) for name in _NSH_FIELDS if name in changed]
    return [f"set(nsh({','.join(said)}))"] if said else []


def _said(key: int, name: str) -> str:
    value = get(key, BY_NAME[name])
    return f"{name.removeprefix('nsh_')}={f'0x{value:x}' if name in _HEX else value}"


def sampled(action: act.Sample, output_port: str) -> str:
    """A packet for a collector set; `output_port` is the datapath's name of the sampling port."""
    direction = ("", ",ingress", ",egress")[action.direction]
    share = action.probability / 0xFFFF * 100
    return (
        f"sample(sample={share:.1f}%,actions(userspace(pid=0,flow_sample("
        f"probability={action.probability},collector_set_id={action.collector_set_id},"
        f"obs_domain_id={action.obs_domain_id},obs_point_id={action.obs_point_id},"
        f"output_port={output_port}{direction}))))"
    )
