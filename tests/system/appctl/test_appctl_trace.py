"""Traces: as the peer writes them, and as the kernel does what they say."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.system.appctl.world import TCP, World, eventually


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
