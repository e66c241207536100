"""Devices as the switch wants them: what there is, and internal devices to make (switch/contract.py)."""

from __future__ import annotations

import logging
import select
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer.devices.counters import DeviceErrors, ErrorCounters
from gossamer.devices.cutter import NEAR, Cutter
from gossamer.devices.host_address import set_address, set_gateway
from gossamer.devices.internal import InternalDevices
from gossamer.devices.link import Link, Links
from gossamer.devices.offloads import Offloads
from gossamer.devices.qos import QueueCounters, QueueTree, Shaper
from gossamer.devices.underlay import Underlay
from gossamer.errors import DeviceError

if TYPE_CHECKING:
    from ovs.poller import Poller

log = logging.getLogger(__name__)


class HostDevices:
    """The devices of the network namespace the daemon runs in."""

    def __init__(self, rundir: Path) -> None:
        self._links = Links()
        self._internal = InternalDevices(rundir)
        self._away: dict[str, str] = {}
        """Far end here -> internal device that was moved into another namespace."""
        self._shaper = Shaper()
        self._cutter = Cutter(rundir)
        self._offloads = Offloads()
        self._errors = ErrorCounters()
        self.underlay = Underlay()

    def link(self, name: str) -> Link | None:
        """The device of that name, None where there is none.

        One whose event has not been read yet is looked up: who creates a device
        and adds it as a port at once must not be told that it does not exist.
        """
        return self._links.link(name) or self._links.refresh(name)

    def link_of(self, ifindex: int) -> Link | None:
        """The device of that number, None where there is none."""
        return self._links.link_of(ifindex)

    def create_internal(self, name: str, mac: bytes | None) -> Link:
        """Create the device of an internal port, or adopt the one made before a restart.

        Of one that was moved into another namespace this is its far end, under a name of its own.
        Raises DeviceError where a device of that name is somebody else's.
        """
        link = self._links.refresh(name)
        if link is None:
            return self._far_end(name) or self._create(name, mac)
        if not self._internal.ours(link.alias):
            raise DeviceError(
                "a device of that name exists and is not ours",
                place=f"device={name}",
                remedy="choose another name, or remove the device",
            )
        far = self._far_link(name)
        if far is not None:
            self._internal.send_far_back(name)
            self._links.refresh(far.name)
            self._away.pop(far.name, None)
            link = self._links.refresh(name) or link
        return link

    def _create(self, name: str, mac: bytes | None) -> Link:
        self._internal.create(name, mac)
        link = self._links.refresh(name)
        if link is None:
            raise DeviceError("the device vanished at once", place=f"device={name}")
        return link

    def _far_link(self, name: str) -> Link | None:
        """The far end of an internal device that was moved away, if it is here."""
        link = self._links.refresh(self._internal.far_name(name))
        return link if link is not None and self._internal.is_far(link.alias) else None

    def _far_end(self, name: str) -> Link | None:
        """That far end, brought here if it must be; None where there is none."""
        link = self._far_link(name)
        if link is None and self._internal.bring_far(name):
            link = self._far_link(name)
        if link is not None:
            self._away[link.name] = name
        return link

    def delete_internal(self, name: str) -> None:
        """Remove the device of an internal port; nothing where it is gone or not ours."""
        link = self._links.refresh(name)
        if link is not None and self._internal.ours(link.alias):
            self._internal.delete(name)
            self._links.refresh(name)
        elif link is None and (far := self._far_link(name)) is not None:
            self._internal.delete(far.name)
            self._links.refresh(far.name)
            self._away.pop(far.name, None)

    def delete_other_internal(self, names: Collection[str]) -> None:
        """Remove the devices of internal ports but these: of ports that went while no daemon ran."""
        kept = {NEAR, *names, *map(self._internal.far_name, names)}
        for link in list(self._links.all()):
            ours = self._internal.ours(link.alias) or self._internal.is_far(link.alias)
            if ours and link.name not in kept:
                log.info("device=%s: removed, it is no port any more", link.name)
                self._internal.delete(link.name)
                self._links.refresh(link.name)

    def passes_whole(self, ifindex: int) -> bool:
        """Whether super-packets inside tunnels pass a device whole (devices/offloads.py)."""
        link = self._links.link_of(ifindex)
        return link is not None and self._offloads.pass_whole(link.name, link.kind)

    def is_internal(self, ifindex: int) -> bool:
        """Whether a device is that of an internal port of ours."""
        link = self._links.link_of(ifindex)
        return link is not None and (
            self._internal.ours(link.alias) or self._internal.is_far(link.alias)
        )

    def open_cutter(self) -> tuple[int, int]:
        """The pair of devices by which packets are cut up, near and far end (devices/cutter.py).

        Raises DeviceError where it cannot be made.
        """
        return self._cutter.open()

    def remove_cutter(self) -> None:
        """Remove that pair; nothing where there is none of ours."""
        self._cutter.remove()

    def set_mac(self, name: str, mac: bytes) -> None:
        """Set the hardware address."""
        self._internal.set_mac(name, mac)
        self._links.refresh(name)

    def set_mtu(self, name: str, mtu: int) -> None:
        """Set the MTU, in bytes."""
        self._internal.set_mtu(name, mtu)
        self._links.refresh(name)

    def set_address(
        self, name: str, address: IPv4Interface, before: IPv4Interface | None
    ) -> None:
        """Set up the device of an internal port, with an address in place of `before`.

        Raises DeviceError where it is not here, not ours, or the kernel refuses.
        """
        set_address(self._internal.ipr, self._own_index(name), address, before)
        self._links.refresh(name)

    def set_gateway(self, name: str, gateway: IPv4Address, before: IPv4Address | None) -> None:
        """Add the default route by a router behind that device, in place of `before`.

        Raises DeviceError as above, and where the host has another one.
        """
        set_gateway(self._internal.ipr, self._own_index(name), gateway, before)

    def _own_index(self, name: str) -> int:
        link = self._links.refresh(name)
        if link is None or not self._internal.ours(link.alias):
            raise DeviceError("the bridge's own device is not in this namespace")
        return link.ifindex

    def set_up(self, name: str, up: bool) -> None:
        """Set the administrative state."""
        self._internal.set_up(name, up)
        self._links.refresh(name)

    def set_promiscuous(self, name: str, promiscuous: bool) -> bool:
        """Let a device take in frames to any address, or no more; True where that changed it.

        Raises DeviceError where it is gone.
        """
        return self._internal.set_promiscuous(name, promiscuous)

    def shape(self, name: str, shape: QueueTree | None) -> None:
        """Give a device its queues, or take them off; nothing where the device is gone."""
        link = self._links.link(name)
        if link is None:
            return
        if shape is None:
            self._shaper.remove(link.ifindex)
        else:
            self._shaper.apply(link.ifindex, shape)

    def queue_counters(self, name: str) -> dict[int, QueueCounters]:
        """Counters of a device's queues."""
        link = self._links.link(name)
        return self._shaper.counters(link.ifindex) if link else {}

    def errors(self, ifindex: int) -> DeviceErrors:
        """What went wrong on a device, as its driver counts it; nothing where it is gone."""
        return self._errors.read(ifindex)

    def run(self) -> frozenset[str]:
        """Names of devices that appeared, vanished or changed since the last call."""
        changed = self._links.run()
        return changed | {self._away[name] for name in changed & self._away.keys()}

    def wait(self, poller: Poller) -> None:
        """Wake for the next change."""
        poller.fd_wait(self._links.fd, select.POLLIN)
        poller.timer_wait_until(self._links.next_check_ms())

    def close(self) -> None:
        """Close the sockets; devices stay."""
        self._links.close()
        self._shaper.close()
        self._cutter.close()
        self._offloads.close()
        self._errors.close()
        self.underlay.close()
        self._internal.close()

    def destroy(self) -> None:
        """Close, and give up the namespace that keeps internal devices alive."""
        self._cutter.remove()
        self._internal.remove_netns()
        self.close()
