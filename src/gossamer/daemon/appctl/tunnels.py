"""Tunnels and what they run over, as ovs-vswitchd(8) shows them: tnl/*, ovs/route/*, list-tunnels.

The kernel's routes and neighbours are used, nothing is kept beside them; what
the peer lets one change there is changed with ip-route(8) and ip-neighbour(8).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

from gossamer.pipeline.tunnel import (
    FLOW,
    INHERIT,
    Tunnel,
    TunnelKind,
    format_address,
    is_ipv4,
    is_multicast,
    of_ipv4,
    over_ipv6,
)
from gossamer.pipeline.wrap import SOURCE_PORTS
from gossamer.switch.show import Command, CommandError
from gossamer.switch.tunnel_claims import format_match

if TYPE_CHECKING:
    from gossamer.devices.routes import Route
    from gossamer.switch.port import Port
    from gossamer.switch.switch import Switch

_LOOPBACK: Final = 1
_UDP_KINDS: Final = (TunnelKind.VXLAN, TunnelKind.GENEVE)
_MARK: Final = re.compile(r"pkt_mark=(\d+|0x[0-9a-fA-F]+)")
_NEIGHBOURS: Final = (
    "IP                                            MAC                 Bridge\n"
    "==========================================================================\n"
)


def commands(switch: Switch) -> dict[str, Command]:
    """The commands, by name."""
    of_kernel = _refuse("the kernel's neighbours are used: see ip-neighbour(8)")
    route_of_kernel = _refuse("the kernel's routes are used: see ip-route(8)")
    table = {
        "ofproto/list-tunnels": Command("", 0, 0, lambda argv: list_tunnels(switch)),
        "tnl/ports/show": Command("-v", 0, 1, lambda argv: show_ports(switch, argv)),
        "tnl/egress_port_range": Command("min max", 0, 2, egress_port_range),
        "ovs/route/show": Command("", 0, 0, lambda argv: show_routes(switch)),
        "ovs/route/lookup": Command(
            "ip_addr [pkt_mark=mark]", 1, 2, lambda argv: look_up(switch, argv)
        ),
        "ovs/route/add": Command(
            "ip_addr/prefix_len out_br_name [gw] [pkt_mark=mark]", 2, 4, route_of_kernel
        ),
        "ovs/route/del": Command("ip_addr/prefix_len [pkt_mark=mark]", 1, 2, route_of_kernel),
    }
    for family in ("arp", "neigh"):
        table[f"tnl/{family}/show"] = Command("", 0, 0, lambda argv: show_neighbours(switch))
        table[f"tnl/{family}/set"] = Command("BRIDGE IP MAC", 3, 3, of_kernel)
        table[f"tnl/{family}/flush"] = Command("", 0, 0, of_kernel)
        table[f"tnl/{family}/aging"] = Command("[SECS]", 0, 1, of_kernel)
    return table


def _refuse(text: str) -> Callable[[Sequence[str]], str]:
    def run(argv: Sequence[str]) -> str:
        raise CommandError(text)

    return run


def _tunnels(switch: Switch) -> list[tuple[Port, Tunnel]]:
    found = [
        (port, port.tunnel)
        for bridge in switch.bridges.values()
        for port in bridge.ports.ports.values()
        if port.tunnel is not None
    ]
    return sorted(found, key=lambda pair: pair[0].port_id)


def _devices(switch: Switch) -> dict[str, list[tuple[Port, Tunnel]]]:
    """Tunnel ports by what they share in the peer's datapath: encapsulation and UDP port."""
    out: dict[str, list[tuple[Port, Tunnel]]] = {}
    for port, tunnel in _tunnels(switch):
        out.setdefault(tunnel.device, []).append((port, tunnel))
    return out


def list_tunnels(switch: Switch) -> str:
    """All tunnels, with what tells their packets apart."""
    numbers = {name: ports[0][0].port_id for name, ports in _devices(switch).items()}
    return "".join(
        f"port {numbers[t.device]}: {port.name} ({t.kind.value}: {format_match(t)}, "
        f"dp port={numbers[t.device]}{_details(t)})\n"
        for port, t in _tunnels(switch)
    )


def _details(tunnel: Tunnel) -> str:
    out = ""
    if tunnel.out_key != tunnel.in_key:
        key = tunnel.out_key
        shown = "none" if key is None else key if key == FLOW else f"{key:#x}" if key else "0"
        out += f", out_key={shown}"
    out += f", ttl={tunnel.ttl}"
    if tunnel.tos == INHERIT:
        out += ", tos=inherit"
    elif tunnel.tos:
        out += f", tos={tunnel.tos:#x}"
    return out + ("" if tunnel.df else ", df=false") + (", csum=true" if tunnel.csum else "")


