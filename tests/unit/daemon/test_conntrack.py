"""Connections as ovs-appctl shows them, and the words that pick some out."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from gossamer.daemon.appctl import ct_process
from gossamer.daemon.appctl.conntrack import ConntrackCommands
from gossamer.daemon.appctl.ct_answers import Answers
from gossamer.daemon.appctl.ct_brief import BriefText
from gossamer.daemon.appctl.ct_text import ConnectionText
from gossamer.daemon.slices import Slices
from gossamer.datapath.conntrack.connection import Connection
from gossamer.datapath.layout import CtFlag
from gossamer.switch.show import CommandError
from tests.unit.daemon.connections import (
    FakeConntrack,
    FakeRecords,
    connection,
    direction,
    peers,
    record,
)

TCP = connection(
    direction("10.1.1.1", "10.1.1.2", 6, 34567, 80, 5),
    peers=peers("ESTABLISHED", "FIN_WAIT_2"),
    mark=2,
    label=0x5,
)
UDP6 = connection(direction("fc00::1", "fc00::2", 17, 1, 2))
PING = connection(direction("10.1.1.1", "10.1.1.2", 1, 77, 0x0800))


def connection_text(c: Connection, *, verbose: bool, statistics: bool) -> str:
    text = ConnectionText(FakeRecords([c]), verbose=verbose, statistics=statistics)
    return text.line(*record(c))


class Asked:
    """A switch of one datapath, and what its commands say."""

    def __init__(self, *connections: Connection) -> None:
        self.conntrack = FakeConntrack(*connections)
        bridge = SimpleNamespace(name="br0", config=SimpleNamespace(datapath_type=""))
        datapath = SimpleNamespace(conntrack=self.conntrack)
        switch: Any = SimpleNamespace(bridges={"br0": bridge}, datapath=datapath)
        self._slices = Slices()
        commands = ConntrackCommands(switch, self._slices, Answers())
        self.commands = commands.commands()
        self.deferring = commands.deferring()

    def __call__(self, line: str) -> str:
        name, *argv = line.split()
        if name in self.deferring:
            command = self.deferring[name]
            assert command.low <= len(argv) <= command.high
            said: list[str] = []
            reply: Any = SimpleNamespace(ok=said.append)
            command.run(argv, reply)
            self._slices.run()
            return said[0]
        _, low, high, run = self.commands[name]
        assert low <= len(argv) <= high
        return run(argv)

    def error(self, line: str) -> str:
        with pytest.raises(CommandError) as e:
            self(line)
        return e.value.message


@pytest.fixture
def asked() -> Asked:
    return Asked(TCP, UDP6, PING)


def test_a_connection_is_written_as_the_peer_writes_it() -> None:
    def short(c: Connection) -> str:
        return connection_text(c, verbose=False, statistics=False)

    assert short(TCP) == (
        "tcp,orig=(src=10.1.1.1,dst=10.1.1.2,sport=34567,dport=80),"
        "reply=(src=10.1.1.2,dst=10.1.1.1,sport=80,dport=34567),"
        "zone=5,mark=2,labels=0x5,protoinfo=(state=TIME_WAIT)"
    )
    assert short(UDP6) == (
        "udp,orig=(src=fc00::1,dst=fc00::2,sport=1,dport=2),"
        "reply=(src=fc00::2,dst=fc00::1,sport=2,dport=1)"
    )
    assert short(PING) == (
        "icmp,orig=(src=10.1.1.1,dst=10.1.1.2,id=77,type=8,code=0),"
        "reply=(src=10.1.1.2,dst=10.1.1.1,id=77,type=0,code=0)"
    )
    assert short(replace(UDP6, alg=69)).endswith(",helper=tftp")
    assert short(connection(direction("10.0.0.1", "10.0.0.2", 132))) == (
        "sctp,orig=(src=10.0.0.1,dst=10.0.0.2,sport=0,dport=0),"
        "reply=(src=10.0.0.2,dst=10.0.0.1,sport=0,dport=0)"
    )


def test_more_is_written_where_more_is_asked_for() -> None:
    verbose = connection_text(
        replace(TCP, parent=direction("10.1.1.1", "10.1.1.2", 6, 1, 21, 5)),
        verbose=True,
        statistics=False,
    )
    assert "state_orig=ESTABLISHED,state_reply=FIN_WAIT_2,wscale_orig=7,wscale_reply=0" in verbose
    assert verbose.endswith(
        ",flags_orig=WINDOW_SCALE,flags_reply=BE_LIBERAL)"
        ",parent=(src=10.1.1.1,dst=10.1.1.2,sport=1,dport=21)"
    )
    counted = connection_text(
        replace(UDP6, n_packets=(3, 0), n_bytes=(180, 0)), verbose=False, statistics=True
    )
    assert re.fullmatch(
        r"udp,orig=\(src=fc00::1,dst=fc00::2,sport=1,dport=2,packets=3,bytes=180\),"
        r"reply=\(src=fc00::2,dst=fc00::1,sport=2,dport=1\),"
        r"start=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3},timeout=29",
        counted,
    )


@pytest.mark.parametrize("statistics", [False, True])
def test_the_dump_of_very_many_says_of_each_what_is_said_of_one(
    statistics: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1.7e9)
    translated = connection(
        direction("10.0.0.1", "203.0.113.10", 6, 40000, 80, 7),
        direction("10.0.0.2", "198.51.100.1", 6, 8080, 1024, 7),
        flags=CtFlag.DST_NAT | CtFlag.SRC_NAT,
        peers=peers("SYN_SENT", "CLOSED"),
    )
    swapped = connection(direction("10.0.0.1", "10.0.0.2", 17, 1, 2), flags=CtFlag.SWAPPED, alg=69)
    over = replace(TCP, timeout_s=-1.0)
    others = [connection(direction("fc00::1", "fc00::2", proto)) for proto in (2, 132, 200)]
    counted = replace(
        TCP, n_packets=(3, 2), n_bytes=(180, 1 << 40), age_s=12.0, timeout_s=59.999999999
    )
    all_of_them = [TCP, UDP6, PING, translated, swapped, *others, counted]
    text = "".join(BriefText(FakeRecords([*all_of_them, over]), statistics=statistics).lines())
    assert text.splitlines() == [
        connection_text(c, verbose=False, statistics=statistics) for c in all_of_them
    ]
    assert "reply=(src=10.0.0.2,dst=198.51.100.1,sport=8080,dport=1024)" in text
    assert (",packets=2,bytes=1099511627776),start=" in text) == statistics
    of_zone = "".join(BriefText(FakeRecords(all_of_them), statistics=statistics).lines(7))
    assert of_zone == connection_text(translated, verbose=False, statistics=statistics) + "\n"


@pytest.mark.parametrize(
    "text", ["", "a\nb\n", "\tx", 'say "a"', "a\\b", "caf\u00e9", "".join(map(chr, range(160)))]
)
def test_another_process_escapes_its_answer_as_json_does(text: str) -> None:
    assert ct_process.escaped(text) == json.dumps(text)[1:-1]


def test_a_dump_may_be_of_one_zone(asked: Asked) -> None:
    assert len(asked("dump-conntrack").splitlines()) == 3
    assert len(asked("dump-conntrack -m -s system@ovs-system zone=5").splitlines()) == 1
    assert asked("dump-conntrack zone=9") == ""
    assert asked.error("dump-conntrack nope") == (
        "ovs-vswitchd: datapath not found (Invalid argument)"
    )


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        ("", 0),
        ("zone=5", 2),
        ("system@ovs-system zone=5", 2),
        ("zone=5 ct_nw_src=10.1.1.1,ct_nw_dst=10.1.1.2,ct_nw_proto=6,ct_tp_src=34567,ct_tp_dst=80", 2),
        ("ct_nw_src=10.1.1.1", 1),
        ("ct_nw_proto=6", 2),
        ("ct_ipv6_dst=fc00::2", 2),
        ("ct_nw_proto=17,ct_tp_dst=2", 2),
        ("ct_nw_proto=17 ct_tp_dst=1", 2),
        ("ct_nw_src=10.1.1.1,ct_nw_dst=10.1.1.2,ct_nw_proto=1,icmp_id=77,icmp_type=8", 2),
        ("mark=2", 2),
        ("mark=1/1", 3),
        ("labels=0x4/0xc", 2),
    ],
)
def test_flushing_takes_what_fits_and_nothing_else(
    asked: Asked, arguments: str, left: int
) -> None:
    assert asked(f"flush-conntrack {arguments}") == ""
    assert asked.conntrack.count == left


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("zone=x", "failed to parse zone"),
        ("ct_nw_src=10.0.0", "failed to parse field ct_nw_src"),
        ("ct_nw_src=10.0.0.1,ct_ipv6_dst=::1", "the L3 protocol does not match ::1"),
        ("ct_nw_src", "field ct_nw_src missing value"),
        ("nw_src=10.0.0.1", "invalid conntrack tuple field: nw_src"),
        ("ct_tp_src=1", "port is set without protocol"),
        ("ct_nw_proto=6,icmp_id=1", "invalid L4 fields"),
        ("ct_nw_proto=6 ct_nw_proto=6", "ct_nw_proto is set multiple times"),
        ("ct_nw_src=10.0.0.1 ct_nw_src=10.0.0.2 x", "invalid arguments"),
    ],
)
def test_what_cannot_be_read_flushes_nothing(asked: Asked, arguments: str, text: str) -> None:
    assert asked.error(f"flush-conntrack {arguments}") == f"ovs-vswitchd: {text} (Invalid argument)"
    assert asked.conntrack.count == 3


def test_a_whole_tuple_that_no_connection_has_is_told(asked: Asked) -> None:
    line = "ct_nw_src=10.1.1.9,ct_nw_dst=10.1.1.2,ct_nw_proto=6,ct_tp_src=1,ct_tp_dst=80"
    assert asked.error(f"flush-conntrack zone=5 {line}") == (
        "ovs-vswitchd: failed to flush conntrack (No such file or directory)"
    )


def test_connections_are_counted_by_protocol_and_state(asked: Asked) -> None:
    assert asked("ct-stats-show") == (
        "Connections Stats:\n    Total: 3\n  TCP: 1\n  UDP: 1\n  ICMP: 1\n"
    )
    assert asked("ct-stats-show -m zone=5") == (
        "Connections Stats:\n    Total: 1\n  TCP: 1\n    Conn per TCP states:\n"
        "\t  [TIME_WAIT]=1\n"
    )
    assert "    Total: 3\n" in asked("ct-bkts").replace("Current Connections", "    Total")


def test_limits_are_set_shown_and_taken_away(asked: Asked) -> None:
    assert asked("ct-get-limits") == "default limit=0\n"
    assert asked("ct-set-limits default=10 zone=5,limit=3 zone=7,limit=4") == ""
    assert asked("ct-get-limits") == (
        "default limit=10\nzone=5,limit=3,count=1\nzone=7,limit=4,count=0\n"
    )
    assert asked("ct-get-limits zone=0,7") == (
        "default limit=10\nzone=0,limit=10,count=2\nzone=7,limit=4,count=0\n"
    )
    assert asked("ct-del-limits zone=5,7") == ""
    assert asked("ct-get-limits") == "default limit=10\n"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("ct-set-limits default=x", "invalid default limit"),
        ("ct-set-limits zone=1", "failed to parse zone limit"),
        ("ct-set-limits zone=1,limit=", "field limit missing value"),
        ("ct-set-limits zone=70000,limit=1", "failed to parse field zone"),
        ("ct-set-limits zone=1,limi=1", "invalid zone limit field: limi"),
        ("ct-get-limits zone=x", "invalid zone"),
        ("ct-get-limits limit=1", "invalid argument limit=1"),
        ("ct-set-maxconns many", "maxconns missing or malformed"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(asked: Asked, line: str, text: str) -> None:
    assert asked.error(line) == f"ovs-vswitchd: {text} (Invalid argument)"


def test_a_wrong_limit_sets_none_of_those_before_it(asked: Asked) -> None:
    asked.error("ct-set-limits default=9 zone=1,limit=1 zone=2")
    assert asked("ct-get-limits") == "default limit=0\n"


def test_how_many_there_may_be_is_set_as_far_as_the_kernel_can(asked: Asked) -> None:
    assert asked("ct-set-maxconns 500") == "setting maxconns successful"
    assert asked("ct-get-maxconns") == "500\n"
    assert "ct set maxconns failed" in asked.error("ct-set-maxconns 5001")
    assert asked("ct-get-nconns") == "3\n"


def test_the_check_of_sequence_numbers_is_switched(asked: Asked) -> None:
    assert asked("ct-disable-tcp-seq-chk") == "disabling TCP sequence checking successful"
    assert asked("ct-get-tcp-seq-chk") == "TCP sequence checking: disabled\n"
    assert asked("ct-enable-tcp-seq-chk") == "enabling TCP sequence checking successful"
    assert asked("ct-get-tcp-seq-chk") == "TCP sequence checking: enabled\n"
