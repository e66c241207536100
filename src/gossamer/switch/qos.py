"""QoS and Queue rows as shapes of devices (ovs-vswitchd.conf.db(5), QoS and Queue)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gossamer.devices.qos import HFSC, HTB, Discipline, QueueShape, QueueTree, Shape

if TYPE_CHECKING:
    from gossamer.switch.config import QosConfig
    from gossamer.switch.contract import Link

log = logging.getLogger(__name__)

_TREES: Final = {"linux-htb": HTB, "linux-hfsc": HFSC}
"""Types that have queues."""
NO_QOS: Final = ("", "linux-noop")
"""Types that leave a device as it is."""
DEFAULT_RATE_BPS: Final = 100_000_000
"""Of devices that do not say how fast they are."""
MAX_QUEUE: Final = 0xFFFB
"""Class 1:fffe has the whole, and numbers are one less than the classes'."""
_HEADERS: Final = 64
_LEAST_RATE_BPS: Final = 1500 * 8
_BURST_S: Final = 0.001
_ALL_PERCENT: Final = 100
_MOST: Final = (1 << 32) - 1
"""What parameters may be."""


@dataclass(frozen=True, slots=True)
class _Plain:
    """A type without queues: the discipline, and of each parameter its column key, pyroute2's name for
    it, and what it is where the row does not say or says 0 (None: as big as a packet may be)."""

    kind: str
    parameters: tuple[tuple[str, str, int | None], ...]


_CODEL: Final = (("target", 5000), ("interval", 100_000), ("limit", 10240))
_FQ_CODEL: Final = (
    ("target", 5000), ("interval", 1_000_000), ("limit", 10240), ("flows", 1024), ("quantum", 1514),
)  # fmt: skip
_PLAIN: Final = {
    "linux-sfq": _Plain("sfq", (("perturb", "perturb", 10), ("quantum", "quantum", None))),
    "linux-codel": _Plain("codel", tuple((key, f"cdl_{key}", n) for key, n in _CODEL)),
    "linux-fq_codel": _Plain("fq_codel", tuple((key, f"fqc_{key}", n) for key, n in _FQ_CODEL)),
    "linux-netem": _Plain(
        "netem", (("latency", "delay", 0), ("limit", "limit", 1000), ("loss", "loss", 0))
    ),
}
POLICER: Final = "egress-policer"
TYPES: Final = (*_TREES, *_PLAIN, "linux-noop", POLICER)


def shape_of(port: str, qos: QosConfig | None, link: Link) -> QueueTree | None:
    """The queues a QoS row asks for, None for none; what makes no sense is ignored with a warning."""
    if qos is None or qos.type in NO_QOS:
        return None
    if qos.type in _TREES:
        return _tree(port, qos, link)
    if qos.type in _PLAIN:
        return _discipline(port, _PLAIN[qos.type], qos.other_config, link)
    if qos.type == POLICER:
        return _policer(port, qos.other_config, link)
    log.warning("port=%s: QoS type %s is not supported, it has none", port, qos.type)
    return None


def _tree(port: str, qos: QosConfig, link: Link) -> Shape:
    whole = _number(port, qos.other_config, "max-rate") or link.speed or DEFAULT_RATE_BPS
    queues = {0: _queue(port, {}, whole, link.mtu)}
    for number, queue in qos.queues.items():
        if 0 <= number <= MAX_QUEUE:
            queues[number] = _queue(port, queue.other_config, whole, link.mtu)
        else:
            log.warning("port=%s: queue %d is beyond %d, ignored", port, number, MAX_QUEUE)
    return Shape(whole, _burst(0, whole, link.mtu), queues, _TREES[qos.type])


def _discipline(
    port: str, plain: _Plain, options: Mapping[str, str], link: Link
) -> Discipline:
    found = []
    for key, name, default in plain.parameters:
        value = _number(port, options, key) or (link.mtu if default is None else default)
        if key == "loss" and value > _ALL_PERCENT:
            log.warning("port=%s: loss=%d is more than 100 %%, ignored", port, value)
            value = 0
        found.append((name, min(value, _MOST)))
    return Discipline(plain.kind, tuple(found))


def _policer(port: str, options: Mapping[str, str], link: Link) -> Discipline | None:
    """Of DPDK in Open vSwitch: `cir` in bytes a second, `cbs` the bytes of a burst.  Here a token
    bucket holds packets back for no longer than a burst takes, and drops what is more."""
    rate = _number(port, options, "cir")
    if not rate:
        log.warning("port=%s: egress-policer needs other_config:cir, it has none", port)
        return None
    burst = max(_number(port, options, "cbs") or 0, link.mtu + _HEADERS)
    return Discipline("tbf", (("rate", min(rate, _MOST)), ("burst", burst), ("limit", burst)))


def _queue(port: str, options: Mapping[str, str], whole: int, mtu: int) -> QueueShape:
    least = min(max(_number(port, options, "min-rate") or 0, _LEAST_RATE_BPS), whole)
    most = min(max(_number(port, options, "max-rate") or whole, least), whole)
    burst = (_number(port, options, "burst") or 0) // 8
    return QueueShape(least, most, _burst(burst, most, mtu), _number(port, options, "priority") or 0)


def _burst(wanted: int, rate_bps: int, mtu: int) -> int:
    """Bytes; a frame must fit, and what comes between two looks at the clock."""
    return max(wanted, mtu + _HEADERS, int(rate_bps / 8 * _BURST_S))


def _number(port: str, options: Mapping[str, str], key: str) -> int | None:
    text = options.get(key)
    if text is None:
        return None
    if not text.isdecimal():
        log.warning("port=%s: %s=%r is not a number, ignored", port, key, text)
        return None
    return int(text)
