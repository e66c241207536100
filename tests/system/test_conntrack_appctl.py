"""What ovs-appctl tells of connections, compared with Open vSwitch's userspace datapath.

Both get the same packets and flows; then they are asked the same.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.property.peer import Peer
from tests.system.frames import ACK, FIN, SYN, echo, ip, tcp, udp
from tests.system.world import Host, until

_A, _B = "10.1.1.1", "10.1.1.2"
_SCALE = b"\x01\x03\x03\x07"

_FLOWS = """
priority=20,in_port={a},ip,nw_dst=10.1.1.99,actions=ct(commit,zone=9,nat(dst=10.1.1.2)),output:{b}
priority=20,in_port={a},udp,tp_dst=53,actions=ct(commit,zone=9,nat(src=10.1.1.50)),output:{b}
priority=20,in_port={b},udp,tp_src=53,actions=ct(zone=9,nat),output:{a}
priority=15,in_port={a},tcp,tp_dst=2000,actions=ct(commit,exec(set_field:0xabcdef->ct_label)),output:{b}
priority=10,in_port={a},ip,actions=ct(commit,zone=5,exec(set_field:7->ct_mark)),output:{b}
priority=10,in_port={a},ipv6,actions=ct(commit,zone=6),output:{b}
priority=10,in_port={b},ip,actions=ct(zone=5),output:{a}
priority=10,in_port={b},ipv6,actions=ct(zone=6),output:{a}
"""

_TRAFFIC: tuple[tuple[str, tuple[bytes, ...]], ...] = (
    (
        "a",
        (
            tcp(_A, 1000, _B, 80, SYN, 100, 0, options=_SCALE),
            tcp(_A, 1001, _B, 80, SYN, 100, 0),
            tcp(_A, 1002, _B, 80, SYN, 100, 0),
            tcp(_A, 1003, _B, 2000, SYN, 100, 0),
            tcp(_A, 1004, "10.1.1.99", 80, SYN, 100, 0),
            tcp(_A, 1005, _B, 80, ACK, 100, 700, b"picked up"),
            udp(_A, 2000, _B, 4000),
            udp(_A, 2001, _B, 4000),
            udp(_A, 2002, _B, 53),
            echo(_A, _B, 77),
            ip(_A, _B, 132, bytes(24)),
            udp("fc00::1", 3000, "fc00::2", 4000),
            tcp("fc00::1", 3001, "fc00::2", 80, SYN, 1, 0),
            echo("fc00::1", "fc00::2", 78),
        ),
    ),
    (
        "b",
        (
            tcp(_B, 80, _A, 1000, SYN | ACK, 500, 101, options=_SCALE),
            tcp(_B, 80, _A, 1002, SYN | ACK, 500, 101),
            udp(_B, 4000, _A, 2001),
            udp(_B, 53, "10.1.1.50", 2002),
            echo(_B, _A, 77, reply=True),
        ),
    ),
    (
        "a",
        (
            tcp(_A, 1000, _B, 80, ACK, 101, 501),
            tcp(_A, 1002, _B, 80, ACK, 101, 501),
            tcp(_A, 1002, _B, 80, FIN | ACK, 101, 501),
        ),
    ),
    ("b", (tcp(_B, 80, _A, 1002, FIN | ACK, 501, 102),)),
    ("a", (tcp(_A, 1002, _B, 80, ACK, 102, 502),)),
)
"""Who sends what, in turns."""


class Pair:
    """The peer and ours, each with a bridge br0 of the ports va and vb."""

    def __init__(self, host: Host, peer: Peer) -> None:
        self.host = host
        self.peer = peer
        self.took_s = 0.0
        """How long the traffic of `busy` took."""
        host.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
        self.a = host.netns("a", "10.1.1.1/24", "br0")
        self.b = host.netns("b", "10.1.1.2/24", "br0")
        for netns in (self.a, self.b):
            # Nothing speaks here but the test.
            netns.run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1")
            netns.run("ip", "link", "set", "eth0", "arp", "off")
        peer.run("ovs-vsctl", "--", "add-br", "br0", "--", "set", "bridge", "br0",
                 "datapath_type=dummy", *self._add("va"), *self._add("vb"))  # fmt: skip
        for run in (host.check, peer.run):
            run("ovs-ofctl", "del-flows", "br0")
            for flow in _FLOWS.format(a="va", b="vb").split("\n"):
                if flow:
                    run("ovs-ofctl", "add-flow", "br0", flow)

    def _add(self, name: str) -> list[str]:
        return ["--", "add-port", "br0", name, "--", "set", "interface", name, "type=dummy"]

    def send(self, side: str, *frames: bytes) -> None:
        """Packets that enter by a port of both."""
        code = (
            "import socket,sys;s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW);"
            "s.bind(('eth0',0));[s.send(bytes.fromhex(f)) for f in sys.argv[1:]]"
        )
        netns = self.a if side == "a" else self.b
        packets = [frame.hex() for frame in frames]
        done = netns.run("python3", "-S", "-c", code, *packets)
        assert done.returncode == 0, done.stderr
        self.peer.run("ovs-appctl", "netdev-dummy/receive", f"v{side}", *packets)

    def ask(self, *command: str) -> tuple[list[str], list[str]]:
        """What the peer says, and what we say; lines in order."""
        answers = []
        for environment in (self.peer.environment, self.host.environment):
            done = subprocess.run(
                ["ovs-appctl", "--timeout=100", *command],
                env=environment, capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            answers.append(sorted((done.stdout + done.stderr).splitlines()))
        return answers[0], answers[1]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    host = Host(Path(mkdtemp(prefix="host", dir="/run")))
    host.start()
    with Peer(Path(mkdtemp(prefix="peer", dir="/run"))) as peer:
        yield Pair(host, peer)
    host.end()


@pytest.fixture
def busy(pair: Pair) -> Pair:
    """With connections in all states."""
    for run in (pair.host.check, pair.peer.run):
        run("ovs-appctl", "dpctl/flush-conntrack")
    began = time.monotonic()
    for side, frames in _TRAFFIC:
        pair.send(side, *frames)
    until(lambda: len(set(map(tuple, pair.ask("dpctl/ct-get-nconns")))) == 1)
    pair.took_s = time.monotonic() - began
    return pair


def assert_same(pair: Pair, *command: str) -> list[str]:
    """What both say, once both have seen the packets that were sent."""
    answers: list[tuple[list[str], list[str]]] = []
    until(lambda: answers.append(pair.ask(*command)) or answers[-1][0] == answers[-1][1])
    theirs, ours = answers[-1]
    assert ours == theirs
    return ours


def test_connections_are_dumped_alike(busy: Pair) -> None:
    lines = assert_same(busy, "dpctl/dump-conntrack")
    assert len(lines) == 14
    assert assert_same(busy, "dpctl/dump-conntrack", "zone=9") != lines
    assert assert_same(busy, "dpctl/dump-conntrack", "zone=0")
    assert not assert_same(busy, "dpctl/dump-conntrack", "zone=77")


def _bare(lines: list[str]) -> list[str]:
    """Without what the peer's userspace does not count, and we do."""
    left_out = r",(packets|bytes|start|id|status)=[^,)]*"
    return sorted(re.sub(left_out, "", line) for line in lines)


