"""What QoS rows ask of devices."""

from __future__ import annotations

from pathlib import Path

import pytest
from running_switch import RunningSwitch
from tests.unit.switch.fake_devices import FakeLink

from gossamer.devices.qos import Discipline, QueueShape, Shape
from gossamer.errors import DeviceError
from gossamer.switch.config import BridgeConfig, InterfaceConfig, PortConfig, QosConfig, QueueConfig
from gossamer.switch.qos import MAX_QUEUE, shape_of

_LINK = FakeLink(5, "eth0", bytes(6), 1500)


def qos(kind: str = "linux-htb", whole: str | None = None, **queues: dict[str, str]) -> QosConfig:
    rows = {int(name[1:]): QueueConfig(None, options) for name, options in queues.items()}
    return QosConfig(kind, rows, {"max-rate": whole} if whole else {})


def test_no_row_and_types_without_queues_leave_the_device_as_it_is() -> None:
    for row in (None, qos(""), qos("linux-noop"), qos("linux-other"), qos("egress-policer")):
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


def test_hfsc_has_the_queues_of_htb() -> None:
    tree = shape_of("eth0", qos("linux-hfsc", "8000000", q1={"min-rate": "80000"}), _LINK)
    assert isinstance(tree, Shape)
    assert (tree.kind, set(tree.queues), tree.queues[1].min_rate_bps) == ("hfsc", {0, 1}, 80_000)


PLAIN: list[tuple[str, dict[str, str], str, dict[str, int]]] = [
    ("linux-sfq", {}, "sfq", {"perturb": 10, "quantum": 1500}),
    ("linux-sfq", {"perturb": "3", "quantum": "9000"}, "sfq", {"perturb": 3, "quantum": 9000}),
    ("linux-codel", {"target": "0"}, "codel", {"cdl_target": 5000, "cdl_interval": 100_000, "cdl_limit": 10240}),
    ("linux-fq_codel", {"flows": "8"}, "fq_codel",
     {"fqc_target": 5000, "fqc_interval": 1_000_000, "fqc_limit": 10240, "fqc_flows": 8, "fqc_quantum": 1514}),
    ("linux-netem", {"latency": "20000", "loss": "7"}, "netem", {"delay": 20000, "limit": 1000, "loss": 7}),
    ("linux-netem", {"loss": "101"}, "netem", {"delay": 0, "limit": 1000, "loss": 0}),
    ("egress-policer", {"cir": "125000"}, "tbf", {"rate": 125_000, "burst": 1564, "limit": 1564}),
    ("egress-policer", {"cir": "125000", "cbs": "9999"}, "tbf", {"rate": 125_000, "burst": 9999, "limit": 9999}),
]  # fmt: skip


@pytest.mark.parametrize(("type_", "options", "kind", "parameters"), PLAIN)
def test_types_without_queues_have_the_parameters_of_their_discipline(
    type_: str, options: dict[str, str], kind: str, parameters: dict[str, int]
) -> None:
    wanted = shape_of("eth0", QosConfig(type_, other_config=options), _LINK)
    assert wanted == Discipline(kind, tuple(parameters.items()))
    assert not wanted.queues


def _with(port: PortConfig) -> BridgeConfig:
    return BridgeConfig("br0", ports=(port,))


def test_what_the_kernel_refuses_is_told_and_not_asked_again(tmp_path: Path) -> None:
    switch = RunningSwitch(tmp_path)
    asked: list[object] = []

    def refuse(name: str, shape: object) -> None:
        asked.append(shape)
        if shape is not None:
            raise DeviceError("this kernel has no queueing discipline sfq")

    switch.devices.shape = refuse  # type: ignore[method-assign]
    sfq = PortConfig("v1", (InterfaceConfig("v1"),), qos=QosConfig("linux-sfq"))
    for _ in range(2):
        status = switch.apply(_with(sfq))
        told = status.bridges["br0"].ports["v1"].status
        assert told == {"qos_error": "this kernel has no queueing discipline sfq"}
    assert [a for a in asked if a is not None] == [Discipline("sfq", (("perturb", 10), ("quantum", 1500)))]
    status = switch.apply(_with(PortConfig("v1", (InterfaceConfig("v1"),))))
    assert status.bridges["br0"].ports["v1"].status == {}
    switch.stop()
