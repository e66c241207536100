"""What ovs-appctl asks of the daemon, by the real ovs-appctl, with packets that really pass."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.property.peer import Peer
from tests.system.world import Host, Netns, pings, until

TCP = (
    "000000000002000000000001080045000028000000004006b6c90a0000010a000002000100500000000000000000"
    "500200008b4d0000"
)
"""A SYN from 10.0.0.1 port 1 to 10.0.0.2 port 80."""


_PINS = Path("/sys/fs/bpf/gossamer")


class World:
    """Two namespaces on br0, and br1 behind a patch port."""

    def __init__(self) -> None:
        self.host = Host(Path(mkdtemp(prefix="appctl", dir="/run")))
        self.host.start()
        vsctl = self.host.vsctl
        vsctl("add-br", "br0", "--", "set", "bridge", "br0", "protocols=[OpenFlow10,OpenFlow13]")
        vsctl("add-br", "br1")
        self.a = self.host.netns("a", "10.0.0.1/24", "br0")
        self.b = self.host.netns("b", "10.0.0.2/24", "br0")
        for bridge in ("br0", "br1"):
            self.host.check("sysctl", "-qw", f"net.ipv6.conf.{bridge}.disable_ipv6=1")
            self.host.check("ip", "link", "set", bridge, "up")
        for ns in (self.a, self.b):
            ns.run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1")
        self.know_each_other()
        vsctl(
            "add-port", "br0", "p0", "--", "set", "interface", "p0", "type=patch",
            "options:peer=p1", "ofport_request=9", "--",
            "add-port", "br1", "p1", "--", "set", "interface", "p1", "type=patch", "options:peer=p0",
        )  # fmt: skip

    def know_each_other(self) -> None:
        """The two need not ask for each other, so that nothing passes but what a test sends."""
        for ns, address, other in ((self.a, "10.0.0.2", self.b), (self.b, "10.0.0.1", self.a)):
            ns.run("ip", "neigh", "replace", address, "lladdr", other.mac, "dev", "eth0")

    def ping(self, count: int) -> int:
        """Answers from b to a.  All on one CPU: each keeps paths for itself, of what it sees again."""
        cpu = str(min(os.sched_getaffinity(0)))
        return pings(partial(self.a.run, "taskset", "-c", cpu), "10.0.0.2", count)

    def appctl(self, *arguments: str) -> str:
        """Output of a command that must succeed."""
        return self.host.appctl(*arguments)

    def error(self, *arguments: str) -> str:
        """What a command that must fail says, without ovs-appctl's own line."""
        done = self.host.attempt("ovs-appctl", "--timeout=30", *arguments)
        assert done.returncode == 2, done.stdout
        text, _, own = done.stderr.strip().rpartition("\n")
        assert own == "ovs-appctl: ovs-vswitchd: server returned an error"
        return text

    def flows(self, *flows: str) -> None:
        """The flows of br0, in place of those there are."""
        self.host.ofctl("-OOpenFlow13", "replace-flows", "br0", "-", stdin="\n".join(flows))

    def port(self, name: str) -> int:
        """The number of a port in the datapath."""
        found = re.search(rf"port (\d+): {name}\b", self.appctl("dpctl/show"))
        assert found is not None
        return int(found[1])


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One daemon for all tests here."""
    it = World()
    yield it
    it.host.end()


@pytest.fixture(autouse=True)
def normal(world: World) -> None:
    """Each test begins with bridges that only learn, and have learned nothing."""
    world.flows("actions=NORMAL")
    world.appctl("fdb/flush")


def eventually(condition: Callable[[], bool]) -> None:
    assert until(condition), "it did not come true in time"


# -- the socket -----------------------------------------------------------------------------------


def test_wrong_arguments_are_told_as_the_peer_tells_them(world: World) -> None:
    assert world.error("nosuch") == (
        '"nosuch" is not a valid command (use "list-commands" to see a list of valid commands)'
    )
    assert world.error("fdb/show") == '"fdb/show" command requires at least 1 arguments'
    assert world.error("ofproto/list", "x") == '"ofproto/list" command takes at most 0 arguments'
    assert world.error("fdb/show", "nope") == "no such bridge"
    assert world.error("bridge/dump-flows", "nope") == "Unknown bridge"
    assert world.error("bridge/reconnect", "nope") == "Unknown bridge"


def test_the_daemon_is_found_by_name_by_path_and_by_its_pid_file(world: World) -> None:
    version = "ovs-vswitchd (Open vSwitch) 3.1.0\n"
    socket = world.host.rundir / f"ovs-vswitchd.{world.host.pid}.ctl"
    assert world.appctl("version") == version
    for target in ("ovs-vswitchd", str(socket)):
        assert world.host.check("ovs-appctl", "-t", target, "version") == version


def test_commands_that_scripts_use_are_listed(world: World) -> None:
    shown = world.appctl("list-commands").splitlines()
    assert shown[0] == "The available commands are:"
    listed = {line.split()[0] for line in shown[1:]}
    wanted = """autoattach/status bond/list bond/show bridge/dump-flows bridge/reconnect
        coverage/read-counter coverage/show dpctl/del-flows dpctl/dump-conntrack dpctl/dump-dps
        dpctl/dump-flows dpctl/flush-conntrack dpctl/show dpif/dump-dps dpif/dump-flows dpif/show
        exit fdb/add fdb/del fdb/flush fdb/show fdb/stats-show lacp/show list-commands mdb/show
        memory/show ofproto/list ofproto/list-tunnels ofproto/trace ofproto/trace-packet-out
        qos/show qos/show-types revalidator/purge revalidator/wait rstp/show stp/show upcall/show
        version vlog/close vlog/list vlog/list-pattern vlog/reopen vlog/set"""
    assert set(wanted.split()) <= listed


# -- addresses ------------------------------------------------------------------------------------


def test_learned_addresses_are_shown_and_flushed(world: World) -> None:
    assert world.ping(1) == 1
    shown = world.appctl("fdb/show", "br0").splitlines()
    assert shown[0] == " port  VLAN  MAC                Age"
    assert {world.a.mac, world.b.mac} <= {line.split()[2] for line in shown[1:]}
    assert world.appctl("fdb/flush", "br0") == "table successfully flushed\n"
    assert world.a.mac not in world.appctl("fdb/show", "br0")


def test_a_static_address_survives_a_flush_and_leads_packets(world: World) -> None:
    mac = "02:00:00:00:00:77"
    try:
        assert world.appctl("fdb/add", "br0", "vb", "0", mac) == ""
        world.appctl("fdb/flush", "br0")
        assert re.search(rf"^ +\d+ +0  {mac}  static$", world.appctl("fdb/show", "br0"), re.M)
        assert "static MAC entries in the table : 1" in world.appctl("fdb/stats-show", "br0")
        trace = world.appctl("ofproto/trace", "br0", f"in_port=va,dl_dst={mac}")
        assert "-> forwarding to learned port" in trace
        assert trace.splitlines()[-1] == f"Datapath actions: {world.port('vb')}"
        # And so it is in the kernel: only vb gets it.
        real = world.appctl("ofproto/trace", "br0", f"in_port=va,dl_dst={mac}", "-generate")
        assert f"Kernel: {world.port('vb')} -- as the tables say" in real
    finally:
        assert world.appctl("fdb/del", "br0", "0", mac) == ""
    assert world.error("fdb/del", "br0", "0", mac) == "could not find static mac entry"
    assert mac not in world.appctl("fdb/show", "br0")


def test_a_packet_does_not_move_a_static_address(world: World) -> None:
    number = world.host.vsctl("get", "interface", "vb", "ofport")
    line = rf"^ +(\d+) +0  {world.a.mac}  static$"
    try:
        world.appctl("fdb/add", "br0", "vb", "0", world.a.mac)
        assert world.ping(1) == 0  # va speaks with that address and hears nothing
        assert re.findall(line, world.appctl("fdb/show", "br0"), re.M) == [number]
    finally:
        world.appctl("fdb/del", "br0", "0", world.a.mac)


def test_addresses_are_counted_as_they_come_and_move(world: World) -> None:
    assert world.appctl("fdb/stats-clear", "br0") == "statistics successfully cleared\n"
    assert world.ping(1) == 1
    shown = world.appctl("fdb/stats-show", "br0")
    learned = len(world.appctl("fdb/show", "br0").splitlines()) - 1
    assert f"learned MAC entries     : {learned}\n" in shown
    assert "expired MAC entries     : 0\n" in shown
    world.appctl("fdb/stats-clear")
    assert "learned MAC entries     : 0\n" in world.appctl("fdb/stats-show", "br0")


def test_addresses_that_make_no_sense_are_refused(world: World) -> None:
    assert world.error("fdb/add", "br0", "va", "0", "00:11") == "bad MAC address"
    assert world.error("fdb/add", "br0", "va", "5000", "02:00:00:00:00:01") == "bad VLAN"
    assert world.error("fdb/add", "br0", "zz", "0", "02:00:00:00:00:01") == "no such port zz"
    assert world.error("fdb/add", "zz", "va", "0", "02:00:00:00:00:01") == "no such bridge"


# -- the datapath ---------------------------------------------------------------------------------


def test_the_datapath_is_shown_with_its_ports_and_their_counters(world: World) -> None:
    world.ping(2)
    assert world.appctl("dpctl/dump-dps") == "system@ovs-system\n"
    shown = world.appctl("dpctl/show", "-s").splitlines()
    assert shown[0] == "system@ovs-system:"
    assert re.fullmatch(r"  lookups: hit:\d+ missed:\d+ lost:0", shown[1])
    assert re.fullmatch(r"  flows: \d+", shown[2])
    at = shown.index(f"  port {world.port('va')}: va")
    assert re.fullmatch(r"    RX packets:[1-9]\d* errors:\? dropped:0 overruns:\? frame:\?", shown[at + 1])
    assert any(line.endswith(": br0 (internal)") for line in shown)
    assert not any("p0" in line for line in shown), "patch ports are in no datapath"
    by_type, by_name = (
        # Without the line that counts, since something may be looked up in between.
        [line for line in world.appctl("dpctl/show", name).splitlines() if "lookups:" not in line]
        for name in ("system@ovs-system", "ovs-system")
    )
    assert by_type[1:] == by_name[1:] and by_type[0] == by_name[0] == "system@ovs-system:"
    assert world.error("dpctl/show", "nope") == (
        "ovs-vswitchd: opening datapath nope failed (No such device)"
    )


def test_cached_paths_are_dumped_with_what_they_look_at_count_and_do(world: World) -> None:
    world.flows(
        "priority=10,in_port=va,tcp,tcp_dst=80 actions=drop",
        "priority=9,in_port=va,icmp actions=dec_ttl,output:vb",
        "priority=1 actions=NORMAL",
    )
    assert world.ping(4) == 4
    va, vb = world.port("va"), world.port("vb")
    dumped = [x for x in world.appctl("dpctl/dump-flows").splitlines() if "icmp" in x or "proto=1" in x]
    ours = [line for line in dumped if f"in_port({va})" in line]
    assert len(ours) == 1
    found = re.fullmatch(
        rf"recirc_id\(0\),in_port\({va}\),eth\(\),eth_type\(0x0800\),ipv4\(proto=1,ttl=64.*?\),"
        rf".*packets:(\d+), bytes:(\d+), used:(.*)s, actions:set\(ipv4\(ttl=63\)\),{vb}",
        ours[0],
    ) or pytest.fail(ours[0])
    assert 1 <= int(found[1]) <= 4
    assert int(found[2]) == 98 * int(found[1])
    assert 0 <= float(found[3]) < 30
    named = world.appctl("dpctl/dump-flows", "--names", "filter=in_port=va,icmp")
    assert "in_port(va)" in named and named.rstrip().endswith("actions:set(ipv4(ttl=63)),vb")
    assert len(named.splitlines()) == 1, named


def test_one_bridges_paths_and_one_path_can_be_asked_for(world: World) -> None:
    world.flows("in_port=va actions=output:vb", "in_port=vb actions=output:va")
    world.ping(2)
    long = world.appctl("dpctl/dump-flows", "-m")
    ufid = re.search(r"^(ufid:[0-9a-f-]{36}), skb_priority\(0/0\),.*in_port\(va\)", long, re.M)
    assert ufid is not None
    assert ", dp:ovs, actions:vb" in long
    one = world.appctl("dpctl/get-flow", "-m", ufid[1])
    assert "in_port(va)" in one and len(one.splitlines()) == 1
    of_bridge = world.appctl("dpif/dump-flows", "-m", "br0")
    assert f"{ufid[1]} skb_priority" in of_bridge
    assert "in_port(va)" not in world.appctl("dpif/dump-flows", "-m", "br1")
    assert world.error("dpctl/get-flow", "ufid:0") == (
        "ovs-vswitchd: parsing flow ufid (Invalid argument)"
    )
    assert world.error("dpif/dump-flows", "zz") == "no such bridge"


@pytest.mark.parametrize("command", ["dpctl/del-flows", "revalidator/purge"])
def test_paths_can_be_forgotten_and_come_back(world: World, command: str) -> None:
    world.flows("in_port=va actions=output:vb", "in_port=vb actions=output:va")

    def paths() -> int:
        return world.appctl("dpctl/dump-flows", "--names").count("in_port(va)")

    assert world.ping(2) == 2
    assert paths() == 1
    assert world.appctl(command) == ""
    assert paths() == 0
    assert world.ping(2) == 2
    assert paths() == 1


def test_flow_counters_go_on_when_paths_are_forgotten(world: World) -> None:
    world.flows("in_port=va,icmp actions=output:vb", "priority=1 actions=NORMAL")
    for _ in range(3):
        assert world.ping(2) == 2
        world.appctl("dpctl/del-flows", "ovs-system")
    assert re.search(r"n_packets=6\b.*icmp", world.appctl("bridge/dump-flows", "br0"))


def test_what_the_datapath_cannot_do_is_said_with_the_reason(world: World) -> None:
    assert world.error("dpctl/cache-set-size", "ovs-system", "x", "9") == (
        "ovs-vswitchd: cache-set-size: the size of the cache is fixed (Operation not supported)"
    )
    assert "ovs-ofctl" in world.error("dpctl/add-flow", "in_port(1)", "2")
    assert "ovs-vsctl" in world.error("dpctl/add-if", "ovs-system", "eth9")
    assert world.error("dpctl/dump-flows", "-x") == "Unrecognized option -x"
    assert world.error("dpctl/dump-flows", "zz") == "ovs-vswitchd: datapath not found (Invalid argument)"
    assert world.error("dpctl/dump-flows", "type=zz") == (
        "ovs-vswitchd: Failed to parse type (zz) (Invalid argument)"
    )
    assert world.error("dpctl/dump-flows", "filter=zz=1").startswith(
        "ovs-vswitchd: Failed to parse filter (unknown field"
    )


# -- traces ---------------------------------------------------------------------------------------


def test_a_trace_reads_as_the_peers(world: World) -> None:
    world.flows(
        "table=0,priority=10,in_port=va,tcp,tcp_dst=80 actions="
        "set_field:10.0.0.9->ip_dst,push_vlan:0x8100,set_field:4106->vlan_vid,output:vb,resubmit(,1)",
        "table=1,priority=5,cookie=0x7,ip actions=dec_ttl,controller(max_len=128)",
    )
    va, vb = (world.host.vsctl("get", "interface", name, "ofport") for name in ("va", "vb"))
    zero = "00:00:00:00:00:00"
    assert world.appctl("ofproto/trace", "br0", f"in_port={va},tcp,tcp_dst=80,nw_ttl=64") == (
        f"Flow: tcp,in_port={va},vlan_tci=0x0000,dl_src={zero},dl_dst={zero},nw_src=0.0.0.0,"
        "nw_dst=0.0.0.0,nw_tos=0,nw_ecn=0,nw_ttl=64,nw_frag=no,tp_src=0,tp_dst=80,tcp_flags=0\n"
        "\n"
        'bridge("br0")\n'
        "-------------\n"
        f" 0. tcp,in_port={va},tp_dst=80, priority 10\n"
        "    set_field:10.0.0.9->ip_dst\n"
        "    push_vlan:0x8100\n"
        "    set_field:4106->vlan_vid\n"
        f"    output:{vb}\n"
        "    resubmit(,1)\n"
        " 1. ip, priority 5, cookie 0x7\n"
        "    dec_ttl\n"
        "    CONTROLLER:128\n"
        "\n"
        f"Final flow: tcp,in_port={va},dl_vlan=10,dl_vlan_pcp=0,vlan_tci1=0x0000,dl_src={zero},"
        f"dl_dst={zero},nw_src=0.0.0.0,nw_dst=10.0.0.9,nw_tos=0,nw_ecn=0,nw_ttl=63,nw_frag=no,"
        "tp_src=0,tp_dst=80,tcp_flags=0\n"
        f"Megaflow: recirc_id=0,eth,tcp,in_port={va},nw_dst=0.0.0.0,nw_ttl=64,nw_frag=no,tp_dst=80\n"
        f"Datapath actions: set(ipv4(dst=10.0.0.9)),push_vlan(vid=10,pcp=0),{world.port('vb')},"
        "set(ipv4(ttl=63)),userspace(pid=0,controller(reason=1,dont_send=1,continuation=0,"
        "recirc_id=0,rule_cookie=0x7,controller_id=0,max_len=128))\n"
    )


def test_a_trace_follows_patch_ports_with_names_of_the_bridge_it_is_in(world: World) -> None:
    world.flows("in_port=va actions=output:p0,output:vb")
    shown = world.appctl("ofproto/trace", "--names", "br0", "in_port=va,udp")
    lines = shown.splitlines()
    assert lines[0].startswith("Flow: udp,in_port=va,")
    assert '    bridge("br1")' in lines
    assert lines.index("    output:p0") < lines.index('    bridge("br1")') < lines.index("    output:vb")
    assert lines[-1] == "Datapath actions: br1,vb"


def test_a_trace_that_is_not_real_teaches_nobody(world: World) -> None:
    shown = world.appctl("ofproto/trace", "br0", "in_port=va,dl_src=02:00:00:00:00:99")
    assert "learned that" not in shown
    assert "-> no learned MAC for destination, flooding" in shown
    assert "02:00:00:00:00:99" not in world.appctl("fdb/show", "br0")


def test_a_generated_packet_runs_in_the_kernel_and_is_not_sent(world: World) -> None:
    world.flows("in_port=va,udp actions=dec_ttl,output:vb,output:p0", "priority=1 actions=drop")
    flow = "in_port=va,udp,nw_ttl=64,dl_src=02:00:00:00:00:99,dl_dst=ff:ff:ff:ff:ff:ff"
    received = "/sys/class/net/eth0/statistics/rx_packets"
    n_before = int(world.b.run("cat", received).stdout)
    shown = world.appctl("ofproto/trace", "--names", "br0", flow, "-generate")
    kernel = next(line for line in shown.splitlines() if line.startswith("Kernel: "))
    assert kernel.startswith("Kernel: vb") and kernel.endswith(" -- as the tables say")
    assert int(world.b.run("cat", received).stdout) == n_before
    # The flow was credited, and br1 learned, as from any packet.
    assert re.search(r"n_packets=1\b.*udp", world.appctl("bridge/dump-flows", "br0"))
    assert "02:00:00:00:00:99" in world.appctl("fdb/show", "br1")


def test_a_packet_in_hexadecimal_is_traced_as_it_is(world: World) -> None:
    world.flows("in_port=va,tcp,tcp_flags=+syn-ack actions=output:vb")
    shown = world.appctl("ofproto/trace", "br0", "in_port=va", TCP)
    assert "tp_src=1,tp_dst=80,tcp_flags=syn" in shown.splitlines()[0]
    vb = world.port("vb")
    assert f"Kernel: {vb} -- as the tables say\n" in shown
    assert shown.endswith(f"Datapath actions: {vb}\n")


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ("dec_ttl,push_mpls:0x8847,set_field:10->mpls_label",
         "set(ipv4(ttl=63)),push_mpls(label=10,tc=0,ttl=63,bos=1,eth_type=0x8847)"),
        ("push_vlan:0x88a8,set_field:4106->vlan_vid", "push_vlan(tpid=0x88a8,vid=10,pcp=0)"),
        ("push_vlan:0x8100,set_field:4106->vlan_vid,set_field:3->vlan_pcp", "push_vlan(vid=10,pcp=3)"),
        ("set_field:10.9.9.9->ip_dst,set_field:00:00:00:00:00:09->eth_src",
         "set(eth(src=00:00:00:00:00:09)),set(ipv4(dst=10.9.9.9))"),
    ],
    ids=["mpls", "802.1ad", "802.1Q", "addresses"],
)  # fmt: skip
def test_a_trace_the_kernel_and_its_dumped_path_say_the_same(
    world: World, actions: str, expected: str
) -> None:
    world.flows(f"in_port=va,ip actions={actions},output:vb", "priority=1 actions=NORMAL")
    vb = world.port("vb")
    shown = world.appctl("ofproto/trace", "br0", "in_port=va,udp,nw_ttl=64", "-generate")
    assert f"Kernel: {vb} -- as the tables say" in shown
    assert shown.splitlines()[-1] == f"Datapath actions: {expected},{vb}"
    assert world.ping(2) == 0  # it comes to nobody who answers
    dumped = world.appctl("dpctl/dump-flows", "filter=in_port=va,ip")
    assert dumped.rstrip().endswith(f"actions:{expected},{vb}"), dumped


def test_the_kernel_says_why_it_drops(world: World) -> None:
    world.flows("in_port=vb actions=output:va")
    shown = world.appctl("ofproto/trace", "br0", "in_port=va,udp", "-generate")
    assert "Kernel: drop (no_rule) -- as the tables say" in shown


def test_a_generated_packet_reaches_controllers_as_packet_in(world: World) -> None:
    world.flows("in_port=va,udp actions=controller")
    output = world.host.rundir / "monitor.txt"
    with output.open("w") as file:
        monitor = subprocess.Popen(
            ["ovs-ofctl", "-v", "monitor", "br0", "65534"],
            env=world.host.environment, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        eventually(lambda: "barrier reply" in output.read_text().lower().replace("_", " "))
        shown = world.appctl("ofproto/trace", "br0", "in_port=va,udp,udp_dst=53", "-generate")
        assert "Kernel: userspace(controller) -- as the tables say" in shown
        assert "dont_send=0" in shown.splitlines()[-1]
        eventually(lambda: re.search(r"PACKET_IN.*\n.*tp_dst=53", output.read_text()) is not None)
    finally:
        monitor.terminate()
        monitor.wait(timeout=60)


def test_a_datapath_flow_is_traced_where_its_port_is(world: World) -> None:
    world.flows("in_port=va,tcp,tcp_dst=80 actions=output:vb", "priority=1 actions=drop")
    flow = (
        f"in_port({world.port('va')}),eth(src=00:00:00:00:00:01,dst=00:00:00:00:00:02),"
        "eth_type(0x0800),ipv4(src=10.0.0.1,dst=10.0.0.2,proto=6,tos=0,ttl=64,frag=no),"
        "tcp(src=1,dst=80)"
    )
    expected = f"Datapath actions: {world.port('vb')}"
    for arguments in ([flow], ["ovs-system", flow], ["system", flow], [re.sub(r"in_port.\d+", "in_port(va", flow)]):
        assert world.appctl("ofproto/trace", *arguments).splitlines()[-1] == expected
    assert world.error("ofproto/trace", "br0", flow) == "Cannot find the datapath"
    assert world.error("ofproto/trace", "ovs-system", "in_port(99),eth_type(0x0800)") == (
        "no OpenFlow port for datapath port 99"
    )


def test_a_dumped_path_can_be_traced_again(world: World) -> None:
    world.flows("in_port=va,icmp actions=dec_ttl,output:vb", "priority=1 actions=NORMAL")
    world.ping(2)
    dumped = world.appctl("dpctl/dump-flows", "filter=in_port=va,icmp").splitlines()[0]
    actions = dumped.partition("actions:")[2]
    assert world.appctl("ofproto/trace", dumped).splitlines()[-1] == f"Datapath actions: {actions}"


def test_registers_of_the_flow_are_there_when_it_is_traced(world: World) -> None:
    world.flows(
        "priority=5,reg3=0x7,metadata=0x1 actions=output:vb", "priority=1 actions=output:IN_PORT"
    )
    shown = world.appctl("ofproto/trace", "br0", "in_port=va,reg3=7,metadata=1")
    assert shown.splitlines()[0].startswith("Flow: reg3=0x7,metadata=0x1,in_port=")
    assert " 0. reg3=0x7,metadata=0x1, priority 5" in shown.splitlines()
    assert shown.splitlines()[-1] == f"Datapath actions: {world.port('vb')}"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], '"ofproto/trace" command requires at least 1 arguments'),
        (["br0"], "syntax error at br0 (or the bridge name was omitted)"),
        (["zz", "in_port=1"], "zz: unknown bridge"),
        (["br0", "nosuch=1"], "Bad openflow flow syntax: nosuch=1: unknown field nosuch"),
        (["br0", "priority=5,in_port=1"],
         "Bad openflow flow syntax: priority=5,in_port=1: unknown field priority"),
        (["br0", "in_port=1,tcp_dst=5"],
         "Bad openflow flow syntax: in_port=1,tcp_dst=5: prerequisites not met for setting tcp_dst"),
        (["br0", "-x", "in_port=1"], "-x: unknown option"),
        (["br0", "in_port=1", "abc", "d"], "too many arguments"),
        (["br0", "in_port=1", "abc"], "Trailing garbage in packet data"),
        (["br0", "in_port=1", "aabb"], "Packet data too short for Ethernet"),
        (["br0", "in_port=1", "--l7"], "Missing argument for option --l7"),
        (["br0", "in_port=1", "--ct-next"], "Missing argument for option --ct-next"),
        (["br0", "in_port=1", "--ct-next", "zz"], "zz: unknown connection tracking state flag"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_traces_nobody_can_understand_are_refused_as_the_peer_does(
    world: World, arguments: list[str], error: str
) -> None:
    assert world.error("ofproto/trace", *arguments) == error


def test_a_packet_out_is_traced_by_its_actions(world: World) -> None:
    world.flows("table=1,ip actions=dec_ttl,output:va")
    va, vb = world.port("va"), world.port("vb")
    shown = world.appctl(
        "ofproto/trace-packet-out", "br0", "in_port=CONTROLLER,tcp,nw_ttl=64",
        "dec_ttl,output:vb,resubmit(,1)",
    )  # fmt: skip
    ofport = world.host.vsctl("get", "interface", "vb", "ofport")
    assert shown.splitlines()[2:7] == [
        'bridge("br0")',
        "-------------",
        "    dec_ttl",
        f"    output:{ofport}",
        "    resubmit(,1)",
    ]
    assert shown.splitlines()[-1] == (
        f"Datapath actions: set(ipv4(ttl=63)),{vb},set(ipv4(ttl=62)),{va}"
    )


def test_packet_outs_nobody_can_understand_are_refused(world: World) -> None:
    def error(*arguments: str) -> str:
        return world.error("ofproto/trace-packet-out", *arguments)

    assert error("br0", "in_port=1,tcp", "zz") == "unknown action zz"
    assert error("br0", "in_port=1", "goto_table:1") == "goto_table instruction not allowed here"
    assert error("-consistent", "br0", "in_port=1", "dec_ttl") == (
        "Bad actions: OFPBAC_MATCH_INCONSISTENT"
    )


# -- the log --------------------------------------------------------------------------------------


def test_levels_take_effect_on_the_next_line(world: World) -> None:
    log = world.host.rundir / "ovs-vswitchd.log"
    marker = log.stat().st_size
    world.appctl("vlog/set", "jsonrpc:file:dbg")
    world.appctl("ofproto/list")
    assert "ofproto/list" in log.read_text()[marker:]
    assert re.search(r"^jsonrpc +OFF +INFO +DBG$", world.appctl("vlog/list"), re.M)
    world.appctl("vlog/set", "ANY:file:info")
    marker = log.stat().st_size
    world.appctl("ofproto/list")
    assert "ofproto/list" not in log.read_text()[marker:]


def test_names_of_the_peers_modules_mean_the_part_that_does_their_work(world: World) -> None:
    world.appctl("vlog/set", "ofproto_dpif:file:dbg")
    try:
        assert re.search(r"^switch +OFF +INFO +DBG$", world.appctl("vlog/list"), re.M)
    finally:
        world.appctl("vlog/set", "switch:file:info")


def test_what_is_no_level_is_told(world: World) -> None:
    assert world.error("vlog/set", "zz:file:dbg") == 'no destination, level, or module "zz"'
    assert world.error("vlog/set", "file:syslog") == "cannot specify multiple destinations"
    assert world.error("vlog/set", "dbg:info") == "cannot specify multiple levels"
    assert world.error("vlog/set", "PATTERN:zz:x") == 'unknown destination "zz"'
    assert world.error("vlog/set", "FACILITY:zz") == "invalid facility"
    assert world.error("vlog/disable-rate-limit", "zz") == "unknown module"


def test_the_log_is_reopened_after_it_was_rotated(world: World) -> None:
    log = world.host.rundir / "ovs-vswitchd.log"
    log.rename(log.with_suffix(".old"))
    assert world.appctl("vlog/reopen") == ""
    assert log.exists()
    world.appctl("vlog/set", "jsonrpc:file:dbg")
    try:
        world.appctl("ofproto/list")
        assert "ofproto/list" in log.read_text()
        world.appctl("vlog/close")
        size = log.stat().st_size
        world.appctl("ofproto/list")
        assert log.stat().st_size == size
        world.appctl("vlog/reopen")
        world.appctl("ofproto/list")
        assert log.stat().st_size > size
    finally:
        world.appctl("vlog/set", "jsonrpc:file:info")


def test_a_pattern_shapes_the_lines(world: World) -> None:
    log = world.host.rundir / "ovs-vswitchd.log"
    before = world.appctl("vlog/list-pattern")
    was = re.search(r"^FILE +none +(.*)$", before, re.M)
    assert was is not None
    try:
        world.appctl("vlog/set", "PATTERN:file:at %c: %m")
        world.appctl("vlog/set", "jsonrpc:file:dbg")
        world.appctl("ofproto/list")
        assert re.search(r"^FILE +none +at %c: %m$", world.appctl("vlog/list-pattern"), re.M)
        assert re.search(r"^at +jsonrpc ?: ", log.read_text(), re.M)
    finally:
        world.appctl("vlog/set", "jsonrpc:file:info")
        world.appctl("vlog/set", f"PATTERN:file:{was[1]}")


# -- counters and load ----------------------------------------------------------------------------


def test_drops_are_counted_by_reason(world: World) -> None:
    world.flows("in_port=vb actions=output:va")
    before = int(world.appctl("coverage/read-counter", "drop_no_rule"))
    world.ping(1)
    assert int(world.appctl("coverage/read-counter", "drop_no_rule")) > before
    shown = world.appctl("coverage/show").splitlines()
    assert shown[0].startswith("Event coverage, avg rate over last: 5 seconds, last minute, last hour")
    assert any(re.match(r"drop_no_rule +[\d.]+/sec +[\d.]+/sec +[\d.]+/sec   total: \d+$", x) for x in shown)
    assert re.fullmatch(r"\d+ events never hit", shown[-1])
    assert world.error("coverage/read-counter", "zz") == "No such counter"


def test_load_is_shown(world: World) -> None:
    world.ping(2)
    upcall = world.appctl("upcall/show")
    found = re.search(r"flows +: \(current (\d+)\) \(avg \d+\) \(max (\d+)\) \(limit \d+\)", upcall)
    assert found is not None and 0 < int(found[1]) <= int(found[2])
    memory = dict(p.split(":") for p in re.findall(r"[\w ]+?:\d+", world.appctl("memory/show")))
    assert int(memory["maxrss"]) > 10_000
    assert int(memory[" ports"]) == 6
    assert world.appctl("revalidator/wait") == ""


def test_protocols_nobody_speaks_have_nothing_to_show(world: World) -> None:
    for command in ("stp/show", "rstp/show", "lacp/show", "bond/show", "cfm/show", "bfd/show",
                    "autoattach/status", "ofproto/list-tunnels"):  # fmt: skip
        assert world.appctl(command) == ""
    assert world.appctl("bond/list") == "bond\ttype\trecircID\tmembers\n"
    assert world.error("stp/show", "br0") == "no such stp object"
    assert world.error("rstp/show", "br0") == "No such RSTP object"
    assert world.error("mdb/show", "br0") == "multicast snooping is disabled"
    assert world.error("mdb/show", "zz") == "no such bridge"
    assert world.appctl("qos/show", "va") == "QoS not configured on va\n"
    assert world.error("qos/show-types", "zz") == "no such interface"


# -- beside Open vSwitch itself -------------------------------------------------------------------

_TABLES = (
    "table=0,priority=30,in_port=va,tcp,tcp_dst=80 actions=set_field:10.0.0.9->ip_dst,"
    "set_field:8080->tcp_dst,set_field:00:00:00:00:00:07->eth_src,push_vlan:0x8100,"
    "set_field:4106->vlan_vid,output:vb,resubmit(,1)",
    "table=1,priority=5,cookie=0x7,ip actions=dec_ttl,load:0x5->NXM_NX_REG0[],"
    "controller(max_len=128),output:vb",
    "table=0,priority=20,udp actions=output:p0,output:vb",
    "table=0,priority=20,ipv6 actions=set_field:0x12345->ipv6_label,dec_ttl,output:vb",
    "table=0,priority=20,sctp actions=set_field:99->sctp_dst,output:vb",
    "table=0,priority=20,icmp,in_port=vb actions=IN_PORT,output:va",
    "table=0,priority=15,in_port=va,dl_vlan=5 actions=pop_vlan,output:vb,goto_table:3",
    "table=3,priority=2,in_port=va actions=write_actions(output:vb),goto_table:4",
    "table=4,priority=1 actions=clear_actions",
    "table=0,priority=10,in_port=LOCAL actions=NORMAL",
    "table=0,priority=1,in_port=va,dl_type=0x1234 actions=drop",
)
_TRACES = (
    "in_port=va,tcp,tcp_dst=80,nw_ttl=64",
    "in_port=va,tcp,tcp_dst=80,nw_ttl=1",
    "in_port=va,tcp,tcp_dst=81",
    "in_port=va,udp,nw_ttl=9",
    "in_port=vb,udp6,nw_ttl=64",
    "in_port=vb,udp6,nw_ttl=0",
    "in_port=va,sctp,sctp_dst=1",
    "in_port=vb,icmp,icmp_type=8",
    "in_port=va,arp,dl_vlan=5,dl_vlan_pcp=3",
    "in_port=va,dl_type=0x1234",
    "in_port=va",
    "in_port=99",
    "arp",
)
_PACKET_OUTS = (
    ("in_port=va,tcp,nw_ttl=64", "output:vb"),
    ("in_port=va,tcp,nw_ttl=64", "dec_ttl,output:vb,resubmit(,1)"),
    ("in_port=CONTROLLER,tcp,tcp_dst=81", "output:TABLE"),
    ("in_port=va,tcp,tcp_dst=80,nw_ttl=5", "resubmit(,0)"),
    ("in_port=va,udp", "mod_nw_src:1.2.3.4,mod_dl_dst:00:00:00:00:00:05,output:vb"),
    (
        "in_port=va,ip,nw_proto=99,nw_ttl=64",
        "dec_ttl,push_mpls:0x8847,set_field:10->mpls_label,output:vb,push_mpls:0x8847,"
        "set_field:11->mpls_label,output:vb,set_field:12->mpls_label,output:vb",
    ),
    (
        "in_port=va,mpls,mpls_label=7,mpls_bos=1",
        "set_field:8->mpls_label,output:vb,pop_mpls:0x0800,set_field:00:00:00:00:00:07->eth_dst,output:vb",
    ),
    ("in_port=va,ip", "push_vlan:0x8100,mod_vlan_pcp:5,output:vb,strip_vlan,output:vb"),
)
_MISTAKES = (
    "nosuch", "fdb/show", "fdb/show zz", "fdb/stats-show zz", "fdb/flush zz", "fdb/flush a b",
    "fdb/add", "fdb/add zz va 1 00:00:00:00:00:01", "fdb/add br0 va 1 00:00",
    "fdb/del br0 1 00:00:00:00:00:01", "fdb/del br0 1 00", "ofproto/list x", "dpif/show x",
    "dpif/dump-flows", "dpif/dump-flows zz", "bridge/dump-flows", "bridge/dump-flows zz",
    "bridge/reconnect zz", "coverage/read-counter zz", "coverage/show x", "memory/show x",
    "vlog/set zz", "vlog/set file:zz", "vlog/set PATTERN:zz:x", "vlog/set PATTERN:",
    "vlog/set FACILITY:zz", "vlog/set dbg:info", "vlog/set file:console", "vlog/list x",
    "vlog/enable-rate-limit zz", "vlog/disable-rate-limit zz", "version x", "qos/show", "qos/show zz",
    "qos/show-types zz", "stp/show zz", "stp/tcn zz", "rstp/show zz", "rstp/tcn zz", "bond/show zz",
    "bond/migrate a b c", "bond/enable-member a b", "bond/disable-slave a b", "lacp/show zz",
    "lacp/show a b", "lacp/show-stats zz", "cfm/show zz", "cfm/set-fault zz", "cfm/set-fault a normal",
    "bfd/show zz", "bfd/set-forwarding a normal", "mdb/show zz", "mdb/show br0", "mdb/flush zz",
    "dpctl/dump-dps x", "dpctl/dump-flows -x", "dpctl/dump-flows zz", "dpctl/dump-flows type=zz",
    "dpctl/get-flow", "dpctl/add-flow a", "dpctl/add-dp", "dpctl/add-if a", "dpctl/del-dp",
    "dpctl/flush-conntrack a b c d e", "dpctl/flush-conntrack zone=x", "dpctl/flush-conntrack zz",
    "dpctl/flush-conntrack ct_nw_src=10.0.0", "dpctl/flush-conntrack ct_tp_src=1",
    "dpctl/flush-conntrack ct_nw_src=1.2.3.4,ct_ipv6_dst=::1", "dpctl/flush-conntrack ct_nw_src",
    "dpctl/flush-conntrack ct_nw_proto=6,icmp_id=1", "dpctl/flush-conntrack a=1,b=2",
    "dpctl/flush-conntrack ct_nw_src=1.2.3.4,ct_nw_dst=1.2.3.5,ct_nw_proto=6,ct_tp_src=1,ct_tp_dst=2",
    "dpctl/dump-conntrack zz", "dpctl/dump-conntrack -x", "dpctl/ct-stats-show zz",
    "dpctl/ct-set-maxconns", "dpctl/ct-set-maxconns many", "dpctl/ct-get-maxconns zz",
    "dpctl/ct-get-nconns zz", "dpctl/ct-set-limits", "dpctl/ct-set-limits default=x",
    "dpctl/ct-set-limits zone=1", "dpctl/ct-set-limits zone=1,limit=", "dpctl/ct-set-limits zone=1,x=2",
    "dpctl/ct-set-limits zone=70000,limit=1", "dpctl/ct-get-limits zone=x", "dpctl/ct-get-limits x=1",
    "dpctl/ct-del-limits", "dpctl/ct-del-limits x=1", "dpctl/ct-del-limits zone=x",
    "dpctl/ct-get-tcp-seq-chk zz", "dpctl/ct-bkts zz", "dpctl/ipf-set-enabled x y",
    "dpctl/ipf-set-disabled netdev@nosuch", "dpctl/ipf-set-min-frag x y", "dpctl/ipf-set-min-frag v4 x",
    "bridge/dump-flows x y", "bond/hash", "bond/hash x", "bond/hash x y", "bond/hash 00:00:00:00:00:01 1 x",
    "bond/hash a b c d", "dpif-netdev/bond-show a b", "dpif-netdev/pmd-rxq-rebalance a",
    "dpif-netdev/pmd-stats-show a b c d", "dpif-netdev/pmd-rxq-show a b c d e f",
    "ofproto/trace", "ofproto/trace br0", "ofproto/trace zz in_port=1", "ofproto/trace br0 nosuch=1",
    "ofproto/trace br0 in_port=zz", "ofproto/trace br0 priority=1,in_port=1",
    "ofproto/trace br0 in_port=1,tcp_dst=5", "ofproto/trace br0 -x in_port=1",
    "ofproto/trace br0 dl_dst=00:00:00:00:00:01/01:00:00:00:00:00",
    "ofproto/trace br0 in_port=1 zz", "ofproto/trace br0 in_port=1 aabb",
    "ofproto/trace br0 in_port=1 a b c", "ofproto/trace br0 in_port=1 --l7",
    "ofproto/trace br0 in_port=1 --l7-len 99999", "ofproto/trace br0 in_port=1 --l7 zz",
    "ofproto/trace br0 in_port=1 --ct-next", "ofproto/trace br0 in_port=1 --ct-next zz",
    "ofproto/trace br0 in_port=1 --ct-next new", "ofproto/trace br0 in_port(1),eth_type(0x0800)",
    "ofproto/trace-packet-out", "ofproto/trace-packet-out br0 in_port=1 zz",
    "ofproto/trace-packet-out br0 in_port=1 goto_table:1",
    "ofproto/trace-packet-out -consistent br0 in_port=1 dec_ttl",
)  # fmt: skip
_SAME = (
    "ofproto/list", "ofproto/list-tunnels", "bond/list", "bond/show", "stp/show", "rstp/show",
    "stp/tcn", "rstp/tcn", "lacp/show", "lacp/show-stats", "cfm/show", "bfd/show", "autoattach/status",
    "autoattach/show-isid", "autoattach/statistics", "revalidator/wait", "revalidator/purge",
    "dpctl/dump-conntrack", "dpctl/dump-conntrack -m -s zone=3", "dpctl/flush-conntrack",
    "dpctl/flush-conntrack zone=3", "dpctl/flush-conntrack ct_nw_src=1.2.3.4",
    "dpctl/flush-conntrack zone=3 ct_nw_proto=17,ct_tp_dst=53 ct_tp_dst=1",
    "dpctl/ct-stats-show", "dpctl/ct-stats-show -m zone=1", "dpctl/ct-stats-show verbose", "dpctl/ct-bkts",
    "dpctl/ct-bkts gt=3", "dpctl/ct-get-nconns", "dpctl/ct-get-limits", "dpctl/ct-get-limits zone=1,2",
    "dpctl/ct-set-limits default=9 zone=4,limit=2 zone=3,limit=8", "dpctl/ct-get-limits zone=1,4",
    "dpctl/ct-get-limits", "dpctl/ct-del-limits zone=3,9", "dpctl/ct-get-limits",
    "dpctl/ct-del-limits zone=4", "dpctl/ct-set-limits default=0", "dpctl/ct-set-maxconns 5000",
    "dpctl/ct-get-maxconns", "dpctl/ct-disable-tcp-seq-chk", "dpctl/ct-get-tcp-seq-chk",
    "dpctl/ct-enable-tcp-seq-chk", "dpctl/ct-get-tcp-seq-chk",
    "bond/hash 02:00:00:00:00:01", "bond/hash 2:a:ff:0:0:1 5", "bond/hash fe:dc:ba:98:76:54 4095 4294967295",
    "dpctl/ipf-set-enabled x v4", "dpctl/ipf-set-disabled v6", "dpctl/ipf-set-enabled v6",
    "bridge/reconnect", "bridge/reconnect br0", "fdb/flush", "fdb/flush br0", "fdb/show br1",
    "mdb/flush", "qos/show va", "version", "vlog/set", "vlog/set ofproto_dpif:file:info",
    "vlog/set ANY:file:info", "vlog/reopen", "cfm/set-fault normal", "bfd/set-forwarding normal",
)  # fmt: skip


@pytest.fixture(scope="module")
def peer(world: World) -> Iterator[Peer]:
    """Debian's ovs-vswitchd with bridges and ports of the same names."""
    with Peer(Path(mkdtemp(prefix="peer", dir="/run"))) as it:
        it.run(
            "ovs-vsctl",
            "--", "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=dummy",
            "protocols=[OpenFlow10,OpenFlow13]",
            "--", "add-br", "br1", "--", "set", "bridge", "br1", "datapath_type=dummy",
            "--", "add-port", "br0", "va", "--", "set", "interface", "va", "type=dummy",
            "--", "add-port", "br0", "vb", "--", "set", "interface", "vb", "type=dummy",
            "--", "add-port", "br0", "p0", "--", "set", "interface", "p0", "type=patch",
            "options:peer=p1", "ofport_request=9",
            "--", "add-port", "br1", "p1", "--", "set", "interface", "p1", "type=patch",
            "options:peer=p0",
        )  # fmt: skip
        for name in ("va", "vb"):
            ours = world.host.vsctl("get", "interface", name, "ofport")
            it.run("ovs-vsctl", "set", "interface", name, f"ofport_request={ours}")
        yield it