def test_more_of_them_is_dumped_alike(busy: Pair) -> None:
    both: list[list[list[str]]] = []
    until(lambda: both.append([_bare(x) for x in busy.ask("dpctl/dump-conntrack", "-m")])
          or both[-1][0] == both[-1][1])  # fmt: skip
    assert both[-1][0] == both[-1][1]
    began = time.monotonic()
    theirs, ours = busy.ask("dpctl/dump-conntrack", "-s", "zone=5")
    apart_s = busy.took_s + time.monotonic() - began
    timeouts = [re.findall(r"timeout=(\d+)", " ".join(_bare(lines))) for lines in (theirs, ours)]
    assert len(timeouts[0]) == len(timeouts[1])
    for their, our in zip(*timeouts, strict=True):
        assert abs(int(their) - int(our)) <= 2 + apart_s, "packets came to one after the other"
    assert all("packets=" in line and "start=" in line for line in ours)


def test_numbers_of_them_are_told_alike(busy: Pair) -> None:
    for command in ("ct-stats-show", "ct-stats-show -m", "ct-stats-show -m zone=5", "ct-bkts",
                    "ct-bkts gt=100", "ct-get-nconns"):  # fmt: skip
        assert_same(busy, *f"dpctl/{command}".split())


def test_limits_count_what_a_zone_has(busy: Pair) -> None:
    for run in (busy.host.check, busy.peer.run):
        run("ovs-appctl", "dpctl/flush-conntrack")
        run("ovs-appctl", "dpctl/ct-set-limits", "zone=5,limit=2", "zone=6,limit=9")
    try:
        busy.send("a", *(udp(_A, 5000 + n, _B, 4000) for n in range(5)))
        lines = assert_same(busy, "dpctl/ct-get-limits")
        assert "zone=5,limit=2,count=2" in lines
        assert_same(busy, "dpctl/dump-conntrack")
    finally:
        for run in (busy.host.check, busy.peer.run):
            run("ovs-appctl", "dpctl/ct-del-limits", "zone=5,6")


