"""MAC addresses that a bridge gives itself and its ports."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
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


def lowest_mac(ports: Iterable[Port]) -> bytes | None:
    """The lowest address among the ports but the local one.

    Locally administered ones do not count (as in ovs-vswitchd): they are
    made up anew each time a veth is created, and would make the bridge's
    identity change with them.
    """
    candidates = [
        port.config.mac or port.mac
        for port in ports
        if not port.is_local and port.kind not in (PortKind.PATCH, PortKind.TUNNEL)
    ]
    return min(
        (m for m in candidates if any(m) and not m[0] & (_MULTICAST | _LOCALLY_ADMINISTERED)),
        default=None,
    )
