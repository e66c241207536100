"""Outer packets that are too long: cut up where they leave, put together where they arrive."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from gossamer.datapath.tunnel_settings import Cuts
from gossamer.devices.joining import Wanted
from gossamer.errors import DatapathError, DeviceError
from gossamer.pipeline.tunnel import over_ipv6
from gossamer.switch.encapsulation import runs_over_udp

if TYPE_CHECKING:
    from gossamer.pipeline.tunnel import Tunnel
    from gossamer.switch.contract import Datapath, Devices
    from gossamer.switch.tunnel_ways import TunnelWays

log = logging.getLogger(__name__)


class TunnelFragments:
    """The pair of devices that cuts (devices/cutter.py), and what the host is to join, while wanted."""

    def __init__(self, datapath: Datapath, devices: Devices, ways: TunnelWays) -> None:
        self._datapath = datapath
        self._devices = devices
        self._ways = ways
        self._pair = (0, 0)
        self._always_join = False

    def configure(self, other_config: Mapping[str, str]) -> bool:
        """Follow Open_vSwitch.other_config: tunnel-reassembly=true puts the fragments of all
        tunnels' packets together, not only of those that send fragments too.  True: that is news."""
        before = self._always_join
        self._always_join = other_config.get("tunnel-reassembly") == "true"
        return before is not self._always_join

    @property
    def cuts(self) -> bool:
        """Whether packets can be sent in fragments."""
        return any(self._pair)

    def cuts_of(self, ifindex: int) -> Cuts:
        """What must be cut before it leaves by a device."""
        if self._devices.is_internal(ifindex):
            return Cuts.ALL
        return Cuts.NONE if self._devices.passes_whole(ifindex) else Cuts.SUMMED

    def settle(self, tunnels: Collection[Tunnel], uplinks: Mapping[int, Cuts]) -> None:
        """Send and take fragments where tunnels want that, and cut what devices would cut wrongly.

        `uplinks`: what must be cut before it leaves by each.
        """
        cuts = any(not tunnel.df for tunnel in tunnels)
        segments = any(self._is_cut_wrongly(tunnel, uplinks) for tunnel in tunnels)
        joins = cuts or (self._always_join and bool(tunnels))
        for error in self._devices.underlay.join_fragments(_wanted(tunnels) if joins else ()):
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

    def _is_cut_wrongly(self, tunnel: Tunnel, uplinks: Mapping[int, Cuts]) -> bool:
        """Whether it has super-packets that its device would cut wrongly."""
        udp = runs_over_udp(tunnel.kind)
        summed = tunnel.csum or (udp and over_ipv6(tunnel) is not False)
        route = self._ways.route(tunnel)
        for ifindex in uplinks if route is None else (route.ifindex,):
            cuts = uplinks.get(ifindex, Cuts.NONE)
            if (cuts is Cuts.SUMMED and summed) or (cuts is Cuts.ALL and route is not None):
                return True
        return False

    def take_joined(self, uplinks: Collection[int]) -> None:
        """Let what the host has put together arrive, where tunnels' packets may come from."""
        for ifindex, packet in self._devices.underlay.take_joined():
            if ifindex not in uplinks:
                continue
            try:
                self._datapath.arrive_joined(packet)
            except DatapathError as e:
                log.debug("tunnels: %s", e)


def _wanted(tunnels: Collection[Tunnel]) -> Iterator[Wanted]:
    for tunnel in tunnels:
        family = over_ipv6(tunnel)
        for ipv6 in (False, True) if family is None else (family,):
            yield Wanted(ipv6, tunnel.dst_port)
