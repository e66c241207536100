"""What the database asks of the switch, as frozen dataclasses.

Nothing here knows OVSDB: the ovsdb part builds these from rows, the switch
converges to them.  Names and units follow ovs-vswitchd.conf.db(5); a default
is what that page gives for an empty column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface


class FailMode(StrEnum):
    """What a bridge does when it has no controller, or has lost all of them (Bridge.fail_mode)."""

    STANDALONE = "standalone"
    SECURE = "secure"


class VlanModeName(StrEnum):
    """Port.vlan_mode; an unset column is None in `PortConfig`."""

    ACCESS = "access"
    TRUNK = "trunk"
    NATIVE_TAGGED = "native-tagged"
    NATIVE_UNTAGGED = "native-untagged"
    DOT1Q_TUNNEL = "dot1q-tunnel"


@dataclass(frozen=True, slots=True)
class InterfaceConfig:
    """A row of Interface.

    `type` is "" or "system" for a device that exists, "internal", "patch", or
    a tunnel type.  `ofport_request` is 1..65279 or None.  Policing: a rate of
    0 is no policing; a burst of 0 is the default burst.
    """

    name: str
    type: str = ""
    ofport_request: int | None = None
    ofport: int | None = None
    """The number the database says it has; it gets it again after a restart where that is free."""
    mac: bytes | None = None
    mtu_request: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    other_config: Mapping[str, str] = field(default_factory=dict)
    external_ids: Mapping[str, str] = field(default_factory=dict)
    ingress_policing_rate_kbps: int = 0
    ingress_policing_burst_kb: int = 0
    """In kilobits, as the column is."""
    ingress_policing_kpkts_rate: int = 0
    ingress_policing_kpkts_burst: int = 0


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """A row of Queue; `dscp` is what its packets are marked with, None for nothing."""

    dscp: int | None = None
    other_config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QosConfig:
    """A row of QoS, with its queues by number."""

    type: str
    queues: Mapping[int, QueueConfig] = field(default_factory=dict)
    other_config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PortConfig:
    """A row of Port with its interfaces (more than one: a bond)."""

    name: str
    interfaces: tuple[InterfaceConfig, ...] = ()
    vlan_mode: VlanModeName | None = None
    tag: int | None = None
    trunks: frozenset[int] = frozenset()
    """Empty: every VLAN."""
    cvlans: frozenset[int] = frozenset()
    mac: bytes | None = None
    bond_mode: str | None = None
    qos: QosConfig | None = None
    other_config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LocalNetwork:
    """An address with its netmask, and the router behind it (local_ip, local_netmask,
    local_gateway)."""

    address: IPv4Interface
    gateway: IPv4Address | None = None


@dataclass(frozen=True, slots=True)
class ControllerConfig:
    """A row of Controller.

    `target` is ``tcp:``, ``ssl:``, ``unix:`` (active) or ``ptcp:``, ``pssl:``,
    ``punix:`` (listening).  Rate limits count packet-ins a second; a rate
    of None is no limit.  `controller_queue_size` bounds packet-ins that wait.
    """

    target: str
    connection_mode: str = "in-band"
    """"in-band" or "out-of-band"; what an empty column means is the former."""
    max_backoff_ms: int = 8000
    inactivity_probe_ms: int = 5000
    """0 switches probing off."""
    controller_rate_limit: int | None = None
    controller_burst_limit: int | None = None
    controller_queue_size: int = 100
    enable_async_messages: bool = True
    type: str = "primary"
    """"primary" or "service"."""
    local_network: LocalNetwork | None = None
    """What the bridge's own device gets, where control is in-band."""


@dataclass(frozen=True, slots=True)
class FlowTableConfig:
    """A row of Flow_Table: name and limits of one OpenFlow table."""

    name: str = ""
    flow_limit: int | None = None
    evict_when_full: bool = False
    """overflow_policy "evict"; otherwise a full table refuses."""
    groups: tuple[str, ...] = ()
    """Subfields that make eviction groups; used only with `evict_when_full`."""
    prefixes: tuple[str, ...] = ()


