"""Which port takes which tunnels' packets: no two take the same, whatever bridges they are on."""

from __future__ import annotations

import logging
from collections import Counter

from gossamer.errors import DeviceError
from gossamer.pipeline.tunnel import FLOW, Flow, Tunnel, TunnelKind, format_address

log = logging.getLogger(__name__)


class TunnelClaims:
    """The tunnels that ports have, by the ports' names."""

    def __init__(self) -> None:
        self.tunnels: dict[str, Tunnel] = {}
        self._owners: dict[tuple[object, ...], str] = {}
        self._policies: Counter[tuple[int, bool]] = Counter()
        """How many VXLAN ports have a UDP port, with group policies or without."""

    def check(self, name: str, tunnel: Tunnel) -> None:
        """Raises DeviceError, in the peer's words, where another port has a tunnel's packets."""
        self._check_extension(name, tunnel)
        owner = self._owners.get(tunnel.identity(), name)
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

    def _check_extension(self, name: str, tunnel: Tunnel) -> None:
        """A packet does not say whether it has a group policy: all of a UDP port must agree."""
        if tunnel.kind is not TunnelKind.VXLAN:
            return
        others = self._policies[tunnel.dst_port, not tunnel.gbp]
        own = self.tunnels.get(name)
        if own is not None and (own.dst_port, own.gbp) == (tunnel.dst_port, not tunnel.gbp):
            others -= own.kind is TunnelKind.VXLAN
        if others:
            raise DeviceError(
                f"{name}: VXLAN-GBP, and non-VXLAN-GBP tunnels can't be configured on the "
                "same dst_port",
                place=f"port={name}",
                remedy="set options:dst_port to another one",
            )

    def put(self, name: str, tunnel: Tunnel) -> None:
        """Give a port that has none a tunnel that `check()` let pass."""
        self._owners[tunnel.identity()] = name
        self.tunnels[name] = tunnel
        if tunnel.kind is TunnelKind.VXLAN:
            self._policies[tunnel.dst_port, tunnel.gbp] += 1

    def release(self, name: str) -> bool:
        """Take away what a port had; False where it had nothing."""
        tunnel = self.tunnels.pop(name, None)
        if tunnel is None:
            return False
        del self._owners[tunnel.identity()]
        if tunnel.kind is TunnelKind.VXLAN:
            self._policies[tunnel.dst_port, tunnel.gbp] -= 1
        return True


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
