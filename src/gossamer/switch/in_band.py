"""In-band control: a way to the controllers through the bridge itself, whatever its tables hold.

Hidden flows above all priorities that a controller can give hand to NORMAL
what reaches a controller by way of the bridge's own port, or by way of
another switch behind this one: ARP for it and for the next hop, and its TCP
connection (Open vSwitch's design document, "In-Band Control"; its rules (a)
to (i)).  Only IPv4, as there.  They are the datapath's and the reference
pipeline's alone: no controller sees, counts or deletes them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Final, NamedTuple

from gossamer.errors import DatapathError
from gossamer.pipeline.action import Actions, Output, SetQueue
from gossamer.pipeline.fields import ETH_ARP, ETH_IPV4, IP_TCP, IP_UDP
from gossamer.pipeline.flow import Flow, FlowTable
from gossamer.pipeline.match import Match, match
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.tunnel import of_ipv4
from gossamer.switch.transport import OPENFLOW_PORT

if TYPE_CHECKING:
    from gossamer.switch.config import BridgeConfig
    from gossamer.switch.contract import Datapath, Devices

log = logging.getLogger(__name__)

LOWEST_PRIORITY: Final = 180_000
"""Of the hidden flows; OpenFlow's priorities end at 65,535."""
_UNKNOWN_S: Final = 1.0
"""Seconds until the next hop's address is looked for again where it is not known yet."""
_KNOWN_S: Final = 10.0
_REQUEST, _REPLY = 1, 2
_DHCP_SERVER, _DHCP_CLIENT = 67, 68
_OVSDB_PORT: Final = 6640
_LOOPBACK: Final = 127


class Remote(NamedTuple):
    """Who is to be reached: an IPv4 address and a TCP port."""

    address: int
    port: int

    @property
    def beyond(self) -> bool:
        """It is somewhere else than on this host, for all we can tell from its address."""
        return self.address >> 24 != _LOOPBACK


def local_flows(mac: int) -> Iterator[Match]:
    """Matches (a) to (c), by which the bridge's own port finds its address and its neighbours.

    The answers of a DHCP server that are sent to this very port are let in too;
    those sent to everybody go where the tables say.
    """
    yield match(in_port=OfPort.LOCAL, eth_type=ETH_IPV4, eth_src=mac, nw_proto=IP_UDP,
                udp_src=_DHCP_CLIENT, udp_dst=_DHCP_SERVER)  # fmt: skip
    yield match(eth_type=ETH_IPV4, eth_dst=mac, nw_proto=IP_UDP,
                udp_src=_DHCP_SERVER, udp_dst=_DHCP_CLIENT)  # fmt: skip
    yield from arp_flows(mac)


def arp_flows(mac: int) -> Iterator[Match]:
    """ARP of who has this address: matches (b) and (c) of the port's own, (d) and (e) of a next hop."""
    yield match(eth_type=ETH_ARP, eth_dst=mac, arp_op=_REPLY)
    yield match(eth_type=ETH_ARP, eth_src=mac, arp_op=_REQUEST)


def remote_flows(remote: Remote) -> Iterator[Match]:
    """Matches (f) to (i): ARP of a controller, and its connection."""
    address, port = remote
    yield match(eth_type=ETH_ARP, arp_op=_REPLY, arp_tpa=address)
    yield match(eth_type=ETH_ARP, arp_op=_REQUEST, arp_spa=address)
    yield match(eth_type=ETH_IPV4, nw_proto=IP_TCP, ip_dst=address, tcp_dst=port)
    yield match(eth_type=ETH_IPV4, nw_proto=IP_TCP, ip_src=address, tcp_src=port)


def remotes(config: BridgeConfig, managers: Iterable[str]) -> Iterator[Remote]:
    """Who a bridge must be able to reach: its in-band controllers, and these managers."""
    if config.disable_in_band:
        return
    for controller in config.controllers:
        if controller.connection_mode != "out-of-band":
            yield from _remote(controller.target, OPENFLOW_PORT)
    for target in managers:
        yield from _remote(target, _OVSDB_PORT)


