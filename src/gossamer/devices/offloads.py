"""Whether super-packets inside a tunnel pass a device whole (ethtool(8), -k)."""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
from typing import Final

_SIOCETHTOOL: Final = 0x8946
_GET_STRINGS: Final = 0x1B
_GET_FEATURES: Final = 0x3A
_FEATURE_NAMES: Final = 4
"""ETH_SS_FEATURES."""
_MAX_FEATURES: Final = 128
_NAME_BYTES: Final = 32
_WANTED: Final = frozenset((b"tx-udp_tnl-segmentation", b"tx-gre-segmentation"))


class Offloads:
    """Asks devices for their features."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._names: list[bytes] = []

    def pass_whole(self, name: str, kind: str) -> bool:
        """True where what is to be segmented goes on as it is, to a receiver on this machine.

        `kind` is the device's IFLA_INFO_KIND.  Only a veth hands it over; all else cuts it, or
        leads to what does.
        """
        if kind != "veth":
            return False
        blocks = (_MAX_FEATURES + 31) // 32
        answer = self._ask(name, struct.pack("II", _GET_FEATURES, blocks), 16 * blocks)
        if not answer:
            return False
        active = 0
        for block in range(struct.unpack_from("I", answer, 4)[0]):
            active |= struct.unpack_from("I", answer, 8 + 16 * block + 8)[0] << 32 * block
        names = self._feature_names(name)
        return {feature for bit, feature in enumerate(names) if active >> bit & 1} >= _WANTED

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _feature_names(self, device: str) -> list[bytes]:
        """In the order of their bits, which is the kernel's own."""
        if not self._names:
            request = struct.pack("III", _GET_STRINGS, _FEATURE_NAMES, 0)
            answer = self._ask(device, request, _NAME_BYTES * _MAX_FEATURES)
            if answer:
                count = struct.unpack_from("I", answer, 8)[0]
                places = range(12, 12 + _NAME_BYTES * count, _NAME_BYTES)
                self._names = [answer[at : at + _NAME_BYTES].split(b"\0")[0] for at in places]
        return self._names

    def _ask(self, name: str, request: bytes, room: int) -> bytes:
        buffer = array.array("B", request + bytes(room))
        ifreq = struct.pack("16sP16x", os.fsencode(name)[:15], buffer.buffer_info()[0])
        try:
            fcntl.ioctl(self._socket.fileno(), _SIOCETHTOOL, ifreq)
        except OSError:
            return b""  # it says nothing, or is gone
        return buffer.tobytes()
