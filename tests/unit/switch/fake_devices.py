"""Devices, their addresses and routes, that live in memory, for tests of the switch."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface

from gossamer.devices.counters import DeviceErrors
from gossamer.devices.joining import Wanted
from gossamer.devices.qos import QueueCounters, QueueTree
from gossamer.devices.routes import Route
from gossamer.devices.underlay import Address, Neighbour
from gossamer.errors import DeviceError


@dataclass(frozen=True)
class FakeLink:
    ifindex: int
    name: str
    mac: bytes
    mtu: int = 1500
    admin_up: bool = True
    carrier: bool = True
    kind: str = "veth"
    peer_mac: bytes | None = None
    speed: int | None = 10_000_000_000
    duplex: str | None = "full"
    driver: str = "veth"

    @property
    def birth(self) -> int:
        return self.ifindex


class FakeUnderlay:
    """Addresses and routes that a test lays out, routes by the first bytes of the destination."""

    def __init__(self) -> None:
        self.own: list[Address] = []
        self.ways: dict[bytes, Route] = {}
        self.known: list[Neighbour] = []
        self.joined: set[tuple[bytes, int]] = set()
        self.heard_of: set[int] = set()
        self.sent: list[tuple[bytes, bytes]] = []
        self.joining: set[Wanted] = set()
        self.came: list[tuple[int, bytes]] = []
        self.changed = False

    def addresses(self) -> list[Address]:
        return self.own

    def route(
        self, destination: bytes, source: bytes | None = None, mark: int = 0
    ) -> Route | None:
        fitting = [prefix for prefix in self.ways if destination.startswith(prefix)]
        return self.ways[max(fitting, key=len)] if fitting else None

    def routes(self) -> list[Route]:
        return list(self.ways.values())

    def neighbours(self) -> list[Neighbour]:
        return self.known

    def join(self, wanted: Iterable[tuple[bytes, int]]) -> list[DeviceError]:
        self.joined = set(wanted)
        return []

    def follow_path_mtu(self, protocols: Iterable[int]) -> list[DeviceError]:
        self.heard_of = set(protocols)
        return []

    def send(self, packet: bytes, destination: bytes, mark: int = 0) -> None:
        self.sent.append((packet, destination))

    def join_fragments(self, wanted: Iterable[Wanted]) -> list[DeviceError]:
        self.joining = set(wanted)
        return []

    def take_joined(self) -> list[tuple[int, bytes]]:
        came, self.came = self.came, []
        return came

    def run(self) -> bool:
        changed, self.changed = self.changed, False
        return changed

    def wait(self, poller: object) -> None:
        """Nothing wakes it."""


class FakeDevices:
    """Devices of a host that has none at first."""

    def __init__(self) -> None:
        self.links: dict[str, FakeLink] = {}
        self.changed: set[str] = set()
        self.underlay = FakeUnderlay()
        self.shapes: dict[str, QueueTree] = {}
        self.queued: dict[str, dict[int, QueueCounters]] = {}
        self.cutter = (0, 0)
        self.cutting: set[int] = set()
        self.internal: set[int] = set()
        self.promiscuous: set[str] = set()
        self.addresses: dict[str, set[IPv4Interface | None]] = {}
        self.gateways: dict[str, IPv4Address] = {}
        self.wire_errors: dict[int, DeviceErrors] = {}
        self._next_ifindex = 10

    def shape(self, name: str, shape: QueueTree | None) -> None:
        if shape is None:
            self.shapes.pop(name, None)
        else:
            self.shapes[name] = shape

    def queue_counters(self, name: str) -> dict[int, QueueCounters]:
        return self.queued.get(name, {})

    def passes_whole(self, ifindex: int) -> bool:
        return ifindex not in self.cutting

    def is_internal(self, ifindex: int) -> bool:
        return ifindex in self.internal

    def open_cutter(self) -> tuple[int, int]:
        self.cutter = (1001, 1002)
        return self.cutter

    def remove_cutter(self) -> None:
        self.cutter = (0, 0)

    def appear(self, name: str, mac: str = "", mtu: int = 1500) -> FakeLink:
        """A device comes into being."""
        ifindex, self._next_ifindex = self._next_ifindex, self._next_ifindex + 1
        address = (
            bytes.fromhex(mac.replace(":", "")) if mac else b"\x02\0\0" + ifindex.to_bytes(3, "big")
        )
        self.links[name] = FakeLink(ifindex, name, address, mtu)
        self.changed.add(name)
        return self.links[name]

    def vanish(self, name: str) -> None:
        """A device goes."""
        del self.links[name]
        self.changed.add(name)

    def change(self, name: str, **attributes: object) -> None:
        """A device changes."""
        self.links[name] = replace(self.links[name], **attributes)  # type: ignore[arg-type]
        self.changed.add(name)

    def link(self, name: str) -> FakeLink | None:
        return self.links.get(name)

    def link_of(self, ifindex: int) -> FakeLink | None:
        return next((link for link in self.links.values() if link.ifindex == ifindex), None)

    def create_internal(self, name: str, mac: bytes | None) -> FakeLink:
        if name not in self.links:
            self.appear(name)
            self.links[name] = replace(self.links[name], admin_up=False)
        if mac:
            self.links[name] = replace(self.links[name], mac=mac)
        return self.links[name]

    def delete_internal(self, name: str) -> None:
        self.links.pop(name, None)

    def delete_other_internal(self, names: Collection[str]) -> None:
        for name in [n for n, made in self.links.items() if made.ifindex in self.internal]:
            if name not in names:
                del self.links[name]

    def _existing(self, name: str) -> FakeLink:
        if name not in self.links:
            raise DeviceError(f"no device {name}")
        return self.links[name]

    def set_mac(self, name: str, mac: bytes) -> None:
        self.links[name] = replace(self._existing(name), mac=mac)

    def set_mtu(self, name: str, mtu: int) -> None:
        self.links[name] = replace(self._existing(name), mtu=mtu)

    def set_address(
        self, name: str, address: IPv4Interface, before: IPv4Interface | None
    ) -> None:
        self._existing(name)
        self.addresses.setdefault(name, set()).discard(before)
        self.addresses[name].add(address)

    def set_gateway(self, name: str, gateway: IPv4Address, before: IPv4Address | None) -> None:
        self._existing(name)
        if self.gateways.get(name, before) not in (before, gateway):
            raise DeviceError("the host has another default route")
        self.gateways[name] = gateway

    def set_up(self, name: str, up: bool) -> None:
        self.links[name] = replace(self._existing(name), admin_up=up)

    def set_promiscuous(self, name: str, promiscuous: bool) -> bool:
        self._existing(name)
        before = name in self.promiscuous
        (self.promiscuous.add if promiscuous else self.promiscuous.discard)(name)
        return before != promiscuous

    def errors(self, ifindex: int) -> DeviceErrors:
        return self.wire_errors.get(ifindex, DeviceErrors())

    def run(self) -> frozenset[str]:
        changed, self.changed = frozenset(self.changed), set()
        return changed

    def wait(self, poller: object) -> None:
        """Nothing happens by itself."""