@pytest.mark.parametrize(
    "what",
    [
        "zone=5",
        "zone=6",
        "ct_nw_src=10.1.1.1",
        "ct_nw_proto=17",
        "ct_nw_proto=17,ct_tp_dst=4000",
        "zone=5 ct_nw_proto=6,ct_tp_dst=80",
        "zone=5 ct_nw_src=10.1.1.1,ct_nw_dst=10.1.1.2,ct_nw_proto=6,ct_tp_src=1000,ct_tp_dst=80",
        "zone=5 ct_nw_src=10.1.1.1,ct_nw_dst=10.1.1.2,ct_nw_proto=6,ct_tp_src=1,ct_tp_dst=80",
        "zone=9 ct_nw_src=10.1.1.1,ct_nw_dst=10.1.1.99,ct_nw_proto=6,ct_tp_src=1004,ct_tp_dst=80",
        "zone=5 ct_nw_src=10.1.1.1,ct_nw_dst=10.1.1.2,ct_nw_proto=1,icmp_id=77,icmp_type=8,icmp_code=0",
        "ct_nw_proto=17,ct_tp_dst=4000 ct_tp_dst=2001",
    ],
)
def test_the_same_ones_are_flushed(busy: Pair, what: str) -> None:
    before = assert_same(busy, "dpctl/dump-conntrack")
    assert_same(busy, "dpctl/flush-conntrack", *what.split())
    after = assert_same(busy, "dpctl/dump-conntrack")
    assert len(after) < len(before) or "ct_tp_src=1," in what


@pytest.mark.parametrize(
    "command",
    [
        "ct-flush-zone br0 5",
        "ct-flush br0",
        "ct-flush br0 zone=9",
        "ct-flush br0 zone=5 ct_nw_src=10.1.1.1,ct_nw_proto=6,ct_tp_dst=80",
        "ct-flush br0 ct_nw_proto=17,ct_tp_dst=4000 ct_tp_dst=2001",
        "ct-flush br0 zone=9 ct_nw_src=10.1.1.1,ct_nw_dst=10.1.1.99,ct_nw_proto=6,ct_tp_src=1004,ct_tp_dst=80",
    ],
)
def test_controllers_flush_the_same_ones(busy: Pair, command: str) -> None:
    before = assert_same(busy, "dpctl/dump-conntrack")
    for run in (busy.host.check, busy.peer.run):
        run("ovs-ofctl", *command.split())
        run("ovs-ofctl", "show", "br0")
    assert len(assert_same(busy, "dpctl/dump-conntrack")) < len(before)


def test_part_of_an_ipv6_tuple_flushes_what_has_it(busy: Pair) -> None:
    """Not asked of the peer: its daemon of 3.1 ends by an assertion."""
    busy.host.appctl("dpctl/flush-conntrack", "ct_ipv6_src=fc00::1,ct_nw_proto=17")
    left = busy.host.appctl("dpctl/dump-conntrack", "zone=6").splitlines()
    assert sorted(line.split(",")[0] for line in left) == ["icmpv6", "tcp"]


def test_a_flushed_connection_begins_anew(busy: Pair) -> None:
    assert_same(busy, "dpctl/flush-conntrack")
    assert assert_same(busy, "dpctl/ct-get-nconns") == ["0"]
    busy.send("a", udp(_A, 2000, _B, 4000))
    assert len(assert_same(busy, "dpctl/dump-conntrack")) == 1


def test_what_becomes_of_fragments_is_set_and_told_in_the_peers_words(pair: Pair) -> None:
    for command in (
        ("ipf-set-disabled", "v4"),
        ("ipf-set-enabled", "v4"),
        ("ipf-set-min-frag", "v6", "1300"),
        ("ipf-set-min-frag", "v6", "300"),
        ("ipf-set-min-frag", "v6", "x"),
        ("ipf-set-enabled", "zz"),
        ("ipf-set-max-nfrags", "x"),
        ("ipf-set-max-nfrags", "50001"),
        ("ipf-set-max-nfrags", "700"),
    ):
        assert_same(pair, f"dpctl/{command[0]}", *command[1:])
    theirs, ours = pair.ask("dpctl/ipf-get-status", "-m")
    assert "        Fragment Lists:" in ours
    assert [line.partition(":")[0] for line in ours] == [line.partition(":")[0] for line in theirs]
    assert any("min v6 frag size: 1300" in line for line in ours)
    assert any("max num frags (v4/v6): 700" in line for line in ours)
    pair.host.appctl("dpctl/ipf-set-max-nfrags", "50000")
    pair.host.appctl("dpctl/ipf-set-min-frag", "v6", "0")
    assert "min v6 frag size: 0" in pair.host.appctl("dpctl/ipf-get-status")


