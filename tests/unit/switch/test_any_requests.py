"""Whatever controllers ask in whatever order, tables, datapath and journal say the same."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

import pytest
from fake_datapath import FakeDatapath, flow_key
from raw_client import RawClient
from running_switch import RunningSwitch
from tests.property.openflow_requests import encode_request

from gossamer.openflow import message as m
from gossamer.pipeline.action import (
    Actions,
    GotoTable,
    Group,
    Meter,
    Output,
    SubField,
    WriteActions,
)
from gossamer.pipeline.action_learn import Learn, LearnSpec, LearnTo
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.group import GROUP_ALL, Bucket, GroupType
from gossamer.pipeline.group import Group as GroupDesc
from gossamer.pipeline.match import match
from gossamer.pipeline.meter import METER_ALL, Band, BandType, MeterFlag
from gossamer.pipeline.meter import Meter as MeterDesc
from gossamer.switch.references import references_of
from gossamer.switch.ruleset import RuleSet

V13, V14, V15 = 4, 5, 6
_LEARN = Learn(
    (LearnSpec(SubField(BY_NAME["eth_src"], 0, 48), 48, LearnTo.MATCH,
               SubField(BY_NAME["eth_dst"], 0, 48)),),
    table_id=3, cookie=0x77, flags=2,
)  # fmt: skip


class Random(random.Random):
    """Requests of a small world, in which most numbers mean something."""

    def actions(self) -> Actions:
        choice = self.randrange(7)
        group, port = Group(self.randrange(1, 6)), Output(self.randrange(1, 4))
        meter = Meter(self.randrange(1, 4))
        some: tuple[Actions, ...] = (
            (port,), (group,), (port, meter), (WriteActions((group,)), GotoTable(200)),
            (), (_LEARN, port), (group, meter),
        )  # fmt: skip
        return some[choice]

    def flow_mod(self) -> m.FlowMod:
        command = self.choice((0, 0, 0, 0, 1, 2, 3, 4))
        wanted = match(in_port=self.randrange(1, 5)) if self.random() < 0.9 else match()
        return m.FlowMod(
            command, self.choice((0, 1, 3)), self.randrange(1, 4), wanted, self.actions(),
            cookie=self.choice((0, 0x77)), flags=self.choice((0, 1, 2, 4)),
            idle_timeout=self.choice((0, 0, 500)), version=V13,
        )  # fmt: skip

    def group_mod(self) -> m.GroupMod:
        command = self.choice((0, 0, 0, 1, 1, 2, 0x8000, 3, 5))
        group_id = self.choice((1, 2, 3, 4, 5, GROUP_ALL if command == 2 else 1))
        kind = self.choice(tuple(GroupType))
        watch = self.randrange(1, 4) if kind is GroupType.FAST_FAILOVER else 0xFFFFFFFF
        buckets = tuple(
            Bucket(
                (Output(n + 1),) if self.random() < 0.7 else (Group(self.randrange(1, 6)),),
                self.randrange(4), watch_port=watch,
            )
            for n in range(1 if kind is GroupType.INDIRECT else self.randrange(4))
        )  # fmt: skip
        return m.GroupMod(
            m.GroupCommand(command), GroupDesc(group_id, kind, buckets),
            self.choice((0, 1, 2, m.BUCKET_FIRST, m.BUCKET_LAST, m.BUCKET_ALL)),
        )  # fmt: skip

    def meter_mod(self) -> m.MeterMod:
        command = self.choice((0, 0, 1, 2))
        meter_id = self.choice((1, 2, 3, METER_ALL if command == 2 else 1))
        bands = (Band(BandType.DROP, self.randrange(1, 100)),)
        return m.MeterMod(m.MeterCommand(command), MeterDesc(meter_id, MeterFlag.KBPS, bands))

    def request(self, version: int) -> bytes:
        kind = self.randrange(8)
        message: Any = self.flow_mod()
        if kind in (0, 1):
            message = self.group_mod()
        elif kind == 2:
            message = self.meter_mod()
        raw = encode_request(message, version)
        if self.random() < 0.05:
            at = self.randrange(8, len(raw))
            raw = raw[:at] + bytes([self.randrange(256)]) + raw[at + 1 :]
        return raw

    def bundle(self, version: int) -> list[bytes]:
        inner = [self.request(version) for _ in range(self.randrange(1, 6))]
        head = struct.pack(">IHH", 5, 0, 3)
        control = struct.Struct(">BBHIIHH")
        out = [control.pack(version, 33, 16, 9, 5, 0, 3)]
        for raw in inner:
            xid = raw[4:8]
            body = head[:4] + bytes(2) + head[6:] + raw
            out.append(struct.pack(">BBH", version, 34, 8 + len(body)) + xid + body)
        out.append(control.pack(version, 33, 16, 9, 5, self.choice((4, 4, 4, 6)), 3))
        return out


def check(switch: RunningSwitch, datapath: FakeDatapath) -> None:
    rules = switch.switch.bridges["br0"].rules
    there = datapath.bridges[1]
    assert there.groups == rules.groups.values
    assert there.meters == rules.meters.values
    tables = {flow_key(flow): flow.actions for flow in rules.tables}
    assert {key: actions for key, (_, actions) in there.flows.items()} == tables
    assert {key: flow.actions for key, (flow, _) in there.flows.items()} == tables
    index = rules.tables.references
    for flow in rules.tables:
        references = references_of(flow.actions)
        assert references.groups <= set(rules.groups) and references.meters <= set(rules.meters)
        assert all(flow in index.by_group[n] for n in references.groups)
        assert all(flow in index.by_meter[n] for n in references.meters)
    listed = sum(map(len, index.by_group.values())) + sum(map(len, index.by_meter.values()))
    found = [references_of(flow.actions) for flow in rules.tables]
    assert listed == sum(len(r.groups) + len(r.meters) for r in found)


def check_journal(switch: RunningSwitch) -> None:
    rules = switch.switch.bridges["br0"].rules
    datapath = FakeDatapath()
    again = RuleSet("br0", datapath, datapath.add_bridge("br0"), rules.journal.path)
    assert again.groups.values == rules.groups.values
    assert again.meters.values == rules.meters.values
    before = {flow_key(f): (f.actions, f.cookie, f.flags) for f in rules.tables}
    assert {flow_key(f): (f.actions, f.cookie, f.flags) for f in again.tables} == before
    again.close()
    datapath.close()


@pytest.mark.parametrize("seed", range(24))
def test_tables_datapath_and_journal_agree(tmp_path: Path, seed: int) -> None:
    rng = Random(seed)
    version = rng.choice((V14, V15))
    datapath = FakeDatapath(max_flows=12)
    datapath.max_groups = 4
    switch = RunningSwitch(tmp_path, datapath)
    switch.apply()
    client = RawClient(tmp_path, version)
    for _ in range(12):
        messages = []
        for _ in range(rng.randrange(1, 12)):
            messages += rng.bundle(version) if rng.random() < 0.2 else [rng.request(version)]
        client.send(b"".join(messages) + struct.pack(">BBHI", version, 20, 8, 0xBEEF))
        while (answer := client.hear())[4:8] != b"\x00\x00\xbe\xef" or answer[1] != 21:
            assert answer[1] in (1, 11, 34, 33, 19), answer.hex()
        switch.call(lambda: check(switch, datapath))
    switch.call(lambda: check_journal(switch))
    client.close()
    switch.stop()
    datapath.close()
