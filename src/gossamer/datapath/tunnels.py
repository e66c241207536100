"""Tunnel ports in the kernel: what they encapsulate in, and which packets are theirs (bpf/tunnel.h)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Final

from gossamer.datapath import layout
from gossamer.datapath.layout import TunnelFlag, Wild
from gossamer.datapath.maps import HashMap, MappedArray
from gossamer.datapath.tunnel_settings import (
    DEFAULT_TTL,
    FLOW,
    INHERIT,
    TunnelKind,
    TunnelOption,
    TunnelSettings,
)
from gossamer.errors import DatapathError
from gossamer.pipeline.tunnel import of_ipv4

_MAX_TLV_WORDS: Final = 31


def address16(address: bytes) -> bytes:
    """An IPv4 or IPv6 address in 16 bytes."""
    return of_ipv4(address) if len(address) == 4 else address


class Tunnels:
    """The maps `tunnels`, `endpoints`, `tunnel_udp_ports`, `tunnel_config`, `tunnel_options`."""

    def __init__(
        self,
        tunnels: MappedArray,
        endpoints: HashMap,
        udp_ports: MappedArray,
        config: MappedArray,
        options: MappedArray,
    ) -> None:
        self._tunnels = tunnels
        self._endpoints = endpoints
        self._udp_ports = udp_ports
        self._config = config
        self._options = options
        self._settings: dict[int, TunnelSettings] = {}
        self._owners: dict[bytes, int] = {}
        """Endpoint -> port id."""
        self._known: Counter[bytes] = Counter()
        self._classes: Counter[int] = Counter()
        self._ports: Counter[int] = Counter()
        """Bits of `tunnel_udp_ports` -> how many tunnels want them."""
        self._written: dict[int, int] | None = None
        """Words of `tunnel_udp_ports` as they are, None where somebody else wrote them."""
        self._inherited: set[bytes] = set()
        self._inherited_ports: set[int] = set()
        self._inheriting = False

    def inherit(self) -> None:
        """Learn what an earlier daemon left; it stays until `disinherit()`."""
        self._inheriting = True
        self._inherited = {key for key, _ in self._endpoints.items()}
        self._inherited_ports = {
            port_id
            for port_id in range(layout.MAX_PORTS)
            if self._tunnels.memory[self._tunnels.offset(port_id) + layout.TUNNEL_KIND_OFFSET]
        }

    def disinherit(self) -> None:
        """Remove what was not put again."""
        self._inheriting = False
        for key in self._inherited - set(self._owners) - set(self._known):
            self._endpoints.delete(key)
        for port_id in self._inherited_ports - set(self._settings):
            self._tunnels.write(port_id, bytes(layout.TUNNEL.size))
        self._inherited.clear()
        self._inherited_ports.clear()
        self._summarize()

    def put(self, port_id: int, settings: TunnelSettings | None) -> None:
        """Make a port the tunnel that `settings` describes, or none.

        Raises DatapathError where other ports have the same packets; then nothing has changed.
        """
        if settings is None:
            self.remove(port_id)
            return
        keys = list(endpoints_of(settings))
        for key in keys:
            owner = self._owners.get(key, port_id)
            if owner != port_id:
                raise DatapathError(
                    "another tunnel has the same key, addresses and port",
                    place=f"port id {port_id}, other port id {owner}",
                    remedy="give them different keys or remotes",
                )
        before = self._settings.get(port_id)
        if before == settings:
            return
        self._write(port_id, settings)
        for key in keys:
            self._owners[key] = port_id
            self._endpoints.put(key, port_id.to_bytes(4, "little"))
        self._count(settings, 1)
        self._settings[port_id] = settings
        if before is not None:
            self._drop_endpoints(before, keep=set(keys))
        self._summarize()

    def remove(self, port_id: int) -> None:
        """A port is a tunnel no more; nothing where it is none."""
        settings = self._settings.pop(port_id, None)
        if settings is None:
            return
        self._drop_endpoints(settings, keep=set())
        self._tunnels.write(port_id, bytes(layout.TUNNEL.size))
        self._summarize()

    def set_relay(self, ifindex: int) -> None:
        """The internal device by which copies go into tunnels, 0 none."""
        if ifindex or not self._inheriting:
            self._config.words32[2] = ifindex

    def set_options(self, bridge_id: int, options: Iterable[TunnelOption]) -> None:
        """A bridge's TLV table.  Raises DatapathError where it does not fit the key."""
        heads = [b"\0\0\0\0"] * layout.MAX_OPTIONS
        places = sorted(options, key=lambda option: option.offset)
        for option in places:
            words, rest = divmod(option.length, 4)
            first, odd = divmod(option.offset, 4)
            if rest or odd or not 0 < words <= _MAX_TLV_WORDS or first + words > layout.MAX_OPTIONS:
                raise DatapathError(
                    f"an option of {option.length} bytes cannot be at {option.offset}",
                    remedy=f"options take whole words, {4 * layout.MAX_OPTIONS} bytes together",
                )
            heads[first] = (
                option.option_class.to_bytes(2, "big") + bytes((option.option_type, words))
            )
        for a, b in pairwise(places):
            if a.offset + a.length > b.offset:
                raise DatapathError("two options overlap", place=f"offset {b.offset}")
        self._options.write(bridge_id, b"".join(heads) + bytes(8))

    # -- details -------------------------------------------------------------------------------

    def _write(self, port_id: int, s: TunnelSettings) -> None:
        at = self._tunnels.offset(port_id)
        sequence = layout.TUNNEL.unpack_from(self._tunnels.memory, at)[-3]
        self._tunnels.write(port_id, _image(s, sequence))

    def _drop_endpoints(self, settings: TunnelSettings, keep: set[bytes]) -> None:
        for key in endpoints_of(settings):
            if key not in keep:
                del self._owners[key]
                self._endpoints.delete(key)
        self._count(settings, -1)

    def _count(self, settings: TunnelSettings, by: int) -> None:
        for key in known_of(settings):
            self._known[key] += by
            if self._known[key] == by > 0:
                self._endpoints.put(key, bytes(4))
            elif not self._known[key]:
                del self._known[key]
                self._endpoints.delete(key)
        self._classes[_class_bit(settings)] += by
        if settings.kind in (TunnelKind.VXLAN, TunnelKind.GENEVE):
            self._ports[_udp_bit(settings)] += by

    def _summarize(self) -> None:
        """What the kernel needs to know of all tunnels together; while inheriting, only more."""
        classes = sum(1 << bit for bit, n in self._classes.items() if n)
        kinds = {settings.kind for settings in self._settings.values()}
        gre = not kinds.isdisjoint({TunnelKind.GRE, TunnelKind.ERSPAN})
        bits: dict[int, int] = {}
        for bit, n in self._ports.items():
            if n:
                bits[bit >> 6] = bits.get(bit >> 6, 0) | 1 << (bit & 63)
        config, ports = self._config.words64, self._udp_ports.words64
        if self._inheriting:
            classes |= config[0]
            gre = gre or bool(self._config.words32[3])
        config[0] = classes
        self._config.words32[3] = gre
        if bits == self._written and not self._inheriting:
            return
        self._written = None if self._inheriting else bits
        for word in range(self._udp_ports.entries):
            wanted = bits.get(word, 0)
            if self._inheriting:
                wanted |= ports[word]
            if ports[word] != wanted:
                ports[word] = wanted


