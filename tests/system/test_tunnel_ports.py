"""Tunnel ports through real tools: flows that choose tunnels, Geneve's options, groups, and an
underlay that changes; Open vSwitch or the kernel's VXLAN device at the other end."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.system.tunnel_world import (
    OUR_INNER,
    OUR_IP,
    PEER_INNER,
    PEER_IP,
    OvsPeer,
    Peer,
    add_tunnel,
    captured,
    inner_ping,
    run,
    settle,
)
from tests.system.world import Host, datapath_runs_at, until

TLV_MAP = "{class=0xffff,type=0x80,len=4}->tun_metadata0,{class=0x102,type=1,len=8}->tun_metadata5"


@pytest.fixture
def host(shared_host: Host) -> Iterator[Host]:
    """The daemon, with a bridge br0 and an instance `a` on it."""
    shared_host.vsctl("add-br", "br0")
    shared_host.netns("a", f"{OUR_INNER}/24", "br0", tag="0")
    shared_host.vsctl("clear", "port", "va", "tag")
    shared_host.check("ip", "-n", "a", "link", "set", "eth0", "mtu", "1400")
    yield shared_host
    shared_host.vsctl("del-br", "br0")
    shared_host.forget("a")


@pytest.fixture
def peer(shared_host: Host) -> Iterator[Peer]:
    """A machine with the kernel's tunnels."""
    it = Peer()
    yield it
    it.end()


@pytest.fixture
def ovs(shared_host: Host) -> Iterator[OvsPeer]:
    """A machine with Open vSwitch."""
    it = OvsPeer("ovspeer")
    yield it
    it.end()


def eventually(check: Callable[[], bool]) -> bool:
    """Whether something comes true in time."""
    return until(check)



def packets(host: Host, flow: str) -> int:
    """What the flow that begins like this has counted."""
    for line in host.ofctl("dump-flows", "br0").splitlines():
        if flow in line:
            found = re.search(r"n_packets=(\d+)", line)
            return int(found[1]) if found else 0
    raise AssertionError(f"there is no flow {flow}")


# -- flows that choose the tunnel --------------------------------------------------------------------


def test_flows_choose_remote_key_and_options_and_match_them(host: Host, ovs: OvsPeer) -> None:
    add_tunnel(host, "br0", "t", "geneve", "remote_ip=flow", "local_ip=flow", "key=flow")
    ovs.tunnel_bridge("geneve", "remote_ip=flow", "key=flow")
    host.ofctl("add-tlv-map", "br0", TLV_MAP)
    ovs.ofctl("add-tlv-map", "br0", TLV_MAP)
    set_options = "set_field:0x1234->tun_metadata0,set_field:0x1122334455667788->tun_metadata5"
    host.ofctl("del-flows", "br0")
    ours = f"set_field:{PEER_IP}->tun_dst,set_field:{OUR_IP}->tun_src,{set_options}"
    host.ofctl("add-flow", "br0", f"in_port=va,actions=set_field:0x99->tun_id,{ours},output:t")
    matched = f"tun_id=0x99,tun_src={PEER_IP},tun_dst={OUR_IP},tun_metadata0=0x1234"
    host.ofctl("add-flow", "br0", f"priority=40000,in_port=t,{matched},"
               "tun_metadata5=0x1122334400000000/0xffffffff00000000,actions=va")  # fmt: skip
    host.ofctl("add-flow", "br0", "priority=30000,in_port=t,tun_metadata0,actions=drop")
    host.ofctl("add-flow", "br0", "priority=20000,in_port=t,actions=va")
    ovs.ofctl("del-flows", "br0")
    there = f"set_field:0x99->tun_id,set_field:{OUR_IP}->tun_dst"
    ovs.ofctl("add-flow", "br0", "priority=9,in_port=tun0,tun_id=0x99,tun_metadata0=0x1234,"
              "tun_metadata5=0x1122334455667788,actions=LOCAL")  # fmt: skip
    ovs.ofctl("add-flow", "br0", f"in_port=LOCAL,actions={there},{set_options},output:tun0")
    settle(host)
    assert inner_ping(host, "a", PEER_INNER) == 3
    assert packets(host, "priority=40000") >= 3
    # Without options, and with another value: the rules tell them apart.
    ovs.ofctl("add-flow", "br0", f"in_port=LOCAL,actions={there},output:tun0")
    assert inner_ping(host, "a", PEER_INNER) == 3
    assert packets(host, "priority=20000") >= 3
    other = "set_field:0x4321->tun_metadata0"
    ovs.ofctl("add-flow", "br0", f"in_port=LOCAL,actions={there},{other},output:tun0")
    assert inner_ping(host, "a", PEER_INNER) == 0
    # ping has not waited for what came of its requests.
    assert eventually(lambda: packets(host, "priority=30000") >= 3)