OPENFLOW_PROTOCOLS = (
    "OpenFlow10",
    "OpenFlow11",
    "OpenFlow12",
    "OpenFlow13",
    "OpenFlow14",
    "OpenFlow15",
)
"""The names Bridge.protocols may hold, in order of wire version 1..6."""


@dataclass(frozen=True, slots=True)
class BridgeConfig:
    """A row of Bridge, with its ports and controllers.

    `datapath_type` is "", "system" or "netdev", else there is no bridge; all of them are our own
    datapath.  An empty `protocols` enables every version.
    """

    name: str
    uuid: bytes = b""
    """Of the row; its first bytes make the bridge's own MAC where no port lends one."""
    datapath_type: str = ""
    ports: tuple[PortConfig, ...] = ()
    controllers: tuple[ControllerConfig, ...] = ()
    fail_mode: FailMode = FailMode.STANDALONE
    protocols: tuple[str, ...] = ()
    hwaddr: bytes | None = None
    """other_config:hwaddr."""
    datapath_id: int | None = None
    """other_config:datapath-id."""
    mac_aging_time_s: int = 300
    mac_table_size: int = 8192
    disable_in_band: bool = False
    in_band_queue: int | None = None
    """The queue of what in-band control lets through."""
    forward_bpdu: bool = False
    dp_desc: str = ""
    dp_sn: str = ""
    flow_tables: Mapping[int, FlowTableConfig] = field(default_factory=dict)
    snooping_enabled: bool = True
    """Whether the service socket BRIDGE.snoop is offered; always so in OVS."""
    flood_vlans: frozenset[int] = frozenset()
    other_config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SslConfig:
    """Key, certificate and CA for ``ssl:`` and ``pssl:`` (table SSL); paths of PEM files."""

    private_key: str = ""
    certificate: str = ""
    ca_cert: str = ""
    """``none`` trusts everybody."""
    bootstrap_ca_cert: bool = False
    peer_ca_cert: str = ""
    """Sent along with the certificate, for peers that bootstrap."""
    protocols: str = ""
    """Some of TLSv1, TLSv1.1 and TLSv1.2; empty for what is safe."""
    ciphers: str = ""


@dataclass(frozen=True, slots=True)
class CtZoneConfig:
    """A zone of connection tracking (tables CT_Zone and CT_Timeout_Policy).

    `timeouts_s` has the keys of CT_Timeout_Policy.timeouts that are set;
    `limit` is the most connections it may have, 0 any number, None the default.
    """

    timeouts_s: Mapping[str, int] = field(default_factory=dict)
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class IpfixConfig:
    """A row of IPFIX: where flow records go, and how long flows are gathered."""

    targets: tuple[str, ...] = ()
    cache_active_timeout_s: int = 0
    cache_max_flows: int = 0
    tunnels: bool = True
    """other_config:enable-tunnel-sampling."""
    virtual_obs_id: str = ""


@dataclass(frozen=True, slots=True)
class CollectorSetConfig:
    """A row of Flow_Sample_Collector_Set: who hears of what sample actions name by `number`."""

    bridge: str
    number: int
    ipfix: IpfixConfig | None = None


@dataclass(frozen=True, slots=True)
class SwitchConfig:
    """All the database asks for."""

    bridges: tuple[BridgeConfig, ...] = ()
    ssl: SslConfig | None = None
    ct_zones: Mapping[int, CtZoneConfig] = field(default_factory=dict)
    collector_sets: tuple[CollectorSetConfig, ...] = ()
    ct_default_limit: int | None = None
    """Datapath.ct_zone_default_limit, where the schema has it; None where it is not set."""
    managers: tuple[str, ...] = ()
    """Targets of the Manager rows that are not out-of-band."""
    other_config: Mapping[str, str] = field(default_factory=dict)
