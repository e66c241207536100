"""Let a packet that the kernel held for the daemon come in once more, by the way it came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer.errors import DatapathError
from gossamer.pipeline.wrap import arrived_in, encapsulate

if TYPE_CHECKING:
    from gossamer.datapath.settings import Punt
    from gossamer.switch.switch import Switch

_ETHERNET: dict[bool, bytes] = {False: bytes(12) + b"\x08\x00", True: bytes(12) + b"\x86\xdd"}
"""In front of an outer packet, by whether that is IPv6: whose addresses mean nothing."""


def arrive(switch: Switch, punt: Punt, frame: bytes) -> None:
    """Let `frame` arrive as the packet of a punt did.

    Out of a tunnel it comes with the outer headers that the punt's key tells
    of.  Raises DatapathError where the port is gone, or the kernel refuses.
    """
    for bridge in switch.bridges.values():
        port = bridge.ports.by_port_id.get(punt.in_port_id)
        if port is None:
            continue
        if port.tunnel is None:
            switch.datapath.inject(punt.in_port_id, frame)
            return
        outer, source = arrived_in(port.tunnel, punt.key, bridge.rules.options.maps())
        packet = encapsulate(outer, frame, punt.key, source)
        switch.datapath.inject_outer(_ETHERNET[outer.ipv6] + packet)
        return
    raise DatapathError("the port is gone", place=f"port={punt.in_port_id}")
