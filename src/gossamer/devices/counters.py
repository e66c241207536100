"""What went wrong on devices, as their drivers count it (rtnetlink(7), RTM_GETSTATS).

Packets and bytes of ports are the datapath's to count; errors on the wire it never sees.
"""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from typing import Final

from gossamer.errors import DeviceError

_RTM_NEWSTATS: Final = 92
_RTM_GETSTATS: Final = 94
_NLM_F_REQUEST: Final = 1
_IFLA_STATS_LINK_64: Final = 1
_HEADER: Final = struct.Struct("=IHHII")
_BODY: Final = struct.Struct("=BxxxII")
_STATS: Final = struct.Struct("=16Q")
"""The beginning of struct rtnl_link_stats64 (linux/if_link.h)."""
_ROOM: Final = 4096


@dataclass(frozen=True, slots=True)
class DeviceErrors:
    """Frames that a device had to give up, since it is there."""

    rx_errors: int = 0
    tx_errors: int = 0
    collisions: int = 0
    rx_over_errors: int = 0
    rx_crc_errors: int = 0
    rx_frame_errors: int = 0
    rx_missed_errors: int = 0


class ErrorCounters:
    """Asks the kernel, a device at a time."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._sequence = 0

    def read(self, ifindex: int) -> DeviceErrors:
        """Those of one device; none where it is gone.

        Raises DeviceError where the kernel does not answer.
        """
        self._sequence = self._sequence + 1 & 0xFFFFFFFF
        body = _BODY.pack(socket.AF_UNSPEC, ifindex, 1 << (_IFLA_STATS_LINK_64 - 1))
        length = _HEADER.size + len(body)
        head = _HEADER.pack(length, _RTM_GETSTATS, _NLM_F_REQUEST, self._sequence, 0)
        self._socket.send(head + body)
        answer = self._socket.recv(_ROOM)
        _, kind, _, _, _ = _HEADER.unpack_from(answer)
        if kind != _RTM_NEWSTATS:
            (error,) = struct.unpack_from("=i", answer, _HEADER.size)
            if -error == errno.ENODEV:
                return DeviceErrors()
            raise DeviceError(f"reading counters: errno {-error}", place=f"ifindex={ifindex}")
        # One attribute was asked for; its value may stand at no multiple of eight.
        values = _STATS.unpack_from(answer, _HEADER.size + _BODY.size + 4)
        return DeviceErrors(
            rx_errors=values[4],
            tx_errors=values[5],
            collisions=values[9],
            rx_over_errors=values[11],
            rx_crc_errors=values[12],
            rx_frame_errors=values[13],
            rx_missed_errors=values[15],
        )

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
