"""Internal devices: the host's own end of a bridge.

One is a veth pair whose near end has the wanted name and carries all traffic;
the far end lies in a hidden network namespace and only supplies carrier, so
that the device is a real one, keeps its state when the daemon dies, and needs
no module but veth.  The namespace lives as a bind mount in the run directory.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
import threading
from pathlib import Path
from typing import Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from gossamer.errors import DeviceError

_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1
_CLONE_NEWNET: Final = 0x40000000
_MS_BIND: Final = 4096
_ALIAS: Final = "gossamer:"


class InternalDevices:
    """Creates and deletes internal devices; those of others are never touched."""

    def __init__(self, rundir: Path) -> None:
        self._alias = f"{_ALIAS}{rundir}"[:255]
        self._netns = rundir / "carrier.netns"
        self._ipr = IPRoute()

    def ours(self, alias: str) -> bool:
        """True where a device's alias says that we made it."""
        return alias == self._alias

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
            self._ipr.link("add", **attributes)
            index = self._ipr.link_lookup(ifname=name)[0]
            self._ipr.link("set", index=index, ifalias=self._alias)
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
        """Set the far end up, from a thread that visits its namespace."""
        fd = os.open(self._netns, os.O_RDONLY)
        failure: list[OSError] = []

        def visit() -> None:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(fd, _CLONE_NEWNET) != 0:
                failure.append(OSError(ctypes.get_errno(), "setns"))
                return
            request = struct.pack("16sH14x", name.encode(), _IFF_UP)
            try:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                    fcntl.ioctl(s.fileno(), _SIOCSIFFLAGS, request)
            except OSError as e:
                failure.append(e)

        thread = threading.Thread(target=visit)
        thread.start()
        thread.join()
        os.close(fd)
        if failure:
            raise DeviceError(f"giving carrier: {failure[0]}", place=f"device={name}")

    def delete(self, name: str) -> None:
        """Delete the device; nothing where it is gone."""
        found = self._ipr.link_lookup(ifname=name)
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

    def close(self) -> None:
        """Close the socket; the devices stay."""
        self._ipr.close()

    def remove_netns(self) -> None:
        """Give up the hidden namespace, and with it every device that still has its end there."""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.umount2(str(self._netns).encode(), 2)
        self._netns.unlink(missing_ok=True)

    def _change(self, name: str, command: str, what: str = "", **attributes: object) -> None:
        found = self._ipr.link_lookup(ifname=name)
        if not found:
            raise DeviceError("no such device", place=f"device={name}")
        try:
            self._ipr.link(command, index=found[0], **attributes)
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


def _is_nsfs(path: Path) -> bool:
    with open("/proc/self/mountinfo", encoding="ascii") as mounts:
        return any(line.split()[4] == str(path) for line in mounts)


def _text(mac: bytes) -> str:
    return ":".join(f"{b:02x}" for b in mac)
