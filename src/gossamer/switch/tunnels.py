"""All tunnel ports of the switch together, and what they run over.

No two may take the same packets, whatever bridges they are on.  Addresses,
routes and devices of the host are followed: tunnels' packets are taken from the
devices that carry local addresses or lead to remote ones (nothing else is done
to these devices), multicast groups are joined there, and a port tells which
device its packets leave by and how long they may be.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from gossamer.datapath.tunnel_settings import Cuts, LocalAddress
from gossamer.errors import DatapathError, DeviceError
from gossamer.pipeline.tunnel import Tunnel, format_address, is_ipv4, is_multicast
from gossamer.pipeline.wrap import encapsulate
from gossamer.switch.encapsulation import ip_protocol
from gossamer.switch.tunnel_claims import TunnelClaims
from gossamer.switch.tunnel_fragments import TunnelFragments
from gossamer.switch.tunnel_ways import Egress, TunnelWays

if TYPE_CHECKING:
    from gossamer.pipeline.result import Output
    from gossamer.pipeline.wrap import Outer
    from gossamer.switch.contract import Datapath, Devices, Poller

log = logging.getLogger(__name__)

_LOOPBACK: Final = 1
"""ifindex of lo, in every network namespace."""


class Tunnels:
    """The tunnel ports there are, by name."""

    def __init__(self, datapath: Datapath, devices: Devices) -> None:
        self._datapath = datapath
        self._devices = devices
        self._claims = TunnelClaims()
        self._tunnels = self._claims.tunnels
        self._ways = TunnelWays(devices)
        self._fragments = TunnelFragments(datapath, devices, self._ways)
        self._egress: dict[str, Egress] = {}
        self._uplinks: frozenset[int] = frozenset()
        self._local: tuple[LocalAddress, ...] | None = None
        self._sequence = 0
        self._lonely: set[str] = set()
        """Ports whose group no route leads to; said once."""
        self._stale = False

    def configure(self, other_config: Mapping[str, str]) -> None:
        """Follow Open_vSwitch.other_config: tunnel-reassembly."""
        self._stale |= self._fragments.configure(other_config)

    def claim(self, name: str, tunnel: Tunnel) -> None:
        """Reserve the packets of a tunnel for the port of that name.

        Raises DeviceError, in the peer's words, where another port has them.
        """
        self._claims.check(name, tunnel)
        self.release(name)
        self._claims.put(name, tunnel)
        self._stale = True

    def release(self, name: str) -> None:
        """Give up what a port had; nothing where it had nothing."""
        if self._claims.release(name):
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
        self._fragments.take_joined(self._uplinks)
        if not self._devices.underlay.run():
            return frozenset()
        self._ways.forget()
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
        attached: dict[int, Cuts] = {}
        for ifindex in sorted(uplinks):
            cuts = self._fragments.cuts_of(ifindex)
            try:
                self._datapath.attach_uplink(ifindex, cuts)
                attached[ifindex] = cuts
            except DatapathError as e:
                # The device is gone already; that it went is about to be told.
                log.warning("tunnels: %s", e)
        self._uplinks = frozenset(attached)
        underlay = self._devices.underlay
        protocols = {ip_protocol(tunnel.kind) for tunnel in self._tunnels.values()}
        for error in (*underlay.join(groups), *underlay.follow_path_mtu(protocols)):
            log.warning("tunnels: %s", error)
        self._tell_addresses(groups)
        self._fragments.settle(self._tunnels.values(), attached)

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
            route = self._ways.route(tunnel)
            if route is not None and route.ifindex in everywhere | link_local:
                out.add(route.ifindex)
        return frozenset(out)

    def _groups(self) -> frozenset[tuple[bytes, int]]:
        """Multicast groups of tunnels, with the devices they are joined on."""
        out: set[tuple[bytes, int]] = set()
        for name, tunnel in self._tunnels.items():
            if not isinstance(tunnel.remote, bytes) or not is_multicast(tunnel.remote):
                continue
            route = self._ways.route(tunnel)
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
        return self._ways.egress(tunnel, lambda: self._uplinks or self._wanted_uplinks())

    def way(self, outer: Outer) -> Sequence[str] | None:
        """The way of a packet, in the peer's words; None: there is none."""
        return self._ways.describe(outer)

    def send(self, output: Output) -> None:
        """Send what the reference pipeline let out by a tunnel.

        Raises DeviceError where there is no way, or the packet is too long for it.
        """
        outer = output.outer
        assert outer is not None, "it leaves by a tunnel"
        source = self._ways.source(outer)
        if source is None:
            raise DeviceError(
                f"there is no route to {format_address(outer.destination)}", place="tunnels"
            )
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        packet = encapsulate(outer, output.packet, output.key, source, self._sequence)
        if outer.tunnel.df or not self._fragments.cuts:
            self._devices.underlay.send(packet, outer.destination, outer.mark or 0)
        else:
            self._datapath.send_cut(packet)


def _packed(address: bytes) -> bytes:
    return address[12:] if is_ipv4(address) else address


def _is_host_only(address: bytes) -> bool:
    """127.0.0.0/8 and ::1."""
    if is_ipv4(address):
        return address[12] == 127
    return address == bytes(15) + b"\x01"
