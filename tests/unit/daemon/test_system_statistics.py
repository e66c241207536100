"""Statistics of the host, as the database has them."""

from __future__ import annotations

import os
from pathlib import Path

from gossamer.daemon.system_statistics import read


def test_every_number_is_one_and_stands_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "ovsdb-server.pid").write_text("999999999\n")
    found = read(tmp_path)
    assert found.keys() - {"file_systems"} == {"cpu", "load_average", "memory", "process_ovs-vswitchd"}
    (tmp_path / "ovsdb-server.pid").write_text(f"{os.getpid()}\n")
    assert "process_ovsdb-server" in read(tmp_path)
    total, used, cached, swap, swap_used = map(int, found["memory"].split(","))
    assert 0 < used <= total
    assert 0 <= cached <= total
    assert 0 <= swap_used <= swap
    virtual, resident, cpu_ms, crashes, booted_ms, up_ms, processor = map(
        int, found["process_ovs-vswitchd"].split(",")
    )
    assert virtual > resident > 1000
    assert (crashes, booted_ms) == (0, up_ms)
    assert 0 < cpu_ms < 100 * up_ms + 1000
    assert 0 <= processor < int(found["cpu"])
    assert len([float(value) for value in found["load_average"].split(",")]) == 3