def test_controllers_see_the_tunnel_and_send_into_it(host: Host, peer: Peer) -> None:
    peer.ip("link", "add", "vx0", "type", "vxlan", "id", "9", "remote", OUR_IP, "dstport", "4789")
    peer.ip("link", "set", "vx0", "up")
    peer.addresses("vx0", f"{PEER_INNER}/24")
    add_tunnel(host, "br0", "t", "vxlan", "remote_ip=flow", "key=flow")
    host.ofctl("del-flows", "br0")
    host.ofctl("add-flow", "br0", "in_port=t,arp,actions=controller")
    seen = host.rundir / "monitor"
    monitor = subprocess.Popen(
        ["ovs-ofctl", "monitor", "br0", "65534", "-P", "nxt_packet_in"],
        env=host.environment, stdout=seen.open("w"), stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        # A question for the peer's address: the answer comes back through the tunnel.
        frame = (
            "ffffffffffff0200000000090806" "0001080006040001" "0200000000090a000009"
            "0000000000000a000002" + "00" * 18
        )

        def answered() -> bool:
            """Once the monitor listens."""
            host.ofctl("packet-out", "br0", f"in_port=controller packet={frame} "
                       f"actions=set_field:9->tun_id,set_field:{PEER_IP}->tun_dst,output:t")  # fmt: skip
            return "arp_op=2" in seen.read_text()

        wanted = f"tun_id=0x9,tun_src={PEER_IP},tun_dst={OUR_IP}"
        assert eventually(answered), seen.read_text()
        assert wanted in seen.read_text()
    finally:
        monitor.terminate()
        monitor.wait(60)


# -- an OpenStack node -------------------------------------------------------------------------------


def _tunnel_bridge_flows(vni: int, vlan: int) -> list[str]:
    """br-tun as Neutron's agent fills it, with one network."""
    broadcast = f"strip_vlan,load:{vni:#x}->NXM_NX_TUN_ID[],output:t"
    learn = (
        "learn(table=20,hard_timeout=300,priority=1,NXM_OF_VLAN_TCI[0..11],"
        "NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:0->NXM_OF_VLAN_TCI[],"
        "load:NXM_NX_TUN_ID[]->NXM_NX_TUN_ID[],output:NXM_OF_IN_PORT[])"
    )
    return [
        "table=0,priority=1,in_port=patch-int,actions=resubmit(,2)",
        "table=0,priority=1,in_port=t,actions=resubmit(,4)",
        "table=0,priority=0,actions=drop",
        "table=2,priority=1,arp,dl_dst=ff:ff:ff:ff:ff:ff,actions=resubmit(,21)",
        "table=2,priority=0,dl_dst=00:00:00:00:00:00/01:00:00:00:00:00,actions=resubmit(,20)",
        "table=2,priority=0,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,actions=resubmit(,22)",
        f"table=4,priority=1,tun_id={vni:#x},actions=mod_vlan_vid:{vlan},resubmit(,10)",
        "table=4,priority=0,actions=drop",
        f"table=10,priority=1,actions={learn},output:patch-int",
        "table=20,priority=0,actions=resubmit(,22)",
        "table=21,priority=0,actions=resubmit(,22)",
        f"table=22,priority=1,dl_vlan={vlan},actions={broadcast}",
        "table=22,priority=0,actions=drop",
    ]


@pytest.fixture
def node(host: Host) -> Iterator[Host]:
    """br-int is br0, whose instance is in VLAN 1; br-tun has the tunnel `t`."""
    host.vsctl("set", "port", "va", "tag=1")
    for bridge, port, other in (("br0", "patch-tun", "patch-int"), ("br-tun", "patch-int", "patch-tun")):
        host.vsctl("--may-exist", "add-br", bridge, "--", "add-port", bridge, port, "--", "set",
                   "interface", port, "type=patch", f"options:peer={other}")  # fmt: skip
    yield host
    host.vsctl("del-br", "br-tun")


def test_an_openstack_node_learns_tunnels_and_answers_for_others(node: Host, ovs: OvsPeer) -> None:
    add_tunnel(node, "br-tun", "t", "vxlan", f"remote_ip={PEER_IP}", f"local_ip={OUR_IP}",
               "in_key=flow", "out_key=flow", "df_default=true")  # fmt: skip
    node.ofctl("del-flows", "br-tun")
    flows = _tunnel_bridge_flows(5001, 1)
    node.ofctl("add-flows", "br-tun", "-", stdin="\n".join(flows))
    ovs.tunnel_bridge("vxlan", f"remote_ip={OUR_IP}", "key=5001")
    settle(node)
    assert inner_ping(node, "a", PEER_INNER) == 3
    peer_mac = ovs.attempt("cat", "/sys/class/net/br0/address").stdout.strip()
    learned: list[str] = []

    def has_learned() -> bool:
        learned.append(node.ofctl("dump-flows", "br-tun", "table=20"))
        return f"vlan_tci=0x0001/0x0fff,dl_dst={peer_mac}" in learned[-1]

    assert eventually(has_learned), learned[-1]
    assert "load:0x1389->NXM_NX_TUN_ID[]" in learned[-1]
    # ARP for an address that is nowhere: answered here, never sent.
    mac = "fa:16:3e:00:00:77"
    ours = mac.replace(":", "")
    responder = (
        "table=21,priority=1,arp,dl_vlan=1,arp_tpa=10.0.0.77,actions="
        "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],"
        f"mod_dl_src:{mac},load:0x2->NXM_OF_ARP_OP[],"
        "move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[],"
        f"load:0x{ours}->NXM_NX_ARP_SHA[],load:0x0a00004d->NXM_OF_ARP_SPA[],in_port"
    )
    node.ofctl("add-flow", "br-tun", responder)
    assert eventually(lambda: inner_ping(node, "a", "10.0.0.77", 1) == 0
                      and mac in node.check("ip", "-n", "a", "neigh", "show", "10.0.0.77"))  # fmt: skip
    # L2 population: a static entry in front of what is learned.
    populated = (
        f"table=20,priority=2,dl_vlan=1,dl_dst={peer_mac},"
        "actions=strip_vlan,load:0x1389->NXM_NX_TUN_ID[],output:t"
    )
    node.ofctl("add-flow", "br-tun", populated)
    assert inner_ping(node, "a", PEER_INNER) == 3
    static = node.ofctl("dump-flows", "br-tun", f"table=20,dl_vlan=1,dl_dst={peer_mac}")
    assert re.search(r"n_packets=[3-9].*priority=2", static), static


def test_another_network_does_not_come_through(node: Host, ovs: OvsPeer) -> None:
    add_tunnel(node, "br-tun", "t", "vxlan", f"remote_ip={PEER_IP}", "key=flow")
    node.ofctl("del-flows", "br-tun")
    node.ofctl("add-flows", "br-tun", "-", stdin="\n".join(_tunnel_bridge_flows(5001, 1)))
    ovs.tunnel_bridge("vxlan", f"remote_ip={OUR_IP}", "key=5002")
    assert inner_ping(node, "a", PEER_INNER, 2) == 0


# -- groups ------------------------------------------------------------------------------------------


def test_a_multicast_group_carries_a_network(host: Host, peer: Peer) -> None:
    peer.ip("link", "add", "vx0", "type", "vxlan", "id", "42", "group", "239.1.2.3", "dstport", "4789",
            "dev", "eth0")  # fmt: skip
    peer.ip("link", "set", "vx0", "mtu", "1400", "up")
    peer.addresses("vx0", f"{PEER_INNER}/24")
    run("ip", "route", "add", "239.0.0.0/8", "dev", "up0")
    add_tunnel(host, "br0", "t", "vxlan", "remote_ip=239.1.2.3", f"local_ip={OUR_IP}", "key=42")
    assert "239.1.2.3" in run("ip", "maddr", "show", "dev", "up0")
    settle(host)
    # Longer than the second after which a neighbour is asked for again.
    assert inner_ping(host, "a", PEER_INNER, 15) == 15
    assert peer.ping(OUR_INNER) == 3
    host.vsctl("del-port", "t")
    assert "239.1.2.3" not in run("ip", "maddr", "show", "dev", "up0")


def test_each_network_has_a_group_of_its_own(host: Host, peer: Peer) -> None:
    """Joined by IGMP and MLD where the tunnel is added, and left with it; no copy goes to the other."""
    for vni, group in ((43, "239.1.2.43"), (44, "239.1.2.44")):
        peer.ip("link", "add", f"vx{vni}", "type", "vxlan", "id", str(vni), "group", group,
                "dstport", "4789", "dev", "eth0")  # fmt: skip
        peer.ip("link", "set", f"vx{vni}", "mtu", "1400", "up")
        peer.addresses(f"vx{vni}", f"10.0.{vni}.2/24")
        host.check("ip", "-n", "a", "addr", "add", f"10.0.{vni}.1/24", "dev", "eth0")
    run("ip", "route", "add", "239.1.2.0/24", "dev", "up0")
    options = {"t43": ("remote_ip=239.1.2.43", "key=43"), "t44": ("remote_ip=239.1.2.44", "key=44"),
               "t6": ('remote_ip="ff15::45"', "key=45")}  # fmt: skip
    for name, chosen in options.items():
        add_tunnel(host, "br0", name, "vxlan", *chosen)
    joined = run("ip", "maddr", "show", "dev", "up0")
    assert all(group in joined for group in ("239.1.2.43", "239.1.2.44", "ff15::45")), joined
    for vni, other in ((43, 44), (44, 43)):
        host.ofctl("del-flows", "br0")
        host.ofctl("add-flows", "br0", "-", stdin=f"in_port=va,actions=t{vni}\nin_port=t{vni},actions=va\n")
        host.check("ip", "-n", "a", "neigh", "flush", "all")
        with captured() as capture:
            assert eventually(lambda to=f"10.0.{vni}.2": inner_ping(host, "a", to, 1) == 1)
            assert inner_ping(host, "a", f"10.0.{vni}.2") == 3
        ours = f"ip.src == {OUR_IP} && ip.dst == 239.1.2"
        assert capture.fields(f"{ours}.{vni} && vxlan.vni == {vni}", "frame.number")
        assert not capture.fields(f"{ours}.{other}", "frame.number")
    host.vsctl("del-port", "t43")
    left = run("ip", "maddr", "show", "dev", "up0")
    assert "239.1.2.43" not in left and "239.1.2.44" in left, left


# -- an underlay that changes ------------------------------------------------------------------------


def _status(host: Host) -> str:
    return host.vsctl("get", "interface", "t", "status")


def test_addresses_and_devices_are_followed_while_running(host: Host, peer: Peer) -> None:
    peer.ip("link", "add", "vx0", "type", "vxlan", "id", "9", "remote", OUR_IP, "dstport", "4789")
    peer.ip("link", "set", "vx0", "mtu", "1400", "up")
    peer.addresses("vx0", f"{PEER_INNER}/24")
    run("ip", "addr", "del", f"{OUR_IP}/24", "dev", "up0")
    add_tunnel(host, "br0", "t", "vxlan", f"remote_ip={PEER_IP}", "key=9")
    assert inner_ping(host, "a", PEER_INNER, 1) == 0
    assert "tunnel_egress_iface" not in _status(host)
    run("ip", "addr", "add", f"{OUR_IP}/24", "dev", "up0")
    assert eventually(lambda: "tunnel_egress_iface=up0" in _status(host))
    settle(host)
    assert inner_ping(host, "a", PEER_INNER) == 3
    assert 'tunnel_mtu="1450"' in _status(host)
    run("ip", "link", "set", "up0", "mtu", "1420")
    assert eventually(lambda: 'tunnel_mtu="1370"' in _status(host))
    run("ip", "link", "set", "up0", "mtu", "1500")
    peer.ip("link", "set", "eth0", "down")
    assert eventually(lambda: "tunnel_egress_iface_carrier=down" in _status(host))
    peer.ip("link", "set", "eth0", "up")
    assert eventually(lambda: "tunnel_egress_iface_carrier=up" in _status(host))
    assert eventually(lambda: inner_ping(host, "a", PEER_INNER, 1) == 1)


def test_other_packets_of_the_uplink_are_left_alone(host: Host, peer: Peer) -> None:
    add_tunnel(host, "br0", "t", "vxlan", f"remote_ip={PEER_IP}", "key=9")
    assert peer.ping(OUR_IP) == 3
    assert peer.ping("2001:db8::1") == 3
    host.vsctl("del-port", "t")
    assert not datapath_runs_at("up0")


def test_options_change_while_packets_flow(host: Host, ovs: OvsPeer) -> None:
    ovs.tunnel_bridge("vxlan", f"remote_ip={OUR_IP}", "key=7")
    add_tunnel(host, "br0", "t", "vxlan", f"remote_ip={PEER_IP}", "key=5")
    assert inner_ping(host, "a", PEER_INNER, 1) == 0
    host.vsctl("set", "interface", "t", "options:key=7")
    assert eventually(lambda: inner_ping(host, "a", PEER_INNER, 1) == 1)
    assert inner_ping(host, "a", PEER_INNER) == 3
    host.vsctl("set", "interface", "t", "type=geneve")
    ovs.vsctl("set", "interface", "tun0", "type=geneve")
    assert eventually(lambda: inner_ping(host, "a", PEER_INNER, 1) == 1)


def test_the_route_of_a_tunnel_is_in_its_trace(host: Host, peer: Peer) -> None:
    add_tunnel(host, "br0", "t", "vxlan", f"remote_ip={PEER_IP}", "key=5")
    peer.ping(OUR_IP, 1)
    assert eventually(lambda: PEER_IP in host.appctl("tnl/neigh/show"))
    text = host.appctl("ofproto/trace", "br0", "in_port=va,dl_src=02:00:00:00:00:01")
    assert f"tunneling to {PEER_IP} via up0" in text
    assert re.search(rf"tunneling from \S+ {OUR_IP} to \S+ {PEER_IP}", text), text
    assert f"set(tunnel(tun_id=0x5,dst={PEER_IP},ttl=64,tp_dst=4789,flags(df|key)))" in text
    shown = host.appctl("dpif/show")
    assert f"(vxlan: key=5, remote_ip={PEER_IP})" in shown
    assert host.appctl("ovs/route/lookup", PEER_IP) == f"src {OUR_IP}\ngateway ::\ndev up0\n"
    assert "vxlan_sys_4789" in host.appctl("tnl/ports/show")