def endpoints_of(s: TunnelSettings) -> Iterator[bytes]:
    """`struct endpoint` of the packets that are a tunnel's: one each IP version.

    Packets to a multicast group come from any of its members, to the group or to us alone.
    """
    if _is_to_group(s):
        group, families = s.remote, _families(s)
        members = replace(s, remote=FLOW, family=families[0])
        yield from endpoints_of(members)
        if s.local is not None:
            yield from endpoints_of(replace(members, local=group))
        return
    wild = Wild(0)
    local, remote = bytes(16), bytes(16)
    key = 0
    if s.in_key == FLOW:
        wild |= Wild.KEY
    elif s.in_key is not None:
        key = int(s.in_key)
    if s.remote == FLOW:
        wild |= Wild.REMOTE
    else:
        remote = address16(bytes(s.remote))
    if s.local is None:
        wild |= Wild.LOCAL_ANY
    elif s.local == FLOW:
        wild |= Wild.LOCAL_FLOW
    else:
        local = address16(bytes(s.local))
    for family in _families(s):
        yield layout.ENDPOINT.pack(
            local, remote, key.to_bytes(8, "big"), _port(s), _kind(s, family), s.packet_mode, wild
        )


def known_of(s: TunnelSettings) -> Iterator[bytes]:
    """`struct endpoint` by which the kernel tells what is wrong with a packet of no tunnel."""
    for family in _families(s):
        if s.remote != FLOW and not _is_to_group(s):
            yield layout.ENDPOINT.pack(
                bytes(16),
                address16(bytes(s.remote)),
                bytes(8),
                _port(s),
                _kind(s, family),
                0,
                Wild.KNOWN_REMOTE,
            )
        if s.in_key != FLOW:
            key = int(s.in_key or 0).to_bytes(8, "big")
            yield layout.ENDPOINT.pack(
                bytes(16), bytes(16), key, _port(s), _kind(s, family), 0, Wild.KNOWN_KEY
            )


