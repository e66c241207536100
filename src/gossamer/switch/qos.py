"""QoS and Queue rows as shapes of devices (ovs-vswitchd.conf.db(5), QoS and Queue)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from gossamer.devices.qos import QueueShape, Shape

if TYPE_CHECKING:
    from gossamer.switch.config import QosConfig
    from gossamer.switch.contract import Link

log = logging.getLogger(__name__)

HTB: Final = "linux-htb"
NO_QOS: Final = ("", "linux-noop")
"""Types that leave a device as it is."""
TYPES: Final = (HTB, "linux-noop")
DEFAULT_RATE_BPS: Final = 100_000_000
"""Of devices that do not say how fast they are."""
MAX_QUEUE: Final = 0xFFFB
"""Class 1:fffe has the whole, and numbers are one less than the classes'."""
_HEADERS: Final = 64
_LEAST_RATE_BPS: Final = 1500 * 8
_BURST_S: Final = 0.001


def shape_of(port: str, qos: QosConfig | None, link: Link) -> Shape | None:
    """The shape a QoS row asks for, None for none; what makes no sense is ignored with a warning."""
    if qos is None or qos.type in NO_QOS:
        return None
    if qos.type != HTB:
        log.warning("port=%s: QoS type %s is not supported, it has none", port, qos.type)
        return None
    whole = _number(port, qos.other_config, "max-rate") or link.speed or DEFAULT_RATE_BPS
    queues = {0: _queue(port, {}, whole, link.mtu)}
    for number, queue in qos.queues.items():
        if 0 <= number <= MAX_QUEUE:
            queues[number] = _queue(port, queue.other_config, whole, link.mtu)
        else:
            log.warning("port=%s: queue %d is beyond %d, ignored", port, number, MAX_QUEUE)
    return Shape(whole, _burst(0, whole, link.mtu), queues)


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
