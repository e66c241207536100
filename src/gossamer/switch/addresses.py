"""MAC addresses that a bridge gives itself and its ports."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from gossamer.datapath.settings import PortKind

if TYPE_CHECKING:
    from gossamer.switch.config import BridgeConfig
    from gossamer.switch.port import Port

_LOCALLY_ADMINISTERED: Final = 0x02
_MULTICAST: Final = 0x01


def default_mac(config: BridgeConfig) -> bytes:
    """An address of the bridge's own, the same after a restart: from its row, or its name."""
    seed = config.uuid or hashlib.sha256(config.name.encode()).digest()
    return _local(seed)


def patch_mac(bridge: str, name: str) -> bytes:
    """An address for a patch port, which has no device to take one from."""
    return _local(hashlib.sha256(f"{bridge}/{name}".encode()).digest())


def _local(seed: bytes) -> bytes:
    return bytes([seed[0] & ~_MULTICAST | _LOCALLY_ADMINISTERED]) + seed[1:6]


def own_address(port: Port) -> bytes | None:
    """The address of a port that its bridge may take for its own, where it is the lowest.

    The bridge's own port has none to give.  Locally administered ones do not count (as in
    ovs-vswitchd): they are made up anew each time a veth is created, and would make the
    bridge's identity change with them.
    """
    if port.is_local or port.kind in (PortKind.PATCH, PortKind.TUNNEL):
        return None
    mac = port.config.mac or port.mac
    return mac if any(mac) and not mac[0] & (_MULTICAST | _LOCALLY_ADMINISTERED) else None
