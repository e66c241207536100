"""The flows of a host's bridges: br-int, br-tun and those to physical networks, as a node of OpenStack has them.

br-tun's tables, numbered as there:

====  ==============================================================================
0     from br-int to 2, from a tunnel to the table of its kind, all else is dropped
2     from br-int: one receiver's frames to 20, ARP requests and neighbour
      solicitations to 21, the others to 22
3     from GRE: key to the host's VLAN, then 10
4     from VXLAN: VNI to the host's VLAN, then 10
6     from Geneve: VNI to the host's VLAN, then 10
10    learn in table 20 which tunnel the sender is behind; to br-int
20    to the tunnel the receiver is behind; unknown ones to 22
21    answer for addresses that are known (L2 population); others to 22
22    a copy to each host that takes part in the network
23    the last of an answer to a neighbour solicitation: whose address it gives
====  ==============================================================================

What came out of a tunnel never goes into one: copies cannot go in circles.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_interface
from typing import Final

from gossamer.topology.model import Topology
from gossamer.topology.names import default_mac, patch_name
from gossamer.topology.networks import (
    INTEGRATION,
    TUNNEL,
    Member,
    hosts_of,
    local_vlans,
    members,
    networks_of,
    physical_of,
    tunnels_of,
)
from gossamer.topology.router_flows import router_flows

_FROM_TUNNEL: Final = {"gre": 3, "vxlan": 4, "geneve": 6}
_LEARNED_S: Final = 300
_TO_INTEGRATION: Final = patch_name(TUNNEL, INTEGRATION)
_BROADCAST: Final = "ff:ff:ff:ff:ff:ff"
_GROUP: Final = "01:00:00:00:00:00/01:00:00:00:00:00"
_SOLICITATION: Final = "icmp6,icmp_type=135,icmp_code=0"
_ADVERTISEMENT: Final = "icmp6,icmp_type=136,icmp_code=0"
_HALF: Final = (1 << 64) - 1
_SOLICITED_OVERRIDE: Final = 0x60000000
"""The flags S and O of a neighbour advertisement (RFC 4861, 4.4)."""
_ONE: Final = "00:00:00:00:00:00/01:00:00:00:00:00"


def mac_of(topology: Topology, member: Member) -> str:
    """The hardware address of a port."""
    mac = member.port.mac
    return mac.lower() if mac else default_mac(topology.name, member.instance, member.index)


# -- br-int and the bridges to physical networks ---------------------------------------------------


def integration_flows(topology: Topology, host: str) -> list[str]:
    """br-int switches within VLANs; what comes from a physical network gets the host's VLAN first."""
    out = ["priority=0,actions=NORMAL"]
    vlans = local_vlans(topology, host)
    for bridge in physical_bridges(topology, host):
        out.append(f"priority=2,in_port={patch_name(INTEGRATION, bridge)},actions=drop")
    for physical in physical_of(topology, host):
        match = physical.arrival
        out.append(f"priority=3,{match},actions=mod_vlan_vid:{vlans[physical.network]},NORMAL")
        if physical.is_gateway:
            # What an instance sent cannot come from outside, unless it goes in circles there.
            out += [
                f"priority=4,{match},dl_src={mac_of(topology, m)},actions=drop"
                for m in members(topology, physical.network)
            ]
    return out + list(router_flows(topology, host))


def physical_bridges(topology: Topology, host: str) -> list[str]:
    """The bridges of a host that networks leave it by."""
    return list(dict.fromkeys(p.bridge for p in physical_of(topology, host)))


def physical_flows(topology: Topology, host: str, bridge: str) -> list[str]:
    """A bridge to a physical network gives what comes from br-int the network's VLAN there."""
    port = patch_name(bridge, INTEGRATION)
    out = ["priority=0,actions=NORMAL", f"priority=2,in_port={port},actions=drop"]
    vlans = local_vlans(topology, host)
    for physical in physical_of(topology, host):
        if physical.bridge == bridge:
            tag = f"mod_vlan_vid:{physical.vlan}" if physical.vlan else "strip_vlan"
            match = f"in_port={port},dl_vlan={vlans[physical.network]}"
            out.append(f"priority=4,{match},actions={tag},NORMAL")
    return out


# -- br-tun ------------------------------------------------------------------------------------------


