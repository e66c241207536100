"""The pair of devices by which outer packets leave in fragments, and come back as one (bpf/cut.h).

What is sent by the near end arrives at the far one, where the datapath cuts it up and sends it on.
What the host has put together is sent by the far end and arrives at the near one, which the datapath
takes for a device that tunnels run over.  Neither has addresses, and the host's stack sees nothing
of what passes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from gossamer.devices.offloads import take_none
from gossamer.errors import DeviceError

NEAR: Final = "gsmr-near"
FAR: Final = "gsmr-far"
_LONGEST: Final = 65535
_QUEUE: Final = 1000


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
        take_none(NEAR)
        for name in (NEAR, FAR):
            # They speak to nobody: no addresses, no solicitations.
            knob = Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
            if knob.exists():
                knob.write_text("1")
            self._ipr.link("set", index=self._ipr.link_lookup(ifname=name)[0], state="up")
        return near
