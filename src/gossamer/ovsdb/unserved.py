"""Columns that ask for what this switch does not do: said once, instead of taken in silence.

What is said is repeated only after the column was put right, or where another row asks for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from uuid import UUID

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unserved:
    """A column, when it asks for something, and what that is; `instead` is what helps."""

    column: str
    asks: Callable[[Any], bool]
    """Given the column's value as the library has it: lists for what may be empty, else a scalar."""
    what: str
    instead: str


def _is_true(value: Any) -> bool:
    return value is True


def _enabled(value: Any) -> bool:
    return bool(value.get("enable") == "true")


UNSERVED: Final[Mapping[str, tuple[Unserved, ...]]] = {
    "Bridge": (
        Unserved("stp_enable", _is_true, "the spanning tree protocol",
                 "keep the topology free of loops, or set NO_FLOOD on ports with ovs-ofctl mod-port"),
        Unserved("rstp_enable", _is_true, "the rapid spanning tree protocol",
                 "keep the topology free of loops, or set NO_FLOOD on ports with ovs-ofctl mod-port"),
        Unserved("mcast_snooping_enable", _is_true, "multicast snooping",
                 "multicast packets are flooded in their VLAN; flows can restrict them"),
        Unserved("flood_vlans", bool, "VLANs without learning",
                 "let a flow output packets of these VLANs to FLOOD"),
        Unserved("mirrors", bool, "mirrors", "let flows output copies to the other port"),
        Unserved("netflow", bool, "NetFlow", "sample actions report by IPFIX"),
        Unserved("sflow", bool, "sFlow", "sample actions report by IPFIX"),
        Unserved("ipfix", bool, "sampling of a whole bridge",
                 "use sample actions and a Flow_Sample_Collector_Set"),
        Unserved("auto_attach", bool, "auto-attach (802.1Qcj)", "set VLANs by tag and trunks"),
    ),
    "Port": (
        Unserved("lacp", lambda value: value in (["active"], ["passive"]), "LACP",
                 "use one link, or a bond device of Linux as the port"),
        Unserved("protected", _is_true, "protected ports",
                 "isolate ports by VLANs or flows"),
        Unserved("vlan_mode", lambda value: value == ["dot1q-tunnel"], "802.1ad tunnels",
                 "the port is an access port; push and pop service tags by flows"),
        Unserved("other_config", lambda value: value.get("priority-tags", "never") != "never",
                 "priority-tags (frames leave without a tag of VLAN 0)",
                 "push a tag by flows"),
        Unserved("bond_fake_iface", _is_true, "bonds", "use a bond device of Linux as the port"),
    ),
    "Interface": (
        Unserved("bfd", _enabled, "BFD", "let a routing daemon watch the path"),
        Unserved("cfm_mpid", bool, "connectivity fault management (802.1ag)",
                 "let a routing daemon watch the path"),
        Unserved("lldp", _enabled, "LLDP", "run lldpd on the device"),
    ),
}  # fmt: skip
"""By table."""


class UnservedColumns:
    """What was said of which row."""

    def __init__(self) -> None:
        self._said: set[tuple[UUID, str]] = set()

    def look(self, table: str, row: Any) -> None:
        """Look at a row that is new or has changed."""
        for unserved in UNSERVED[table]:
            key = (row.uuid, unserved.column)
            if not unserved.asks(_value(row, unserved.column)):
                self._said.discard(key)
            elif key not in self._said:
                self._said.add(key)
                place = f"{table.lower()}={row.name} column={unserved.column}"
                log.warning("%s: %s: not served (%s)", place, unserved.what, unserved.instead)
        if table == "Port":
            self._look_at_bond(row)

    def forget(self, rows: Iterable[UUID]) -> None:
        """These rows are gone."""
        gone = set(rows)
        self._said = {key for key in self._said if key[0] not in gone}

    def _look_at_bond(self, row: Any) -> None:
        key = (row.uuid, "interfaces")
        if len(row._data["interfaces"].values) < 2:
            self._said.discard(key)
        elif key not in self._said:
            self._said.add(key)
            log.warning(
                "port=%s column=interfaces: bonds: not served; each interface is a port of its own (%s)",
                row.name,
                "leave one interface, or use a bond device of Linux as the port",
            )


def _value(row: Any, column: str) -> Any:
    """The value; of references only how many there are, as their tables are not replicated."""
    data = row._data[column]
    kind = data.type
    if kind.is_map():
        return {k.value: v.value for k, v in data.values.items()}
    values = [atom.value for atom in data.values]
    return values[0] if kind.n_min == kind.n_max == 1 else values
