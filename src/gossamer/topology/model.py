"""The declared network: what a topology file may say, as types that cannot be wrong."""

from __future__ import annotations

import re
from ipaddress import ip_interface, ip_network
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gossamer.errors import TopologyError

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,13}$")]
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
    """A network card of an instance, and the bridge port it is plugged into.

    Without `vlan` and `trunks` the port carries every VLAN.  `vlan` makes an
    access port; with `mode` it is the native VLAN of a trunk.
    """

    bridge: Name
    address: str | None = None
    addresses: tuple[str, ...] = ()
    vlan: Vlan | None = None
    trunks: tuple[Vlan, ...] = ()
    mode: Literal["access", "trunk", "native-tagged", "native-untagged"] | None = None
    mac: Annotated[str, Meta(pattern=r"^([0-9a-f]{2}:){5}[0-9a-f]{2}$")] | None = None
    mtu: Annotated[int, Meta(ge=576, le=65535)] | None = None
    rate: str | None = None
    """What the instance may send: ``1 Mbit/s`` (ingress policing)."""
    burst: Annotated[int, Meta(ge=1)] | None = None
    """Of that, in kbit."""

    def all_addresses(self) -> tuple[str, ...]:
        """`address` and `addresses` together."""
        return ((self.address,) if self.address else ()) + self.addresses

    @property
    def rate_kbps(self) -> int:
        """The policing rate, 0 for none."""
        return round(parse_rate_bps(self.rate) / 1000) if self.rate else 0


class Instance(_Strict, frozen=True):
    """A host: a network namespace with ports eth0, eth1, ...

    `forward` makes it a router; `nat` names the port whose address hides what
    the others send through it.
    """

    ports: Annotated[tuple[Port, ...], Meta(min_length=1)]
    gateway: str | None = None
    routes: tuple[str, ...] = ()
    forward: bool = False
    nat: Annotated[str, Meta(pattern=r"^eth[0-9]+$")] | None = None


class Bridge(_Strict, frozen=True):
    """A bridge.  `flows` are in the syntax of ovs-ofctl(8) and replace the default one."""

    flows: tuple[str, ...] = ()
    fail_mode: Literal["standalone", "secure"] = "standalone"
    controllers: tuple[str, ...] = ()
    other_config: dict[str, str] = {}
    devices: tuple[str, ...] = ()
    """Devices of this host that become ports: named here, so touched."""


class Patch(_Strict, frozen=True):
    """A cable between two bridges, carrying all VLANs or those of `trunks`."""

    between: tuple[Name, Name]
    trunks: tuple[Vlan, ...] = ()


class Topology(_Strict, frozen=True):
    """The whole file."""

    name: Name
    bridges: Annotated[dict[Name, Bridge], Meta(min_length=1)]
    instances: dict[Name, Instance] = {}
    patches: tuple[Patch, ...] = ()
    expect: tuple[str | dict[str, str], ...] = ()


class Expectation(msgspec.Struct, frozen=True):
    """``vm1 -> vm2: ...``; `kind` is reachable, blocked or rate."""

    source: str
    target: str
    kind: Literal["reachable", "blocked", "rate"]
    text: str
    rate_bps: float = 0.0
    udp: bool = False
    tolerance: float = 0.10


_ARROW = re.compile(r"^\s*(\S+)\s*->\s*(\S+)\s*$")


def expectations(topology: Topology) -> list[Expectation]:
    """The `expect` lines, understood.  Raises TopologyError with the index in `place`."""
    out: list[Expectation] = []
    for i, line in enumerate(topology.expect):
        place = f"expect[{i}]"
        if isinstance(line, str):
            left, _, right = line.partition(":")
        elif len(line) == 1:
            left, right = next(iter(line.items()))
        else:
            raise TopologyError("one expectation a line", place=place)
        arrow = _ARROW.match(left)
        if not arrow:
            raise TopologyError(
                f"{left!r} is no pair of instances", place=place, remedy="write: vm1 -> vm2: reachable"
            )
        for name in arrow.groups():
            if name not in topology.instances:
                raise TopologyError(
                    f"there is no instance {name!r}",
                    place=place,
                    remedy=f"instances are {', '.join(topology.instances)}",
                )
        source, target = arrow[1], arrow[2]
        text = right.strip()
        if text in ("reachable", "blocked"):
            out.append(Expectation(source, target, text, text))  # type: ignore[arg-type]
            continue
        udp = text.startswith("udp ")
        try:
            rate = parse_rate_bps(text.removeprefix("udp ").removeprefix("tcp "))
        except TopologyError:
            raise TopologyError(
                f"{text!r} cannot be expected",
                place=place,
                remedy="expect reachable, blocked, 1 Mbit/s or udp 1 Mbit/s",
            ) from None
        out.append(Expectation(source, target, "rate", text, rate, udp))
    return out


def check(topology: Topology) -> None:
    """What types alone cannot say.  Raises TopologyError with a path in `place`."""
    for name, instance in topology.instances.items():
        for i, port in enumerate(instance.ports):
            place = f"instances.{name}.ports[{i}]"
            if port.bridge not in topology.bridges:
                raise TopologyError(
                    f"there is no bridge {port.bridge!r}",
                    place=place + ".bridge",
                    remedy=f"bridges are {', '.join(topology.bridges)}",
                )
            for address in port.all_addresses():
                try:
                    ip_interface(address)
                except ValueError:
                    raise TopologyError(
                        f"{address!r} is no address with a prefix length",
                        place=place + ".address",
                        remedy="write it as 10.0.0.1/24",
                    ) from None
            if port.rate is not None:
                try:
                    parse_rate_bps(port.rate)
                except TopologyError as e:
                    raise TopologyError(e.message, place=place + ".rate", remedy=e.remedy) from None
            if port.mode in ("access", "native-tagged", "native-untagged") and port.vlan is None:
                raise TopologyError(f"mode {port.mode} needs a vlan", place=place + ".mode")
        if instance.nat and int(instance.nat[3:]) >= len(instance.ports):
            raise TopologyError(
                f"there is no port {instance.nat}", place=f"instances.{name}.nat"
            )
        for i, route in enumerate(instance.routes):
            destination, _, via = route.partition(" via ")
            try:
                ip_network(destination.strip()), ip_interface(via.strip())
            except ValueError:
                raise TopologyError(
                    f"{route!r} is no route",
                    place=f"instances.{name}.routes[{i}]",
                    remedy="write it as 10.1.0.0/16 via 10.0.0.254",
                ) from None
    for i, patch in enumerate(topology.patches):
        for bridge in patch.between:
            if bridge not in topology.bridges:
                raise TopologyError(f"there is no bridge {bridge!r}", place=f"patches[{i}].between")
        if patch.between[0] == patch.between[1]:
            raise TopologyError("a patch joins two bridges", place=f"patches[{i}].between")
    expectations(topology)
