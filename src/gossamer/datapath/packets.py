"""Packets that come up to the daemon, and those that it sends or lets go on."""

from __future__ import annotations

from functools import partial
from typing import Final

from gossamer.datapath.injection import arrive_by_headers, go_on
from gossamer.datapath.parts import Parts
from gossamer.datapath.publish import Publisher
from gossamer.datapath.settings import Punt, PuntReason
from gossamer.errors import DatapathError
from gossamer.pipeline.action import Sample
from gossamer.pipeline.action_learn import Learn

_ANY_DEVICE: Final = 1
"""The loopback device's index: where tunnels' packets arrive does not matter."""


class Packets:
    """Of all ports, and what the numbers in their punts name."""

    def __init__(self, parts: Parts, publisher: Publisher) -> None:
        self._parts = parts
        self._publisher = publisher

    @property
    def fd(self) -> int:
        """Readable when there are punts."""
        return self._parts.punts.fd

    @property
    def are_here(self) -> bool:
        """Whether `read()` has some that came already."""
        return bool(self._parts.punts)

    def read(self) -> list[Punt]:
        """The punts that came since the last call."""
        punts = [punt for punt, _ in self.read_records()]
        if self._publisher.takeover:
            # Learn actions are numbered anew: what programs of before name is not known yet.
            return [punt for punt in punts if punt.reason < PuntReason.LEARN]
        return punts

    def read_records(self) -> list[tuple[Punt, int]]:
        """Punts, and captured outputs with the port they went to."""
        records = self._parts.punts.take()
        self._parts.conntrack.room.make()
        return records

    def userdata(self, userdata_id: int) -> bytes:
        """The controller(userdata=) bytes that a punt names."""
        return self._parts.programs.userdata[userdata_id]

    def learn_action(self, learn_id: int) -> Learn:
        """The learn action that a punt of reason LEARN names by its userdata_id."""
        return self._parts.programs.learns[learn_id]

    def sample_action(self, sample_id: int) -> Sample:
        """The sample action that a punt of reason SAMPLE names by its userdata_id."""
        return self._parts.programs.samples[sample_id]

    def transmit(self, port_id: int, packet: bytes) -> None:
        """Send a frame out of a port.  Raises DatapathError where its device refuses."""
        self._parts.transmitter.send(self._parts.ports.records[port_id].settings, packet)

    def let_go_on(self, punt: Punt, packet: bytes) -> None:
        """Let a packet go on that was held for a connection's helper (PuntReason.CT_ALG), as `packet`.

        At least 14, at most about 3,500 bytes.  One that was long may go on as several, one after
        the other.  Raises DatapathError where the kernel refuses it: the device is gone, or the
        packet too long.
        """
        record = self._parts.ports.records.get(punt.in_port_id)
        if record is None:
            raise DatapathError("the port is gone", place=f"port={punt.in_port_id}")
        ifindex = record.attached or _ANY_DEVICE
        loaded = self._parts.loaded
        go_on(loaded.program_fd, punt.userdata_id, ifindex, packet, capturing=loaded.capturing)

    def run_at(self, port_id: int, packet: bytes) -> list[Punt]:
        """Let a packet enter by a port without device (PortKind.PATCH); what came up of it.

        Of one longer than about 3,000 bytes only the headers are sure to be
        its own.  Raises DatapathError where the kernel refuses it: shorter
        than 14 bytes, or longer than about 16,000 (16 KiB with what it keeps itself).
        """
        self._parts.ports.enter_by(_ANY_DEVICE, port_id)
        loaded = self._parts.loaded
        run = partial(
            arrive_by_headers,
            *(loaded.program_fd, loaded.grow_fd, port_id, _ANY_DEVICE, packet),
            capturing=loaded.capturing,
        )
        return self._parts.punts.take_of(port_id, run)
