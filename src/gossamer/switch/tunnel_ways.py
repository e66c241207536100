"""The ways that tunnels' packets take, as the host's routes have them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.pipeline.tunnel import FLOW, Tunnel, format_address, is_ipv4, over_ipv6, overhead

if TYPE_CHECKING:
    from gossamer.devices.routes import Route
    from gossamer.pipeline.wrap import Outer
    from gossamer.switch.contract import Devices


@dataclass(frozen=True, slots=True)
class Egress:
    """The way a tunnel's packets take: device, whether it has carrier, and the MTU inside."""

    device: str = ""
    carrier: bool = False
    mtu: int = 0
    """Longest IP packet that fits into the tunnel, 0 where that is not known."""


class TunnelWays:
    """What the kernel said of the ways to addresses; it holds until something changes."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices
        self._routes: dict[tuple[bytes, bytes | None, int], Route | None] = {}

    def forget(self) -> None:
        """Something changed: ask anew."""
        self._routes.clear()

    def route(self, tunnel: Tunnel) -> Route | None:
        """The route to a tunnel's far end; None where there is none, or packets' rules name it."""
        if not isinstance(tunnel.remote, bytes):
            return None
        source = tunnel.local if isinstance(tunnel.local, bytes) else None
        question = (tunnel.remote, source, tunnel.egress_mark or 0)
        if question not in self._routes:
            ask = self._devices.underlay.route
            # With a source that is no address of ours the kernel gives no answer at all.
            self._routes[question] = ask(*question) or ask(tunnel.remote)
        return self._routes[question]

    def egress(self, tunnel: Tunnel, uplinks: Callable[[], Iterable[int]]) -> Egress:
        """The way of a tunnel's packets, which leave by any of `uplinks()` where rules name it."""
        ifindex, mtu = 0, 0
        route = self.route(tunnel)
        if route is not None:
            ifindex, mtu = route.ifindex, route.mtu
        link = self._devices.link_of(ifindex) if ifindex else None
        if link is not None:
            return Egress(link.name, link.carrier, (mtu or link.mtu) - _overhead(tunnel))
        if tunnel.remote != FLOW:
            return Egress()
        # Anywhere: what fits through the narrowest uplink fits through all.
        links = [self._devices.link_of(i) for i in uplinks()]
        lowest = min((link.mtu for link in links if link is not None), default=0)
        return Egress(mtu=lowest - _overhead(tunnel)) if lowest else Egress()

    def source(self, outer: Outer) -> bytes | None:
        """The address that a packet leaves from, 16 bytes; None where no route leads on."""
        if outer.source is not None:
            return outer.source
        route = self._devices.underlay.route(outer.destination, None, outer.mark or 0)
        return route.source if route is not None else None

    def describe(self, outer: Outer) -> Sequence[str] | None:
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
                f"tunneling from {link.mac.hex(':')} {format_address(source)} "
                f"to {macs[0].hex(':')} {format_address(hop)}"
            )
        return out


def _overhead(tunnel: Tunnel) -> int:
    return overhead(tunnel, bool(over_ipv6(tunnel)))