@pytest.fixture
def balanced(pair: Pair) -> Iterator[Pair]:
    """With a group whose bucket translates, as load balancers have it, and nothing else."""
    group = "group_id=1,type=select,bucket=bucket_id:0,weight:100,actions="
    group += "ct(commit,table=1,zone=4,nat(dst=10.1.1.77:4000),exec(set_field:7->ct_mark,set_field:3->ct_label))"
    flows = (
        "table=0,priority=50,in_port={a},udp,tp_dst=9,actions=group:1",
        "table=0,priority=50,in_port={b},udp,tp_src=4000,actions=ct(table=1,zone=4,nat)",
        "table=1,ct_state=+new+trk,ct_mark=7,actions=output:{b}",
        "table=1,ct_state=+est+trk,ct_label=3/0xf,actions=output:{a}",
    )
    for run in (pair.host.check, pair.peer.run):
        run("ovs-appctl", "dpctl/flush-conntrack")
        run("ovs-ofctl", "-OOpenFlow15", "add-group", "br0", group)
        for flow in flows:
            run("ovs-ofctl", "-OOpenFlow13", "add-flow", "br0", flow.format(a="va", b="vb"))
    yield pair
    for run in (pair.host.check, pair.peer.run):
        run("ovs-ofctl", "-OOpenFlow13", "del-groups", "br0")
        run("ovs-ofctl", "-OOpenFlow13", "del-flows", "br0", "table=1")
        run("ovs-ofctl", "-OOpenFlow13", "del-flows", "br0", "udp,in_port=vb,tp_src=4000")


def test_a_bucket_that_only_translates_begins_the_same_connections(balanced: Pair) -> None:
    balanced.send("a", udp(_A, 1000, _B, 9), udp(_A, 1001, _B, 9))
    balanced.send("b", udp("10.1.1.77", 4000, _A, 1000))
    lines = assert_same(balanced, "dpctl/dump-conntrack")
    assert len(lines) == 2
    assert all("dst=10.1.1.2," in line and "src=10.1.1.77," in line for line in lines)


def test_a_ct_in_the_action_set_is_run_at_its_end(pair: Pair) -> None:
    try:
        for run in (pair.host.check, pair.peer.run):
            run("ovs-appctl", "dpctl/flush-conntrack")
            for flow in (
                "priority=50,in_port=va,udp,tp_dst=7,actions=write_actions(ct(commit,zone=5,nat(dst=10.1.1.9))),"
                "goto_table:1",
                "table=1,udp,actions=write_actions(ct(commit,zone=NXM_NX_REG0[0..15]),set_field:8->reg0)",
                "priority=50,in_port=va,udp,tp_dst=8,actions=write_actions(ct(commit,zone=6),output:vb)",
            ):
                run("ovs-ofctl", "-OOpenFlow13", "add-flow", "br0", flow)
        pair.send("a", udp(_A, 1000, _B, 7), udp(_A, 1000, _B, 8))
        lines: list[str] = []
        assert until(lambda: lines.extend(pair.ask("dpctl/dump-conntrack")[1]) or lines)
        assert_same(pair, "dpctl/dump-conntrack")
        assert len(lines) == 1 and lines[0].endswith(",zone=8")
    finally:
        for run in (pair.host.check, pair.peer.run):
            run("ovs-ofctl", "-OOpenFlow13", "del-flows", "br0", "table=1")
            for port in (7, 8):
                run("ovs-ofctl", "del-flows", "br0", f"udp,in_port=va,tp_dst={port}")


def test_cached_paths_tell_of_tracking_in_the_peers_words(balanced: Pair) -> None:
    told: list[list[dict[bool, set[str]]]] = []

    def alike() -> bool:
        balanced.send("a", udp(_A, 1000, _B, 9))
        told.append([_of_tracking(lines) for lines in balanced.ask("dpctl/dump-flows", "--names")])
        return told[-1][0] == told[-1][1]

    assert until(alike), told[-1]
    translates = "ct(commit,zone=4,mark=0x7/0xffffffff,label=0x3,nat(dst=10.1.1.77:4000)),recirc"
    assert told[-1][1] == {False: {translates}, True: {"vb"}}
    paths = balanced.host.appctl("dpctl/dump-flows")
    assert re.search(r"ct_state\(\+new-est\+trk\),ct_mark\(0x7\),.*,recirc_id\(0x2\)", paths)


