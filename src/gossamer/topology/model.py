"""The declared network: what a topology file may say, as types that cannot be wrong.

What types alone cannot say stands in `validate.py`.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from gossamer.errors import TopologyError

NAME_PATTERN: Final = r"^[a-z][a-z0-9-]{0,13}$"
MAC_PATTERN: Final = r"^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$"
Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
Vlan = Annotated[int, Meta(ge=1, le=4094)]
_RATE = re.compile(r"^([0-9]+(?:\.[0-9]+)?)\s*(k|M|G)?bit/s$")
_UNITS = {None: 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}


def parse_rate_bps(text: str) -> float:
    """``1 Mbit/s`` in bit/s.  Raises TopologyError."""
    found = _RATE.match(text.strip())
    if not found:
        raise TopologyError(f"{text!r} is no rate", remedy="write it as 500 kbit/s, 1 Mbit/s, 2 Gbit/s")
    return float(found[1]) * _UNITS[found[2]]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Unknown keys are mistakes."""


class Port(_Strict, frozen=True):
    """A network card of an instance or host, and the bridge port it is plugged into.

    Without `vlan` and `trunks` the port carries every VLAN.  `vlan` makes an
    access port; with `mode` it is the native VLAN of a trunk.  A port in a
    `network` has neither: its host gives it a VLAN of its own.
    """

    bridge: Name | None = None
    network: Name | None = None
    address: str | None = None
    addresses: tuple[str, ...] = ()
    vlan: Vlan | None = None
    trunks: tuple[Vlan, ...] = ()
    mode: Literal["access", "trunk", "native-tagged", "native-untagged"] | None = None
    mac: Annotated[str, Meta(pattern=MAC_PATTERN)] | None = None
    mtu: Annotated[int, Meta(ge=576, le=65535)] | None = None
    rate: str | None = None
    """What the instance may send: ``1 Mbit/s`` (ingress policing)."""
    burst: Annotated[int, Meta(ge=1, le=4294967295)] | None = None
    """Of that, in kbit."""
    allow: tuple[str, ...] | None = None
    """Connections that may come in, all others may not; None: whatever comes, if no group says otherwise."""
    egress: tuple[str, ...] | None = None
    """Connections that may go out; None: all, if no group says otherwise."""
    security_groups: tuple[Name, ...] | None = None
    """Whose rules hold here too."""
    floating: str | tuple[str, ...] = ()
    """Addresses outside, behind a router, by which this port is reached and speaks there."""
    snat: str | tuple[str, ...] = ()
    """On a router's port: addresses, or ranges of them, that hide what leaves through it."""

    @property
    def protected(self) -> bool:
        """Whether rules decide on its connections."""
        return any(said is not None for said in (self.allow, self.egress, self.security_groups))

    def groups(self) -> tuple[Name, ...]:
        """`security_groups`, where there are any."""
        return self.security_groups or ()

    def all_floating(self) -> tuple[str, ...]:
        """`floating`, one or many."""
        return (self.floating,) if isinstance(self.floating, str) else self.floating

    def all_snat(self) -> tuple[str, ...]:
        """`snat`, one or many."""
        return (self.snat,) if isinstance(self.snat, str) else self.snat

    def all_addresses(self) -> tuple[str, ...]:
        """`address` and `addresses` together."""
        return ((self.address,) if self.address else ()) + self.addresses

    @property
    def rate_kbps(self) -> int:
        """The policing rate, 0 for none."""
        return round(parse_rate_bps(self.rate) / 1000) if self.rate else 0


class Instance(_Strict, frozen=True):
    """A network namespace with ports eth0, eth1, ...

    Without `host` its ports are on bridges of this machine.  `forward` makes
    it a router; `nat` names the port whose address hides what the others send
    through it.
    """

    ports: Annotated[tuple[Port, ...], Meta(min_length=1)]
    host: Name | None = None
    gateway: str | None = None
    routes: tuple[str, ...] = ()
    forward: bool = False
    route_by_flows: bool = False
    """The flows of its host route what they can before it gets there; for routers on hosts."""
    nat: Annotated[str, Meta(pattern=r"^eth[0-9]+$")] | None = None


class Bridge(_Strict, frozen=True):
    """A bridge.  `flows` are in the syntax of ovs-ofctl(8) and replace the default one."""

    flows: tuple[str, ...] = ()
    fail_mode: Literal["standalone", "secure"] = "standalone"
    controllers: tuple[str, ...] = ()
    other_config: dict[str, str | int | bool] = {}
    devices: tuple[str, ...] = ()
    """Devices of this host that become ports: named here, so touched."""

    def other_config_text(self) -> dict[str, str]:
        """`other_config` as the database has it: all text."""
        return {
            k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in self.other_config.items()
        }


class SecurityGroup(_Strict, frozen=True):
    """Rules that several ports share: connections that may come in, and that may go out."""

    allow: tuple[str, ...] = ()
    egress: tuple[str, ...] | None = None


class Patch(_Strict, frozen=True):
    """A cable between two bridges, carrying all VLANs or those of `trunks`."""

    between: tuple[Name, Name]
    trunks: tuple[Vlan, ...] = ()


class Host(_Strict, frozen=True):
    """A machine of its own: a network namespace with a gossamerd and a database.

    Its ports are its uplinks, plugged into bridges of this machine: the
    underlay.  Its own bridges go by their names on it alone.
    """

    ports: tuple[Port, ...] = ()
    gateway: str | None = None
    routes: tuple[str, ...] = ()
    forward: bool = False
    tunnel_address: str | None = None
    """Where tunnels to it end; without this the first address of its ports."""
    bridges: dict[Name, Bridge] = {}
    patches: tuple[Patch, ...] = ()


class Gateway(_Strict, frozen=True):
    """Where a tunnelled network and a VLAN of a physical network are one."""

    host: Name
    bridge: Name
    """The bridge of the host that the physical network is plugged into."""
    vlan: Vlan | None = None
    """Without this frames are untagged there."""


class Network(_Strict, frozen=True):
    """A virtual layer-2 network over all hosts that have instances in it.

    `id` is the VNI or key of tunnels, and the VLAN of kind vlan.  `bridge` is
    the hosts' bridge to the physical network, of kinds vlan and flat.
    """

    kind: Literal["vxlan", "gre", "geneve", "vlan", "flat"]
    id: Annotated[int, Meta(ge=0, le=4294967295)] | None = None
    bridge: Name | None = None
    mtu: Annotated[int, Meta(ge=576, le=65535)] | None = None
    """Without this as large as the way between the hosts allows."""
    l2_population: bool = False
    """Every host knows where each address is: nothing is learned, and ARP is answered at once."""
    gateways: tuple[Gateway, ...] = ()

    @property
    def tunnelled(self) -> bool:
        """True where frames cross in tunnels."""
        return self.kind not in ("vlan", "flat")


class Topology(_Strict, frozen=True):
    """The whole file."""

    name: Name
    bridges: Annotated[dict[Name, Bridge], Meta(min_length=1)]
    hosts: dict[Name, Host] = {}
    networks: dict[Name, Network] = {}
    instances: dict[Name, Instance] = {}
    patches: tuple[Patch, ...] = ()
    security_groups: dict[Name, SecurityGroup] = {}
    expect: tuple[str | dict[str, str], ...] = ()

    @property
    def machines(self) -> dict[str, Instance | Host]:
        """Hosts and instances: all that have a namespace."""
        return {**self.hosts, **self.instances}

    def bridges_at(self, host: str | None) -> dict[str, Bridge]:
        """The declared bridges of a host, or of this machine."""
        return self.hosts[host].bridges if host else self.bridges
