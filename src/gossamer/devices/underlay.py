"""What tunnels run over: the host's addresses and routes, and word of their changes (rtnetlink(7)).

Nothing here changes anything but group memberships, which are sockets of the daemon's own.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pyroute2 import IPRoute
from pyroute2.netlink.rtnl import (
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV4_ROUTE,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_IPV6_ROUTE,
    RTMGRP_LINK,
)

from gossamer.devices.joining import Joining, Wanted
from gossamer.devices.path_mtu import PathMtu
from gossamer.devices.routes import Route, Routes
from gossamer.errors import DeviceError
from gossamer.pipeline.tunnel import is_ipv4, of_ipv4

if TYPE_CHECKING:
    from ovs.poller import Poller

_GROUPS: Final = (
    RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE | RTMGRP_LINK
)
_PAUSE_S: Final = 0.2
"""Changes that come this soon after one another are looked at together."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address of this host: 16 bytes, IPv4 as ::ffff:a.b.c.d, and where it is."""

    ifindex: int
    address: bytes

    @property
    def link_local(self) -> bool:
        """Of no use beyond its link."""
        return self.address[:2] == b"\xfe\x80"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry of the kernel's neighbour tables (ARP, ND)."""

    ifindex: int
    address: bytes
    mac: bytes


class Underlay:
    """Addresses and routes of this network namespace."""

    def __init__(self) -> None:
        self._ipr = IPRoute()
        self._routes = Routes()
        self._path_mtu = PathMtu()
        self._events = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._events.bind((0, _GROUPS))
        self._events.setblocking(False)
        self._addresses: tuple[Address, ...] | None = None
        self._groups: dict[tuple[bytes, int], socket.socket] = {}
        self._changed_at: float | None = None
        self._joining = Joining()

    def addresses(self) -> tuple[Address, ...]:
        """All addresses of the host, those of lo too."""
        if self._addresses is None:
            found = []
            for message in self._ipr.get_addr():
                text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
                if text is not None:
                    found.append(Address(message["index"], _packed(text)))
            self._addresses = tuple(sorted(found, key=lambda a: (a.ifindex, a.address)))
        return self._addresses

    def route(
        self, destination: bytes, source: bytes | None = None, mark: int = 0
    ) -> Route | None:
        """The way that packets to an address take; None where there is none."""
        return self._routes.lookup(destination, source, mark)

    def routes(self) -> list[Route]:
        """All routes of the tables main and local."""
        return self._routes.all()

    def neighbours(self) -> list[Neighbour]:
        """Neighbours whose address is known."""
        out = []
        for message in self._ipr.get_neighbours():
            text, mac = message.get_attr("NDA_DST"), message.get_attr("NDA_LLADDR")
            if text and mac and mac != "00:00:00:00:00:00":
                raw = bytes.fromhex(mac.replace(":", ""))
                out.append(Neighbour(message["ifindex"], _packed(text), raw))
        return out

    def join(self, wanted: Iterable[tuple[bytes, int]]) -> list[DeviceError]:
        """Be a member of these groups, each on a device, and of no other (IGMP, MLD).

        Returns what could not be joined.
        """
        groups = set(wanted)
        errors = []
        for gone in self._groups.keys() - groups:
            self._groups.pop(gone).close()
        for group, ifindex in sorted(groups - self._groups.keys()):
            try:
                self._groups[group, ifindex] = _member(group, ifindex)
            except OSError as e:
                errors.append(
                    DeviceError(
                        f"joining a multicast group: {e.strerror}",
                        place=f"ifindex={ifindex}",
                        remedy="see sysctl net.ipv4.igmp_max_memberships",
                    )
                )
        return errors

    def follow_path_mtu(self, protocols: Iterable[int]) -> list[DeviceError]:
        """Have the kernel learn what routers say of the size of packets of these IP protocols.

        Returns what could not be done.
        """
        return self._path_mtu.follow(protocols)

    def send(self, packet: bytes, destination: bytes, mark: int = 0) -> None:
        """Send a whole IP packet by the host's routes.

        Raises DeviceError where there is no way, or the packet is too long for it.
        """
        ipv4 = is_ipv4(destination)
        family = socket.AF_INET if ipv4 else socket.AF_INET6
        text = socket.inet_ntop(family, destination[12:] if ipv4 else destination)
        try:
            with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as out:
                if mark:
                    out.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
                out.sendto(packet, (text, 0))
        except OSError as e:
            raise DeviceError(f"sending to {text}: {e.strerror}", place="tunnels") from None

    def join_fragments(self, wanted: Iterable[Wanted]) -> list[DeviceError]:
        """Receive outer packets that come in fragments: these, and no others.

        Returns what could not be had.
        """
        return self._joining.want(wanted)

    def take_joined(self) -> Iterator[tuple[int, bytes]]:
        """Those that came: the device's number, and the whole IP packet."""
        return self._joining.read()

    def run(self) -> bool:
        """Whether addresses, routes or devices changed since the last call."""
        while True:
            try:
                self._events.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError as e:
                if e.errno != errno.ENOBUFS:  # events were lost, which is a change too
                    raise
            self._addresses = None
            self._changed_at = self._changed_at or time.monotonic()
        if self._changed_at is None or time.monotonic() < self._changed_at + _PAUSE_S:
            return False
        self._changed_at = None
        return True

    def wait(self, poller: Poller) -> None:
        """Wake for the next change."""
        poller.fd_wait(self._events.fileno(), select.POLLIN)
        self._joining.wait(poller)
        if self._changed_at is not None:
            poller.timer_wait_until(int((self._changed_at + _PAUSE_S) * 1000) + 1)

    def close(self) -> None:
        """Close the sockets, and so leave all groups."""
        self.join(())
        self._joining.close()
        self.follow_path_mtu(())
        self._events.close()
        self._routes.close()
        self._ipr.close()


def _packed(text: str) -> bytes:
    if ":" in text:
        return socket.inet_pton(socket.AF_INET6, text)
    return of_ipv4(socket.inet_pton(socket.AF_INET, text))


def _member(group: bytes, ifindex: int) -> socket.socket:
    """A socket that is a member of the group; closing it leaves."""
    ipv4 = is_ipv4(group)
    family = socket.AF_INET if ipv4 else socket.AF_INET6
    member = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        if ipv4:
            request = struct.pack("=4s4si", group[12:], bytes(4), ifindex)
            member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        else:
            request = struct.pack("=16si", group, ifindex)
            member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
    except OSError:
        member.close()
        raise
    return member
