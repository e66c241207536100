"""What the switch needs of the parts below it, said as protocols.

The datapath and the devices implement these; tests put their own in their
place.  Meanings are those of docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from gossamer.pipeline.action import Sample
from gossamer.pipeline.action_learn import Learn
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.group import Group
from gossamer.pipeline.meter import Meter
from gossamer.pipeline.world import Fragments

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Interface

    from gossamer.datapath.conntrack import Conntrack
    from gossamer.datapath.settings import (
        BridgeSettings,
        FdbEntry,
        FdbTotals,
        MissAction,
        PortSettings,
        PortStatistics,
        Punt,
        TableStatistics,
    )
    from gossamer.datapath.tunnel_settings import Cuts, LocalAddress, TunnelOption, TunnelSettings
    from gossamer.devices.counters import DeviceErrors
    from gossamer.devices.joining import Wanted
    from gossamer.devices.qos import QueueCounters, QueueTree
    from gossamer.devices.routes import Route
    from gossamer.devices.underlay import Address, Neighbour
    from gossamer.errors import DeviceError


Counted = tuple[int, int, Sequence[tuple[int, int]]]
"""Packets and bytes of a group or meter, then of each of its buckets or bands."""


class AddressTables(Protocol):
    """The addresses that bridges know."""

    def entries(self, bridge_id: int) -> Sequence[FdbEntry]: ...
    def learn(self, bridge_id: int, port_id: int, vlan: int, mac: bytes) -> None:
        """Learn an address from a packet that the kernel did not lead through the bridge."""

    def put(self, bridge_id: int, port_id: int, vlan: int, mac: bytes) -> None: ...
    def delete(self, bridge_id: int, vlan: int, mac: bytes) -> bool: ...
    def totals(self, bridge_id: int) -> FdbTotals: ...
    def clear_totals(self, bridge_id: int) -> None: ...
    def flush(self, bridge_id: int, port_id: int | None = None) -> None: ...


class Packets(Protocol):
    """Packets that come up from the datapath, and go down."""

    @property
    def fd(self) -> int: ...
    @property
    def are_here(self) -> bool:
        """Whether punts came while something else was done."""

    def read(self) -> Sequence[Punt]: ...
    def userdata(self, userdata_id: int) -> bytes: ...
    def learn_action(self, learn_id: int) -> Learn:
        """The action that a punt of reason LEARN names by its userdata_id."""

    def sample_action(self, sample_id: int) -> Sample:
        """The action that a punt of reason SAMPLE names by its userdata_id."""

    def let_go_on(self, punt: Punt, packet: bytes) -> None:
        """Let a held packet go on as `packet`; raises DatapathError where it cannot."""

    def run_at(self, port_id: int, packet: bytes) -> list[Punt]:
        """Let a packet enter by a port without device; what came up of it."""

    def transmit(self, port_id: int, packet: bytes) -> None: ...


class Datapath(Protocol):
    """Forwarding, wherever it happens."""

    @property
    def takeover(self) -> bool: ...
    @property
    def conntrack(self) -> Conntrack: ...
    @property
    def fdb(self) -> AddressTables: ...
    @property
    def packets(self) -> Packets: ...
    def converge(self) -> None: ...
    def add_bridge(self, name: str) -> int: ...
    def configure_bridge(self, bridge_id: int, settings: BridgeSettings) -> None: ...
    def set_fragments(self, bridge_id: int, fragments: Fragments) -> None:
        """What a bridge's tables see of IP fragments."""

    def set_sampling(self, bridge_id: int, wanted: bool) -> None:
        """Whether anybody wants to hear of the packets that a bridge's rules sample."""

    def remove_bridge(self, bridge_id: int) -> None: ...
    def add_port(self, bridge_id: int, settings: PortSettings) -> int: ...
    def update_port(self, port_id: int, settings: PortSettings) -> None: ...
    def remove_port(self, port_id: int) -> None: ...
    def port_statistics(self, port_id: int) -> PortStatistics: ...
    def set_tunnel(self, port_id: int, settings: TunnelSettings | None) -> None:
        """What a port of kind TUNNEL wraps packets in, and which packets are its own."""

    def attach_uplink(self, ifindex: int, cuts: Cuts = ...) -> None:
        """Take tunnels' packets from what arrives at a device."""

    def detach_uplink(self, ifindex: int) -> None:
        """Take no more."""

    def set_cutter(self, near: int, far: int, *, cuts: bool, joins: bool) -> None:
        """Cut outer packets up, or take those that came in fragments, by a pair of devices."""

    def send_cut(self, packet: bytes) -> None:
        """Send an outer packet, in fragments where it must be; raises DatapathError."""

    def arrive_joined(self, packet: bytes) -> None:
        """Let an outer packet arrive that came in fragments; raises DatapathError."""

    def set_local_addresses(self, addresses: Iterable[LocalAddress]) -> None:
        """All addresses of this host, for tunnels to end on."""

    def set_tlv_map(self, bridge_id: int, options: Iterable[TunnelOption]) -> None:
        """The Geneve options that a bridge's packets may have."""

    breathe: Callable[[], None]
    """Called every few milliseconds of long work, for what cannot wait."""

    def transaction(self) -> AbstractContextManager[object]: ...
    def insert_flows(self, bridge_id: int, flows: Sequence[Flow]) -> None: ...
    def remove_flows(self, bridge_id: int, flows: Sequence[Flow]) -> None: ...
    def read_flow_statistics(self, flows: Sequence[Flow]) -> None: ...
    def table_statistics(self, bridge_id: int) -> Mapping[int, TableStatistics]: ...
    def count_miss(self, bridge_id: int, table_id: int) -> None:
        """Count a look-up of the reference pipeline that found nothing."""

    def count_group(
        self, bridge_id: int, group_id: int, buckets: Sequence[int], n_bytes: int
    ) -> None:
        """Count a packet that the reference pipeline took through a group and some of its buckets."""

    def set_table_miss(self, bridge_id: int, table_id: int, action: MissAction) -> None: ...
    def set_group(self, bridge_id: int, group: Group) -> None:
        """Add a group or replace it; raises DatapathError, and then nothing has changed."""

    def delete_group(self, bridge_id: int, group_id: int) -> None:
        """Remove a group; nothing where there is none."""

    def group_statistics(self, bridge_id: int, group_id: int) -> Counted:
        """Of a group that is there."""

    def set_meter(self, bridge_id: int, meter: Meter) -> None:
        """As set_group()."""

    def delete_meter(self, bridge_id: int, meter_id: int) -> None:
        """As delete_group()."""

    def meter_statistics(self, bridge_id: int, meter_id: int) -> Counted:
        """Of a meter that is there."""

    def close(self) -> None: ...
    def destroy(self) -> None: ...