def _answer(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        ["ovs-appctl", "--timeout=30", *arguments],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("command", [*_MISTAKES, *_SAME])
def test_the_peer_answers_the_same(world: World, peer: Peer, command: str) -> None:
    assert _answer(world.host.environment, *command.split()) == _answer(
        peer.environment, *command.split()
    )


def test_all_commands_are_listed_with_the_arguments_of_the_peer(world: World, peer: Peer) -> None:
    for command in ("list-commands", "dpctl/list-commands"):
        theirs = _answer(peer.environment, command)[1].splitlines()
        ours = world.appctl(command).splitlines()
        # What we understand beyond the peer, and its commands that docs/appctl.md says are not here.
        more = {line for line in ours if re.search("gossamer/trace|flush-conntrack", line)}
        absent = (
            "dpctl/(parse|normalize)-actions|dpctl/flush-conntrack|dummy|^  time/|odp-execute/|"
            "dpif-netlink/|set-dp-features|upcall/(en|dis)able|upcall/set|-impl-|miniflow|subtable|perf-log"
        )
        assert [x for x in ours if x not in more] == [x for x in theirs if not re.search(absent, x)]


def test_the_old_names_of_members_still_work(world: World) -> None:
    assert world.error("bond/enable-slave", "a", "b") == "no such bond"


def test_each_datapath_that_is_not_there_is_told(world: World) -> None:
    assert world.error("dpctl/show", "x", "y").splitlines() == [
        f"ovs-vswitchd: opening datapath {name} failed (No such device)" for name in "xy"
    ]
    assert world.appctl("dpctl/cache-get-size").splitlines()[1:] == [
        "  caches:", "    paths-per-cpu: size:4096",
    ]  # fmt: skip


def test_there_are_no_threads_of_a_userspace_datapath(world: World) -> None:
    for command in ("pmd-stats-show", "pmd-rxq-show", "pmd-perf-show", "bond-show", "pmd-stats-clear"):
        assert world.error(f"dpif-netdev/{command}") == "please specify an existing datapath"


def _comparable(text: str) -> str:
    """Without numbers the peer makes up, the match of its cache, and labels by number."""
    text = re.sub(r"recirc_id=\d+,rule", "recirc_id=0,rule", text)
    text = re.sub(r",mpls_lse[12]=\d+", "", text)
    return re.sub(r"^Megaflow: .*\n", "", text, flags=re.M)


@pytest.fixture(scope="module")
def same_tables(peer: Peer) -> None:
    """The peer's part of the tables; ours are written for each test."""
    for flow in _TABLES:
        peer.run("ovs-ofctl", "-OOpenFlow13", "add-flow", "br0", flow)
    peer.run("ovs-ofctl", "-OOpenFlow13", "--strict", "del-flows", "br0", "priority=0")


@pytest.mark.parametrize("flow", _TRACES)
def test_the_peer_traces_the_same(
    world: World, peer: Peer, same_tables: None, flow: str
) -> None:
    world.flows(*_TABLES)
    arguments = ("ofproto/trace", "--names", "br0", flow)
    status, theirs = _answer(peer.environment, *arguments)
    assert status == 0
    assert _comparable(world.appctl(*arguments)) == _comparable(theirs)


@pytest.mark.parametrize(("flow", "actions"), _PACKET_OUTS)
def test_the_peer_traces_packet_outs_the_same(
    world: World, peer: Peer, same_tables: None, flow: str, actions: str
) -> None:
    world.flows(*_TABLES)
    ports = {"vb": world.host.vsctl("get", "interface", "vb", "ofport")}
    # Actions of a packet-out name no ports by name in the peer.
    typed = re.sub(r"output:(vb)", lambda m: f"output:{ports[m[1]]}", actions)
    arguments = ("ofproto/trace-packet-out", "--names", "br0", flow, typed)
    status, theirs = _answer(peer.environment, *arguments)
    assert status == 0, theirs
    assert _comparable(world.appctl(*arguments)) == _comparable(theirs)


@pytest.mark.parametrize("options", [("--names",), ("-m",)], ids=" ".join)
def test_the_peer_understands_the_paths_we_dump(
    world: World, peer: Peer, options: tuple[str, ...]
) -> None:
    world.flows(
        "priority=9,in_port=va,ip,nw_src=10.0.0.0/24,nw_frag=no actions=dec_ttl,output:vb",
        "priority=9,in_port=va,arp,arp_op=1 actions=output:vb",
        "priority=1 actions=NORMAL",
    )
    world.appctl("dpctl/del-flows")
    # A path is kept from a flow's second packet on, and a neighbour is asked for once it is forgotten.
    for _ in range(2):
        world.a.run("ip", "neigh", "del", "10.0.0.2", "dev", "eth0")
        assert world.ping(1) == 1
    world.know_each_other()
    dumped = world.appctl("dpctl/dump-flows", *options, "filter=in_port=va").splitlines()
    assert {"eth_type(0x0800)", "eth_type(0x0806)"} <= set(re.findall(r"eth_type\(\w+\)", str(dumped)))
    for line in dumped:
        match = re.sub(r"^ufid:[0-9a-f-]+, |, packets:.*$", "", line)
        status, told = _answer(peer.environment, "ofproto/trace", "--names", "ovs-dummy", match)
        assert status == 0, told
        assert ",in_port=va," in told.splitlines()[0]


# -- the end --------------------------------------------------------------------------------------


@pytest.fixture
def other(world: World) -> Iterator[tuple[Host, Netns, Netns]]:
    """Another daemon beside it, with two namespaces on brx."""
    host = Host(Path(mkdtemp(prefix="exit", dir="/run")))
    host.start()
    host.vsctl("add-br", "brx")
    yield host, host.netns("c", "10.0.1.1/24", "brx"), host.netns("d", "10.0.1.2/24", "brx")
    host.end()


def test_exit_with_cleanup_is_answered_when_nothing_is_left(
    other: tuple[Host, Netns, Netns],
) -> None:
    host, c, _ = other
    pinned = len(list(_PINS.iterdir()))
    attached = ("tc", "filter", "show", "dev", c.device, "ingress")
    assert "bpf" in host.check(*attached)
    host.appctl("exit", "--cleanup")
    assert host.attempt("ip", "link", "show", "brx").returncode != 0
    assert "bpf" not in host.check(*attached)
    assert len(list(_PINS.iterdir())) == pinned - 1


def test_exit_leaves_the_datapath_forwarding(other: tuple[Host, Netns, Netns]) -> None:
    host, c, _ = other
    assert c.ping("10.0.1.2", 1) == 1
    host.appctl("exit")
    eventually(lambda: not (host.rundir / "ovs-vswitchd.pid").exists())
    assert c.ping("10.0.1.2", 2) == 2
    host.start()
