"""Rows of the database to the switch's configuration (ovs-vswitchd.conf.db(5)).

A row that holds what makes no sense is not an error of the whole: the value is
ignored with a warning, or the interface is refused, as that column asks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from typing import Any

from gossamer.switch.complaints import Complaints
from gossamer.switch.config import (
    OPENFLOW_PROTOCOLS,
    BridgeConfig,
    CollectorSetConfig,
    ControllerConfig,
    CtZoneConfig,
    FailMode,
    FlowTableConfig,
    InterfaceConfig,
    IpfixConfig,
    LocalNetwork,
    PortConfig,
    QosConfig,
    QueueConfig,
    SslConfig,
    SwitchConfig,
    VlanModeName,
)
from gossamer.switch.local_network import network_of

log = logging.getLogger(__name__)
_complaints = Complaints(log)


def _one(value: Any) -> Any:
    """The value of an optional column, None where it is empty."""
    return value[0] if isinstance(value, list) and value else None if isinstance(value, list) else value


MAX_ADDRESSES = 1 << 18
"""Learned addresses of all bridges together (bpf/limits.h, MAX_FDB)."""


def _number(
    text: str | None, default: int, row: str, key: str, low: int = 0, high: int = 1 << 31
) -> int:
    if text is None:
        return default
    try:
        number = int(text)
    except ValueError:
        number = low - 1
    subject = f"{row} {key}"
    if number < low:
        _complaints.say(subject, f"{text!r} is not a number from {low}, {default} is used")
        return default
    if number > high:
        _complaints.say(subject, f"{text!r} is more than there can be, {high} is used")
        return high
    _complaints.settled(subject)
    return number


def _mac(text: str | None, row: str, key: str) -> bytes | None:
    if not text:
        return None
    parts = text.split(":")
    try:
        address = bytes(int(p, 16) for p in parts)
    except ValueError:
        address = b""
    if len(address) != 6 or len(parts) != 6 or address[0] & 1 or not any(address):
        _complaints.say(f"{row} {key}", f"{text!r} is not the address of one host")
        return None
    _complaints.settled(f"{row} {key}")
    return address


def _queue(text: str | None, row: str) -> int | None:
    """other_config:in-band-queue; a negative number is none, as in ovs-vswitchd."""
    number = _number(text, -1, row, "in-band-queue", -1)
    return number if number >= 0 else None


def _flag(options: Mapping[str, str], key: str) -> bool:
    return options.get(key) == "true"


def interface(row: Any) -> InterfaceConfig:
    """An Interface row."""
    name = row.name
    place = f"interface={name}"
    request = _one(row.ofport_request)
    ofport = _one(row.ofport)
    return InterfaceConfig(
        name=name,
        type=row.type,
        ofport_request=request,
        ofport=ofport if isinstance(ofport, int) and ofport > 0 else None,
        mac=_mac(_one(row.mac), place, "mac"),
        mtu_request=_one(row.mtu_request),
        options=dict(row.options),
        other_config=dict(row.other_config),
        external_ids=dict(row.external_ids),
        ingress_policing_rate_kbps=max(row.ingress_policing_rate, 0),
        ingress_policing_burst_kb=max(row.ingress_policing_burst, 0),
        ingress_policing_kpkts_rate=max(row.ingress_policing_kpkts_rate, 0),
        ingress_policing_kpkts_burst=max(row.ingress_policing_kpkts_burst, 0),
    )


def qos(row: Any | None) -> QosConfig | None:
    """A QoS row with its queues; None for none."""
    if row is None:
        return None
    return QosConfig(
        type=row.type,
        queues={n: QueueConfig(_one(q.dscp), dict(q.other_config)) for n, q in row.queues.items()},
        other_config=dict(row.other_config),
    )


def port(row: Any) -> PortConfig:
    """A Port row with its interfaces."""
    mode = _one(row.vlan_mode)
    return PortConfig(
        name=row.name,
        interfaces=tuple(interface(i) for i in sorted(row.interfaces, key=lambda i: str(i.name))),
        vlan_mode=VlanModeName(mode) if mode else None,
        tag=_one(row.tag),
        trunks=frozenset(row.trunks),
        cvlans=frozenset(row.cvlans),
        mac=_mac(_one(row.mac), f"port={row.name}", "mac"),
        bond_mode=_one(row.bond_mode),
        qos=qos(_one(row.qos)),
        other_config=dict(row.other_config),
    )


def controller(row: Any) -> ControllerConfig:
    """A Controller row."""
    backoff, probe = _one(row.max_backoff), _one(row.inactivity_probe)
    limit, burst = _one(row.controller_rate_limit), _one(row.controller_burst_limit)
    return ControllerConfig(
        target=row.target,
        connection_mode=_one(row.connection_mode) or "in-band",
        max_backoff_ms=8000 if backoff is None else max(backoff, 1000),
        inactivity_probe_ms=5000 if probe is None else max(probe, 0),
        controller_rate_limit=limit,
        controller_burst_limit=burst,
        controller_queue_size=_one(row.controller_queue_size) or 100,
        enable_async_messages=_one(row.enable_async_messages) is not False,
        type=_one(row.type) or "primary",
        local_network=_local_network(row),
    )


def _local_network(row: Any) -> LocalNetwork | None:
    """What a Controller row gives the bridge's own device; None for nothing, or nothing usable."""
    place = f"controller={row.target}"
    address, netmask, gateway = (
        _ipv4(_one(getattr(row, column)), place, column)
        for column in ("local_ip", "local_netmask", "local_gateway")
    )
    if address is None:
        return None
    try:
        network = network_of(address, netmask)
    except ValueError:
        _complaints.say(f"{place} local_netmask", f"{netmask} is not a netmask")
        return None
    if network is None or not int(address):
        _complaints.say(f"{place} local_ip", f"{address} is not the address of one host")
        return None
    if gateway is not None and gateway not in network.network:
        _complaints.say(f"{place} local_gateway", f"{gateway} is not in {network.network}")
        gateway = None
    return LocalNetwork(network, gateway)


