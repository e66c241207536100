"""An address and a default route by one device (ip-address(8), ip-route(8)), IPv4."""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv4Interface

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from gossamer.errors import DeviceError


def set_address(
    ipr: IPRoute, ifindex: int, address: IPv4Interface, before: IPv4Interface | None
) -> None:
    """Set a device up and give it an address, in place of one that was set so before.

    Raises DeviceError where the kernel refuses.
    """
    try:
        if before is not None and before != address:
            _take_away(ipr, ifindex, before)
        ipr.link("set", index=ifindex, state="up")
        _addr(ipr, "replace", ifindex, address)
    except NetlinkError as e:
        raise DeviceError(f"cannot set address {address}: {e.args[-1]}") from None


def set_gateway(
    ipr: IPRoute, ifindex: int, gateway: IPv4Address, before: IPv4Address | None
) -> None:
    """Add the default route by a router behind the device, in place of one that was set so before.

    Raises DeviceError where the host has another one, or the kernel refuses.
    """
    try:
        if before is not None and before != gateway:
            _take_away(ipr, ifindex, before)
        ipr.route("add", dst="default", gateway=str(gateway), oif=ifindex)
    except NetlinkError as e:
        if e.code != errno.EEXIST:
            raise DeviceError(f"cannot set gateway {gateway}: {e.args[-1]}") from None
        if not _is_default(ipr, ifindex, gateway):
            raise DeviceError(
                f"gateway {gateway} is not used: the host has another default route",
                remedy="remove it with ip route, or leave local_gateway unset",
            ) from None


def _addr(ipr: IPRoute, command: str, ifindex: int, address: IPv4Interface) -> None:
    ipr.addr(
        command, index=ifindex, address=str(address.ip), prefixlen=address.network.prefixlen,
        family=socket.AF_INET,
    )  # fmt: skip


def _take_away(ipr: IPRoute, ifindex: int, subject: IPv4Interface | IPv4Address) -> None:
    """Take an address or a default route away; nothing where it is gone."""
    try:
        if isinstance(subject, IPv4Interface):
            _addr(ipr, "del", ifindex, subject)
        else:
            ipr.route("del", dst="default", gateway=str(subject), oif=ifindex)
    except NetlinkError as e:
        if e.code not in (errno.EADDRNOTAVAIL, errno.ESRCH):
            raise


def _is_default(ipr: IPRoute, ifindex: int, gateway: IPv4Address) -> bool:
    return any(
        route.get_attr("RTA_OIF") == ifindex and route.get_attr("RTA_GATEWAY") == str(gateway)
        for route in ipr.get_default_routes(family=socket.AF_INET)
    )
