"""What drivers say of their devices, by the SIOCETHTOOL ioctl (netdevice(7)): speed, duplex, name."""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
from typing import Final

_SIOCETHTOOL: Final = 0x8946
_GSET: Final = 0x00000001
_GDRVINFO: Final = 0x00000003
_UNKNOWN_SPEED: Final = 0xFFFF


def ask(by: socket.socket, name: str, request: bytes, room: int = 0) -> bytes:
    """The answer to a request, which takes its place and up to `room` bytes behind it.

    Raises OSError where the driver does not know it, or the device is gone.
    """
    buffer = array.array("B", request + bytes(room))
    ifreq = struct.pack("16sP16x", os.fsencode(name)[:15], buffer.buffer_info()[0])
    fcntl.ioctl(by.fileno(), _SIOCETHTOOL, ifreq)
    return buffer.tobytes()


class Ethtool:
    """Asks the driver; what it does not say is None or empty."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._drivers: dict[str, str] = {}

    def read(self, name: str, kind: str) -> tuple[int | None, str | None, str]:
        """(speed in bit/s, duplex, driver name)."""
        if kind in ("veth", "tun", "bridge", "vxlan"):
            # Software devices name a nominal speed that means little; their driver is their kind.
            speed = 10_000_000_000 if kind in ("veth", "tun") else None
            return speed, "full" if speed else None, kind
        driver = self._drivers.get(name)
        if driver is None:
            answer = self._ask(name, struct.pack("I192x", _GDRVINFO))
            driver = answer[4:36].split(b"\0")[0].decode(errors="replace") if answer else ""
            self._drivers[name] = driver
        answer = self._ask(name, struct.pack("I40x", _GSET))
        if not answer:
            return None, None, driver
        speed_low, duplex = struct.unpack_from("HB", answer, 12)
        speed_high = struct.unpack_from("H", answer, 28)[0]
        mbit = speed_high << 16 | speed_low
        if mbit in (0, _UNKNOWN_SPEED, 0xFFFFFFFF):
            return None, None, driver
        return mbit * 1_000_000, {0: "half", 1: "full"}.get(duplex), driver

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _ask(self, name: str, request: bytes) -> bytes:
        try:
            return ask(self._socket, name, request)
        except OSError:
            return b""  # most software devices do not answer, which is an answer