def show_ports(switch: Switch, argv: Sequence[str]) -> str:
    """What is listened for; with -v on each address."""
    lines = ["Listening ports:"]
    devices = _devices(switch)
    if not argv or argv[0].lower() != "-v":
        for name, ports in devices.items():
            lines.append(f"{name} ({ports[0][0].port_id}) ref_cnt={len(ports)}")
        return "\n".join(lines) + "\n"
    underlay = switch.devices.underlay
    addresses = [a for a in underlay.addresses() if a.ifindex != _LOOPBACK]
    for ipv4 in (True, False):
        for name, ports in devices.items():
            for a in addresses:
                link = switch.devices.link_of(a.ifindex)
                if link is None or is_ipv4(a.address) is not ipv4:
                    continue
                if not ipv4 or over_ipv6(Tunnel(ports[0][1].kind, FLOW)) is None:
                    what = _packets_to(a.address, ports[0][1])
                    mac = link.mac.hex(":")
                    lines.append(f"{name} ({ports[0][0].port_id}) : eth(dst={mac}),{what}")
    return "\n".join(lines) + "\n"


def _packets_to(address: bytes, tunnel: Tunnel) -> str:
    udp = tunnel.kind in _UDP_KINDS
    proto = socket.IPPROTO_UDP if udp else socket.IPPROTO_GRE
    eth_type, layer = ("0x0800", "ipv4") if is_ipv4(address) else ("0x86dd", "ipv6")
    out = f"eth_type({eth_type}),{layer}(dst={format_address(address)},proto={proto},frag=no)"
    return f"{out},udp(dst={tunnel.dst_port})" if udp else out


def egress_port_range(argv: Sequence[str]) -> str:
    """UDP source ports, of which the packet inside chooses one."""
    if argv:
        raise CommandError("the range of UDP source ports is fixed")
    return f"Tunnel UDP source port range: {SOURCE_PORTS.start}-{SOURCE_PORTS.stop}\n"


def show_routes(switch: Switch) -> str:
    """The kernel's routes, in the peer's order: the longest prefixes first."""
    lines = []
    for route in _unicast(switch):
        link = switch.devices.link_of(route.ifindex)
        if link is None:
            continue
        text = f"Cached: {format_address(route.prefix)}/{route.length} dev {link.name}"
        if route.gateway is not None:
            text += f" GW {format_address(route.gateway)}"
        source = route.source or _source_on(switch, route)
        if source is not None:
            text += f" SRC {format_address(source)}"
        lines.append(text + (" local" if route.local else ""))
    return "\n".join(["Route Table:", *lines]) + "\n"


def _unicast(switch: Switch) -> list[Route]:
    found = [r for r in switch.devices.underlay.routes() if not is_multicast(r.prefix)]
    return sorted(found, key=lambda r: (-(r.length + (96 if r.ipv4 else 0)), r.metric, r.prefix))


def _source_on(switch: Switch, route: Route) -> bytes | None:
    """The address packets of a route have that names none: one of its device that reaches the
    router."""
    hop = route.gateway or route.prefix
    answer = switch.devices.underlay.route(hop)
    return answer.source if answer is not None else None


def look_up(switch: Switch, argv: Sequence[str]) -> str:
    """Which way packets to an address go."""
    address = _host(argv[0])
    mark = 0
    if len(argv) > 1:
        found = _MARK.fullmatch(argv[1])
        if found is None:
            raise CommandError("Invalid pkt_mark")
        mark = int(found[1], 0)
    route = switch.devices.underlay.route(address, None, mark)
    link = switch.devices.link_of(route.ifindex) if route is not None else None
    if route is None or link is None:
        raise CommandError("Not found")
    gateway = format_address(route.gateway) if route.gateway else "::"
    source = format_address(route.source) if route.source else "::"
    return f"src {source}\ngateway {gateway}\ndev {link.name}\n"


def _host(text: str) -> bytes:
    """A host's address in 16 bytes.  Raises CommandError."""
    try:
        network = ip_network(text)
    except ValueError:
        raise CommandError("Invalid parameters") from None
    if network.num_addresses != 1:
        raise CommandError("Invalid parameters")
    packed = network.network_address.packed
    return packed if len(packed) == 16 else of_ipv4(packed)


def show_neighbours(switch: Switch) -> str:
    """Neighbours of the host, those of groups left out."""
    lines = []
    for neighbour in switch.devices.underlay.neighbours():
        link = switch.devices.link_of(neighbour.ifindex)
        if link is not None and not is_multicast(neighbour.address):
            address = format_address(neighbour.address)
            lines.append(f"{address:<46}{neighbour.mac.hex(':')}   {link.name}\n")
    return _NEIGHBOURS + "".join(sorted(lines))
