"""The host's network devices, kept current from netlink (rtnetlink(7)).

A dump at the start, then events.  For a veth whose other end is in another
network namespace the address of that end is read too: the datapath delivers
straight to it what is addressed to it.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import RTMGRP_LINK

from gossamer.devices.ethtool import Ethtool
from gossamer.errors import DeviceError

_RTM_NEWLINK: Final = 16
_RTM_DELLINK: Final = 17
_IFF_UP: Final = 1
_IFF_LOWER_UP: Final = 1 << 16
_PEER_RECHECK_S: Final = 1.0
_PEERS_A_ROUND: Final = 2
"""Each takes two milliseconds or more of the daemon's time."""
_PEER_ROUND_S: Final = 0.125


@dataclass(frozen=True, slots=True)
class Link:
    """A network device."""

    ifindex: int
    name: str
    mac: bytes
    mtu: int
    admin_up: bool
    carrier: bool
    kind: str = ""
    """IFLA_INFO_KIND: veth, tun, bridge, ...; "" for a physical device."""
    alias: str = ""
    peer_ifindex: int = 0
    peer_netnsid: int | None = None
    peer_mac: bytes | None = None
    """Of a veth's other end in another namespace; None otherwise."""
    speed: int | None = None
    """bit/s."""
    duplex: str | None = None
    driver: str = ""
    link_resets: int = 0
    birth: int = 0
    """Tells it from devices that had its number before: what was put on those is not on this one."""


def _internal(message: Any) -> bool:
    """An internal device of ours: its far end is nobody's."""
    return str(message.get_attr("IFLA_IFALIAS") or "").startswith("gossamer:")


def _devices_in(data: bytes) -> Iterator[tuple[int, bool]]:
    """ifindex and whether it exists, of each link message in a datagram (netlink(7))."""
    offset = 0
    while offset + 32 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        family, ifindex = struct.unpack_from("=Bxxxi", data, offset + 16)
        if family == socket.AF_UNSPEC and kind in (_RTM_NEWLINK, _RTM_DELLINK):
            yield ifindex, kind == _RTM_NEWLINK
        offset += max(length + 3 & ~3, 16)


def _mac(text: str | None) -> bytes:
    return bytes.fromhex(text.replace(":", "")) if text else bytes(6)