class Link(Protocol):
    """A network device as the kernel shows it."""

    @property
    def ifindex(self) -> int: ...
    @property
    def birth(self) -> int:
        """Tells it from devices that had its number before."""

    @property
    def name(self) -> str: ...
    @property
    def mac(self) -> bytes: ...
    @property
    def mtu(self) -> int: ...
    @property
    def admin_up(self) -> bool: ...
    @property
    def carrier(self) -> bool: ...
    @property
    def kind(self) -> str: ...
    @property
    def peer_mac(self) -> bytes | None: ...
    @property
    def speed(self) -> int | None:
        """Bits a second, None where the device does not say."""

    @property
    def duplex(self) -> str | None: ...
    @property
    def driver(self) -> str: ...


class Poller(Protocol):
    """`ovs.poller.Poller`, as far as it is used."""

    def fd_wait(self, fd: int, events: int) -> None: ...
    def timer_wait_until(self, msec: int) -> None: ...
    def immediate_wake(self) -> None: ...


class Underlay(Protocol):
    """Addresses and routes of the host (devices/underlay.py); addresses are 16 bytes."""

    def addresses(self) -> Sequence[Address]:
        """All of the host's."""

    def route(
        self, destination: bytes, source: bytes | None = None, mark: int = 0
    ) -> Route | None:
        """The way to an address, None where there is none."""

    def routes(self) -> Sequence[Route]:
        """All routes."""

    def neighbours(self) -> Sequence[Neighbour]:
        """Neighbours whose address is known."""

    def join(self, wanted: Iterable[tuple[bytes, int]]) -> Sequence[DeviceError]:
        """Be a member of these groups, each on a device, and of no other."""

    def follow_path_mtu(self, protocols: Iterable[int]) -> Sequence[DeviceError]:
        """Hear what routers say of the size of packets of these IP protocols."""

    def send(self, packet: bytes, destination: bytes, mark: int = 0) -> None:
        """Send a whole IP packet; raises DeviceError."""

    def join_fragments(self, wanted: Iterable[Wanted]) -> Sequence[DeviceError]:
        """Receive outer packets that come in fragments: these, and no others."""

    def take_joined(self) -> Iterable[tuple[int, bytes]]:
        """Those that came: the device's number, and the whole packet."""

    def run(self) -> bool:
        """Whether something changed since the last call."""

    def wait(self, poller: Poller) -> None:
        """Wake for the next change."""


