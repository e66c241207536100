"""A connection as ``dpctl/dump-conntrack`` writes it (ovs-dpctl(8))."""

from __future__ import annotations

import socket
import time
import zlib
from typing import Final

from gossamer.datapath.conntrack import IPV4, Connection, Peer, Tuple
from gossamer.datapath.layout import CT_TCP_STATES, CtFlag

_PROTOCOLS: Final = {
    1: "icmp",
    2: "igmp",
    6: "tcp",
    17: "udp",
    33: "dccp",
    58: "icmpv6",
    132: "sctp",
    136: "udplite",
}
_HELPERS: Final = {21: "ftp", 69: "tftp"}
_SHOWN_AS: Final = {"FIN_WAIT_2": "TIME_WAIT", "SYN_RECV": "ESTABLISHED"}
"""States that the short form does not tell apart, as trackers differ in them."""


def protocol_name(proto: int) -> str:
    """``tcp``; a number where it has no name."""
    return _PROTOCOLS.get(proto, str(proto))


def tcp_state(peers: tuple[Peer, Peer]) -> str:
    """The one state of a connection: the later of both sides', as the short form has it."""
    later = max((p.state for p in peers), key=CT_TCP_STATES.index)
    return _SHOWN_AS.get(later, later)


def tuple_text(t: Tuple) -> str:
    """``src=10.0.0.1,dst=10.0.0.2,sport=1,dport=2``."""
    family = socket.AF_INET if t.family == IPV4 else socket.AF_INET6
    src, dst = socket.inet_ntop(family, t.src), socket.inet_ntop(family, t.dst)
    if t.is_icmp:
        return f"src={src},dst={dst},id={t.sport},type={t.dport >> 8},code={t.dport & 0xFF}"
    return f"src={src},dst={dst},sport={t.sport},dport={t.dport}"


def _side(t: Tuple, n_packets: int, n_bytes: int) -> str:
    counters = f",packets={n_packets},bytes={n_bytes}" if n_packets or n_bytes else ""
    return f"({tuple_text(t)}{counters})"


def _timestamp(age_s: float) -> str:
    began = time.time() - age_s
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(began))
    return f"{whole}.{int(began % 1 * 1000):03d}"


def _status(c: Connection) -> str:
    flags = {
        "EXPECTED": c.parent is not None,
        "SEEN_REPLY": c.n_packets[1] > 0,
        "ASSURED": bool(c.flags & CtFlag.REPLIED),
        "CONFIRMED": True,
        "SRC_NAT": bool(c.flags & CtFlag.SRC_NAT),
        "DST_NAT": bool(c.flags & CtFlag.DST_NAT),
    }
    return "|".join(name for name, is_set in flags.items() if is_set)


def _peer_flags(peer: Peer) -> str:
    names = [
        *(["WINDOW_SCALE"] if peer.wscale_known else []),
        *(["BE_LIBERAL"] if peer.liberal else []),
    ]
    return "|".join(names) or "0"


def _protoinfo(peers: tuple[Peer, Peer], *, verbose: bool) -> str:
    if not verbose:
        return f",protoinfo=(state={tcp_state(peers)})"
    orig, reply = peers
    scales = ""
    if orig.wscale or reply.wscale:
        scales = f",wscale_orig={orig.wscale},wscale_reply={reply.wscale}"
    return (
        f",protoinfo=(state_orig={orig.state},state_reply={reply.state}{scales}"
        f",flags_orig={_peer_flags(orig)},flags_reply={_peer_flags(reply)})"
    )


def connection_text(c: Connection, *, verbose: bool, statistics: bool) -> str:
    """One line.  `statistics` adds counters and times, `verbose` what tracking knows beside."""
    packets, n_bytes = c.n_packets if statistics else (0, 0), c.n_bytes if statistics else (0, 0)
    parts = [
        protocol_name(c.orig.proto),
        f",orig={_side(c.orig, packets[0], n_bytes[0])}",
        f",reply={_side(c.reply, packets[1], n_bytes[1])}",
        f",start={_timestamp(c.age_s)}" if statistics else "",
        f",id={zlib.crc32(c.key)}" if verbose else "",
        f",zone={c.zone}" if c.zone else "",
        f",status={_status(c)}" if verbose else "",
        f",timeout={int(c.timeout_s)}" if statistics else "",
        f",mark={c.mark}" if c.mark else "",
        f",labels={c.label:#x}" if c.label else "",
        _protoinfo(c.peers, verbose=verbose) if c.peers else "",
        f",helper={_HELPERS.get(c.alg, str(c.alg))}" if c.alg else "",
        f",parent=({tuple_text(c.parent)})" if verbose and c.parent is not None else "",
    ]
    return "".join(parts)