class Links:
    """All links of this namespace: `run()` after `fd` became readable tells which changed."""

    def __init__(self) -> None:
        self._ipr = IPRoute()
        # Only which device an event is about is read here; what it says is then asked for.
        self._events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._events.bind((0, RTMGRP_LINK))
        self._events.setblocking(False)
        self._ethtool = Ethtool()
        self._links: dict[str, Link] = {}
        self._names: dict[int, str] = {}
        self._resets: dict[int, int] = {}
        self._born: dict[int, int] = {}
        self._births = 0
        self._next_peer_check = 0.0
        self._to_check: list[str] = []
        self._next_check_of_all = 0.0
        for message in self._ipr.get_links():
            self._learn(message)

    @property
    def fd(self) -> int:
        """Readable when something may have changed."""
        return int(self._events.fileno())

    def link(self, name: str) -> Link | None:
        """The device of that name."""
        return self._links.get(name)

    def link_of(self, ifindex: int) -> Link | None:
        """The device of that number."""
        return self._links.get(self._names.get(ifindex, ""))

    def all(self) -> Iterable[Link]:
        """All devices."""
        return self._links.values()

    def refresh(self, name: str) -> Link | None:
        """Read one device now, without waiting for its event."""
        try:
            found = self._ipr.link("get", ifname=name)
        except NetlinkError as e:
            if e.code in (errno.ENODEV, errno.ENOENT):
                self._forget_name(name)
                return None
            raise DeviceError(f"reading a device: {e}", place=f"device={name}") from None
        for message in found:
            self._learn(message)
        return self._links.get(name)

    def run(self) -> frozenset[str]:
        """Names of devices that appeared, vanished or changed since the last call."""
        changed: set[str] = set()
        touched: dict[int, bool] = {}
        while True:
            try:
                data = self._events.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError as e:
                if e.errno != errno.ENOBUFS:
                    raise
                # Events were lost: read everything again.
                changed |= self._reread()
                continue
            for ifindex, alive in _devices_in(data):
                touched[ifindex] = alive
                if not alive:
                    self._born.pop(ifindex, None)
        for ifindex, alive in touched.items():
            changed |= self._event(ifindex, alive)
        now = time.monotonic()
        if now >= self._next_peer_check:
            changed |= self._recheck_peers(now)
        return frozenset(changed)

    def next_check_ms(self) -> int:
        """When `run()` wants to be called even without an event, on the monotonic clock."""
        return int(self._next_peer_check * 1000)

    def close(self) -> None:
        """Close the sockets."""
        self._ipr.close()
        self._events.close()
        self._ethtool.close()

    def _event(self, ifindex: int, alive: bool) -> set[str]:
        if alive:
            try:
                found = self._ipr.link("get", index=ifindex)
            except NetlinkError:
                alive = False  # gone before it could be asked
            else:
                changed: set[str] = set()
                for message in found:
                    changed |= self._learn(message)
                return changed
        name = self._names.pop(ifindex, None)
        if name is None:
            return set()
        if name in self._links and self._links[name].ifindex == ifindex:
            del self._links[name]
        return {name}

    def _reread(self) -> set[str]:
        before = dict(self._links)
        self._links.clear()
        self._names.clear()
        for message in self._ipr.get_links():
            self._learn(message)
        names = before.keys() | self._links.keys()
        return {n for n in names if before.get(n) != self._links.get(n)}

    def _forget_name(self, name: str) -> None:
        link = self._links.pop(name, None)
        if link is not None:
            self._names.pop(link.ifindex, None)
            self._born.pop(link.ifindex, None)

    def _learn(self, message: Any) -> set[str]:
        link = self._parse(message)
        changed = set()
        old_name = self._names.get(link.ifindex)
        if old_name is not None and old_name != link.name:
            self._links.pop(old_name, None)
            changed.add(old_name)
        before = self._links.get(link.name)
        if before is not None and before.carrier != link.carrier:
            self._resets[link.ifindex] = self._resets.get(link.ifindex, 0) + 1
        self._names[link.ifindex] = link.name
        self._links[link.name] = link
        if before != link:
            changed.add(link.name)
        return changed

    def _parse(self, message: Any) -> Link:
        name = message.get_attr("IFLA_IFNAME")
        info = message.get_attr("IFLA_LINKINFO")
        kind = (info.get_attr("IFLA_INFO_KIND") if info else "") or ""
        netnsid = message.get_attr("IFLA_LINK_NETNSID")
        peer_index = message.get_attr("IFLA_LINK") or 0
        peer_mac = None
        if kind == "veth" and netnsid is not None and netnsid >= 0 and not _internal(message):
            peer_mac = self._peer_mac(peer_index, netnsid)
        flags = message["flags"]
        speed, duplex, driver = self._ethtool.read(name, kind)
        if message["index"] not in self._born:
            self._births += 1
            self._born[message["index"]] = self._births
        return Link(
            ifindex=message["index"],
            name=name,
            mac=_mac(message.get_attr("IFLA_ADDRESS")),
            mtu=message.get_attr("IFLA_MTU") or 0,
            admin_up=bool(flags & _IFF_UP),
            carrier=bool(flags & _IFF_LOWER_UP),
            kind=kind,
            alias=message.get_attr("IFLA_IFALIAS") or "",
            peer_ifindex=peer_index,
            peer_netnsid=netnsid,
            peer_mac=peer_mac,
            speed=speed,
            duplex=duplex,
            driver=driver,
            link_resets=self._resets.get(message["index"], 0),
            birth=self._born[message["index"]],
        )

    def _peer_mac(self, ifindex: int, netnsid: int) -> bytes | None:
        """The address of a device in the namespace known here as `netnsid`."""
        try:
            found = self._ipr.link("get", index=ifindex, if_netnsid=netnsid)
        except (NetlinkError, OSError):
            # The namespace is going away, or does not let us look: the common way works anyhow.
            return None
        for message in found:
            address = message.get_attr("IFLA_ADDRESS")
            if address:
                return _mac(address)
        return None

    def _recheck_peers(self, now: float) -> set[str]:
        """Peers' addresses change without an event here, and so does their namespace.

        A few devices a round, so that a bridge of many ports costs no more than one of few.
        """
        if not self._to_check:
            self._to_check = [
                n for n, k in self._links.items() if k.kind == "veth" and k.peer_netnsid is not None
            ]
            self._next_check_of_all = now + _PEER_RECHECK_S
        changed: set[str] = set()
        batch, self._to_check = self._to_check[:_PEERS_A_ROUND], self._to_check[_PEERS_A_ROUND:]
        for name in batch:
            link = self._links.get(name)
            if link is not None:
                changed |= self._recheck(link)
        soon = now + _PEER_ROUND_S
        self._next_peer_check = soon if self._to_check else max(soon, self._next_check_of_all)
        return changed

    def _recheck(self, link: Link) -> set[str]:
        try:
            found = self._ipr.link("get", index=link.ifindex)
        except NetlinkError:
            self._forget_name(link.name)
            return {link.name}
        changed: set[str] = set()
        for message in found:
            changed |= self._learn(message)
        return changed
