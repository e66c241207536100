"""Send a packet out of a port, from the daemon."""

from __future__ import annotations

import socket

from gossamer.datapath.layout import INJECT_MARK
from gossamer.datapath.settings import PortKind, PortSettings
from gossamer.errors import DatapathError

_ANY_PROTOCOL = 0
"""Protocol of a packet socket that receives nothing."""


class Transmitter:
    """A packet socket; frames to the host's own side of an internal port carry a mark."""

    def __init__(self) -> None:
        self._out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, _ANY_PROTOCOL)
        self._up = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, _ANY_PROTOCOL)
        # The program on the internal device sees the mark and turns the packet round (bpf/gossamer.c).
        self._up.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, INJECT_MARK)
        for s in (self._out, self._up):
            s.setblocking(False)

    def send(self, settings: PortSettings, packet: bytes) -> None:
        """Send a frame.  Raises DatapathError where the device refuses it."""
        if settings.kind is PortKind.PATCH:
            raise DatapathError(
                "a patch port has no device to send by",
                place=f"port={settings.name}",
                remedy="run the packet through the peer's bridge",
            )
        s = self._up if settings.kind is PortKind.INTERNAL else self._out
        try:
            s.sendto(packet, (settings.name, int.from_bytes(packet[12:14], "big")))
        except OSError as e:
            raise DatapathError(f"sending: {e.strerror}", place=f"port={settings.name}") from None

    def close(self) -> None:
        """Close the sockets."""
        self._out.close()
        self._up.close()
