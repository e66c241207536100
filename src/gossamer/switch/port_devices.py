"""What is done to the devices of one bridge's ports: found or made, named, shaped, and let go."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from gossamer.datapath.settings import PortKind
from gossamer.errors import DeviceError
from gossamer.switch.port_kind import check_name
from gossamer.switch.qos import shape_of

if TYPE_CHECKING:
    from gossamer.devices.qos import QueueTree
    from gossamer.switch.complaints import Complaints
    from gossamer.switch.config import InterfaceConfig
    from gossamer.switch.contract import Devices, Link
    from gossamer.switch.port import Port

log = logging.getLogger(__name__)


class PortDevices:
    """A port has none where it is a patch port or a tunnel's end."""

    def __init__(self, bridge: str, devices: Devices, complaints: Complaints) -> None:
        self._bridge = bridge
        self._devices = devices
        self._complaints = complaints

    def _place(self, name: str) -> str:
        return f"bridge={self._bridge} port={name}"

    def find(
        self, kind: PortKind, interface: InterfaceConfig, mac: bytes | None, *, known: bool
    ) -> Link | None:
        """The device of an interface; an internal one is made, with this address, unless the port is
        `known`.

        Raises DeviceError where there is none, or none may have that name.
        """
        name = interface.name
        if kind in (PortKind.PATCH, PortKind.TUNNEL):
            return None
        check_name(name, self._place(name))
        link = self._devices.link(name)
        if kind is PortKind.INTERNAL:
            return link if link and known else self._devices.create_internal(name, mac)
        if link is None:
            raise DeviceError(
                f"could not open network device {name} (No such device)",
                place=self._place(name),
                remedy="create the device; the port comes up when it appears",
            )
        return link

    def check_local_mac(self, interface: InterfaceConfig) -> None:
        """Warn of an address that is asked for where it does nothing: in the bridge's own interface."""
        subject = f"{self._place(interface.name)} mac"
        if interface.mac is None:
            self._complaints.settled(subject)
        else:
            self._complaints.say(
                subject,
                "the bridge's own address is not taken from Interface "
                f"(use ovs-vsctl set bridge {self._bridge} other_config:hwaddr=...)",
            )

    def set_mac(self, port: Port, mac: bytes) -> None:
        """Give a port's device an address."""
        subject = f"{self._place(port.name)} mac"
        try:
            self._devices.set_mac(port.name, mac)
        except DeviceError as e:
            self._complaints.say(subject, f"cannot set its address: {e.message}")
        else:
            self._complaints.settled(subject)
            port.take_link(self._devices.link(port.device))

    def make_promiscuous(self, name: str, promiscuous: bool) -> bool:
        """Let a device take in frames to any address, or no more; True where that changed it."""
        try:
            return self._devices.set_promiscuous(name, promiscuous)
        except DeviceError as e:
            # It has vanished, which is about to be told.
            log.debug("%s: promiscuous=%s: %s", self._place(name), promiscuous, e.message)
            return False

    def follow_qos(self, port: Port) -> None:
        """Give a port's device the queues that its row asks for, where it has others."""
        if port.link is None:
            return
        shape = shape_of(port.name, port.config.qos, port.link)
        refused = shape is not None and shape == port.refused_shape
        if not refused and (shape != port.shape or port.qos_error):
            self.shape(port, shape)

    def shape(self, port: Port, shape: QueueTree | None) -> None:
        """Give a port's device these queues, or none."""
        try:
            self._devices.shape(port.device, shape)
        except DeviceError as e:
            log.warning("%s: %s (%s)", self._place(port.name), e.message, e.remedy)
            port.shape, port.refused_shape, port.qos_error = None, shape, e.message
            return
        port.shape, port.shaped_s = shape, time.monotonic()
        port.refused_shape, port.qos_error = None, ""
