"""Give a device every queueing discipline that QoS rows can ask for; fails where the kernel differs."""

from __future__ import annotations

import subprocess

from gossamer.devices.qos import Discipline, QueueTree, Shaper
from gossamer.switch.config import QosConfig, QueueConfig
from gossamer.switch.qos import shape_of
from tests.unit.switch.fake_devices import FakeLink

WANTED = {
    "linux-sfq": ({"perturb": "5"}, ("qdisc sfq 1: root", "quantum 1500b", "perturb 5sec")),
    "linux-codel": ({"target": "7000"}, ("qdisc codel 1: root", "limit 10240p", "target 7ms", "interval 100ms")),
    "linux-fq_codel": (
        {"flows": "16"},
        ("qdisc fq_codel 1: root", "flows 16", "quantum 1514", "target 5ms", "interval 1e+03ms"),
    ),
    "linux-netem": (
        {"latency": "30000", "loss": "25"}, ("qdisc netem 1: root", "limit 1000", "delay 30ms", "loss 25%"),
    ),
    "linux-hfsc": ({"max-rate": "8000000"}, ("qdisc hfsc 1: root", "default 1")),
    "linux-htb": ({"max-rate": "8000000"}, ("qdisc htb 1: root", "default 0x1")),
    "egress-policer": ({"cir": "1000000"}, ("qdisc tbf 1: root", "rate 8Mbit")),
}  # fmt: skip


def tc(*command: str) -> str:
    """What tc(8) says."""
    return subprocess.run(["tc", *command], check=True, capture_output=True, text=True).stdout


def main() -> None:
    """One after the other, in both directions, as a row that changes its type does."""
    subprocess.run("ip link add q0 type veth peer name q1 && ip link set q0 up", shell=True, check=True)
    with open("/sys/class/net/q0/ifindex", encoding="ascii") as file:
        index = int(file.read())
    link = FakeLink(index, "q0", bytes(6), 1500)
    shaper = Shaper()
    for type_ in (*WANTED, *reversed(WANTED)):
        options, shown = WANTED[type_]
        row = QosConfig(type_, {3: QueueConfig(None, {"max-rate": "4000000"})}, options)
        wanted: QueueTree | None = shape_of("q0", row, link)
        assert wanted is not None
        shaper.apply(index, wanted)
        shaper.apply(index, wanted)
        found = tc("qdisc", "show", "dev", "q0")
        assert all(text in found for text in shown), (type_, found)
        classes = tc("class", "show", "dev", "q0")
        if isinstance(wanted, Discipline):
            assert "hfsc" not in classes and "htb" not in classes, classes
        else:
            assert set(shaper.counters(index)) == {0, 3}
            assert f"class {wanted.kind} 1:4" in classes and "4Mbit" in classes, classes
        print(f"{type_}: {found.splitlines()[0]}")
    shaper.remove(index)
    assert not shaper.shaped(index)


if __name__ == "__main__":
    main()
