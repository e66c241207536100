"""What QoS rows ask of devices."""

from __future__ import annotations

from tests.unit.switch.fake_datapath import FakeLink

from gossamer.devices.qos import QueueShape
from gossamer.switch.config import QosConfig, QueueConfig
from gossamer.switch.qos import MAX_QUEUE, shape_of

_LINK = FakeLink(5, "eth0", bytes(6), 1500)


def qos(kind: str = "linux-htb", whole: str | None = None, **queues: dict[str, str]) -> QosConfig:
    rows = {int(name[1:]): QueueConfig(None, options) for name, options in queues.items()}
    return QosConfig(kind, rows, {"max-rate": whole} if whole else {})


def test_no_row_and_types_without_queues_leave_the_device_as_it_is() -> None:
    for row in (None, qos(""), qos("linux-noop"), qos("linux-sfq")):
        assert shape_of("eth0", row, _LINK) is None


def test_queue_0_is_there_though_nobody_asked() -> None:
    shape = shape_of("eth0", qos(whole="1000000000", q2={"max-rate": "5000000"}), _LINK)
    assert shape is not None and set(shape.queues) == {0, 2}
    assert shape.max_rate_bps == shape.queues[0].max_rate_bps == 1_000_000_000
    assert shape.queues[2].max_rate_bps == 5_000_000


def test_rates_keep_within_the_whole_and_bursts_hold_a_frame() -> None:
    row = qos(whole="1000000", q1={"min-rate": "9000000", "max-rate": "10", "burst": "8", "priority": "3"})
    shape = shape_of("eth0", row, _LINK)
    assert shape is not None
    assert shape.queues[1] == QueueShape(1_000_000, 1_000_000, 1564, 3)


def test_what_is_no_number_is_as_if_it_were_not_there() -> None:
    shape = shape_of("eth0", qos(whole="fast", q1={"max-rate": "-5"}), _LINK)
    assert shape is not None
    assert shape.max_rate_bps == shape.queues[1].max_rate_bps == _LINK.speed


def test_queues_that_no_class_can_stand_for_are_left_out() -> None:
    row = QosConfig("linux-htb", {MAX_QUEUE + 1: QueueConfig(), MAX_QUEUE: QueueConfig()})
    shape = shape_of("eth0", row, _LINK)
    assert shape is not None and set(shape.queues) == {0, MAX_QUEUE}
