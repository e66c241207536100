"""The pair of devices by which outer packets leave in fragments, and come back as one (bpf/cut.h).

What is sent by the near end arrives at the far one, where the datapath cuts it up and sends it on.
What the host has put together is sent by the far end and arrives at the near one, which the datapath
takes for a device that tunnels run over.  Neither has addresses, and the host's stack sees nothing
of what passes.
"""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
from pathlib import Path
from typing import Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from gossamer.errors import DeviceError

NEAR: Final = "gsmr-near"
FAR: Final = "gsmr-far"
_LONGEST: Final = 65535
_QUEUE: Final = 1000
_SIOCETHTOOL: Final = 0x8946
_GET_FEATURES: Final = 0x3A
_SET_FEATURES: Final = 0x3B
_FEATURE_BLOCKS: Final = 2


class Cutter:
    """Makes the pair, adopts the one of an earlier daemon, removes it."""

    def __init__(self, rundir: Path) -> None:
        self._alias = f"gossamer:{rundir}"[:255]
        self._ipr = IPRoute()

    def open(self) -> tuple[int, int]:
        """See that the pair is there; the numbers of its near and its far end.

        Raises DeviceError where a device of such a name is somebody else's, or the kernel refuses.
        """
        near = self._ipr.link_lookup(ifname=NEAR)
        if near and not self._ours(near[0]):
            raise DeviceError(
                "a device of that name exists and is not ours",
                place=f"device={NEAR}",
                remedy="remove it, or let the daemon of that run directory end with --cleanup",
            )
        try:
            if not near:
                near = self._create()
            return near[0], self._ipr.link_lookup(ifname=FAR)[0]
        except (NetlinkError, OSError) as e:
            raise DeviceError(
                f"making devices for fragments: {e.args[-1]}", place=f"device={NEAR}"
            ) from None

    def remove(self) -> None:
        """Delete the pair; nothing where it is gone or not ours."""
        near = self._ipr.link_lookup(ifname=NEAR)
        if near and self._ours(near[0]):
            self._ipr.link("del", index=near[0])

    def close(self) -> None:
        """Close the socket; the pair stays, and goes on sending in fragments."""
        self._ipr.close()

    def _ours(self, ifindex: int) -> bool:
        return bool(self._ipr.get_links(ifindex)[0].get_attr("IFLA_IFALIAS") == self._alias)

    def _create(self) -> list[int]:
        self._ipr.link(
            "add", ifname=NEAR, kind="veth", mtu=_LONGEST, txqlen=_QUEUE,
            peer={"ifname": FAR, "mtu": _LONGEST, "txqlen": _QUEUE},
        )  # fmt: skip
        near: list[int] = list(self._ipr.link_lookup(ifname=NEAR))
        self._ipr.link("set", index=near[0], ifalias=self._alias)
        take_no_offloads(NEAR)
        for name in (NEAR, FAR):
            # They speak to nobody: no addresses, no solicitations.
            knob = Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
            if knob.exists():
                knob.write_text("1")
            self._ipr.link("set", index=self._ipr.link_lookup(ifname=name)[0], state="up")
        return near


def take_no_offloads(name: str) -> None:
    """Let the kernel do for a device all that devices may do: segments, checksums (ethtool(8), -K).

    Raises OSError where the kernel refuses.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        words = _ethtool(s, name, struct.pack("II", _GET_FEATURES, _FEATURE_BLOCKS), 16)
        changes = b""
        for block in range(_FEATURE_BLOCKS):
            available, _, _, fixed = struct.unpack_from("4I", words, 8 + 16 * block)
            changes += struct.pack("II", available & ~fixed, 0)
        _ethtool(s, name, struct.pack("II", _SET_FEATURES, _FEATURE_BLOCKS) + changes, 0)


def _ethtool(s: socket.socket, name: str, request: bytes, room_per_block: int) -> bytes:
    buffer = array.array("B", request + bytes(room_per_block * _FEATURE_BLOCKS))
    ifreq = struct.pack("16sP16x", os.fsencode(name), buffer.buffer_info()[0])
    fcntl.ioctl(s.fileno(), _SIOCETHTOOL, ifreq)
    return buffer.tobytes()
