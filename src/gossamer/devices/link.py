"""The host's network devices, kept current from netlink (rtnetlink(7)).

A dump at the start, then events.  For a veth whose other end is in another
network namespace the address of that end is read too: the datapath delivers
straight to it what is addressed to it.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gossamer.devices.ethtool import Ethtool
from gossamer.devices.rtnetlink import NLM_F_ACK, NLM_F_DUMP, Rtnetlink, attribute, attributes, text
from gossamer.errors import DeviceError

_RTM_NEWLINK: Final = 16
_RTM_DELLINK: Final = 17
_RTM_GETLINK: Final = 18
_RTMGRP_LINK: Final = 1
_IFINFO: Final = struct.Struct("=BxHiII")
"""struct ifinfomsg: family, type, index, flags, change."""
_IFLA_ADDRESS: Final = 1
_IFLA_IFNAME: Final = 3
_IFLA_MTU: Final = 4
_IFLA_LINK: Final = 5
_IFLA_LINKINFO: Final = 18
_IFLA_IFALIAS: Final = 20
_IFLA_EXT_MASK: Final = 29
_IFLA_LINK_NETNSID: Final = 37
_IFLA_TARGET_NETNSID: Final = 46
_IFLA_INFO_KIND: Final = 1
_SKIP_STATISTICS: Final = struct.pack("=I", 1 << 3)
"""RTEXT_FILTER_SKIP_STATS: they are most of an answer, and not for us."""
_IFF_UP: Final = 1
_IFF_LOWER_UP: Final = 1 << 16
_PEER_RECHECK_S: Final = 1.0
_PEERS_A_ROUND: Final = 16


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


def _devices_in(data: bytes) -> dict[int, bool]:
    """ifindex -> whether it exists, of the link messages in a datagram (netlink(7))."""
    out: dict[int, bool] = {}
    offset = 0
    while offset + 32 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        family, ifindex = struct.unpack_from("=Bxxxi", data, offset + 16)
        if family == socket.AF_UNSPEC and kind in (_RTM_NEWLINK, _RTM_DELLINK):
            out[ifindex] = kind == _RTM_NEWLINK
        offset += max(length + 3 & ~3, 16)
    return out


class Links:
    """All links of this namespace: `run()` after `fd` became readable tells which changed."""

    def __init__(self) -> None:
        self._kernel = Rtnetlink()
        # Only which device an event is about is read here; what it says is then asked for.
        self._events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._events.bind((0, _RTMGRP_LINK))
        self._events.setblocking(False)
        self._ethtool = Ethtool()
        self._links: dict[str, Link] = {}
        self._names: dict[int, str] = {}
        self._resets: dict[int, int] = {}
        self._next_peer_check = 0.0
        self._to_check: list[str] = []
        for body in self._ask(flags=NLM_F_DUMP):
            self._learn(body)

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
            found = self._ask(0, attribute(_IFLA_IFNAME, os.fsencode(name) + b"\0"))
        except OSError as e:
            if e.errno in (errno.ENODEV, errno.ENOENT):
                self._forget_name(name)
                return None
            raise DeviceError(
                f"reading a device: {e.strerror}", place=f"device={name}"
            ) from None
        for body in found:
            self._learn(body)
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
            touched.update(_devices_in(data))
        for ifindex, alive in touched.items():
            changed |= self._event(ifindex, alive)
        now = time.monotonic()
        if now >= self._next_peer_check:
            self._next_peer_check = now + _PEER_RECHECK_S
            changed |= self._recheck_peers()
        return frozenset(changed)

    def next_check_ms(self) -> int:
        """When `run()` wants to be called even without an event, on the monotonic clock."""
        return int(self._next_peer_check * 1000)

    def close(self) -> None:
        """Close the sockets."""
        self._kernel.close()
        self._events.close()
        self._ethtool.close()

    def _event(self, ifindex: int, alive: bool) -> set[str]:
        if alive:
            try:
                found = self._ask(ifindex)
            except OSError:
                alive = False  # gone before it could be asked
            else:
                changed: set[str] = set()
                for body in found:
                    changed |= self._learn(body)
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
        for body in self._ask(flags=NLM_F_DUMP):
            self._learn(body)
        names = before.keys() | self._links.keys()
        return {n for n in names if before.get(n) != self._links.get(n)}

    def _forget_name(self, name: str) -> None:
        link = self._links.pop(name, None)
        if link is not None:
            self._names.pop(link.ifindex, None)

    def _ask(
        self, ifindex: int = 0, more: bytes = b"", flags: int = NLM_F_ACK
    ) -> Iterable[bytes]:
        """What the kernel tells of one device, or of all in a dump.  Raises OSError."""
        head = _IFINFO.pack(socket.AF_UNSPEC, 0, ifindex, 0, 0)
        body = head + attribute(_IFLA_EXT_MASK, _SKIP_STATISTICS) + more
        found = self._kernel.ask(_RTM_GETLINK, body, flags)
        return [message.body for message in found if message.kind == _RTM_NEWLINK]

    def _learn(self, body: bytes) -> set[str]:
        link = self._parse(body)
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

    def _parse(self, body: bytes) -> Link:
        _, _, ifindex, flags, _ = _IFINFO.unpack_from(body)
        found = attributes(body, _IFINFO.size)
        name, alias = text(found.get(_IFLA_IFNAME)), text(found.get(_IFLA_IFALIAS))
        kind = text(attributes(found.get(_IFLA_LINKINFO, b"")).get(_IFLA_INFO_KIND))
        netnsid = _number(found.get(_IFLA_LINK_NETNSID))
        peer_index = _number(found.get(_IFLA_LINK)) or 0
        peer_mac = None
        # The far end of an internal device of ours is nobody's.
        if kind == "veth" and netnsid is not None and not alias.startswith("gossamer:"):
            peer_mac = self._peer_mac(peer_index, netnsid) if netnsid >= 0 else None
        speed, duplex, driver = self._ethtool.read(name, kind)
        return Link(
            ifindex=ifindex,
            name=name,
            mac=found.get(_IFLA_ADDRESS) or bytes(6),
            mtu=_number(found.get(_IFLA_MTU)) or 0,
            admin_up=bool(flags & _IFF_UP),
            carrier=bool(flags & _IFF_LOWER_UP),
            kind=kind,
            alias=alias,
            peer_ifindex=peer_index,
            peer_netnsid=netnsid,
            peer_mac=peer_mac,
            speed=speed,
            duplex=duplex,
            driver=driver,
            link_resets=self._resets.get(ifindex, 0),
        )

    def _peer_mac(self, ifindex: int, netnsid: int) -> bytes | None:
        """The address of a device in the namespace known here as `netnsid`."""
        try:
            found = self._ask(ifindex, attribute(_IFLA_TARGET_NETNSID, struct.pack("=i", netnsid)))
        except OSError:
            # The namespace is going away, or does not let us look: the common way works anyhow.
            return None
        for body in found:
            address = attributes(body, _IFINFO.size).get(_IFLA_ADDRESS)
            if address:
                return address
        return None

    def _recheck_peers(self) -> set[str]:
        """Peers' addresses change without an event here, and so does their namespace.

        A few devices a round, so that a bridge of many ports costs no more than one of few.
        """
        if not self._to_check:
            self._to_check = [
                n for n, k in self._links.items() if k.kind == "veth" and k.peer_netnsid is not None
            ]
        changed: set[str] = set()
        batch, self._to_check = self._to_check[:_PEERS_A_ROUND], self._to_check[_PEERS_A_ROUND:]
        for name in batch:
            link = self._links.get(name)
            if link is not None:
                changed |= self._recheck(link)
        return changed

    def _recheck(self, link: Link) -> set[str]:
        try:
            found = self._ask(link.ifindex)
        except OSError:
            self._forget_name(link.name)
            return {link.name}
        changed: set[str] = set()
        for body in found:
            changed |= self._learn(body)
        return changed


def _number(value: bytes | None) -> int | None:
    """A signed 32-bit number; None where there is none."""
    return int.from_bytes(value, sys.byteorder, signed=True) if value else None
