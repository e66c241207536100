"""Run single packets through the loaded program (BPF_PROG_TEST_RUN), and see where they go.

Needs a datapath opened with ``capturing=True``: its program writes outputs to
the punt ring instead of devices, and takes the ingress port from skb->mark.
"""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.datapath.datapath import Datapath
from gossamer.datapath.injection import run_once, verdict
from gossamer.datapath.settings import Punt

TC_ACT_UNSPEC = -1
"""Go on as if the program were not there (linux/pkt_cls.h)."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A packet output to a port, or punted (`punt` is set, `port_id` 0)."""

    port_id: int
    data: bytes
    punt: Punt | None = None


class TestRun:
    """Feeds packets to a capturing datapath."""

    __test__ = False  # not a test, whatever its name

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self.duration_ns = 0
        """Time of the last run, a packet."""

    def run(self, port_id: int, packet: bytes, repeat: int = 1) -> list[Captured]:
        """What comes of a packet that enters by a port; at least 14 bytes long."""
        self.duration_ns = run_once(
            self._datapath.program_fd, packet, mark=port_id, repeat=repeat
        )
        return self.captured()

    def go_on(self, punt: Punt, packet: bytes) -> list[Captured]:
        """What comes of a packet that was held for a helper and goes on, as `packet`."""
        self._datapath.packets.let_go_on(punt, packet)
        return self.captured()

    def uplink(self, packet: bytes) -> list[Captured] | None:
        """What comes of a packet that arrives at a device tunnels run over; None where it goes on
        to the host."""
        result = verdict(self._datapath.uplink_fd, packet)
        return None if result == TC_ACT_UNSPEC else self.captured()

    def captured(self) -> list[Captured]:
        """What came out since the last call."""
        return [
            Captured(to_port, punt.data) if to_port else Captured(0, punt.data, punt)
            for punt, to_port in self._datapath.packets.read_records()
        ]
