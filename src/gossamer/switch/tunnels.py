"""All tunnel ports of the switch together, and what they run over.

No two may take the same packets, whatever bridges they are on.  Addresses,
routes and devices of the host are followed: tunnels' packets are taken from the
devices that carry local addresses or lead to remote ones (nothing else is done
to these devices), multicast groups are joined there, and a port tells which
device its packets leave by and how long they may be.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gossamer.datapath.tunnel_settings import (
    Cuts,
    LocalAddress,
    PacketMode,
    TunnelSettings,
)
from gossamer.datapath.tunnel_settings import TunnelKind as Encapsulation
from gossamer.devices.joining import Wanted
from gossamer.errors import DatapathError, DeviceError
from gossamer.pipeline.tunnel import (
    FLOW,
    Flow,
    PacketTypeMode,
    Tunnel,
    TunnelKind,
    format_address,
    is_ipv4,
    is_multicast,
    over_ipv6,
    overhead,
)
from gossamer.pipeline.wrap import encapsulate

if TYPE_CHECKING:
    from gossamer.devices.routes import Route
    from gossamer.pipeline.result import Output
    from gossamer.pipeline.wrap import Outer
    from gossamer.switch.contract import Datapath, Devices, Poller

log = logging.getLogger(__name__)

_LOOPBACK: Final = 1
"""ifindex of lo, in every network namespace."""
_ENCAPSULATIONS: Final = {
    TunnelKind.VXLAN: (Encapsulation.VXLAN, 0),
    TunnelKind.GENEVE: (Encapsulation.GENEVE, 0),
    TunnelKind.GRE: (Encapsulation.GRE, 0),
    TunnelKind.IP6GRE: (Encapsulation.GRE, 6),
    TunnelKind.ERSPAN: (Encapsulation.ERSPAN, 0),
    TunnelKind.IP6ERSPAN: (Encapsulation.ERSPAN, 6),
}
"""Encapsulation and IP version, which is 0 where the addresses say."""
_UDP, _GRE = 17, 47
_IP_PROTOCOLS: Final = {
    Encapsulation.VXLAN: _UDP,
    Encapsulation.GENEVE: _UDP,
    Encapsulation.GRE: _GRE,
    Encapsulation.ERSPAN: _GRE,
}
_MODES: Final = {
    PacketTypeMode.LEGACY_L2: PacketMode.LEGACY_L2,
    PacketTypeMode.LEGACY_L3: PacketMode.LEGACY_L3,
    PacketTypeMode.PTAP: PacketMode.PTAP,
}


@dataclass(frozen=True, slots=True)
class Egress:
    """The way a tunnel's packets take: device, whether it has carrier, and the MTU inside."""

    device: str = ""
    carrier: bool = False
    mtu: int = 0
    """Longest IP packet that fits into the tunnel, 0 where that is not known."""


def settings_of(tunnel: Tunnel) -> TunnelSettings:
    """The tunnel as the datapath wants it."""
    encapsulation, family = _ENCAPSULATIONS[tunnel.kind]
    return TunnelSettings(
        kind=encapsulation,
        remote=_short(tunnel.remote),
        local=None if tunnel.local is None else _short(tunnel.local),
        in_key=tunnel.in_key,
        out_key=tunnel.out_key,
        dst_port=tunnel.dst_port,
        ttl=tunnel.ttl,
        tos=tunnel.tos,
        csum=tunnel.csum,
        df=tunnel.df,
        seq=tunnel.seq,
        packet_mode=_MODES[tunnel.packet_type],
        gbp=tunnel.gbp,
        gpe=tunnel.gpe,
        erspan_version=tunnel.erspan_ver or 1,
        erspan_index=tunnel.erspan_idx,
        erspan_direction=tunnel.erspan_dir,
        erspan_hwid=tunnel.erspan_hwid,
        family=family,
        mark=tunnel.egress_mark,
    )