def tunnel_flows(topology: Topology, host: str) -> list[str]:
    """br-tun, see above."""
    out = [
        f"table=0,priority=1,in_port={_TO_INTEGRATION},actions=resubmit(,2)",
        "table=0,priority=0,actions=drop",
        f"table=2,priority=0,dl_dst={_ONE},actions=resubmit(,20)",
        f"table=2,priority=0,dl_dst={_GROUP},actions=resubmit(,22)",
        "table=20,priority=0,actions=resubmit(,22)",
        "table=22,priority=0,actions=drop",
    ]
    out += [
        f"table=0,priority=1,in_port={t.name},actions=resubmit(,{_FROM_TUNNEL[t.kind]})"
        for t in tunnels_of(topology, host)
    ]
    networks = {n: net for n, net in networks_of(topology, host).items() if net.tunnelled}
    vlans = local_vlans(topology, host)
    for table in sorted({_FROM_TUNNEL[net.kind] for net in networks.values()}):
        out.append(f"table={table},priority=0,actions=drop")
    if any(not net.l2_population for net in networks.values()):
        out.append(f"table=10,priority=1,actions={_LEARN},output:{_TO_INTEGRATION}")
    if any(net.l2_population for net in networks.values()):
        out += [
            f"table=2,priority=1,arp,dl_dst={_BROADCAST},actions=resubmit(,21)",
            f"table=2,priority=1,{_SOLICITATION},dl_dst={_GROUP},actions=resubmit(,21)",
            "table=21,priority=0,actions=resubmit(,22)",
            f"table=23,priority=1,{_ADVERTISEMENT},actions=move:NXM_OF_ETH_SRC[]->NXM_NX_ND_TLL[],IN_PORT",
        ]
    for name, network in networks.items():
        out += _network_flows(topology, host, name, vlans[name])
        if network.l2_population:
            out += _population(topology, host, name, vlans[name])
    return out


_LEARN: Final = (
    f"learn(table=20,hard_timeout={_LEARNED_S},priority=1,NXM_OF_VLAN_TCI[0..11],"
    "NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:0->NXM_OF_VLAN_TCI[],"
    "load:NXM_NX_TUN_ID[]->NXM_NX_TUN_ID[],output:OXM_OF_IN_PORT[])"
)


def _network_flows(topology: Topology, host: str, name: str, vlan: int) -> Iterator[str]:
    network = topology.networks[name]
    table, to = _FROM_TUNNEL[network.kind], _to_tunnel(topology, host, name)
    onward = f"output:{_TO_INTEGRATION}" if network.l2_population else "resubmit(,10)"
    yield f"table={table},priority=1,tun_id={network.id},actions=mod_vlan_vid:{vlan},{onward}"
    ports = [to[h] for h in hosts_of(topology, name) if h != host]
    if ports:
        copies = ",".join(f"output:{port}" for port in ports)
        yield f"table=22,priority=1,dl_vlan={vlan},actions=strip_vlan,load:{network.id:#x}->NXM_NX_TUN_ID[],{copies}"


def _to_tunnel(topology: Topology, host: str, name: str) -> dict[str, str]:
    """The tunnel port to each other host, for a network."""
    kind = topology.networks[name].kind
    return {t.peer: t.name for t in tunnels_of(topology, host) if t.kind == kind}


def _population(topology: Topology, host: str, name: str, vlan: int) -> Iterator[str]:
    """Where every port of the network is, and what it would answer."""
    network, to = topology.networks[name], _to_tunnel(topology, host, name)
    for member in members(topology, name):
        if member.host == host:
            continue
        mac = mac_of(topology, member)
        yield (
            f"table=20,priority=2,dl_vlan={vlan},dl_dst={mac},"
            f"actions=strip_vlan,load:{network.id:#x}->NXM_NX_TUN_ID[],output:{to[member.host]}"
        )
        for address in member.port.all_addresses():
            ip = ip_interface(address).ip
            if ip.version == 4:
                match = f"table=21,priority=1,arp,arp_op=1,dl_vlan={vlan},arp_tpa={ip}"
                yield f"{match},actions={arp_answer(mac, int(ip))},IN_PORT"
            else:
                # Who asks whether an address is taken says no address of his own: that is copied.
                match = f"{_SOLICITATION},nd_options_type=1,dl_vlan={vlan},nd_target={ip}"
                yield f"table=21,priority=1,{match},actions={nd_answer(mac, int(ip))},resubmit(,23)"


def nd_answer(mac: str, address: int) -> str:
    """The actions that make of a neighbour solicitation its answer (RFC 4861, 7.2.4), but for the
    option's address: that can be set in a table that matches an advertisement."""
    return (
        f"move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],mod_dl_src:{mac},"
        f"move:NXM_NX_IPV6_SRC[]->NXM_NX_IPV6_DST[],load:{address & _HALF:#x}->NXM_NX_IPV6_SRC[0..63],"
        f"load:{address >> 64:#x}->NXM_NX_IPV6_SRC[64..127],load:0x2->ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE[],"
        f"load:{_SOLICITED_OVERRIDE:#x}->ERICOXM_OF_ICMPV6_ND_RESERVED[],load:0x88->NXM_NX_ICMPV6_TYPE[]"
    )


def arp_answer(mac: str, address: int) -> str:
    """The actions that make of an ARP request its answer: `address` is at `mac` (RFC 826)."""
    mac_hex = "0x" + mac.replace(":", "")
    return (
        f"move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],mod_dl_src:{mac},load:0x2->NXM_OF_ARP_OP[],"
        "move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[],"
        f"load:{mac_hex}->NXM_NX_ARP_SHA[],load:{address:#x}->NXM_OF_ARP_SPA[]"
    )
