"""What the daemon does with packets that the kernel leaves to it, over the bridges of a case.

The reference pipeline takes them on from the bridge where they were (switch/slow_path.py); here it
runs over copies of the case's flows, credits them as the daemon does, and knows the addresses that
the kernel has learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary

from gossamer.datapath.settings import Punt
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.result import Result
from gossamer.pipeline.world import Bridge, World
from gossamer.switch.kernel_tracking import KernelTracking
from gossamer.switch.packet_out import account
from gossamer.switch.slow_path import passed
from gossamer.switch.world import TaughtToDatapath
from tests.property.case import Case

if TYPE_CHECKING:
    from gossamer.datapath.datapath import Datapath
    from gossamer.switch.switch import Switch

_TRACKING: WeakKeyDictionary[Datapath, KernelTracking] = WeakKeyDictionary()


def _tracking(datapath: Datapath) -> KernelTracking:
    """The connections of packets that the daemon takes on are the kernel's."""
    return _TRACKING.setdefault(datapath, KernelTracking(datapath))


@dataclass
class SlowPath:
    """The bridges of a case, as the daemon would know them."""

    datapath: Datapath
    bridge_ids: dict[str, int]
    port_ids: dict[tuple[str, int], int]
    flows: dict[tuple[str, int], Flow]
    world: World
    took: bool = False
    """There was something to do."""
    took_any: bool = False
    """For some packet of the case."""

    @staticmethod
    def of(
        datapath: Datapath,
        case: Case,
        bridge_ids: dict[str, int],
        port_ids: dict[tuple[str, int], int],
        flows: dict[tuple[str, int], Flow],
    ) -> SlowPath:
        """Over `flows`, which are those of the datapath, by bridge and place in the case."""
        bridges = []
        for b in case.bridges:
            bridge = b.world()
            bridge.tables.clear()
            mine = [flow for (name, _), flow in flows.items() if name == b.name]
            tables = Bridge(b.name, flows=mine).tables
            bridge.tables.update(tables)
            bridges.append(bridge)
        world = World(bridges, tracking=_tracking(datapath))
        return SlowPath(datapath, bridge_ids, port_ids, flows, world)

    def forget(self, bridge: str, flow: Flow) -> None:
        """A flow is removed."""
        self.world.bridges[bridge].tables[flow.table_id].remove(flow)

    def take_through(self, punt: Punt) -> Result:
        """What becomes of a packet that came up."""
        names = {bridge_id: name for name, bridge_id in self.bridge_ids.items()}
        for name, bridge in self.world.bridges.items():
            bridge.fdb = self._addresses(name)
        self.took = self.took_any = True
        n_bytes = punt.controller_id
        bridge = names[punt.bridge_id]
        flows = {flow.flow_id: flow for flow in self.flows.values()}
        result = passed(Pipeline(self.world), bridge, punt, punt.data, n_bytes, flows)
        account(self._as_switch(), result, n_bytes)
        return result

    def _addresses(self, name: str) -> TaughtToDatapath:
        ofports = {at: port for (bridge, port), at in self.port_ids.items() if bridge == name}
        return TaughtToDatapath(
            self.datapath,
            self.bridge_ids[name],
            ofports.get,
            lambda ofport: self.port_ids.get((name, ofport)),
        )

    def _as_switch(self) -> Switch:
        """What account() looks at."""
        bridges = {
            name: SimpleNamespace(ports=SimpleNamespace(bridge_id=bridge_id))
            for name, bridge_id in self.bridge_ids.items()
        }
        return cast("Switch", SimpleNamespace(datapath=self.datapath, bridges=bridges))
