"""Connections as ovs-appctl shows them, and the words that pick some out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import pytest

from gossamer.daemon.appctl.conntrack import ConntrackCommands
from gossamer.daemon.appctl.ct_answers import Answers
from gossamer.daemon.appctl.ct_brief import BriefText
from gossamer.daemon.appctl.ct_text import ConnectionText
from gossamer.daemon.slices import Slices
from gossamer.datapath import layout
from gossamer.datapath.conntrack.connection import Connection, Peer
from gossamer.datapath.conntrack.records import Key, Records, Value
from gossamer.datapath.conntrack.tuple import pack
from gossamer.datapath.conntrack.zones import ZoneLimit
from gossamer.datapath.layout import CtFlag
from gossamer.errors import DatapathError
from gossamer.pipeline.conntrack.tuple import Tuple
from gossamer.switch.show import CommandError


def direction(
    src: str, dst: str, proto: int, sport: int = 0, dport: int = 0, zone: int = 0
) -> Tuple:
    return Tuple(ip_address(src).packed, ip_address(dst).packed, proto, sport, dport, zone)


def connection(orig: Tuple, reply: Tuple | None = None, **others: Any) -> Connection:
    values: dict[str, Any] = {
        "flags": CtFlag(0), "mark": 0, "label": 0, "timeout_s": 29.9, "age_s": 1.0,
        "n_packets": (0, 0), "n_bytes": (0, 0), "peers": None, "policy": 0, "alg": 0,
        "parent": None, "key": pack(orig),
    }  # fmt: skip
    return Connection(orig=orig, reply=reply or orig.reversed(), **{**values, **others})


def peers(first: str, second: str) -> tuple[Peer, Peer]:
    return Peer(first, 7, True, False), Peer(second, 0, False, True)


TCP = connection(
    direction("10.1.1.1", "10.1.1.2", 6, 34567, 80, 5),
    peers=peers("ESTABLISHED", "FIN_WAIT_2"),
    mark=2,
    label=0x5,
)
UDP6 = connection(direction("fc00::1", "fc00::2", 17, 1, 2))
PING = connection(direction("10.1.1.1", "10.1.1.2", 1, 77, 0x0800))


NOW_NS = 10**12


def peer_fields(peer: Peer | None) -> tuple[int, ...]:
    if peer is None:
        return (0,) * 5
    flags = peer.wscale_known * layout.CT_WSCALE_FLAG | peer.liberal * layout.CT_WSCALE_UNKNOWN
    return 0, 0, 0, flags | peer.wscale, layout.CT_TCP_STATES.index(peer.state)


def record(c: Connection) -> tuple[Key, Value]:
    """As it would lie in the kernel at NOW_NS."""
    key = layout.CT_TUPLE.unpack(pack(c.orig))
    packets, n_bytes = c.n_packets, c.n_bytes
    expires = NOW_NS + int(c.timeout_s * 1e9)
    values = (
        0, 0, expires, *packets, *n_bytes, NOW_NS // 10**9 - int(c.age_s),
        c.mark.to_bytes(4, "big"), c.label.to_bytes(16, "big"),
        *(f for peer in c.peers or (None, None) for f in peer_fields(peer)),
        *layout.CT_TUPLE.unpack(pack(c.reply))[:4], 0,
        int(c.flags | (CtFlag.EXPECTED if c.parent else CtFlag(0))), c.alg,
    )  # fmt: skip
    return key, layout.CT_CONNECTION.unpack(layout.CT_CONNECTION.pack(*values))


class FakeRecords(Records):
    """Records that lie nowhere."""

    connections: list[Connection]

    def __init__(self, connections: list[Connection]) -> None:
        object.__setattr__(self, "now_ns", NOW_NS)
        object.__setattr__(self, "n_slots", 0)
        object.__setattr__(self, "connections", connections)

    def windows(self) -> Iterator[bytes]:
        yield bytes(layout.CT_RECORD_SIZE)
        for c in self.connections:
            key, value = record(c)
            raw = bytes(8) + layout.CT_TUPLE.pack(*key) + layout.CT_CONNECTION.pack(*value)
            yield raw.ljust(layout.CT_RECORD_SIZE, b"\0")

    def batches(self, zone: int | None = None) -> Iterator[list[tuple[Key, Value]]]:
        for c in self.connections:
            if zone in (None, c.zone):
                yield [record(c)]

    def parent(self, key: Key) -> Key | None:
        found = [c.parent for c in self.connections if record(c)[0] == key]
        return layout.CT_TUPLE.unpack(pack(found[0])) if found[0] else None


def connection_text(c: Connection, *, verbose: bool, statistics: bool) -> str:
    text = ConnectionText(FakeRecords([c]), verbose=verbose, statistics=statistics)
    return text.line(*record(c))


class FakeConfig:
    """Settings in memory."""

    def __init__(self) -> None:
        self.sequence_check = True
        self.default_limit = 0
        self._maximum = 1000

    @property
    def maximum(self) -> int:
        return self._maximum

    @maximum.setter
    def maximum(self, n: int) -> None:
        if n > 5000:
            raise DatapathError("too many")
        self._maximum = n


class FakeZones:
    """Limits in memory."""

    def __init__(self, connections: list[Connection], config: FakeConfig) -> None:
        self._connections = connections
        self._config = config
        self._limits: dict[int, int] = {}

    def limit(self, zone: int) -> ZoneLimit:
        own = zone in self._limits
        n = sum(c.zone == zone for c in self._connections)
        return ZoneLimit(self._limits.get(zone, self._config.default_limit), n, own)

    def set_limit(self, zone: int, limit: int | None) -> None:
        if limit is None:
            self._limits.pop(zone, None)
        else:
            self._limits[zone] = limit

    def limited(self) -> dict[int, ZoneLimit]:
        return {zone: self.limit(zone) for zone in self._limits}


class FakeConntrack:
    """Connections in memory."""

    def __init__(self, *connections: Connection) -> None:
        self.all = list(connections)
        self.config = FakeConfig()
        self.zones = FakeZones(self.all, self.config)

    def records(self) -> Records:
        return FakeRecords(self.all)

    def find(self, t: Tuple) -> Connection | None:
        return next((c for c in self.all if t in (c.orig, c.reply)), None)

    def remove(self, c: Connection) -> bool:
        self.all.remove(c)
        return True

    def flushing(
        self, zone: int | None = None, fits: Callable[[Connection], bool] = lambda c: True
    ) -> Iterator[int]:
        for c in [c for c in self.all if zone in (None, c.zone) and fits(c)]:
            yield self.remove(c)

    @property
    def count(self) -> int:
        return len(self.all)


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


def test_the_dump_of_very_many_says_of_each_what_is_said_of_one() -> None:
    translated = connection(
        direction("10.0.0.1", "203.0.113.10", 6, 40000, 80, 7),
        direction("10.0.0.2", "198.51.100.1", 6, 8080, 1024, 7),
        flags=CtFlag.DST_NAT | CtFlag.SRC_NAT,
        peers=peers("SYN_SENT", "CLOSED"),
    )
    swapped = connection(direction("10.0.0.1", "10.0.0.2", 17, 1, 2), flags=CtFlag.SWAPPED, alg=69)
    over = replace(TCP, timeout_s=-1.0)
    others = [connection(direction("fc00::1", "fc00::2", proto)) for proto in (2, 132, 200)]
    all_of_them = [TCP, UDP6, PING, translated, swapped, *others]
    text = "".join(BriefText(FakeRecords([*all_of_them, over])).lines())
    assert text.splitlines() == [
        connection_text(c, verbose=False, statistics=False) for c in all_of_them
    ]
    assert "reply=(src=10.0.0.2,dst=198.51.100.1,sport=8080,dport=1024),zone=7" in text
    of_zone = "".join(BriefText(FakeRecords(all_of_them)).lines(7))
    assert of_zone == connection_text(translated, verbose=False, statistics=False) + "\n"


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