def _is_to_group(s: TunnelSettings) -> bool:
    if not isinstance(s.remote, bytes):
        return False
    return s.remote[0] >> 4 == 14 if len(s.remote) == 4 else s.remote[0] == 0xFF


def _families(s: TunnelSettings) -> tuple[int, ...]:
    for address in (s.remote, s.local):
        if isinstance(address, bytes):
            return (4 if len(address) == 4 else 6,)
    return (s.family,) if s.family else (4, 6)


def _kind(s: TunnelSettings, family: int) -> int:
    return int(s.kind) | (layout.OVER_IPV6 if family == 6 else 0)


def _port(s: TunnelSettings) -> bytes:
    udp = s.kind in (TunnelKind.VXLAN, TunnelKind.GENEVE)
    return (s.dst_port if udp else 0).to_bytes(2, "big")


def _class_bit(s: TunnelSettings) -> int:
    local = 1 if s.local is None else 2 if s.local == FLOW else 0
    any_remote = s.remote == FLOW or _is_to_group(s)
    number = (s.in_key == FLOW) * 6 + any_remote * 3 + local
    return 3 * number + s.packet_mode


def _udp_bit(s: TunnelSettings) -> int:
    return (65536 if s.kind is TunnelKind.GENEVE else 0) + s.dst_port


def _image(s: TunnelSettings, sequence: int) -> bytes:
    """`struct tunnel`."""
    flags = TunnelFlag(0)
    for wanted, flag in (
        (s.remote == FLOW, TunnelFlag.REMOTE_FLOW),
        (s.local == FLOW, TunnelFlag.LOCAL_FLOW),
        (s.out_key is not None, TunnelFlag.OUT_KEY),
        (s.out_key == FLOW, TunnelFlag.OUT_KEY_FLOW),
        (s.ttl == INHERIT, TunnelFlag.TTL_INHERIT),
        (s.tos == INHERIT, TunnelFlag.TOS_INHERIT),
        (s.csum, TunnelFlag.CSUM),
        (s.df, TunnelFlag.DF),
        (s.seq, TunnelFlag.SEQ),
        (s.gbp, TunnelFlag.GBP),
        (s.gpe, TunnelFlag.GPE),
        (s.erspan_version == FLOW, TunnelFlag.VERSION_FLOW),
        (s.erspan_index == FLOW, TunnelFlag.INDEX_FLOW),
        (s.erspan_direction == FLOW, TunnelFlag.DIRECTION_FLOW),
        (s.erspan_hwid == FLOW, TunnelFlag.HWID_FLOW),
        (s.mark is not None, TunnelFlag.MARK),
    ):
        if wanted:
            flags |= flag

    def number(value: int | str | None) -> int:
        return value if isinstance(value, int) else 0

    return layout.TUNNEL.pack(
        bytes(16) if s.remote == FLOW else address16(bytes(s.remote)),
        address16(s.local) if isinstance(s.local, bytes) else bytes(16),
        number(s.out_key).to_bytes(8, "big"),
        flags,
        _port(s),
        s.kind,
        s.packet_mode,
        number(s.ttl) or DEFAULT_TTL,
        number(s.tos),
        number(s.erspan_version),
        number(s.erspan_hwid),
        number(s.erspan_index),
        number(s.erspan_direction),
        s.family,
        sequence,
        0,
        s.mark or 0,
    )