@pytest.fixture
def recirculated(pair: Pair) -> Iterator[list[str]]:
    """The flow of a copy that went on with what it had: in the peer, and here."""
    flows = (
        "table=0,priority=60,in_port=va,udp,tp_dst=11,"
        "actions=set_field:5->reg1,set_field:3->metadata,ct(table=1,zone=4)",
        "table=1,priority=9,udp,reg1=5,ct_state=+new+trk,actions=set_field:6->reg2,output:vb",
    )
    for run in (pair.host.check, pair.peer.run):
        run("ovs-appctl", "dpctl/flush-conntrack")
        for flow in flows:
            run("ovs-ofctl", "-OOpenFlow13", "add-flow", "br0", flow)
    found: list[list[str]] = []

    def cached() -> bool:
        pair.send("a", udp(_A, 1000, _B, 11))
        found.clear()
        for lines in pair.ask("dpctl/dump-flows", "-m", "--names"):
            lines = [line.partition(", packets:")[0] for line in lines if "dst=11" in line]
            found.append([line for line in lines if "recirc_id(0)" not in line])
        return all(len(lines) == 1 for lines in found)

    assert until(cached), found
    yield [lines[0] for lines in found]
    for run in (pair.host.check, pair.peer.run):
        run("ovs-ofctl", "-OOpenFlow13", "del-flows", "br0", "table=1")
        run("ovs-ofctl", "-OOpenFlow13", "del-flows", "br0", "udp,in_port=va,tp_dst=11")


def test_a_path_behind_a_ct_is_traced_from_where_it_went_on(
    pair: Pair, recirculated: list[str]
) -> None:
    told = []
    for cached, run in zip(recirculated, (pair.peer.run, pair.host.check), strict=True):
        number = re.findall(r"recirc_id\((0x\w+)\)", cached)[0]
        text = run("ovs-appctl", "ofproto/trace", _RECIRCULATED.format(number))
        # Numbers of ports, and what is looked at, are each one's own.
        text = re.sub(rf"(recirc_id=){number}|(in_port=|output:)\d", r"\1\2#", text)
        told.append([s for s in text.splitlines() if not s.startswith(("Megaflow", "Datapath"))])
    assert told[1] == told[0]
    assert " 1. ct_state=+new+trk,udp,reg1=0x5, priority 9" in told[1]
    assert pair.host.appctl("ofproto/trace", recirculated[1]).startswith("Flow: recirc_id=0x2,ct_state=")
    assert_same(pair, "ofproto/trace", _RECIRCULATED.format("0x9b"))


@pytest.mark.parametrize(
    "flow",
    [
        "recirc_id=0x9b,in_port=va,udp,udp_dst=11",
        "recirc_id=155,ct_state=trk|new,ct_zone=4,ipv6,in_port=va,reg1=5",
        "recirc_id=155,in_port=va,arp",
        "recirc_id=155,in_port=va",
        "recirc_id=4294967296,in_port=va,udp",
    ],
)
def test_a_packet_that_goes_on_from_nowhere_is_dropped_in_the_trace(pair: Pair, flow: str) -> None:
    assert_same(pair, "ofproto/trace", "--names", "br0", flow)
    assert_same(pair, "ofproto/trace-packet-out", "--names", "br0", flow, "resubmit(,0)")


def test_a_packet_that_goes_on_takes_no_actions_of_a_packet_out(
    pair: Pair, recirculated: list[str]
) -> None:
    told = []
    for cached, run in zip(recirculated, (pair.peer.run, pair.host.check), strict=True):
        number = re.findall(r"recirc_id\((0x\w+)\)", cached)[0]
        flow = f"recirc_id={number},in_port=va,udp,nw_src=10.1.1.1,nw_dst=10.1.1.2,udp_dst=11"
        command = ("ovs-appctl", "ofproto/trace-packet-out", "--names", "br0", flow, "resubmit(,0)")
        told.append(run(*command).replace(f"recirc_id={number}", "recirc_id=#"))
    assert told[1] == told[0]


_RECIRCULATED = (
    "ct_state(0x21),recirc_id({}),in_port(va),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),"
    "eth_type(0x0800),ipv4(src=10.1.1.1,dst=10.1.1.2,proto=17,tos=0,ttl=64,frag=no),udp(src=1000,dst=11)"
)


def _of_tracking(lines: list[str]) -> dict[bool, set[str]]:
    """Actions of those that track, and of copies that were tracked."""
    found: dict[bool, set[str]] = {False: set(), True: set()}
    for line in lines:
        actions = re.sub(r"recirc\(0x\w+\)", "recirc", line.partition("actions:")[2])
        if "+trk" in line or actions.startswith("ct("):
            found["+trk" in line].add(actions)
    return found