def _remote(target: str, port: int) -> Iterator[Remote]:
    """Where an active target over TCP or TLS is; nothing for other targets, and IPv6."""
    method, _, rest = target.partition(":")
    if method not in ("tcp", "ssl"):
        return
    host, _, port_text = rest.partition(":")
    try:
        yield Remote(int(IPv4Address(host)), int(port_text) if port_text else port)
    except ValueError:
        return


class InBand:
    """The hidden flows of one bridge, kept in `table`."""

    def __init__(
        self, name: str, bridge_id: int, datapath: Datapath, devices: Devices, table: FlowTable
    ) -> None:
        self._name = name
        self._bridge_id = bridge_id
        self._datapath = datapath
        self._devices = devices
        self._table = table
        self._remotes: tuple[Remote, ...] = ()
        self._queue: int | None = None
        self._next_s = 0.0
        self._hops: frozenset[int] = frozenset()
        self._mac = b""

    def configure(self, remotes: Iterable[Remote], queue: int | None) -> None:
        """Who is to be reached, and the queue for it; the next `run()` does it."""
        wanted = tuple(sorted({r for r in remotes if r.beyond}))
        if (wanted, queue) != (self._remotes, self._queue):
            self._remotes, self._queue = wanted, queue
            self._next_s = 0.0

    def run(self, now: float, mac: bytes) -> None:
        """Follow the address of the bridge's own port, and those of the next hops."""
        if not self._remotes and not self._table.n_flows:
            return
        if now < self._next_s and mac == self._mac:
            return
        hops = [self._next_hop(remote) for remote in self._remotes]
        self._next_s = now + (_UNKNOWN_S if None in hops else _KNOWN_S)
        self._hops = frozenset(hop for hop in hops if hop is not None)
        self._mac = mac
        try:
            self._converge(now)
        except DatapathError as e:
            log.warning("bridge=%s: in-band control: %s", self._name, e)
            self._next_s = now + _KNOWN_S

    def next_s(self) -> float | None:
        """When `run()` has something to do, CLOCK_MONOTONIC."""
        return self._next_s if self._remotes or self._table.n_flows else None

    def _next_hop(self, remote: Remote) -> int | None:
        """The MAC by which a remote is reached; None where it is not known (yet)."""
        underlay = self._devices.underlay
        destination = of_ipv4(remote.address.to_bytes(4, "big"))
        route = underlay.route(destination)
        if route is None:
            return None
        hop = (route.ifindex, route.gateway or destination)
        for neighbour in underlay.neighbours():
            if (neighbour.ifindex, neighbour.address) == hop:
                return int.from_bytes(neighbour.mac, "big")
        return None

    def _matches(self) -> Iterator[Match]:
        if not self._remotes:
            return
        if any(self._mac):
            yield from local_flows(int.from_bytes(self._mac, "big"))
        for mac in sorted(self._hops):
            yield from arp_flows(mac)
        for remote in self._remotes:
            yield from remote_flows(remote)

    def _converge(self, now: float) -> None:
        normal = Output(OfPort.NORMAL)
        queue = (SetQueue(self._queue),) if self._queue is not None else ()
        actions: Actions = (*queue, normal)
        wanted = dict.fromkeys(self._matches())
        present = {flow.match: flow for flow in self._table}
        stale = [f for m, f in present.items() if m not in wanted or f.actions != actions]
        new = [
            Flow(
                0,
                LOWEST_PRIORITY,
                m,
                actions,
                hidden=True,
                created_s=now,
                modified_s=now,
                used_s=now,
            )
            for m in wanted
            if m not in present or present[m].actions != actions
        ]
        if not stale and not new:
            return
        with self._datapath.transaction():
            if stale:
                self._datapath.remove_flows(self._bridge_id, stale)
                for flow in stale:
                    self._table.remove(flow)
            for flow in new:
                # One at a time, so that the table has what the datapath took where it refuses.
                self._datapath.insert_flows(self._bridge_id, (flow,))
                self._table.insert(flow)
