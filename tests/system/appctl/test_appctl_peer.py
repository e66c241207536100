"""Commands of ovs-appctl say what Open vSwitch says."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.property.peer import Peer
from tests.system.appctl.world import World

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
    "table=0,priority=40,in_port=va,tcp,tcp_dst=1 actions=ct(commit,nat(src=10.9.9.1-10.9.9.9:500-600),"
    "table=5),output:vb,set_field:44->tcp_dst,output:vb",
    "table=0,priority=40,in_port=va,tcp,tcp_dst=2 actions=set_field:0x70009->reg1,ct(commit,force,"
    "zone=NXM_NX_REG1[0..15],exec(move:NXM_NX_REG1[16..31]->NXM_NX_CT_MARK[0..15],"
    "set_field:0x5/0x7->ct_label),alg=ftp,table=5),ct_clear,output:vb",
    "table=0,priority=40,in_port=va,tcp,tcp_dst=3 actions=clone(ct(commit,nat(dst=10.9.9.2:99),table=5)),"
    "output:vb,ct(table=6),ct(commit)",
    "table=5,priority=5,ct_state=+trk+new,ip actions=ct(commit),output:vb",
    "table=5,priority=5,ct_state=+trk+est,ip actions=set_field:00:00:00:00:00:09->eth_dst,output:vb",
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
    "in_port=va,tcp,tcp_dst=1",
    "in_port=va,tcp,nw_src=10.9.9.8,nw_dst=10.9.9.7,tcp_src=5,tcp_dst=1",
    "in_port=va,tcp,tcp_dst=1 --ct-next trk,est",
    "in_port=va,tcp,tcp_dst=2 --ct-next trk,est,rpl",
    "in_port=va,tcp,tcp_dst=2 --ct-next trk,new,rel",
    "in_port=va,tcp,tcp_dst=3 --ct-next trk,new --ct-next trk,inv",
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
        ["ovs-appctl", "--timeout=100", *arguments],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
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
    numbers = dict.fromkeys(re.findall(r"^recirc\((0x\w+)\)", text, re.M))
    for n, number in enumerate(numbers, 1):
        text = re.sub(rf"(recirc\(|recirc_id=){number}\b", rf"\1#{n}", text)
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
    arguments = ("ofproto/trace", "--names", "br0", *flow.split())
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
