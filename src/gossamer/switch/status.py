"""What the switch has to say for the database: the counterpart of `config`.

`Switch.apply()` and `Switch.status()` return a `SwitchStatus`; the ovsdb part
writes it into rows.  A value of None is an empty column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NO_OFPORT = -1
"""Interface.ofport of an interface that could not be set up."""


@dataclass(frozen=True, slots=True)
class InterfaceStatus:
    """Columns of Interface that the switch owns.

    `statistics` has OVS's names (rx_packets, tx_bytes, ...).  `link_speed_bps`
    is bits a second.  `ofport` is `NO_OFPORT` when `error` is set.
    """

    name: str
    ofport: int | None = None
    error: str | None = None
    mac_in_use: bytes | None = None
    ifindex: int | None = None
    mtu: int | None = None
    admin_state: str | None = None
    """"up" or "down"."""
    link_state: str | None = None
    link_speed_bps: int | None = None
    duplex: str | None = None
    link_resets: int | None = None
    status: Mapping[str, str] = field(default_factory=dict)
    """driver_name, driver_version, firmware_version."""
    statistics: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ControllerStatus:
    """Columns of Controller that the switch owns.

    `role` is "other", "master", "slave" or None where not connected.
    `status` has the keys state, sec_since_connect, sec_since_disconnect and last_error.
    """

    target: str
    is_connected: bool = False
    role: str | None = None
    status: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PortStatus:
    """A port, its interfaces by name."""

    name: str
    interfaces: Mapping[str, InterfaceStatus] = field(default_factory=dict)
    status: Mapping[str, str] = field(default_factory=dict)
    """Port.status: `qos_error` where its QoS could not be given to its device."""


@dataclass(frozen=True, slots=True)
class BridgeStatus:
    """A bridge; `datapath_id` is 64 bits, written as 16 hex digits in the database."""

    name: str
    datapath_id: int | None = None
    datapath_version: str | None = None
    ports: Mapping[str, PortStatus] = field(default_factory=dict)
    controllers: Mapping[str, ControllerStatus] = field(default_factory=dict)
    """By target."""
    error: str | None = None
    """Why the bridge could not be created."""


@dataclass(frozen=True, slots=True)
class SwitchStatus:
    """The whole."""

    bridges: Mapping[str, BridgeStatus] = field(default_factory=dict)
    datapath_types: tuple[str, ...] = ("netdev", "system")
    capabilities: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Datapath.capabilities by type of datapath, of those that have bridges."""
    iface_types: tuple[str, ...] = (
        "erspan", "geneve", "gre", "internal", "ip6erspan", "ip6gre", "patch", "system", "vxlan"
    )  # fmt: skip
