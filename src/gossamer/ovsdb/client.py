"""The database's client in the role of ovs-vswitchd: configuration in, status out.

Rows that did not change are not converted again, and of a status only what
differs from the row is written, so the cost of a change does not grow with
the number of ports that did not take part in it.
"""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovs.db import idl as ovs_idl

from gossamer.ovsdb import rows
from gossamer.ovsdb.database import Database
from gossamer.ovsdb.unserved import UNSERVED, UnservedColumns
from gossamer.switch.config import BridgeConfig, PortConfig, SwitchConfig
from gossamer.switch.status import BridgeStatus, InterfaceStatus, PortStatus, SwitchStatus

if TYPE_CHECKING:
    from uuid import UUID

    from ovs.poller import Poller

log = logging.getLogger(__name__)


class Client:
    """Reads the configuration and writes the status."""

    def __init__(self, remote: str, schema: Path) -> None:
        self._idl = Database(remote, schema)
        self._schema_version = str(json.loads(schema.read_text())["version"])
        self._seqno = self._idl.change_seqno
        self._ports: dict[UUID, PortConfig] = {}
        self._bridges: dict[UUID, BridgeConfig] = {}
        self._interfaces: dict[str, Any] = {}
        self._members: dict[UUID, tuple[list[Any], list[PortConfig]]] = {}
        """Of bridges: the atoms that name their ports, and the ports in the same order."""
        self._port_of: dict[UUID, UUID] = {}
        """Interface row -> port row."""
        self._shown: dict[str, InterfaceStatus] = {}
        """What was last written of each interface."""
        self._told: dict[str, Mapping[str, PortStatus]] = {}
        """The ports as they were told last, by bridge."""
        self._written: dict[UUID, dict[str, object]] = {}
        """What rows' columns were last found to hold, or made to."""
        self._port_status: set[str] = set()
        """Ports whose status is not empty."""
        self._unserved = UnservedColumns()
        self._transaction: Any = None
        self._pending_cfg: int | None = None
        self._lock_told = False
        self.rewrite = False
        """What was written may not be there: write all again."""

    @property
    def ready(self) -> bool:
        """The replica is there and the lock is ours."""
        return bool(self._idl.has_ever_connected() and self._idl.has_lock)

    @property
    def empty(self) -> bool:
        """The replica is there, and in it not even the row that asks for nothing."""
        return self.ready and self._idl.state == ovs_idl.Idl.IDL_S_MONITORING and self._root() is None

    def run(self) -> SwitchConfig | None:
        """The configuration where it changed since the last call, else None."""
        self._idl.run()
        if self._idl.is_lock_contended and not self._lock_told:
            self._lock_told = True
            log.error("another ovs-vswitchd has this database; it is left in charge")
        if self._transaction is not None:
            self._finish()
        if not self.ready or self._idl.change_seqno == self._seqno:
            return None
        self._seqno = self._idl.change_seqno
        if not self._idl.changed_rows and self._bridges:
            return None
        return self._read()

    def wait(self, poller: Poller) -> None:
        """Wake for the next change."""
        self._idl.wait(poller)
        if self._transaction is not None:
            self._transaction.wait(poller)

    def close(self) -> None:
        """Close the connection."""
        self._idl.close()

    # -- reading -------------------------------------------------------------------------------

    def _read(self) -> SwitchConfig | None:
        tables = self._idl.tables
        root = next(iter(tables["Open_vSwitch"].rows.values()), None)
        if root is None:
            return None
        changed, self._idl.changed_rows = self._idl.changed_rows, set()
        ports = self._ports
        bridges: dict[UUID, BridgeConfig] = {}
        stale = changed | {self._port_of[u] for u in changed if u in self._port_of}
        if any(u in tables[t].rows for t in ("QoS", "Queue") for u in changed):
            port_rows = tables["Port"].rows
            stale.update(u for u in ports if u in port_rows and _qos_changed(port_rows[u], changed))
        outdated = {id(known) for uuid in stale if (known := ports.get(uuid)) is not None}
        self._forget(changed)
        for uuid in stale:
            ports.pop(uuid, None)
        for bridge_row in root.bridges:
            touched = bridge_row.uuid in changed or bridge_row.uuid not in self._bridges
            of_bridge, new = self._ports_of(bridge_row, outdated)
            others = [*bridge_row.controller, *bridge_row.flow_tables.values()]
            if touched or new or any(row.uuid in changed for row in others):
                bridges[bridge_row.uuid] = rows.bridge(bridge_row, of_bridge)
            else:
                bridges[bridge_row.uuid] = self._bridges[bridge_row.uuid]
        self._look_for_unserved(changed)
        self._bridges = bridges
        if len(self._members) > len(bridges):
            self._members = {u: m for u, m in self._members.items() if u in bridges}
        self._pending_cfg = root.next_cfg
        ordered = sorted(bridges.values(), key=lambda b: b.name)
        collector_sets = tables["Flow_Sample_Collector_Set"].rows.values()
        return rows.switch(root, tuple(ordered), collector_sets)

    def _ports_of(
        self, bridge_row: Any, outdated: set[int]
    ) -> tuple[tuple[PortConfig, ...], list[PortConfig]]:
        """A bridge's ports, and of these the ones that are read anew; `outdated` are the ids of
        configurations that hold no more.

        The library keeps the atoms of a column that changes, so most are told by their identity
        alone: to hash all UUIDs would make each change cost what all ports cost.
        """
        atoms = list(bridge_row._data["ports"].values)
        before = self._members.get(bridge_row.uuid, ([], []))
        known = dict(zip(map(id, before[0]), before[1], strict=True))
        if outdated:
            numbers = zip(known, map(id, known.values()), strict=True)
            for atom in [atom for atom, port in numbers if port in outdated]:
                del known[atom]
        ports: list[Any] = list(map(known.get, map(id, atoms)))
        new: list[PortConfig] = []
        for n in [n for n, port in enumerate(ports) if port is None]:
            uuid = atoms[n].value
            ports[n] = self._ports.get(uuid)
            if ports[n] is None:
                ports[n] = self._read_port(uuid)
                new.append(ports[n])
        self._members[bridge_row.uuid] = (atoms, ports)
        if not new:
            return tuple(ports), new
        # Numbers are given to new ports in the order of their names.
        fresh = set(map(id, new))
        kept = [port for n, port in zip(map(id, ports), ports, strict=True) if n not in fresh]
        return (*kept, *sorted(new, key=lambda p: p.name)), new

    def _read_port(self, uuid: UUID) -> PortConfig:
        row = self._idl.tables["Port"].rows[uuid]
        port = self._ports[uuid] = rows.port(row)
        for interface_row in row.interfaces:
            self._interfaces[interface_row.name] = interface_row
            self._port_of[interface_row.uuid] = uuid
            self._shown.pop(interface_row.name, None)
        return port

    def _look_for_unserved(self, changed: set[UUID]) -> None:
        gone = set(changed)
        for table in UNSERVED:
            found = self._idl.tables[table].rows
            for uuid in changed & found.keys():
                self._unserved.look(table, found[uuid])
                gone.discard(uuid)
        self._unserved.forget(gone)

    def _forget(self, changed: set[UUID]) -> None:
        """Drop what is remembered of those rows that are gone."""
        tables = self._idl.tables.values()
        for uuid in changed:
            if any(uuid in table.rows for table in tables):
                continue
            self._written.pop(uuid, None)
            port = self._ports.get(uuid)
            for interface in port.interfaces if port is not None else ():
                row = self._interfaces.get(interface.name)
                # Another port may have an interface of that name by now.
                if row is not None and self._port_of.get(row.uuid) == uuid:
                    del self._interfaces[interface.name], self._port_of[row.uuid]
                    self._shown.pop(interface.name, None)

    @property
    def statistics_interval_ms(self) -> int:
        """other_config:stats-update-interval."""
        root = self._root()
        text = root.other_config.get("stats-update-interval", "5000") if root else "5000"
        return max(int(text), 5000) if text.isdigit() else 5000

    def _root(self) -> Any:
        return next(iter(self._idl.tables["Open_vSwitch"].rows.values()), None)

    # -- writing -------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """A transaction is under way; statuses wait for its end."""
        return self._transaction is not None

    def write(self, status: SwitchStatus, version: str) -> None:
        """Write what differs; also cur_cfg, where a configuration was applied since."""
        root = self._root()
        if root is None or not self.ready or self._transaction is not None:
            return
        self.rewrite = False
        txn = ovs_idl.Transaction(self._idl)
        for bridge_row in root.bridges:
            found = status.bridges.get(bridge_row.name)
            if found is not None:
                self._write_bridge(bridge_row, found)
        self._put(root, "ovs_version", _optional(version))
        self._put(root, "db_version", [self._idl.schema_version or self._schema_version])
        # Start scripts may have said more of the host than we know.
        for column, value in zip(("system_type", "system_version"), _os_release(), strict=True):
            if not getattr(root, column):
                self._put(root, column, value)
        self._put(root, "datapath_types", sorted(status.datapath_types))
        self._put(root, "iface_types", sorted(status.iface_types))
        self._put(root, "dpdk_initialized", False)
        for type_, row in root.datapaths.items():
            capabilities = status.capabilities.get(type_)
            if capabilities is not None:
                self._put(row, "capabilities", dict(capabilities))
        if self._pending_cfg is not None:
            self._put(root, "cur_cfg", self._pending_cfg)
            self._pending_cfg = None
        self._commit(txn)

    @property
    def wants_system_statistics(self) -> bool:
        """other_config:enable-statistics."""
        root = self._root()
        return root is not None and root.other_config.get("enable-statistics") == "true"

    def write_statistics(
        self, statistics: Mapping[str, Mapping[str, int]], system: Mapping[str, str]
    ) -> None:
        """Write Interface.statistics by interface name, and those of the host."""
        root = self._root()
        if root is None or not self.ready or self._transaction is not None:
            return
        txn = ovs_idl.Transaction(self._idl)
        self._put(root, "statistics", dict(system))
        for name, values in statistics.items():
            row = self._interfaces.get(name)
            if row is not None:
                self._put(row, "statistics", dict(values))
        self._commit(txn)

    def _write_bridge(self, row: Any, status: BridgeStatus) -> None:
        dpid = status.datapath_id
        self._put(row, "datapath_id", [f"{dpid:016x}"] if dpid is not None else [])
        self._put(row, "datapath_version", status.datapath_version or "<built-in>")
        before, self._told[status.name] = self._told.get(status.name, {}), status.ports
        # Mostly it is the same object, and there may be many.
        changed = [n for n, s in status.ports.items() if n not in before or before[n] is not s]
        for port_name in changed:
            port_status = status.ports[port_name]
            for name, found in port_status.interfaces.items():
                interface_row = self._interfaces.get(name)
                shown = self._shown.get(name)
                if interface_row is not None and shown != found:
                    self._write_interface(interface_row, found)
                    self._shown[name] = found
            if port_status.status or port_name in self._port_status:
                self._write_port(port_status)
        for controller_row in row.controller:
            connected = status.controllers.get(controller_row.target)
            if connected is not None:
                self._put(controller_row, "is_connected", connected.is_connected)
                self._put(controller_row, "role", _optional(connected.role))
                self._put(controller_row, "status", dict(connected.status))

    def _write_port(self, port: PortStatus) -> None:
        rows = [self._interfaces[name] for name in port.interfaces if name in self._interfaces]
        uuid = self._port_of.get(rows[0].uuid) if rows else None
        port_row = self._idl.tables["Port"].rows.get(uuid)
        if port_row is not None:
            self._put(port_row, "status", dict(port.status))
            self._port_status.discard(port.name)
            if port.status:
                self._port_status.add(port.name)

    def _write_interface(self, row: Any, s: InterfaceStatus) -> None:
        self._put(row, "ofport", _optional(s.ofport))
        self._put(row, "error", _optional(s.error))
        mac = ":".join(f"{b:02x}" for b in s.mac_in_use) if s.mac_in_use else None
        self._put(row, "mac_in_use", _optional(mac))
        self._put(row, "ifindex", _optional(s.ifindex))
        self._put(row, "mtu", _optional(s.mtu))
        self._put(row, "admin_state", _optional(s.admin_state))
        self._put(row, "link_state", _optional(s.link_state))
        self._put(row, "link_speed", _optional(s.link_speed_bps))
        self._put(row, "duplex", _optional(s.duplex))
        self._put(row, "link_resets", _optional(s.link_resets))
        self._put(row, "status", dict(s.status))
        if s.statistics:
            self._put(row, "statistics", dict(s.statistics))

    def _put(self, row: Any, column: str, value: object) -> None:
        written = self._written.setdefault(row.uuid, {})
        if column in written and written[column] == value:
            return
        current = getattr(row, column)
        if current != value and self._idl.has(row._table.name, column):
            setattr(row, column, value)
        written[column] = value

    def _commit(self, txn: Any) -> None:
        result = txn.commit()
        if result == ovs_idl.Transaction.INCOMPLETE:
            self._transaction = txn
        elif result not in (ovs_idl.Transaction.SUCCESS, ovs_idl.Transaction.UNCHANGED):
            self._failed(txn, result)

    def _finish(self) -> None:
        result = self._transaction.commit()
        if result == ovs_idl.Transaction.INCOMPLETE:
            return
        txn, self._transaction = self._transaction, None
        if result not in (ovs_idl.Transaction.SUCCESS, ovs_idl.Transaction.UNCHANGED):
            self._failed(txn, result)

    def _failed(self, txn: Any, result: str) -> None:
        """The rows changed under us, or the connection broke: what we wrote is not known to be there."""
        self._written.clear()
        self._shown.clear()
        self._told.clear()
        self.rewrite = True
        root = self._root()
        if root is not None:
            self._pending_cfg = root.next_cfg
        if result not in (ovs_idl.Transaction.TRY_AGAIN, ovs_idl.Transaction.NOT_LOCKED):
            log.warning("writing to the database: %s: %s", result, txn.get_error())


def _optional(value: object) -> list[object]:
    return [] if value is None else [value]


def _qos_changed(port_row: Any, changed: set[UUID]) -> bool:
    """Whether the QoS of a port, or one of its queues, is among the changed rows."""
    return any(
        row.uuid in changed or any(q.uuid in changed for q in row.queues.values())
        for row in port_row.qos
    )


def _os_release() -> tuple[list[object], list[object]]:
    """(system_type, system_version), from os-release(5)."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return [], []
    return _optional(release.get("ID")), _optional(release.get("VERSION_ID"))
