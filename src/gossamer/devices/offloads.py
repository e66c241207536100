"""What devices do for the kernel (ethtool(8), -k and -K): cutting super-packets, summing."""

from __future__ import annotations

import socket
import struct
from typing import Final

from gossamer.devices.ethtool import ask

_GET_STRINGS: Final = 0x1B
_GET_FEATURES: Final = 0x3A
_SET_FEATURES: Final = 0x3B
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
        try:
            blocks = _features(self._socket, name)
            names = self._feature_names(name)
        except OSError:
            return False  # it says nothing, or is gone
        active = sum(block[2] << 32 * i for i, block in enumerate(blocks))
        return {feature for bit, feature in enumerate(names) if active >> bit & 1} >= _WANTED

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _feature_names(self, device: str) -> list[bytes]:
        """In the order of their bits, which is the kernel's own."""
        if not self._names:
            request = struct.pack("III", _GET_STRINGS, _FEATURE_NAMES, 0)
            answer = ask(self._socket, device, request, _NAME_BYTES * _MAX_FEATURES)
            count = struct.unpack_from("I", answer, 8)[0]
            places = range(12, 12 + _NAME_BYTES * count, _NAME_BYTES)
            self._names = [answer[at : at + _NAME_BYTES].split(b"\0")[0] for at in places]
        return self._names


def take_none(name: str) -> None:
    """Let the kernel do for a device all that devices may do: segments, checksums.

    Raises OSError where the kernel refuses.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        blocks = _features(s, name)
        changes = b"".join(struct.pack("II", had & ~fixed, 0) for had, _, _, fixed in blocks)
        ask(s, name, struct.pack("II", _SET_FEATURES, len(blocks)) + changes)


def _features(by: socket.socket, name: str) -> list[tuple[int, int, int, int]]:
    """Bits of 32 features each: those it could have, is asked for, has, and cannot change.

    Raises OSError where the device is gone.
    """
    most = (_MAX_FEATURES + 31) // 32
    answer = ask(by, name, struct.pack("II", _GET_FEATURES, most), 16 * most)
    (n,) = struct.unpack_from("I", answer, 4)
    return [struct.unpack_from("4I", answer, 8 + 16 * block) for block in range(min(n, most))]
