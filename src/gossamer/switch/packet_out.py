"""PACKET_OUT: a packet a controller sends through the switch (OpenFlow 1.3.5, 7.3.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer.openflow import message as m
from gossamer.openflow.error import ErrorCode, OpenFlowError

if TYPE_CHECKING:
    from gossamer.switch.bridge import Bridge


def check(message: m.PacketOut) -> None:
    """Raises OpenFlowError for a packet that cannot be sent: no packet is ever buffered here."""
    if message.buffer_id != m.NO_BUFFER:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BUFFER_UNKNOWN)
    if len(message.data) < ETHERNET_HEADER:
        raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_PACKET, "shorter than an Ethernet header")


ETHERNET_HEADER = 14


def packet_out(bridge: Bridge, message: m.PacketOut) -> None:
    """Carry out the actions on the packet and transmit what comes of it.

    Raises OpenFlowError where the request is wrong; a packet the actions drop is no error.
    """
    check(message)
