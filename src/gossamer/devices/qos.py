"""Queues of devices: the kernel's HTB, as QoS rows ask for it (tc-htb(8)).

The tree is that of ovs-vswitchd.conf.db(5), linux-htb: class 1:fffe has the
rate that all share, class 1:(q+1) below it is queue q.  The datapath gives
each packet the class as its priority.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from gossamer.errors import DeviceError

_ROOT: Final = 0x10000
_ALL: Final = 0x1FFFE
_DEFAULT_CLASS: Final = 1
_LONGEST_BURST_S: Final = 4
_LEAST_BURST: Final = 1600


@dataclass(frozen=True, slots=True)
class QueueShape:
    """A queue: rates in bit/s, burst in bytes; of queues, that of lower `priority` comes first."""

    min_rate_bps: int
    max_rate_bps: int
    burst_bytes: int
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Shape:
    """What a device's queues are, by number; queue 0 is always among them."""

    max_rate_bps: int
    burst_bytes: int
    queues: Mapping[int, QueueShape]


@dataclass(frozen=True, slots=True)
class QueueCounters:
    """What a queue has sent, and dropped for want of room."""

    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0


class Shaper:
    """Puts shapes on devices and takes them off; only those it put, or an earlier daemon did."""

    def __init__(self) -> None:
        self._route = IPRoute()

    def apply(self, ifindex: int, shape: Shape) -> None:
        """Give a device this shape, changing only classes that differ.

        Raises DeviceError where the kernel refuses.
        """
        if not self.shaped(ifindex):
            # What else stood there, a default of the kernel's, makes room.
            self._ask(ifindex, "replace", "htb", ifindex, _ROOT, default=_DEFAULT_CLASS)
        self._class(ifindex, _ALL, _ROOT, shape.max_rate_bps, shape.max_rate_bps, shape.burst_bytes, 0)
        for number, queue in shape.queues.items():
            self._class(
                ifindex,
                _ROOT | number + 1,
                _ALL,
                queue.min_rate_bps,
                queue.max_rate_bps,
                queue.burst_bytes,
                queue.priority,
            )
        for number in self.counters(ifindex).keys() - shape.queues.keys():
            self._ask(ifindex, "del-class", index=ifindex, handle=_ROOT | number + 1)

    def remove(self, ifindex: int) -> None:
        """Take a shape off; nothing where there is none."""
        if self.shaped(ifindex):
            self._ask(ifindex, "del", index=ifindex, handle=_ROOT, root=True)

    def shaped(self, ifindex: int) -> bool:
        """Whether the device has queues of this kind of tree."""
        return any(handle == _ALL for handle, _ in self._classes(ifindex))

    def counters(self, ifindex: int) -> dict[int, QueueCounters]:
        """Counters of each queue."""
        return {
            (handle & 0xFFFF) - 1: counted
            for handle, counted in self._classes(ifindex)
            if handle != _ALL
        }

    def close(self) -> None:
        """Close the socket; shapes stay."""
        self._route.close()

    def _class(
        self, ifindex: int, handle: int, parent: int, rate: int, ceil: int, burst: int, prio: int
    ) -> None:
        self._ask(
            ifindex,
            "replace-class",
            "htb",
            ifindex,
            handle,
            parent=parent,
            rate=max(rate // 8, 1),
            ceil=max(ceil // 8, 1),
            burst=_fitting(burst, rate),
            cburst=_fitting(burst, ceil),
            prio=prio,
            # By default it follows the rate, and the kernel warns of what is too small or large.
            quantum=min(max(rate // 80, 1500), 60_000),
        )

    def _classes(self, ifindex: int) -> list[tuple[int, QueueCounters]]:
        try:
            found = self._route.get_classes(index=ifindex)
        except NetlinkError as e:
            if e.code == 19:  # ENODEV: it has just gone
                return []
            raise DeviceError(f"reading queues: {e}", place=f"ifindex={ifindex}") from None
        return [
            (message["handle"], _counters(message))
            for message in found
            if message.get_attr("TCA_KIND") == "htb" and message["handle"] >> 16 == 1
        ]

    def _ask(self, device: int, *arguments: Any, **options: Any) -> None:
        try:
            self._route.tc(*arguments, **options)
        except NetlinkError as e:
            raise DeviceError(
                f"the kernel refuses its queues: {e.args[-1]}",
                place=f"ifindex={device}",
                remedy="see that the kernel has HTB, and that rates make sense",
            ) from None


def _fitting(burst: int, rate_bps: int) -> int:
    """A burst in bytes, so short at this rate that the kernel's 32 bits of ticks can say it."""
    return min(burst, max(rate_bps // 8 * _LONGEST_BURST_S, _LEAST_BURST))


def _counters(message: Any) -> QueueCounters:
    stats = message.get_attr("TCA_STATS2")
    basic = stats.get_attr("TCA_STATS_BASIC") if stats else None
    queue = stats.get_attr("TCA_STATS_QUEUE") if stats else None
    return QueueCounters(
        tx_bytes=basic["bytes"] if basic else 0,
        tx_packets=basic["packets"] if basic else 0,
        tx_errors=queue["drops"] if queue else 0,
    )