def _short(address: bytes | Flow) -> bytes | Flow:
    return address[12:] if isinstance(address, bytes) and is_ipv4(address) else address


class Tunnels:
    """The tunnel ports there are, by name."""

    def __init__(self, datapath: Datapath, devices: Devices) -> None:
        self._datapath = datapath
        self._devices = devices
        self._tunnels: dict[str, Tunnel] = {}
        self._owners: dict[tuple[object, ...], str] = {}
        self._policies: Counter[tuple[int, bool]] = Counter()
        """How many VXLAN ports have a UDP port, with group policies or without."""
        self._egress: dict[str, Egress] = {}
        self._uplinks: frozenset[int] = frozenset()
        self._device_cuts: dict[int, Cuts] = {}
        """What must be cut before it leaves by an uplink."""
        self._local: tuple[LocalAddress, ...] | None = None
        self._ways: dict[tuple[bytes, bytes | None, int], Route | None] = {}
        """What the kernel said of the way to an address; it holds until something changes."""
        self._sequence = 0
        self._lonely: set[str] = set()
        """Ports whose group no route leads to; said once."""
        self._stale = False
        self._always_join = False
        self._pair = (0, 0)

    def configure(self, other_config: Mapping[str, str]) -> None:
        """Follow Open_vSwitch.other_config: tunnel-reassembly=true puts the fragments of all
        tunnels' packets together, not only of those that send fragments too."""
        always = other_config.get("tunnel-reassembly") == "true"
        self._stale |= always != self._always_join
        self._always_join = always

    def claim(self, name: str, tunnel: Tunnel) -> None:
        """Reserve the packets of a tunnel for the port of that name.

        Raises DeviceError, in the peer's words, where another port has them.
        """
        self._check_extension(name, tunnel)
        identity = tunnel.identity()
        owner = self._owners.get(identity, name)
        if owner != name:
            log.warning(
                "%s: attempting to add tunnel port with same config as port '%s' (%s)",
                name,
                owner,
                format_match(tunnel),
            )
            raise DeviceError(
                f"could not add network device {name} to ofproto (File exists)",
                place=f"port={name}",
                remedy=f"give it another key, address or port number than {owner} has",
            )
        self.release(name)
        self._owners[identity] = name
        self._tunnels[name] = tunnel
        if tunnel.kind is TunnelKind.VXLAN:
            self._policies[tunnel.dst_port, tunnel.gbp] += 1
        self._stale = True

    def _check_extension(self, name: str, tunnel: Tunnel) -> None:
        """A packet does not say whether it has a group policy: all of a UDP port must agree."""
        if tunnel.kind is not TunnelKind.VXLAN:
            return
        others = self._policies[tunnel.dst_port, not tunnel.gbp]
        own = self._tunnels.get(name)
        if own is not None and (own.dst_port, own.gbp) == (tunnel.dst_port, not tunnel.gbp):
            others -= own.kind is TunnelKind.VXLAN
        if others:
            raise DeviceError(
                f"{name}: VXLAN-GBP, and non-VXLAN-GBP tunnels can't be configured on the "
                "same dst_port",
                place=f"port={name}",
                remedy="set options:dst_port to another one",
            )

    def release(self, name: str) -> None:
        """Give up what a port had; nothing where it had nothing."""
        tunnel = self._tunnels.pop(name, None)
        if tunnel is not None:
            del self._owners[tunnel.identity()]
            if tunnel.kind is TunnelKind.VXLAN:
                self._policies[tunnel.dst_port, tunnel.gbp] -= 1
            self._egress.pop(name, None)
            self._lonely.discard(name)
            self._stale = True

    def egress(self, name: str) -> Egress:
        """The way of a port's packets, as it was found last."""
        found = self._egress.get(name)
        if found is None:
            found = self._egress[name] = self._find_egress(self._tunnels[name])
        return found

    def least_mtu(self) -> int | None:
        """The longest IP packet that fits into every tunnel, None where none is known."""
        return min((mtu for name in self._tunnels if (mtu := self.egress(name).mtu) > 0), default=None)

    def __iter__(self) -> Iterator[tuple[str, Tunnel]]:
        return iter(self._tunnels.items())

    # -- following the host ---------------------------------------------------------------------

    def run(self) -> frozenset[str]:
        """Follow what changed; the names of the ports whose way is another one now."""
        self._take_joined()
        if not self._devices.underlay.run():
            return frozenset()
        self._ways.clear()
        if not self._tunnels:
            return frozenset()
        self._stale = True
        self.settle()
        before = self._egress
        self._egress = {name: self._find_egress(t) for name, t in self._tunnels.items()}
        return frozenset(n for n, e in self._egress.items() if before.get(n) != e)

    def wait(self, poller: Poller) -> None:
        """Wake for the next change."""
        self._devices.underlay.wait(poller)

    def settle(self) -> None:
        """Take tunnels' packets where they arrive, after ports or the host changed."""
        if not self._stale:
            return
        self._stale = False
        groups = self._groups()
        uplinks = self._wanted_uplinks() | {ifindex for _, ifindex in groups}
        for ifindex in self._uplinks - uplinks:
            self._datapath.detach_uplink(ifindex)
        attached = set()
        self._device_cuts = {ifindex: self._cuts(ifindex) for ifindex in uplinks}
        for ifindex in sorted(uplinks):
            try:
                self._datapath.attach_uplink(ifindex, self._device_cuts[ifindex])
                attached.add(ifindex)
            except DatapathError as e:
                # The device is gone already; that it went is about to be told.
                log.warning("tunnels: %s", e)
        self._uplinks = frozenset(attached)
        underlay = self._devices.underlay
        protocols = {
            _IP_PROTOCOLS[_ENCAPSULATIONS[t.kind][0]] for t in self._tunnels.values()
        }
        for error in (*underlay.join(groups), *underlay.follow_path_mtu(protocols)):
            log.warning("tunnels: %s", error)
        self._tell_addresses(groups)
        self._settle_fragments()

    def _cuts(self, ifindex: int) -> Cuts:
        """What must be cut before it leaves by a device."""
        if self._devices.is_internal(ifindex):
            return Cuts.ALL
        return Cuts.NONE if self._devices.passes_whole(ifindex) else Cuts.SUMMED

    def _cuts_segments(self) -> bool:
        """Whether a tunnel has super-packets that its device would cut wrongly."""
        for tunnel in self._tunnels.values():
            udp = _ENCAPSULATIONS[tunnel.kind][0] in (Encapsulation.VXLAN, Encapsulation.GENEVE)
            summed = tunnel.csum or (udp and over_ipv6(tunnel) is not False)
            route = self._route(tunnel)
            ways = self._uplinks if route is None else {route.ifindex}
            for ifindex in ways:
                cuts = self._device_cuts.get(ifindex, Cuts.NONE)
                if (cuts is Cuts.SUMMED and summed) or (cuts is Cuts.ALL and route is not None):
                    return True
        return False

    def _settle_fragments(self) -> None:
        """Send and take fragments where tunnels want that, and cut what devices would cut wrongly."""
        cuts = any(not tunnel.df for tunnel in self._tunnels.values())
        segments = self._cuts_segments()
        joins = cuts or (self._always_join and bool(self._tunnels))
        underlay = self._devices.underlay
        for error in underlay.join_fragments(self._wanted_fragments() if joins else ()):
            log.warning("tunnels: %s", error)
        try:
            if joins or segments:
                self._pair = self._devices.open_cutter()
                self._datapath.set_cutter(*self._pair, cuts=cuts or segments, joins=joins)
                self._datapath.attach_uplink(self._pair[0])
                return
        except (DatapathError, DeviceError) as e:
            log.warning("tunnels: no packet is sent in fragments: %s", e)
        self._datapath.set_cutter(0, 0, cuts=False, joins=False)
        if any(self._pair):
            self._datapath.detach_uplink(self._pair[0])
        self._pair = (0, 0)
        self._devices.remove_cutter()

    def _wanted_fragments(self) -> Iterator[Wanted]:
        for tunnel in self._tunnels.values():
            family = over_ipv6(tunnel)
            for ipv6 in (False, True) if family is None else (family,):
                yield Wanted(ipv6, tunnel.dst_port)

    def _take_joined(self) -> None:
        """Let what the host has put together arrive, where tunnels' packets may come from."""
        for ifindex, packet in self._devices.underlay.take_joined():
            if ifindex not in self._uplinks:
                continue
            try:
                self._datapath.arrive_joined(packet)
            except DatapathError as e:
                log.debug("tunnels: %s", e)

    def _tell_addresses(self, groups: frozenset[tuple[bytes, int]]) -> None:
        local: tuple[LocalAddress, ...] = ()
        if self._tunnels:
            addresses = self._devices.underlay.addresses()
            own = [(a.address, a.ifindex) for a in addresses if not _is_host_only(a.address)]
            local = tuple(LocalAddress(_packed(a), i) for a, i in (*own, *sorted(groups)))
        if local != self._local and (self._tunnels or self._local):
            self._datapath.set_local_addresses(local)
        self._local = local

    def _wanted_uplinks(self) -> frozenset[int]:
        """Devices on which tunnels' packets may arrive.

        Those that carry the tunnels' own addresses.  An address of no such
        device (of lo, as hosts of routed fabrics have it), and a tunnel
        without one, can be reached by every device with an address.  What
        leads to a remote host may bring its packets too.
        """
        underlay = self._devices.underlay
        by_address: dict[bytes, set[int]] = {}
        everywhere: set[int] = set()
        link_local: set[int] = set()
        for a in underlay.addresses():
            if a.ifindex == _LOOPBACK:
                continue
            by_address.setdefault(a.address, set()).add(a.ifindex)
            (link_local if a.link_local else everywhere).add(a.ifindex)
        out: set[int] = set()
        for tunnel in self._tunnels.values():
            if isinstance(tunnel.local, bytes) and tunnel.local in by_address:
                out |= by_address[tunnel.local]
            else:
                out |= everywhere
            route = self._route(tunnel)
            if route is not None and route.ifindex in everywhere | link_local:
                out.add(route.ifindex)
        return frozenset(out)

    def _route(self, tunnel: Tunnel) -> Route | None:
        if not isinstance(tunnel.remote, bytes):
            return None
        source = tunnel.local if isinstance(tunnel.local, bytes) else None
        question = (tunnel.remote, source, tunnel.egress_mark or 0)
        if question not in self._ways:
            ask = self._devices.underlay.route
            # With a source that is no address of ours the kernel gives no answer at all.
            self._ways[question] = ask(*question) or ask(tunnel.remote)
        return self._ways[question]

    def _groups(self) -> frozenset[tuple[bytes, int]]:
        """Multicast groups of tunnels, with the devices they are joined on."""
        out: set[tuple[bytes, int]] = set()
        for name, tunnel in self._tunnels.items():
            if not isinstance(tunnel.remote, bytes) or not is_multicast(tunnel.remote):
                continue
            route = self._route(tunnel)
            ifindex = route.ifindex if route is not None else 0
            if ifindex > _LOOPBACK:
                out.add((tunnel.remote, ifindex))
                self._lonely.discard(name)
            elif name not in self._lonely:
                self._lonely.add(name)
                log.warning(
                    "port=%s: no route leads to the group %s: see ip-route(8)",
                    name,
                    format_address(tunnel.remote),
                )
        return frozenset(out)

    def _find_egress(self, tunnel: Tunnel) -> Egress:
        ifindex, mtu = 0, 0
        route = self._route(tunnel)
        if route is not None:
            ifindex, mtu = route.ifindex, route.mtu
        link = self._devices.link_of(ifindex) if ifindex else None
        if link is not None:
            return Egress(link.name, link.carrier, (mtu or link.mtu) - self._overhead(tunnel))
        if tunnel.remote != FLOW:
            return Egress()
        # Anywhere: what fits through the narrowest uplink fits through all.
        links = [self._devices.link_of(i) for i in self._uplinks or self._wanted_uplinks()]
        lowest = min((link.mtu for link in links if link is not None), default=0)
        return Egress(mtu=lowest - self._overhead(tunnel)) if lowest else Egress()

    def way(self, outer: Outer) -> Sequence[str] | None:
        """The way of a packet, in the peer's words; None: there is none."""
        underlay = self._devices.underlay
        route = underlay.route(outer.destination, outer.source, outer.mark or 0)
        route = route or underlay.route(outer.destination)
        link = self._devices.link_of(route.ifindex) if route is not None else None
        if route is None or link is None:
            return None
        hop = route.gateway or outer.destination
        out = [f"tunneling to {format_address(hop)} via {link.name}"]
        macs = [n.mac for n in underlay.neighbours() if (n.ifindex, n.address) == (link.ifindex, hop)]
        source = outer.source or route.source
        if not macs or source is None:
            request = "ARP" if is_ipv4(hop) else "ND"
            out.append(
                f"neighbor cache miss for {format_address(hop)} on bridge {link.name}, "
                f"sending {request} request"
            )
        else:
            out.append(
                f"tunneling from {_mac(link.mac)} {format_address(source)} "
                f"to {_mac(macs[0])} {format_address(hop)}"
            )
        return out

    def send(self, output: Output) -> None:
        """Send what the reference pipeline let out by a tunnel.

        Raises DeviceError where there is no way, or the packet is too long for it.
        """
        outer = output.outer
        assert outer is not None, "it leaves by a tunnel"
        source = outer.source
        if source is None:
            route = self._devices.underlay.route(outer.destination, None, outer.mark or 0)
            source = route.source if route is not None else None
        if source is None:
            raise DeviceError(
                f"there is no route to {format_address(outer.destination)}", place="tunnels"
            )
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        packet = encapsulate(outer, output.packet, output.key, source, self._sequence)
        if outer.tunnel.df or not any(self._pair):
            self._devices.underlay.send(packet, outer.destination, outer.mark or 0)
        else:
            self._datapath.send_cut(packet)

    def _overhead(self, tunnel: Tunnel) -> int:
        return overhead(tunnel, bool(over_ipv6(tunnel)), self.option_bytes(tunnel))

    option_bytes: Callable[[Tunnel], int] = staticmethod(lambda tunnel: 0)
    """Bytes that Geneve's options may take in a port's packets."""


def _mac(address: bytes) -> str:
    return address.hex(":")


def _packed(address: bytes) -> bytes:
    return address[12:] if is_ipv4(address) else address


def _is_host_only(address: bytes) -> bool:
    """127.0.0.0/8 and ::1."""
    if is_ipv4(address):
        return address[12] == 127
    return address == bytes(15) + b"\x01"


def format_match(tunnel: Tunnel) -> str:
    """What tells a tunnel's packets from others', as the peer's log and list-tunnels show it."""
    local = format_address(tunnel.local) if isinstance(tunnel.local, bytes) else "::"
    if isinstance(tunnel.remote, bytes):
        ends = f"{local}->{format_address(tunnel.remote)}"
    elif tunnel.local != FLOW:
        ends = f"{local}->flow"
    else:
        ends = "flow->flow"
    key = "flow" if tunnel.in_key == FLOW else _hexadecimal(tunnel.in_key)
    return f"{ends}, key={key}, {tunnel.packet_type.value}"


def _hexadecimal(key: int | Flow | None) -> str:
    return f"{key:#x}" if isinstance(key, int) and key else "0"
