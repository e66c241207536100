"""What packets move in: bridges, their ports, tables and learned addresses, as plain data.

The reference pipeline runs over these; the switch builds them from its own
state, tests in a line:

    World([Bridge("br0", [Port(1), Port(2, VlanMode.ACCESS, tag=10)], [Flow(...)])])
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from gossamer.pipeline.conntrack.tracker import Tracker, Tracking
from gossamer.pipeline.flow import Flow, FlowTable
from gossamer.pipeline.group import Group
from gossamer.pipeline.meter import Meter
from gossamer.pipeline.metering import Meters
from gossamer.pipeline.tlv import OptionMap
from gossamer.pipeline.tunnel import Tunnel
from gossamer.pipeline.wrap import Outer


class VlanMode(IntEnum):
    """How a port takes part in VLANs (ovs-vswitchd.conf.db(5), Port vlan_mode); numbers as in
    bpf/port.h."""

    ACCESS = 0
    TRUNK = 1
    NATIVE_TAGGED = 2
    NATIVE_UNTAGGED = 3


class TableMiss(IntEnum):
    """What a table does with a packet no flow matches (OpenFlow 1.1's OFPTC_TABLE_MISS_*);
    numbers as in bpf/classify.h."""

    DROP = 0
    CONTROLLER = 1
    CONTINUE = 2


class Fragments(IntEnum):
    """What tables see of IP fragments (ovs-ofctl(8), set-frags; ofp_config_flags)."""

    NORMAL = 0
    """No ports and no ICMP types, in the first fragment either: what Open vSwitch begins with."""
    DROP = 1
    NX_MATCH = 3
    """What there is: later fragments have no ports, the first one has."""


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a bridge.

    `ofport` is its OpenFlow number in 32-bit form; `tag` the access or native
    VLAN; an empty `trunks` carries every VLAN.  `peer` names the other end of
    a patch port: (bridge, ofport), `tunnel` makes it a tunnel port.  The flags are OpenFlow's port config
    turned positive: `flood` (not no-flood), `forward` (not no-fwd),
    `receive` (not no-recv), `packet_in` (not no-packet-in), `up`.  `live`
    tells whether its link is up, for what watches it.
    """

    ofport: int
    vlan_mode: VlanMode = VlanMode.TRUNK
    tag: int = 0
    trunks: frozenset[int] = frozenset()
    name: str = ""
    flood: bool = True
    forward: bool = True
    receive: bool = True
    up: bool = True
    packet_in: bool = True
    peer: tuple[str, int] | None = None
    live: bool = True
    tunnel: Tunnel | None = None

    def trunks_vlan(self, vlan: int) -> bool:
        """Whether a port that is not an access port carries `vlan`.

        A port with a native VLAN always carries that, and never VLAN 0: what
        has no VLAN there is in the native one.
        """
        if self.vlan_mode is not VlanMode.TRUNK and self.tag and vlan in (0, self.tag):
            return vlan == self.tag
        return not self.trunks or vlan in self.trunks

    def carries(self, vlan: int) -> bool:
        """Whether packets of `vlan` may leave by this port."""
        if self.vlan_mode is VlanMode.ACCESS:
            return vlan == self.tag
        return self.trunks_vlan(vlan)


@dataclass(slots=True)
class Learned:
    """Where an address was seen last: OpenFlow port, and CLOCK_MONOTONIC seconds."""

    ofport: int
    used_s: float


@dataclass(slots=True)
class Fdb:
    """Learned addresses of a bridge: (VLAN, MAC as an integer) -> port.

    Entries unused for `ageing_s` count as absent; no more than `size` are
    learned.
    """

    ageing_s: float = 300.0
    size: int = 8192
    entries: dict[tuple[int, int], Learned] = field(default_factory=dict)

    def lookup(self, vlan: int, mac: int, now_s: float) -> int | None:
        """The port behind which `mac` was seen in `vlan`."""
        entry = self.entries.get((vlan, mac))
        if entry is None or now_s - entry.used_s > self.ageing_s:
            return None
        return entry.ofport

    def learn(self, vlan: int, mac: int, ofport: int, now_s: float) -> bool:
        """Note that `mac` is behind `ofport`; True when that is news."""
        entry = self.entries.get((vlan, mac))
        if entry is None:
            if len(self.entries) >= self.size:
                return False
            self.entries[vlan, mac] = Learned(ofport, now_s)
            return True
        moved = entry.ofport != ofport
        entry.ofport, entry.used_s = ofport, now_s
        return moved


class UntaughtFdb(Fdb):
    """Learned addresses that a traced packet, which is not real, adds nothing to."""

    def __init__(self, known: Fdb) -> None:
        super().__init__(known.ageing_s, known.size)
        self._known = known

    def lookup(self, vlan: int, mac: int, now_s: float) -> int | None:
        """The port behind which `mac` was seen in `vlan`."""
        return self._known.lookup(vlan, mac, now_s)

    def learn(self, vlan: int, mac: int, ofport: int, now_s: float) -> bool:
        """Nothing is learned."""
        return False


class Bridge:
    """A bridge.

    `tables` maps table numbers to FlowTables, which may be shared with the
    switch; a table that is missing is empty.  Tables not in `miss` drop what
    they do not match.  `groups` and `meters` are by their number.
    """

    def __init__(
        self,
        name: str,
        ports: Iterable[Port] = (),
        flows: Iterable[Flow] = (),
        *,
        tables: dict[int, FlowTable] | None = None,
        miss: dict[int, TableMiss] | None = None,
        fdb: Fdb | None = None,
        forward_bpdu: bool = False,
        groups: dict[int, Group] | None = None,
        meters: dict[int, Meter] | None = None,
        fragments: Fragments = Fragments.NX_MATCH,
        options: Iterable[OptionMap] = (),
        sampling: bool = False,
    ) -> None:
        self.name = name
        self.ports: dict[int, Port] = {port.ofport: port for port in ports}
        self.tables: dict[int, FlowTable] = {} if tables is None else tables
        self.miss: dict[int, TableMiss] = {} if miss is None else miss
        self.fdb = fdb if fdb is not None else Fdb()
        self.forward_bpdu = forward_bpdu
        self.groups: dict[int, Group] = {} if groups is None else groups
        self.meters: dict[int, Meter] = {} if meters is None else meters
        self.metered = Meters()
        self.fragments = fragments
        self.options = tuple(options)
        """Geneve's options that are mapped."""
        self.sampling = sampling
        """Somebody wants to hear of sampled packets."""
        for flow in flows:
            self.tables.setdefault(flow.table_id, FlowTable(flow.table_id)).insert(flow)

    def port_is_live(self, ofport: int) -> bool:
        """Whether a port exists, is not taken down, and has a link."""
        port = self.ports.get(ofport)
        return port is not None and port.up and port.live

    def in_order(self) -> list[Port]:
        """The ports by number: the order in which copies of a flood leave."""
        return [self.ports[ofport] for ofport in sorted(self.ports)]

    def port_name(self, ofport: int) -> str:
        """The name of a port, or its number where it has none."""
        port = self.ports.get(ofport)
        return port.name if port and port.name else str(ofport)


class World:
    """Bridges that patch ports may join, connections, and the time (CLOCK_MONOTONIC seconds).

    `route` finds the way of a tunnel's packets and says it in words; None: there is none.
    Without it all ways are open.  `chance` is at random from [0, 1): it decides what is sampled.
    """

    def __init__(
        self,
        bridges: Iterable[Bridge],
        now_s: float = 0.0,
        tracking: Tracking | None = None,
        route: Callable[[Outer], Sequence[str] | None] = lambda outer: (),
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.bridges: dict[str, Bridge] = {bridge.name: bridge for bridge in bridges}
        self.now_s = now_s
        self.tracking: Tracking = tracking if tracking is not None else Tracker()
        self.route = route
        self.chance = chance


N_TABLES: Final = 255
"""Tables 0 to 254; 255 means "all" or "the current one"."""
