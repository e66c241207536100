"""Limits of zones by the database, whose schema has them from Open vSwitch 3.3 on."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import mkdtemp

from tests.property.peer import SCHEMA
from tests.system.world import Host, until


def _transact(host: Host, *operations: object) -> None:
    request = json.dumps(["Open_vSwitch", *operations])
    said = host.check("ovsdb-client", "transact", f"unix:{host.rundir}/db.sock", request)
    assert "error" not in said, said


def test_limits_come_from_a_schema_that_has_them(tmp_path: Path) -> None:
    """That of Open vSwitch 3.3 has, in place of the installed one, which is seen here alone."""
    schema = json.loads(SCHEMA.read_text())
    number = {"type": "integer", "minInteger": 0, "maxInteger": 4294967295}
    limit = {"type": {"key": number, "min": 0, "max": 1}}
    schema["tables"]["CT_Zone"]["columns"]["limit"] = limit
    schema["tables"]["Datapath"]["columns"]["ct_zone_default_limit"] = limit
    del schema["cksum"]
    newer = tmp_path / "schema"
    newer.write_text(json.dumps(schema))
    host = Host(Path(mkdtemp(prefix="host", dir="/run")))
    host.check("mount", "--bind", str(newer), str(SCHEMA))
    try:
        host.start()
        host.vsctl("add-br", "br0")
        zone = {"op": "insert", "table": "CT_Zone", "row": {"limit": 2}, "uuid-name": "zone"}
        row = {"ct_zone_default_limit": 3, "ct_zones": ["map", [[5, ["named-uuid", "zone"]]]]}
        datapath = {"op": "insert", "table": "Datapath", "row": row, "uuid-name": "dp"}
        datapaths = {"datapaths": ["map", [["system", ["named-uuid", "dp"]]]]}
        _transact(host, zone, datapath,
                  {"op": "update", "table": "Open_vSwitch", "where": [], "row": datapaths})  # fmt: skip
        shown = "default limit=3\nzone=5,limit=2,count=0\n"
        assert until(lambda: host.appctl("dpctl/ct-get-limits") == shown)
        none = {"limit": ["set", []]}
        _transact(host, {"op": "update", "table": "CT_Zone", "where": [], "row": none})
        assert until(lambda: host.appctl("dpctl/ct-get-limits") == "default limit=3\n")
    finally:
        host.end()
        host.check("umount", str(SCHEMA))
