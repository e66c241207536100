"""Sampled packets on their way to collectors: who hears of what, and what is said of ports.

A sample action names a collector set (Flow_Sample_Collector_Set); the set's IPFIX row says where its
flow records go (ovs-vswitchd.conf.db(5), ovs-actions(7)).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from gossamer.export.collectors import Collectors
from gossamer.export.ipfix import DEFAULT_PORT, IpfixExporter
from gossamer.export.observation import Interface, Observation, TunnelPort, TunnelType
from gossamer.pipeline.fields import ETH_IPV6, get_slot, put_slot
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.tunnel import FLOW, Tunnel, TunnelKind, is_ipv4
from gossamer.switch.contract import Poller

if TYPE_CHECKING:
    from gossamer.datapath.settings import Punt
    from gossamer.pipeline.action import Sample
    from gossamer.pipeline.result import Sampled
    from gossamer.switch.bridge import Bridge
    from gossamer.switch.config import CollectorSetConfig, IpfixConfig
    from gossamer.switch.port import Port

log = logging.getLogger(__name__)

_ALL: Final = 0xFFFF
_EGRESS: Final = 2
_TUNNELS: Final = {
    TunnelKind.VXLAN: (TunnelType.VXLAN, 3),
    TunnelKind.GENEVE: (TunnelType.GENEVE, 3),
    TunnelKind.GRE: (TunnelType.GRE, 4),
}
"""Kinds that records can tell of, and the bytes of their keys."""


class _Exporter:
    """An IPFIX row at work."""

    def __init__(self, config: IpfixConfig) -> None:
        self.config = config
        self.collectors = Collectors(config.targets, DEFAULT_PORT)
        self.ipfix = IpfixExporter(
            config.cache_active_timeout_s, config.cache_max_flows, self.collectors.send
        )

    def close(self) -> None:
        self.ipfix.flush(time.time())
        self.collectors.close()


class Sampling:
    """The exporters of all bridges' collector sets."""

    def __init__(self) -> None:
        self._exporters: dict[tuple[str, int], _Exporter] = {}

    def configure(
        self, sets: Iterable[CollectorSetConfig], bridges: Mapping[str, Bridge]
    ) -> None:
        """Have an exporter for each set that has an IPFIX row, and tell bridges whether to sample."""
        wanted = {
            (s.bridge, s.number): s.ipfix
            for s in sets
            if s.ipfix is not None and s.bridge in bridges
        }
        for at in list(self._exporters):
            if wanted.get(at) != self._exporters[at].config:
                self._exporters.pop(at).close()
        for at, config in wanted.items():
            if at not in self._exporters:
                self._exporters[at] = _Exporter(config)
        sampled = {name for name, _ in wanted}
        for bridge in bridges.values():
            bridge.set_sampling(bridge.name in sampled)

    def exporters(self, bridge: str) -> dict[int, IpfixExporter]:
        """Those of a bridge, by collector set."""
        return {n: e.ipfix for (name, n), e in sorted(self._exporters.items()) if name == bridge}

    def sampled(self, bridge: Bridge, action: Sample, punt: Punt) -> None:
        """A packet that the kernel sampled."""
        self._observe(bridge, action, punt.key, punt.total_len, punt.gso_size)

    def seen(self, bridge: Bridge, sampled: Sampled) -> None:
        """A packet that the reference pipeline sampled."""
        self._observe(bridge, sampled.action, sampled.key, sampled.n_bytes, 0)

    def _observe(
        self, bridge: Bridge, action: Sample, key: int, n_bytes: int, gso_size: int
    ) -> None:
        exporter = self._exporters.get((bridge.name, action.collector_set_id))
        if exporter is None:
            return
        ofport = get_slot(key, "in_port")
        came_by = bridge.ports.by_ofport.get(ofport)
        goes_by: Port | None = None
        if action.sampling_port not in (OfPort.ANY, ofport):
            goes_by = bridge.ports.by_ofport.get(action.sampling_port)
            if goes_by is None:
                log.debug("bridge=%s: sampling port %d unknown", bridge.name, action.sampling_port)
                return
        tunnel = None
        if exporter.config.tunnels:
            if goes_by is not None and goes_by.tunnel is not None:
                key = _wrapped(goes_by.tunnel, key)
                tunnel = _tunnel_port(goes_by.tunnel, key)
            elif goes_by is None and came_by is not None and came_by.tunnel is not None:
                tunnel = _tunnel_port(came_by.tunnel, key)
        n_packets, n_bytes = _segments(key, n_bytes, gso_size)
        exporter.ipfix.observe(
            Observation(
                key=key,
                n_bytes=n_bytes,
                n_packets=n_packets,
                domain=action.obs_domain_id,
                point=action.obs_point_id,
                ingress=_interface(came_by),
                egress=_interface(goes_by),
                outward=action.direction == _EGRESS or (not action.direction and goes_by is not None),
                weight=_ALL // action.probability,
                tunnel=tunnel,
                virtual_id=exporter.config.virtual_obs_id.encode(),
            ),
            time.time(),
        )

    def run(self) -> None:
        """Report what is due."""
        now = time.time()
        for exporter in self._exporters.values():
            exporter.ipfix.run(now)

    def wait(self, poller: Poller) -> None:
        """Wake when something is due."""
        moments = [e.ipfix.next_s() for e in self._exporters.values()]
        first = min((m for m in moments if m is not None), default=None)
        if first is not None:
            left = max(first - time.time(), 0.0)
            poller.timer_wait_until(int((time.monotonic() + left) * 1000) + 1)

    def close(self) -> None:
        """Report all that is under way, and end."""
        for exporter in self._exporters.values():
            exporter.close()
        self._exporters.clear()


def _interface(port: Port | None) -> Interface:
    if port is None:
        return Interface()
    return Interface(port.link.ifindex if port.link is not None else 0, port.name)


def _tunnel_port(tunnel: Tunnel, key: int) -> TunnelPort | None:
    """None for what records have no elements for: other kinds, and outer headers of IPv6."""
    known = _TUNNELS.get(tunnel.kind)
    if known is None or not get_slot(key, "tun_dst"):
        return None
    return TunnelPort(known[0], known[1], tunnel.dst_port)


def _wrapped(tunnel: Tunnel, key: int) -> int:
    """The key with the outer addresses and the tunnel's key that a port gives a packet."""
    for slot, address in (("tun_src", tunnel.local), ("tun_dst", tunnel.remote)):
        if address is None:
            key = put_slot(key, slot, 0)
        elif address != FLOW:
            assert isinstance(address, bytes), "an address, or the flow's"
            four = address[12:] if is_ipv4(address) else bytes(4)
            key = put_slot(key, slot, int.from_bytes(four, "big"))
    if tunnel.out_key != FLOW:
        key = put_slot(key, "tun_id", tunnel.out_key or 0)
    return key


def _segments(key: int, n_bytes: int, gso_size: int) -> tuple[int, int]:
    """Packets and bytes that a train of TCP segments will be on the wire: each has the headers."""
    if not gso_size:
        return 1, n_bytes
    headers = 14 + (40 if get_slot(key, "eth_type") == ETH_IPV6 else 20) + 20
    n_packets = max(-(-(n_bytes - headers) // gso_size), 1)
    return n_packets, n_bytes + (n_packets - 1) * headers
