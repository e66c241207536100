"""The headers of a traced packet that say who speaks to whom."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

_IPV4, _IPV6 = b"\x08\x00", b"\x86\xdd"
_KINDS: Final = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6"}


@dataclass(frozen=True, slots=True)
class Headers:
    """Of a frame without tags and labels, IPv4 or IPv6; of those, what traces begin with."""

    dl_src: str
    dl_dst: str
    source: str
    target: str
    kind: str
    """"icmp", "icmp6", "tcp" or "udp"."""
    ttl: int
    ports: tuple[int, int] | None = None
    """Source and destination, of TCP and UDP."""

    def flow(self, in_port: str) -> str:
        """As ofproto/trace is asked for it; of TCP the first packet, since any other belongs to no
        connection."""
        ipv6 = ":" in self.target
        kind = f"{self.kind}6" if ipv6 and self.ports else self.kind
        family = "ipv6" if ipv6 else "nw"
        flow = (
            f"in_port={in_port},{kind},dl_src={self.dl_src},dl_dst={self.dl_dst},"
            f"{family}_src={self.source},{family}_dst={self.target},nw_ttl={self.ttl}"
        )
        if self.ports:
            flow += f",{self.kind}_src={self.ports[0]},{self.kind}_dst={self.ports[1]}"
        return flow + (",tcp_flags=syn" if self.kind == "tcp" else "")

    @property
    def conversation(self) -> str:
        """Who speaks to whom, for people."""
        if self.ports is None:
            return f"{self.kind} {self.source} -> {self.target}"
        ends = (f"[{a}]" if ":" in a else a for a in (self.source, self.target))
        source, target = (f"{end}:{port}" for end, port in zip(ends, self.ports, strict=True))
        return f"{self.kind} {source} -> {target}"


def read_headers(packet: str) -> Headers | None:
    """Of a packet in hexadecimal; None where it is none that traces begin with."""
    frame = bytes.fromhex(packet)
    kind, ip = frame[12:14], frame[14:]
    if kind == _IPV4 and len(ip) >= 20:
        protocol, ttl, addresses, rest = ip[9], ip[8], ip[12:20], ip[(ip[0] & 15) * 4 :]
    elif kind == _IPV6 and len(ip) >= 40:
        protocol, ttl, addresses, rest = ip[6], ip[7], ip[8:40], ip[40:]
    else:
        return None
    if protocol not in _KINDS:
        return None
    half = len(addresses) // 2
    ports = None
    if _KINDS[protocol] in ("tcp", "udp"):
        if len(rest) < 4:
            return None
        ports = (int.from_bytes(rest[:2], "big"), int.from_bytes(rest[2:4], "big"))
    return Headers(
        frame[6:12].hex(":"), frame[:6].hex(":"), str(ip_address(addresses[:half])),
        str(ip_address(addresses[half:])), _KINDS[protocol], ttl, ports,
    )  # fmt: skip
