"""A port of a bridge: its number, its device, its OpenFlow configuration and state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from gossamer.datapath.settings import PortKind, PortSettings, VlanMode
from gossamer.devices.qos import QueueTree
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.tunnel import Tunnel
from gossamer.switch.config import InterfaceConfig, PortConfig, VlanModeName
from gossamer.switch.contract import Link
from gossamer.switch.numbering import LOCAL
from gossamer.switch.status import InterfaceStatus
from gossamer.switch.tunnel_ways import Egress

# ofp_port_config (OpenFlow 1.3.5, 7.2.1; NO_FLOOD and those of STP are of OpenFlow 1.0).
PORT_DOWN: Final = 1 << 0
NO_STP: Final = 1 << 1
NO_RECV: Final = 1 << 2
NO_RECV_STP: Final = 1 << 3
NO_FLOOD: Final = 1 << 4
NO_FWD: Final = 1 << 5
NO_PACKET_IN: Final = 1 << 6
SETTABLE: Final = (
    PORT_DOWN | NO_STP | NO_RECV | NO_RECV_STP | NO_FLOOD | NO_FWD | NO_PACKET_IN
)
"""What a controller may set.  Those of STP are kept and told, and change nothing."""

# ofp_port_state.
LINK_DOWN: Final = 1 << 0
LIVE: Final = 1 << 2

_SPEEDS_MBPS: Final = {10: 1, 100: 3, 1000: 5, 10_000: 6, 40_000: 7, 100_000: 8, 1_000_000: 9}
"""Speed -> bit of ofp_port_features in full duplex; half duplex is the bit below (to 1 Gbit/s)."""
_FEATURE_OTHER: Final = 1 << 10
_FEATURE_COPPER: Final = 1 << 11
VIRTUAL_SPEED_BPS: Final = 10_000_000_000
"""What a device that has no speed of its own is said to have, as the kernel's veth does."""


def vlan_mode(config: PortConfig) -> VlanMode:
    """The mode a port is in: an unset column means access with a tag, trunk without."""
    if config.vlan_mode is None:
        return VlanMode.ACCESS if config.tag is not None else VlanMode.TRUNK
    return {
        VlanModeName.ACCESS: VlanMode.ACCESS,
        VlanModeName.TRUNK: VlanMode.TRUNK,
        VlanModeName.NATIVE_TAGGED: VlanMode.NATIVE_TAGGED,
        VlanModeName.NATIVE_UNTAGGED: VlanMode.NATIVE_UNTAGGED,
        # 802.1ad tunnels are not forwarded yet; the access VLAN isolates them at least.
        VlanModeName.DOT1Q_TUNNEL: VlanMode.ACCESS,
    }[config.vlan_mode]