def _ipv4(text: str | None, row: str, key: str) -> IPv4Address | None:
    try:
        address = IPv4Address(text) if text else None
    except ValueError:
        _complaints.say(f"{row} {key}", f"{text!r} is not an IPv4 address")
        return None
    _complaints.settled(f"{row} {key}")
    return address


def bridge(row: Any, ports: tuple[PortConfig, ...]) -> BridgeConfig:
    """A Bridge row; `ports` are those of its Port rows."""
    place = f"bridge={row.name}"
    other = dict(row.other_config)
    datapath_id = None
    if "datapath-id" in other:
        text = other["datapath-id"].removeprefix("0x")
        try:
            datapath_id = int(text, 16) or None
        except ValueError:
            _complaints.say(f"{place} other_config:datapath-id", f"{text!r} is not hexadecimal")
    fail_mode = _one(row.fail_mode)
    return BridgeConfig(
        name=row.name,
        uuid=row.uuid.bytes,
        datapath_type=row.datapath_type,
        ports=ports,
        controllers=tuple(
            controller(c) for c in sorted(row.controller, key=lambda c: str(c.target))
        ),
        fail_mode=FailMode(fail_mode) if fail_mode else FailMode.STANDALONE,
        protocols=tuple(p for p in row.protocols if p in OPENFLOW_PROTOCOLS),
        hwaddr=_mac(other.get("hwaddr"), place, "other_config:hwaddr"),
        datapath_id=datapath_id,
        mac_aging_time_s=_number(other.get("mac-aging-time"), 300, place, "mac-aging-time", 15),
        mac_table_size=_number(
            other.get("mac-table-size"), 8192, place, "mac-table-size", 10, MAX_ADDRESSES
        ),
        disable_in_band=_flag(other, "disable-in-band"),
        in_band_queue=_queue(other.get("in-band-queue"), place),
        forward_bpdu=_flag(other, "forward-bpdu"),
        dp_desc=other.get("dp-desc", ""),
        dp_sn=other.get("dp-sn", ""),
        flow_tables={
            number: FlowTableConfig(
                name=_one(table.name) or "",
                flow_limit=_one(table.flow_limit),
                evict_when_full=_one(table.overflow_policy) == "evict",
                groups=tuple(table.groups),
                prefixes=tuple(table.prefixes),
            )
            for number, table in row.flow_tables.items()
        },
        flood_vlans=frozenset(row.flood_vlans),
        other_config=other,
    )


