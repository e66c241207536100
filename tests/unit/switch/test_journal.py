"""What was written is what is read back, whatever happened in between."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path

import pytest

from gossamer.pipeline import (
    action,
    action_choice,
    action_ct,
    action_encap,
    action_learn,
    of_port,
)
from gossamer.pipeline.action import Output, SetField
from gossamer.pipeline.action_syntax import parse_actions
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import match
from gossamer.switch import journal as journal_module
from gossamer.switch import journal_record
from gossamer.switch.journal import Journal, JournalError
from gossamer.switch.journal_record import Kind, Snapshot

FLOW = Flow(
    3, 100, match(eth_type=0x800), (SetField(BY_NAME["eth_src"], 5, 0xFF), Output(2)), cookie=7
)


def opened(path: Path) -> tuple[Journal, list[tuple[Kind, object]]]:
    journal = Journal(path)
    return journal, [(r.kind, r.payload) for r in journal.open()]


def test_messages_come_back_in_order_with_their_time_and_context(tmp_path: Path) -> None:
    journal, before = opened(tmp_path / "br0.flows")
    assert before == []
    journal.messages([b"one", b"two"], 0, 1.5)
    journal.messages([b"three"], 0, 1.5)
    journal.messages([b"four"], 1, 1.5)
    journal.close()
    records = list(Journal(tmp_path / "br0.flows").open())
    assert [(r.kind, r.context, r.time_s, r.payload) for r in records] == [
        (Kind.MESSAGES, 0, 1.5, b"onetwothree"),
        (Kind.MESSAGES, 1, 1.5, b"four"),
    ]


def test_nothing_is_written_before_a_flush(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path / "j")
    size = (tmp_path / "j").stat().st_size
    journal.messages([b"x" * 100], 0, 0.0)
    assert (tmp_path / "j").stat().st_size == size
    journal.flush()
    assert (tmp_path / "j").stat().st_size > size + 100


@pytest.mark.parametrize("lost", range(1, 25))
def test_a_torn_last_record_is_ignored_and_the_journal_goes_on(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "j"
    journal, _ = opened(path)
    journal.messages([b"whole"], 0, 1.0)
    journal.flush()
    journal.messages([b"torn record"], 0, 2.0)
    journal.close()
    os.truncate(path, path.stat().st_size - lost)
    journal, records = opened(path)
    assert records == [(Kind.MESSAGES, b"whole")]
    journal.messages([b"after"], 0, 3.0)
    journal.close()
    assert opened(path)[1] == [(Kind.MESSAGES, b"whole"), (Kind.MESSAGES, b"after")]


def test_what_is_no_journal_is_told_and_begun_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "br0.flows"
    path.write_bytes(b"garbage")
    journal, before = opened(path)
    assert before == []
    assert "is no journal" in caplog.text
    journal.messages([b"one"], 0, 1.5)
    journal.close()
    with path.open("ab") as file:
        file.write(b"cut")
    assert opened(path)[1] == [(Kind.MESSAGES, b"one")]
    assert "3 bytes at its end are no record" in caplog.text


def test_a_damaged_record_ends_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal, _ = opened(path)
    journal.messages([b"good"], 0, 1.0)
    journal.flush()
    place = path.stat().st_size
    journal.messages([b"damaged"], 0, 2.0)
    journal.flush()
    journal.messages([b"unreachable"], 0, 3.0)
    journal.close()
    data = bytearray(path.read_bytes())
    data[place + 22] ^= 1
    path.write_bytes(data)
    assert opened(path)[1] == [(Kind.MESSAGES, b"good")]


def test_a_journal_of_another_boot_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, _ = opened(tmp_path / "j")
    journal.messages([b"old"], 0, 1.0)
    journal.close()
    monkeypatch.setattr(journal_module, "boot_id", lambda: b"another boot 123")
    assert opened(tmp_path / "j")[1] == []


def test_flows_keep_actions_with_their_fields_and_times(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path / "j")
    FLOW.created_s = 12.25
    journal.flows([FLOW], 1.0)
    journal.close()
    (kind, flows), *rest = opened(tmp_path / "j")[1]
    assert kind is Kind.FLOWS and not rest and isinstance(flows, list)
    flow = flows[0]
    assert (flow.table_id, flow.priority, flow.match, flow.cookie) == (3, 100, FLOW.match, 7)
    assert flow.actions == FLOW.actions and flow.created_s == 12.25
    assert flow.actions[0].field is BY_NAME["eth_src"]


def test_flows_that_an_earlier_version_kept_are_read() -> None:
    rebuild = journal_record._rebuild_field
    with pytest.MonkeyPatch.context() as former:  # it was a function of that module
        former.setattr(rebuild, "__module__", journal_module.__name__)
        former.setattr(journal_module, rebuild.__name__, rebuild, raising=False)
        payload = journal_record.dump_flows([FLOW])
    assert journal_record.__name__.encode() not in payload
    parts: list[bytes] = []
    journal_record.append_record(parts, Kind.FLOWS, 0, 1.0, [payload])
    found = journal_record.read_record(b"".join(parts), 0)
    assert found is not None
    (flow,) = found[0].payload
    assert (flow.match, flow.actions, flow.cookie) == (FLOW.match, FLOW.actions, 7)


def test_actions_that_an_earlier_version_kept_in_one_module_are_read() -> None:
    actions = parse_actions(
        "resubmit(,1),multipath(eth_src,0,modulo_n,2,0,reg1[]),learn(table=3,eth_dst=eth_src),"
        "bundle(eth_src,0,hrw,ofport,members:1,2),encap(nsh(md_type=1)),ct(commit,nat(src=10.0.0.1))"
    )
    moved = [
        kind
        for module in (action_choice, action_ct, action_encap, action_learn, of_port)
        for kind in vars(module).values()
        if isinstance(kind, type) and kind.__module__ == module.__name__
    ]
    with pytest.MonkeyPatch.context() as former:
        for kind in moved:
            former.setattr(kind, "__module__", action.__name__)
            former.setattr(action, kind.__name__, kind, raising=False)
        payload = pickle.dumps((actions, moved), 5)
    assert b"pipeline.action_" not in payload and b"of_port" not in payload
    parts: list[bytes] = []
    journal_record.append_record(parts, Kind.GROUPS, 0, 1.0, [payload])
    found = journal_record.read_record(b"".join(parts), 0)
    assert found is not None and found[0].payload == (actions, moved)


def test_a_snapshot_replaces_the_past_and_keeps_what_came_while_it_was_written(
    tmp_path: Path,
) -> None:
    path = tmp_path / "j"
    journal, _ = opened(path)
    journal.messages([b"history" * 1000], 0, 1.0)
    journal.compact(Snapshot((True, "secure"), [FLOW] * 3), 2.0)
    journal.messages([b"meanwhile"], 0, 3.0)
    journal.flush()
    os.waitid(os.P_PID, journal._child, os.WEXITED | os.WNOWAIT)
    journal.poll()
    journal.messages([b"after"], 0, 4.0)
    journal.close()
    records = opened(path)[1]
    assert [k for k, _ in records] == [Kind.MODE, Kind.FLOWS, Kind.MESSAGES, Kind.MESSAGES]
    assert records[0][1] == (True, "secure")
    assert [p for k, p in records if k is Kind.MESSAGES] == [b"meanwhile", b"after"]
    assert not (tmp_path / "j.new").exists()


def test_truncation_keeps_the_mode_alone(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path / "j")
    journal.messages([b"x"], 0, 1.0)
    journal.flush()
    journal.truncate((False, "standalone"), 2.0)
    journal.close()
    assert opened(tmp_path / "j")[1] == [(Kind.MODE, (False, "standalone"))]


def test_a_failed_write_is_told_once_and_leaves_a_readable_file(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal, _ = opened(path)
    journal.messages([b"before"], 0, 1.0)
    journal.flush()
    readable = os.open(path, os.O_RDONLY)
    writable, journal._fd = journal._fd, readable
    journal.messages([b"lost"], 0, 2.0)
    with pytest.raises((JournalError, OSError)):
        journal.flush()
    os.dup2(writable, readable)
    assert opened(path)[1][0] == (Kind.MESSAGES, b"before")


def test_a_journal_without_room_is_told_of_once_and_begun_when_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "j"
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        journal, records = opened(path)
        assert records == []
        journal.messages([b"lost"], 0, 1.0)
        with pytest.raises(JournalError, match="No space left"):
            journal.flush()
        journal.messages([b"lost too"], 0, 2.0)
        journal.flush()
        assert not journal.wants_mending, "not at once"
    assert journal.mend_at_s is not None
    monkeypatch.setattr("time.monotonic", lambda at=journal.mend_at_s: at)
    assert journal.wants_mending
    journal.truncate((True, "secure"), 3.0)
    assert journal.mend_at_s is None
    journal.messages([b"kept"], 0, 4.0)
    journal.flush()
    assert opened(path)[1] == [(Kind.MODE, (True, "secure")), (Kind.MESSAGES, b"kept")]


def test_a_removed_journal_leaves_no_file(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path / "j")
    journal.messages([b"x"], 0, 1.0)
    journal.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_is_noted_while_much_is_written_comes_after_it(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path / "j")
    breaths: list[int] = []

    def breathe() -> None:
        breaths.append(len(breaths))
        if len(breaths) in (2, 20):
            journal.messages([b"meanwhile"], 0, 2.0)
            journal.flush()
            assert not journal.wants_compaction

    journal.breathe = breathe
    much = [b"%6d" % i for i in range(20_000)]
    journal.messages(much, 0, 1.0)
    journal.flush()
    journal.close()
    records = list(Journal(tmp_path / "j").open())
    assert len(breaths) > 30
    assert [r.payload for r in records[:1]] == [b"".join(much)]
    assert b"".join(r.payload for r in records[1:]) == b"meanwhile" * 2