class Devices(Protocol):
    """Linux devices: what there is, and a few things done to them.

    Methods that change something raise DeviceError.
    """

    @property
    def underlay(self) -> Underlay:
        """What tunnels run over."""

    def link_of(self, ifindex: int) -> Link | None:
        """The device of that number, None where there is none."""

    def link(self, name: str) -> Link | None:
        """The device of that name, None where there is none."""

    def passes_whole(self, ifindex: int) -> bool:
        """Whether super-packets inside tunnels pass a device whole."""

    def is_internal(self, ifindex: int) -> bool:
        """Whether a device is that of an internal port of ours."""

    def open_cutter(self) -> tuple[int, int]:
        """The pair of devices by which packets are cut up, made where it is not there."""

    def remove_cutter(self) -> None:
        """Remove that pair; nothing where there is none."""

    def create_internal(self, name: str, mac: bytes | None) -> Link:
        """Create the device of an internal port, or adopt it where it exists."""

    def delete_internal(self, name: str) -> None:
        """Remove the device of an internal port; nothing where it is gone."""

    def delete_other_internal(self, names: Collection[str]) -> None:
        """Remove the devices of internal ports but these."""

    def set_mac(self, name: str, mac: bytes) -> None:
        """Set the hardware address."""

    def set_mtu(self, name: str, mtu: int) -> None:
        """Set the MTU, in bytes."""

    def set_address(
        self, name: str, address: IPv4Interface, before: IPv4Interface | None
    ) -> None:
        """Set up the device of an internal port, with an address in place of `before`."""

    def set_gateway(self, name: str, gateway: IPv4Address, before: IPv4Address | None) -> None:
        """Add the default route by a router behind that device, in place of `before`."""

    def set_up(self, name: str, up: bool) -> None:
        """Set the administrative state."""

    def set_promiscuous(self, name: str, promiscuous: bool) -> bool:
        """Let a device take in frames to any address, or no more; True where that changed it."""

    def shape(self, name: str, shape: QueueTree | None) -> None:
        """Give a device its queues, or take them off; nothing where the device is gone."""

    def queue_counters(self, name: str) -> dict[int, QueueCounters]:
        """Counters of a device's queues."""

    def errors(self, ifindex: int) -> DeviceErrors:
        """What went wrong on a device, as its driver counts it; nothing where it is gone."""

    def run(self) -> frozenset[str]:
        """Names of the devices that appeared, vanished or changed since the last call."""

    def wait(self, poller: Poller) -> None:
        """Wake for the next change."""
