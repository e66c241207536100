"""The address that in-band control gives a bridge's own device (ovs-vswitchd.conf.db(5), Controller).

Only the device that we made for the bridge is ever touched, and only what was
set here is taken back when something else is wanted; a default route that the
host has already stays.  An address that nothing asks for any more stays too, as
in ovs-vswitchd: it may be the way by which the host is reached.
"""

from __future__ import annotations

import logging
from ipaddress import IPv4Address, IPv4Interface
from typing import TYPE_CHECKING

from gossamer.errors import DeviceError
from gossamer.switch.complaints import Complaints
from gossamer.switch.config import LocalNetwork

if TYPE_CHECKING:
    from gossamer.switch.config import BridgeConfig
    from gossamer.switch.contract import Devices
    from gossamer.switch.port import Port

log = logging.getLogger(__name__)


def network_of(address: IPv4Address, netmask: IPv4Address | None) -> IPv4Interface | None:
    """An address with its netmask, that of its class where none is given; None for class D and E.

    Raises ValueError for a netmask that is none.
    """
    if netmask is not None and int(netmask):
        return IPv4Interface(f"{address}/{netmask}")
    first = int(address) >> 24
    length = 8 if first < 128 else 16 if first < 192 else 24 if first < 224 else None
    return None if length is None else IPv4Interface(f"{address}/{length}")


def wanted_network(config: BridgeConfig) -> LocalNetwork | None:
    """What the first of a bridge's in-band controllers asks for; which one is nowhere specified."""
    if config.disable_in_band:
        return None
    return next(
        (
            c.local_network
            for c in config.controllers
            if c.local_network is not None and c.connection_mode != "out-of-band"
        ),
        None,
    )


class LocalNetworks:
    """The address and the gateway of one bridge's own device."""

    def __init__(self, bridge: str, devices: Devices) -> None:
        self._bridge = bridge
        self._devices = devices
        self._complaints = Complaints(log)
        self._wanted: LocalNetwork | None = None
        self._tried: tuple[LocalNetwork, int] | None = None
        """What was last set, or tried to be, on the device of which index."""
        self._set: LocalNetwork | None = None

    def configure(self, wanted: LocalNetwork | None) -> None:
        """What is asked for; the next `run()` does it."""
        self._wanted = wanted

    def run(self, local: Port | None) -> None:
        """Give the bridge's own device what it does not have yet."""
        wanted = self._wanted
        if wanted is None or local is None or local.link is None:
            return
        attempt = (wanted, local.link.ifindex)
        if attempt == self._tried:
            return
        before = self._set if self._tried is not None and self._tried[1] == attempt[1] else None
        self._tried = attempt
        subject = f"bridge={self._bridge} local_ip={wanted.address.ip}"
        try:
            self._devices.set_address(self._bridge, wanted.address, before.address if before else None)
            self._set = LocalNetwork(wanted.address)
            log.info("bridge=%s: address %s", self._bridge, wanted.address)
            if wanted.gateway is not None:
                self._devices.set_gateway(self._bridge, wanted.gateway, before.gateway if before else None)
                self._set = wanted
                log.info("bridge=%s: gateway %s", self._bridge, wanted.gateway)
        except DeviceError as e:
            self._complaints.say(subject, f"{e.message} ({e.remedy})" if e.remedy else e.message)
        else:
            self._complaints.settled(subject)
