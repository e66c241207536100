"""Sending outer packets in fragments, and taking those that the host has put together (bpf/cut.h)."""

from __future__ import annotations

import socket
from typing import Final

from gossamer.datapath import attach
from gossamer.datapath.layout import CUT_MARK
from gossamer.datapath.maps import MappedArray
from gossamer.errors import DatapathError

_NOBODY: Final = bytes.fromhex("020000000000")
_ANY_PROTOCOL: Final = 0
"""Protocol of a packet socket that receives nothing."""
_CUTTER_WORD: Final = 4
_JOINS_WORD: Final = 5
"""Of `tunnel_config`."""


class Cutter:
    """The pair of devices, as the datapath uses it."""

    def __init__(self, config: MappedArray, program_fd: int) -> None:
        self._config = config
        self._program_fd = program_fd
        self._near = self._far = 0
        self._out = self._socket(CUT_MARK)
        self._in = self._socket(0)

    def set(self, near: int, far: int, *, cuts: bool, joins: bool) -> None:
        """Use these devices, 0 none: `cuts` where tunnels without 'don't fragment' send by them,
        `joins` where fragments that arrive are left to the host.

        Raises DatapathError where a device is gone; then nothing is cut.
        """
        if far and far != self._far:
            attach.attach_uplink(far, self._program_fd)
        self._near, self._far = near, far
        self._config.words32[_CUTTER_WORD] = near if cuts else 0
        self._config.words32[_JOINS_WORD] = joins

    def send(self, packet: bytes) -> None:
        """Send an IP packet by the host's routes, cut up where it is too big for them.

        Raises DatapathError where there are no devices, or the kernel refuses.
        """
        self._send(self._out, self._near, packet)

    def arrive(self, packet: bytes) -> None:
        """Let an IP packet arrive as at a device that tunnels run over; raises as send()."""
        self._send(self._in, self._far, packet)

    def close(self) -> None:
        """Close the sockets."""
        self._out.close()
        self._in.close()

    @staticmethod
    def _socket(mark: int) -> socket.socket:
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _ANY_PROTOCOL)
        s.setblocking(False)
        if mark:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        return s

    @staticmethod
    def _send(by: socket.socket, ifindex: int, packet: bytes) -> None:
        ether_type = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
        frame = _NOBODY * 2 + ether_type.to_bytes(2, "big") + packet
        try:
            by.sendto(frame, (socket.if_indextoname(ifindex), ether_type))
        except OSError as e:
            raise DatapathError(f"sending: {e.strerror}", place=f"ifindex={ifindex}") from None
