"""What no tool asks of a switch, but a controller may."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator

import pytest
from raw_client import RawClient
from running_switch import RunningSwitch

from gossamer.openflow import encode
from gossamer.openflow.message import TableFeatures, TableStats
from gossamer.openflow.table_features import table_features
from gossamer.switch.table import N_TABLES

ERROR = 1
ROLE_REQUEST, GROUP_MOD, METER_MOD, TABLE_MOD, MULTIPART = 24, 15, 29, 17, 18
IS_SLAVE = (1, 10)


@pytest.fixture
def client(switch: RunningSwitch) -> Iterator[RawClient]:
    it = RawClient(switch.rundir, 4)
    yield it
    it.close()


def error_of(message: bytes) -> tuple[int, int]:
    assert message[1] == ERROR, message.hex()
    kind, code = struct.unpack_from(">HH", message, 8)
    return kind, code


def features(change: dict[int, dict[str, object]] | None = None) -> list[bytes]:
    """The bodies of a request for all tables as they are, but for `change`."""
    tables = []
    for n in range(N_TABLES):
        known = table_features(TableStats(n, f"table{n}", 0, 0, 0, 1000), 4, N_TABLES - 1)
        fields = {f: getattr(known, f) for f in TableFeatures.__dataclass_fields__}
        tables.append(TableFeatures(**fields | (change or {}).get(n, {})))
    return [reply[8:] for reply in encode.table_features_replies(tables, 4, 0)]


def test_tables_get_names_and_sizes_from_a_controller(
    switch: RunningSwitch, client: RawClient
) -> None:
    for body in features({3: {"name": "acl", "max_entries": 2}}):
        client.say(MULTIPART, body)
    first = client.hear()
    assert first[1] == 19, first[:16].hex()
    out = switch.ofctl("dump-table-features", "br0")
    assert 'table 3 ("acl"):' in out and "max_entries=2\n" in out
    for n in (1, 2):
        switch.ofctl("add-flow", "br0", f"table=3,in_port={n},actions=drop")
    full = switch.ofctl("add-flow", "br0", "table=3,in_port=3,actions=drop", check=False)
    assert "OFPFMFC_TABLE_FULL" in full


@pytest.mark.parametrize(
    "change",
    [
        {"metadata_write": 0},
        {"match": frozenset(["in_port"])},
        {"miss": table_features(TableStats(253, "", 0, 0, 0, 1), 4, N_TABLES - 1).miss},
    ],
)
def test_what_a_table_can_do_cannot_be_changed(
    switch: RunningSwitch, client: RawClient, change: dict[str, object]
) -> None:
    for body in features({0: change, 1: {"name": "nobody"}}):
        client.say(MULTIPART, body)
    assert error_of(client.hear()) == (13, 5)
    assert "nobody" not in switch.ofctl("dump-table-features", "br0")


def test_a_slave_may_not_change_rules(switch: RunningSwitch, client: RawClient) -> None:
    role = client.answer(ROLE_REQUEST, struct.pack(">I4xQ", 3, 1))
    assert role[1] == 25
    group = struct.pack(">HBxI", 0, 0, 1)
    assert error_of(client.answer(GROUP_MOD, group)) == IS_SLAVE
    meter = struct.pack(">HHI", 0, 1, 1)
    assert error_of(client.answer(METER_MOD, meter)) == IS_SLAVE
    table = struct.pack(">B3xI", 0, 0)
    assert error_of(client.answer(TABLE_MOD, table)) == IS_SLAVE
    assert not switch.datapath.bridges[1].groups


def test_group_mods_and_a_barrier_are_one_transaction(
    switch: RunningSwitch, client: RawClient
) -> None:
    before = switch.datapath.transactions
    raw = b""
    for n in (1, 2, 3):
        body = struct.pack(">HBxI", 0, 0, n)
        raw += struct.pack(">BBHI", 4, GROUP_MOD, 8 + len(body), n) + body
    raw += struct.pack(">BBHI", 4, 20, 8, 99)
    client.send(raw)
    assert client.hear()[:8] == struct.pack(">BBHI", 4, 21, 8, 99)
    assert set(switch.datapath.bridges[1].groups) == {1, 2, 3}
    assert switch.datapath.transactions == before + 1


def watch_everything(client: RawClient) -> None:
    monitor = struct.pack(">IHHHBx4x", 1, 0x3F, 0xFFFF, 0, 0xFF)
    client.say(16, struct.pack(">HHIII", 0xFFFF, 0, 0x2320, 2, 0) + monitor)


def test_a_watcher_that_falls_behind_is_paused_and_brought_up_to_date(
    switch: RunningSwitch,
) -> None:
    client = RawClient(switch.rundir, 1)
    watch_everything(client)
    assert client.hear()[1] == 17
    lines = "".join(f"priority={n % 100 + 1},in_port={n},actions=1\n" for n in range(1, 20_001))
    switch.ofctl("--bundle", "add-flows", "br0", "-", stdin=lines, version=14)
    switch.ofctl("--bundle", "add-flows", "br0", "-", stdin=lines, version=14)
    switch.ofctl("add-flow", "br0", "in_port=30000,actions=2")
    switch.ofctl("del-flows", "br0", "in_port=5")
    known: dict[bytes, int] = {}
    paused = resumed = False
    deadline = time.monotonic() + 120
    while not resumed and time.monotonic() < deadline:
        message = client.hear()
        if message[1] == 4:
            subtype = int.from_bytes(message[12:16], "big")
            paused |= subtype == 22
            resumed |= subtype == 23
            continue
        at = 24
        while at < len(message):
            length, event = struct.unpack_from(">HH", message, at)
            match_len = int.from_bytes(message[at + 12 : at + 14], "big")
            match = message[at + 24 : at + 24 + match_len]
            known[match] = event
            at += length
    assert paused and resumed
    there = [match for match, event in known.items() if event != 1]
    flows = switch.call(lambda: len(switch.switch.bridges["br0"].tables))
    assert len(there) == flows == 20_000
    client.close()


@pytest.mark.parametrize("version", [4, 5, 6])
def test_a_master_that_is_replaced_hears_of_it(switch: RunningSwitch, version: int) -> None:
    first, second = (RawClient(switch.rundir, version) for _ in range(2))
    first.say(9, struct.pack(">HH", 0, 0xFFFF))  # it listens: set-config with a miss_send_len
    assert first.answer(ROLE_REQUEST, struct.pack(">I4xQ", 2, 1))[8:12] == b"\0\0\0\2"
    assert second.answer(ROLE_REQUEST, struct.pack(">I4xQ", 2, 2))[8:12] == b"\0\0\0\2"
    told = first.hear()
    if version == 4:
        assert told[1] == 4 and told[8:16] == bytes.fromhex("4f4e460000000777")
        told = told[:8] + told[16:]
    else:
        assert told[1] == 30
    assert struct.unpack_from(">IB3xQ", told, 8) == (3, 0, 2)
    stale = first.answer(ROLE_REQUEST, struct.pack(">I4xQ", 2, 1))
    assert error_of(stale) == (11, 0)
    first.close()
    second.close()


@pytest.mark.parametrize("version", [5, 6])
def test_what_a_connection_wants_to_hear_is_what_it_is_told_it_gets(
    switch: RunningSwitch, version: int
) -> None:
    client = RawClient(switch.rundir, version)
    wanted = {0: 1, 1: 2, 2: 3, 3: 4, 4: 5, 5: 6, 8: 8, 9: 24, 10: 0, 11: 3}
    client.say(28, b"".join(struct.pack(">HHI", kind, 8, mask) for kind, mask in wanted.items()))
    reply = client.answer(26)
    assert reply[1] == 27
    got = {}
    for at in range(8, len(reply), 8):
        kind, length, mask = struct.unpack_from(">HHI", reply, at)
        assert length == 8
        got[kind] = mask
    assert {kind: got[kind] for kind in wanted} == wanted
    client.close()
