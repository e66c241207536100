"""The replica of the database: which columns are read, which are ours, and what an older one lacks."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ovs.db import idl as ovs_idl

from gossamer.ovsdb.unserved import UNSERVED

if TYPE_CHECKING:
    from uuid import UUID

log = logging.getLogger(__name__)

LOCK: Final = "ovs_vswitchd"
_READ: Final[dict[str, tuple[str, ...]]] = {
    "Open_vSwitch": ("bridges", "datapaths", "next_cfg", "cur_cfg", "ssl",
        "manager_options", "other_config", "external_ids",
        "ovs_version", "db_version", "system_type", "system_version", "datapath_types",
        "iface_types", "dpdk_initialized", "statistics"),
    "Bridge": ("name", "datapath_type", "datapath_id", "datapath_version", "ports", "controller",
        "fail_mode", "protocols", "other_config", "flow_tables", "flood_vlans", "status"),
    "Port": ("name", "interfaces", "vlan_mode", "tag", "trunks", "cvlans", "mac", "bond_mode",
        "qos", "other_config", "status", "statistics"),
    "Interface": ("name", "type", "ofport", "ofport_request", "mac", "mtu_request", "options",
        "other_config", "external_ids", "ingress_policing_rate", "ingress_policing_burst",
        "ingress_policing_kpkts_rate", "ingress_policing_kpkts_burst", "error", "mac_in_use",
        "ifindex", "mtu", "admin_state", "link_state", "link_speed", "duplex", "link_resets",
        "status", "statistics"),
    "Controller": ("target", "connection_mode", "max_backoff", "inactivity_probe",
        "controller_rate_limit", "controller_burst_limit", "controller_queue_size",
        "enable_async_messages", "type", "local_ip", "local_netmask", "local_gateway",
        "is_connected", "role", "status"),
    "Manager": ("target", "connection_mode"),
    "Flow_Table": ("name", "flow_limit", "overflow_policy", "groups", "prefixes"),
    "QoS": ("type", "queues", "other_config"),
    "Queue": ("dscp", "other_config"),
    "Datapath": ("ct_zones", "capabilities", "ct_zone_default_limit"),
    "CT_Zone": ("timeout_policy", "limit"),
    "CT_Timeout_Policy": ("timeouts",),
    "Flow_Sample_Collector_Set": ("id", "bridge", "ipfix"),
    "IPFIX": ("targets", "cache_active_timeout", "cache_max_flows", "other_config"),
    "SSL": ("private_key", "certificate", "ca_cert", "bootstrap_ca_cert"),
}  # fmt: skip
_LATER: Final = ("limit", "ct_zone_default_limit")
_WRITTEN: Final = {
    "Open_vSwitch": {"cur_cfg", "ovs_version", "db_version", "system_type", "system_version",
        "datapath_types", "iface_types", "dpdk_initialized", "statistics"},
    "Bridge": {"datapath_id", "datapath_version", "status"},
    "Port": {"status", "statistics"},
    "Interface": {"ofport", "error", "mac_in_use", "ifindex", "mtu", "admin_state", "link_state",
        "link_speed", "duplex", "link_resets", "status", "statistics"},
    "Controller": {"is_connected", "role", "status"},
    "Datapath": {"capabilities"},
}  # fmt: skip
"""Columns that are ours: their changes are no news to us."""
_UNREAD: Final = {"Interface": {"statistics"}}
"""Columns that are not even replicated: to read what was just written of 500 busy ports took longer
than all else that is done for their statistics."""


class Database(ovs_idl.Idl):  # type: ignore[misc]
    """The replica, and what changed since it was last asked."""

    def __init__(self, remote: str, schema: Path) -> None:
        helper = ovs_idl.SchemaHelper(location=str(schema))
        present = json.loads(schema.read_text())["tables"]
        for table, columns in _READ.items():
            # Zones' limits came with a later schema than that of 3.1.
            wanted = {*columns, *(u.column for u in UNSERVED.get(table, ()))}
            known = [c for c in wanted if c not in _LATER or c in present[table]["columns"]]
            helper.register_columns(table, known)
        super().__init__(remote, helper, probe_interval=0)
        self.changed_rows: set[UUID] = set()
        self.schema_version = ""
        """Of the database, which may be older or newer than the schema that is installed."""
        self._missing: frozenset[tuple[str, str]] = frozenset()
        self.set_lock(LOCK)

    def has(self, table: str, column: str) -> bool:
        """Whether the database has a column."""
        return (table, column) not in self._missing

    def send_request(self, request: Any) -> Any:
        """Called by the library for each request; asks for no column that an older database lacks.

        The server would refuse the whole request, and the library wait forever.
        """
        if request.method.startswith("monitor") and request.params[0] == self._db.name:
            for table, columns in _UNREAD.items():
                request.params[2][table][0]["columns"] = [
                    c for c in request.params[2][table][0]["columns"] if c not in columns
                ]
            self._leave_out_missing(request.params[2])
        return super().send_request(request)

    def _leave_out_missing(self, monitored: dict[str, list[dict[str, list[str]]]]) -> None:
        schema = self._schema_of_server()
        if schema is None:
            return
        self.schema_version = str(schema["version"])
        missing = set()
        for table, requests in list(monitored.items()):
            there = schema["tables"].get(table, {"columns": {}})["columns"]
            missing |= {(table, c) for c in requests[0]["columns"] if c not in there}
            requests[0]["columns"] = [c for c in requests[0]["columns"] if c in there]
            if not there:
                del monitored[table]
        self._missing = frozenset(missing)
        if missing:
            log.warning(
                "database schema=%s: lacks %s; what they ask for cannot be had (ovsdb-tool convert)",
                self.schema_version,
                ", ".join(sorted(f"{table}.{column}" for table, column in missing)),
            )

    def _schema_of_server(self) -> Any:
        """The schema as the server tells it in its own database (ovsdb-server(5)), None where not."""
        table = self.server_tables.get(self._server_db_table) if self.server_tables else None
        for row in table.rows.values() if table is not None else ():
            if row.name == self._db.name and row.schema:
                return json.loads(row.schema[0])
        return None

    def notify(self, event: str, row: Any, updates: Any = None) -> None:
        """Called by the library for every row that came, went or changed."""
        if event == ovs_idl.ROW_UPDATE and updates is not None:
            ours = _WRITTEN.get(row._table.name, set())
            if set(updates._data) <= ours:
                return
        self.changed_rows.add(row.uuid)