@dataclass(slots=True, eq=False)
class Port:
    """A port that is in the datapath.

    `ofport` has the 32-bit form (OFPP_LOCAL is 0xfffffffe); `port_id` is the
    datapath's name for it.  `of_config` holds what port-mods set, except
    PORT_DOWN, which for a device is the device's own state.
    """

    name: str
    ofport: int
    kind: PortKind
    interface: InterfaceConfig
    config: PortConfig
    mac: bytes
    created_s: float
    link: Link | None = None
    port_id: int = 0
    patch_peer: int | None = None
    patch_error: str = ""
    """Why a patch port has no peer."""
    of_config: int = 0
    link_resets: int = 0
    tunnel: Tunnel | None = None
    egress: Egress = field(default_factory=Egress)
    """Of a tunnel: which way its packets leave."""
    shape: QueueTree | None = None
    """Of the device: its queues."""
    refused_shape: QueueTree | None = None
    """What the kernel did not want; it is not asked for again until something else is."""
    qos_error: str = ""
    """Why it has none."""
    shaped_s: float = 0.0
    """Since when it has them."""
    made_promiscuous: bool = False
    """Its device was not, before it became this port."""
    settings: PortSettings | None = None
    """What the datapath was told last."""
    shown: tuple[object, ...] = field(default=())
    """What controllers were told last, to tell them only of changes."""
    _status: InterfaceStatus | None = None
    _status_of: tuple[object, ...] = ()

    @property
    def is_local(self) -> bool:
        """The bridge's own port."""
        return self.ofport == OfPort.LOCAL

    @property
    def device(self) -> str:
        """The device that carries its traffic: of an internal one that was moved away, its far end."""
        return self.link.name if self.link else self.name

    @property
    def _moved_away(self) -> bool:
        return self.kind is PortKind.INTERNAL and self.device != self.name

    def take_link(self, link: Link | None) -> None:
        """Its device is this one, or has changed."""
        self.link = link
        if link is not None:
            self.mac = (link.peer_mac if self._moved_away else None) or link.mac

    @property
    def database_ofport(self) -> int:
        """The number as the database has it."""
        return LOCAL if self.is_local else self.ofport

    @property
    def admin_up(self) -> bool:
        """Not administratively down."""
        return self.link.admin_up if self.link else not self.of_config & PORT_DOWN

    @property
    def carrier(self) -> bool:
        """The link is up."""
        return self.link.carrier and self.link.admin_up if self.link else True

    @property
    def config_bits(self) -> int:
        """ofp_port_config."""
        return (self.of_config & ~PORT_DOWN) | (0 if self.admin_up else PORT_DOWN)

    @property
    def state_bits(self) -> int:
        """ofp_port_state."""
        return LIVE if self.carrier else LINK_DOWN

    @property
    def speed_mbps(self) -> int:
        """Current speed, 0 where there is no device."""
        return (self.link.speed or VIRTUAL_SPEED_BPS) // 1_000_000 if self.link else 0

    @property
    def features(self) -> int:
        """Current ofp_port_features, in the bits of OpenFlow 1.1 and later."""
        if self.link is None:
            return 0
        bit = _SPEEDS_MBPS.get(self.speed_mbps)
        if bit is None:
            return _FEATURE_OTHER | _FEATURE_COPPER
        if self.link.duplex == "half" and bit <= 5:
            bit -= 1
        return 1 << bit | _FEATURE_COPPER

    def wanted_settings(self) -> PortSettings:
        """What the datapath is to be told."""
        interface, of_config = self.interface, self.of_config
        return PortSettings(
            name=self.name,
            ofport=self.ofport,
            kind=PortKind.DEVICE if self._moved_away else self.kind,
            ifindex=self.link.ifindex if self.link else 0,
            patch_peer=self.patch_peer,
            vlan_mode=vlan_mode(self.config),
            tag=self.config.tag or 0,
            trunks=self.config.trunks,
            flood=not of_config & NO_FLOOD,
            forward=not of_config & NO_FWD,
            receive=not of_config & NO_RECV,
            up=self.admin_up,
            live=self.admin_up and self.carrier,
            packet_in=not of_config & NO_PACKET_IN,
            policing_rate_kbps=interface.ingress_policing_rate_kbps,
            policing_burst_kb=interface.ingress_policing_burst_kb,
            policing_rate_kpps=interface.ingress_policing_kpkts_rate,
            policing_burst_kpkts=interface.ingress_policing_kpkts_burst,
            # The way past a veth's queue is not for ports that have queues.
            peer_mac=self.link.peer_mac if self.link and not self.shape else None,
        )

    def status(self) -> InterfaceStatus:
        """The columns of Interface, without statistics: the same object while nothing changed."""
        link = self.link
        depends_on = (
            link, self.mac, self.admin_up, self.link_resets, self.egress, self.patch_error
        )  # fmt: skip
        if self._status is not None and self._status_of == depends_on:
            return self._status
        self._status_of = depends_on
        self._status = InterfaceStatus(
            name=self.name,
            ofport=self.database_ofport,
            mac_in_use=self.mac,
            ifindex=link.ifindex if link else 0,
            mtu=link.mtu if link else None,
            admin_state="up" if self.admin_up else "down",
            link_state="up" if self.carrier else "down",
            link_speed_bps=self.speed_mbps * 1_000_000 if link else None,
            duplex=(link.duplex or "full") if link else None,
            link_resets=self.link_resets,
            error=self.patch_error or None,
            status={"driver_name": link.driver} if link else self._tunnel_status(),
        )
        return self._status

    def _tunnel_status(self) -> dict[str, str]:
        out = {}
        if self.egress.device:
            out["tunnel_egress_iface"] = self.egress.device
            out["tunnel_egress_iface_carrier"] = "up" if self.egress.carrier else "down"
        if self.egress.mtu:
            out["tunnel_mtu"] = str(self.egress.mtu)
        return out
