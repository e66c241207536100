"""Internal devices: the host's own end of a bridge.

One is a veth pair whose near end has the wanted name and carries all traffic;
the far end lies in a hidden network namespace and only supplies carrier, so
that the device is a real one, keeps its state when the daemon dies, and needs
no module but veth.  The namespace lives as a bind mount in the run directory.

Where somebody moves the device into a namespace of his own (a router's, a
container's), what runs on it is lost: the kernel takes everything off a device
that moves.  The far end then comes here, under another name, and is the port.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from gossamer.errors import DeviceError

_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1
_IFF_PROMISC: Final = 0x100
_CLONE_NEWNET: Final = 0x40000000
_MS_BIND: Final = 4096
_RTM_SETLINK: Final = 19
_IFLA_IFNAME: Final = 3
_IFLA_NET_NS_FD: Final = 28
_NLM_F_REQUEST, _NLM_F_ACK = 1, 4
_ALIAS: Final = "gossamer:"
_FAR_ALIAS: Final = "gossamer-far:"
_NO_IPV6: Final = "/proc/sys/net/ipv6/conf/{}/disable_ipv6"


class InternalDevices:
    """Creates and deletes internal devices; those of others are never touched."""

    def __init__(self, rundir: Path) -> None:
        self._alias = f"{_ALIAS}{rundir}"[:255]
        self._rundir = str(rundir)
        self._netns = rundir / "carrier.netns"
        self.ipr = IPRoute()

    def ours(self, alias: str) -> bool:
        """True where a device's alias says that we made it."""
        return alias == self._alias

    def far_name(self, name: str) -> str:
        """What the far end of an internal device is called while it is here."""
        return "gs-" + hashlib.sha1(f"{self._rundir}:{name}".encode()).hexdigest()[:11]

    def is_far(self, alias: str) -> bool:
        """True where a device's alias says that it is such a far end of ours."""
        return alias == f"{_FAR_ALIAS}{self._rundir}"[:255]

    def bring_far(self, name: str) -> bool:
        """Bring the far end of a device here that was moved away; False where there is none.

        Raises DeviceError where the kernel refuses.
        """
        if not self._netns.exists() or not _is_nsfs(self._netns):
            return False
        far = self.far_name(name)
        carrier, here = os.open(self._netns, os.O_RDONLY), os.open("/proc/self/ns/net", os.O_RDONLY)
        try:
            netnsid = self.ipr.get_netnsid(fd=carrier)["nsid"]
            try:
                (found,) = self.ipr.link("get", ifname=name, if_netnsid=netnsid)
            except NetlinkError as e:
                if e.code == errno.ENODEV:
                    return False
                raise
            _move(carrier, found["index"], here, far)
            index = self.ipr.link_lookup(ifname=far)[0]
            alias = f"{_FAR_ALIAS}{self._rundir}"[:255]
            self.ipr.link("set", index=index, ifalias=alias)
            no_ipv6 = Path(_NO_IPV6.format(far))
            if no_ipv6.exists():
                no_ipv6.write_text("1")  # it speaks for nobody
            self.ipr.link("set", index=index, state="up")
        except (NetlinkError, OSError) as e:
            raise DeviceError(
                f"bringing the far end of an internal device here: {e.args[-1]}",
                place=f"device={name}",
            ) from None
        finally:
            os.close(carrier)
            os.close(here)
        return True

    def send_far_back(self, name: str) -> None:
        """The device is here again: its far end goes back to the hidden namespace."""
        self._ensure_netns()
        fd = os.open(self._netns, os.O_RDONLY)
        try:
            self._change(self.far_name(name), "set", net_ns_fd=fd, ifname=name)
        finally:
            os.close(fd)
        self._raise_peer(name)

    def create(self, name: str, mac: bytes | None) -> None:
        """Create the device, administratively down as Open vSwitch leaves it.

        Raises DeviceError where the kernel refuses.
        """
        self._ensure_netns()
        fd = os.open(self._netns, os.O_RDONLY)
        # The far end needs a name of its own in its namespace; the near one's is unique enough.
        peer = {"ifname": name, "net_ns_fd": fd}
        attributes: dict[str, object] = {"ifname": name, "kind": "veth", "peer": peer}
        if mac is not None:
            attributes["address"] = _text(mac)
        try:
            self.ipr.link("add", **attributes)
            index = self.ipr.link_lookup(ifname=name)[0]
            self.ipr.link("set", index=index, ifalias=self._alias)
            self._raise_peer(name)
        except NetlinkError as e:
            raise DeviceError(
                f"creating an internal device: {e.args[-1]}",
                place=f"device={name}",
                remedy="is the name free, and veth there?",
            ) from None
        finally:
            os.close(fd)

    def _raise_peer(self, name: str) -> None:
        """Set the far end up, which is in the hidden namespace."""
        fd = os.open(self._netns, os.O_RDONLY)

        def raise_it() -> None:
            request = struct.pack("16sH14x", name.encode(), _IFF_UP)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                fcntl.ioctl(s.fileno(), _SIOCSIFFLAGS, request)

        try:
            _visit(fd, raise_it)
        except OSError as e:
            raise DeviceError(f"giving carrier: {e}", place=f"device={name}") from None
        finally:
            os.close(fd)

    def delete(self, name: str) -> None:
        """Delete the device; nothing where it is gone."""
        found = self.ipr.link_lookup(ifname=name)
        if found:
            self._change(name, "del")

    def set_mac(self, name: str, mac: bytes) -> None:
        """Set the hardware address."""
        self._change(name, "set", address=_text(mac))

    def set_mtu(self, name: str, mtu: int) -> None:
        """Set the MTU, in bytes."""
        self._change(name, "set", f"cannot set its MTU to {mtu}: ", mtu=mtu)

    def set_up(self, name: str, up: bool) -> None:
        """Set the administrative state."""
        self._change(name, "set", state="up" if up else "down")

    def set_promiscuous(self, name: str, promiscuous: bool) -> bool:
        """Set the flag IFF_PROMISC (netdevice(7)); False where it was so already."""
        request = struct.pack("16sH14x", name.encode(), 0)
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                answer = fcntl.ioctl(s.fileno(), _SIOCGIFFLAGS, request)
        except OSError as e:
            raise DeviceError(e.strerror or str(e), place=f"device={name}") from None
        (flags,) = struct.unpack_from("H", answer, 16)
        if bool(flags & _IFF_PROMISC) == promiscuous:
            return False
        # By its mask, as somebody else may be setting the device up at this moment.
        self._change(name, "set", flags=flags ^ _IFF_PROMISC, change=_IFF_PROMISC)
        return True

    def close(self) -> None:
        """Close the socket; the devices stay."""
        self.ipr.close()

    def remove_netns(self) -> None:
        """Give up the hidden namespace, and with it every device that still has its end there."""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.umount2(str(self._netns).encode(), 2)
        self._netns.unlink(missing_ok=True)

    def _change(self, name: str, command: str, what: str = "", **attributes: object) -> None:
        found = self.ipr.link_lookup(ifname=name)
        if not found:
            raise DeviceError("no such device", place=f"device={name}")
        try:
            self.ipr.link(command, index=found[0], **attributes)
        except NetlinkError as e:
            if command == "del" and e.code == errno.ENODEV:
                return
            raise DeviceError(f"{what}{e.args[-1]}", place=f"device={name}") from None

    def _ensure_netns(self) -> None:
        """The hidden namespace, made where it is not there (or its mount is gone)."""
        if self._netns.exists() and os.stat(self._netns).st_size == 0 and _is_nsfs(self._netns):
            return
        self._netns.parent.mkdir(parents=True, exist_ok=True)
        self._netns.touch()
        failure: list[str] = []
        target = str(self._netns)

        def make() -> None:
            # In a thread of its own: only that thread leaves our namespace, and then it ends.
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.unshare(_CLONE_NEWNET) != 0:
                failure.append(os.strerror(ctypes.get_errno()))
                return
            source = f"/proc/self/task/{threading.get_native_id()}/ns/net"
            if libc.mount(source.encode(), target.encode(), b"none", _MS_BIND, None) != 0:
                failure.append(os.strerror(ctypes.get_errno()))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if failure:
            raise DeviceError(
                f"making the carrier namespace: {failure[0]}", place=target, remedy="run as root"
            )