DATAPATH_TYPES = ("system", "netdev")
"""Types of datapaths there may be rows for; what both say of a zone, the first one says."""


def _ct_zone(row: Any) -> CtZoneConfig:
    policy = _one(row.timeout_policy)
    # A later schema than 3.1's has limits.
    limit = _one(row.limit) if hasattr(row, "limit") else None
    return CtZoneConfig(dict(policy.timeouts) if policy is not None else {}, limit)


def ct_zones(datapaths: Mapping[str, Any]) -> tuple[dict[int, CtZoneConfig], int | None]:
    """Zones of all datapaths by number, and the default limit: there is one table of connections."""
    zones: dict[int, CtZoneConfig] = {}
    default: int | None = None
    for type_ in datapaths.keys() - set(DATAPATH_TYPES):
        log.warning("datapath=%s: unknown type, only %s are", type_, " and ".join(DATAPATH_TYPES))
    for type_ in DATAPATH_TYPES:
        row = datapaths.get(type_)
        if row is None:
            continue
        if default is None and hasattr(row, "ct_zone_default_limit"):
            default = _one(row.ct_zone_default_limit)
        for number, zone_row in row.ct_zones.items():
            zone = _ct_zone(zone_row)
            place = f"datapath={type_} zone={number}"
            if zones.setdefault(number, zone) != zone:
                log.warning("%s: the other datapath's settings of this zone hold", place)
            for key, seconds in zone.timeouts_s.items():
                if not seconds:
                    log.warning("%s: %s=0 lets connections end at once", place, key)
    return zones, default


def ipfix(row: Any | None) -> IpfixConfig | None:
    """An IPFIX row; None for none."""
    if row is None:
        return None
    other = dict(row.other_config)
    return IpfixConfig(
        targets=tuple(sorted(row.targets)),
        cache_active_timeout_s=_one(row.cache_active_timeout) or 0,
        cache_max_flows=_one(row.cache_max_flows) or 0,
        tunnels=other.get("enable-tunnel-sampling") != "false",
        virtual_obs_id=other.get("virtual_obs_id", ""),
    )


def collector_set(row: Any) -> CollectorSetConfig:
    """A Flow_Sample_Collector_Set row."""
    return CollectorSetConfig(row.bridge.name, row.id, ipfix(_one(row.ipfix)))


def switch(
    row: Any, bridges: tuple[BridgeConfig, ...], collector_sets: Iterable[Any] = ()
) -> SwitchConfig:
    """The Open_vSwitch row; `collector_sets` are the rows of Flow_Sample_Collector_Set."""
    ssl = _one(row.ssl)
    zones, default_limit = ct_zones(row.datapaths)
    return SwitchConfig(
        bridges=bridges,
        ct_zones=zones,
        ct_default_limit=default_limit,
        collector_sets=tuple(
            sorted(map(collector_set, collector_sets), key=lambda s: (s.bridge, s.number))
        ),
        ssl=SslConfig(ssl.private_key, ssl.certificate, ssl.ca_cert, ssl.bootstrap_ca_cert)
        if ssl is not None
        else None,
        other_config=dict(row.other_config),
        managers=tuple(
            sorted(
                m.target for m in row.manager_options if _one(m.connection_mode) != "out-of-band"
            )
        ),
    )
