"""Queues of devices: the kernel's queueing disciplines, as QoS rows ask for them (tc(8)).

Those with classes, HTB and HFSC, have the tree of ovs-vswitchd.conf.db(5): class 1:fffe has the
rate that all share, class 1:(q+1) below it is queue q.  The datapath gives each packet the class as
its priority.  The others are one queue for all.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from pyroute2 import IPRoute
from pyroute2.netlink import NLM_F_ACK, NLM_F_ECHO, NLM_F_REQUEST
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import RTM_GETQDISC, RTM_NEWQDISC
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from gossamer.errors import DeviceError

# It warns of names of parameters that it may change one day.
for _module in ("sched_codel", "sched_fq_codel"):
    logging.getLogger(f"pyroute2.netlink.rtnl.tcmsg.{_module}").setLevel(logging.ERROR)

HTB, HFSC = "htb", "hfsc"
_WITH_CLASSES: Final = (HTB, HFSC)
_ROOT: Final = 0x10000
_ALL: Final = 0x1FFFE
_TC_ROOT: Final = 0xFFFFFFFF
_DEFAULT_CLASS: Final = 1
_ONE: Final = NLM_F_REQUEST | NLM_F_ACK | NLM_F_ECHO
"""6.1 answers who asks only where it is to echo, of the kernel's own kinds nothing."""
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
    kind: str = HTB
    """HTB, or HFSC, which knows no bursts and priorities."""


_NO_QUEUES: Final[Mapping[int, QueueShape]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Discipline:
    """A queueing discipline without classes: the kernel's name for it, and its parameters as pyroute2
    takes them."""

    kind: str
    parameters: tuple[tuple[str, int], ...] = ()

    @property
    def queues(self) -> Mapping[int, QueueShape]:
        """None that packets could be put into."""
        return _NO_QUEUES


QueueTree = Shape | Discipline
"""What a device's packets wait in."""


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

    def apply(self, ifindex: int, wanted: QueueTree) -> None:
        """Give a device these queues, changing only classes that differ.

        Raises DeviceError where the kernel refuses; then the device has none of ours.
        """
        try:
            if isinstance(wanted, Shape):
                self._apply_tree(ifindex, wanted)
            else:
                self.remove(ifindex)
                self._ask(ifindex, "replace", wanted.kind, ifindex, _ROOT, **dict(wanted.parameters))
        except DeviceError:
            self.remove(ifindex)
            raise

    def _apply_tree(self, ifindex: int, shape: Shape) -> None:
        present = self._root_kind(ifindex)
        if present != shape.kind:
            if present is not None:
                self._take_off(ifindex)
            # What else stood there, a default of the kernel's, makes room.
            self._ask(ifindex, "replace", shape.kind, ifindex, _ROOT, default=_DEFAULT_CLASS)
        whole = QueueShape(shape.max_rate_bps, shape.max_rate_bps, shape.burst_bytes)
        self._class(ifindex, shape.kind, _ALL, _ROOT, whole)
        for number, queue in shape.queues.items():
            self._class(ifindex, shape.kind, _ROOT | number + 1, _ALL, queue)
        for number in self.counters(ifindex).keys() - shape.queues.keys():
            self._ask(ifindex, "del-class", index=ifindex, handle=_ROOT | number + 1)

    def remove(self, ifindex: int) -> None:
        """Take our queues off; nothing where there are none."""
        if self.shaped(ifindex):
            self._take_off(ifindex)

    def _take_off(self, ifindex: int) -> None:
        self._ask(ifindex, "del", index=ifindex, handle=_ROOT, root=True)

    def shaped(self, ifindex: int) -> bool:
        """Whether the device has queues of ours: their root is 1:, the kernel's own have no number."""
        return self._root_kind(ifindex) is not None

    def _root_kind(self, ifindex: int) -> str | None:
        # Of one device only: a dump tells of all devices' disciplines, whichever is asked about.
        asked = tcmsg()
        asked["index"], asked["parent"] = ifindex, _TC_ROOT
        asked["header"]["type"], asked["header"]["flags"] = RTM_GETQDISC, _ONE
        try:
            found = self._route.nlm_request_batch([asked])
        except NetlinkError as e:
            if e.code in (errno.ENODEV, errno.ENOENT):
                return None
            raise DeviceError(f"reading queues: {e}", place=f"ifindex={ifindex}") from None
        for message in found:
            # Without an answer, all that comes is that the request is acknowledged.
            if message["header"]["type"] == RTM_NEWQDISC and message["handle"] == _ROOT:
                return str(message.get_attr("TCA_KIND"))
        return None

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
        self, ifindex: int, kind: str, handle: int, parent: int, queue: QueueShape
    ) -> None:
        rate, ceil = max(queue.min_rate_bps // 8, 1), max(queue.max_rate_bps // 8, 1)
        parameters: dict[str, object]
        if kind == HFSC:
            least, most = {"m2": rate}, {"m2": ceil}
            parameters = {"rsc": least, "fsc": least, "usc": most}
        else:
            parameters = {
                "rate": rate,
                "ceil": ceil,
                "burst": _fitting(queue.burst_bytes, queue.min_rate_bps),
                "cburst": _fitting(queue.burst_bytes, queue.max_rate_bps),
                "prio": queue.priority,
                # By default it follows the rate, and the kernel warns of what is too small or large.
                "quantum": min(max(queue.min_rate_bps // 80, 1500), 60_000),
            }
        self._ask(ifindex, "replace-class", kind, ifindex, handle, parent=parent, **parameters)

    def _classes(self, ifindex: int) -> list[tuple[int, QueueCounters]]:
        try:
            found = self._route.get_classes(index=ifindex)
        except NetlinkError as e:
            if e.code == errno.ENODEV:  # it has just gone
                return []
            raise DeviceError(f"reading queues: {e}", place=f"ifindex={ifindex}") from None
        return [
            (message["handle"], _counters(message))
            for message in found
            if message.get_attr("TCA_KIND") in _WITH_CLASSES
            # HFSC lists its root as a class, too.
            and _ROOT < message["handle"] <= _ROOT | 0xFFFF
        ]

    def _ask(self, device: int, *arguments: Any, **options: Any) -> None:
        try:
            self._route.tc(*arguments, **options)
        except NetlinkError as e:
            kind = arguments[1] if len(arguments) > 1 else ""
            if e.code == errno.ENOENT and arguments[0] == "replace":
                raise DeviceError(
                    f"this kernel has no queueing discipline {kind}",
                    place=f"ifindex={device}",
                    remedy=f"load the module sch_{kind}, or use another QoS type",
                ) from None
            raise DeviceError(
                f"the kernel refuses its queues: {e.args[-1]}",
                place=f"ifindex={device}",
                remedy=f"see that the kernel has {kind or 'them'}, and that rates make sense",
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