def _visit(netns: int, work: Callable[[], None]) -> None:
    """Do something in another network namespace: in a thread of its own, which then ends.

    Raises the OSError that the work raised.
    """
    failure: list[OSError] = []

    def visit() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            if libc.setns(netns, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            work()
        except OSError as e:
            failure.append(e)

    thread = threading.Thread(target=visit)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]


def _move(origin: int, ifindex: int, target: int, name: str) -> None:
    """Move a device from one namespace to another, and name it there (rtnetlink(7), RTM_SETLINK).

    The kernel takes no request that names both ends, so it is asked from where the device is.
    Raises OSError.
    """
    attributes = struct.pack("=HHI", 8, _IFLA_NET_NS_FD, target)
    text = name.encode() + b"\0"
    attributes += struct.pack("=HH", 4 + len(text), _IFLA_IFNAME) + text + bytes(-len(text) % 4)
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, ifindex, 0, 0) + attributes
    flags = _NLM_F_REQUEST | _NLM_F_ACK
    request = struct.pack("=IHHII", 16 + len(body), _RTM_SETLINK, flags, 1, 0) + body

    def ask() -> None:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as s:
            s.send(request)
            (error,) = struct.unpack_from("=i", s.recv(1 << 16), 16)
        if error:
            raise OSError(-error, os.strerror(-error))

    _visit(origin, ask)


def _is_nsfs(path: Path) -> bool:
    with open("/proc/self/mountinfo", encoding="ascii") as mounts:
        return any(line.split()[4] == str(path) for line in mounts)


def _text(mac: bytes) -> str:
    return ":".join(f"{b:02x}" for b in mac)
