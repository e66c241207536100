"""'Where did my packet go': the flow between two instances, for the daemon's ofproto/trace."""

from __future__ import annotations

import json
from ipaddress import ip_interface
from typing import Any

from gossamer.errors import TopologyError
from gossamer.topology.command import Tools, complaint_of
from gossamer.topology.expectation import address_between
from gossamer.topology.journey import Stage, at
from gossamer.topology.model import Port, Topology
from gossamer.topology.names import netns_name, veth_name
from gossamer.topology.nat import translations
from gossamer.topology.networks import INTEGRATION


def flow_between(
    topology: Topology, source: str, target: str, protocol: str, tools: Tools
) -> Stage:
    """Where a packet from one instance to another enters a bridge.

    `protocol` is "icmp", "tcp/PORT" or "udp/PORT".  Raises TopologyError for unknown instances.
    """
    for name in (source, target):
        if name not in topology.instances:
            raise TopologyError(
                f"there is no instance {name!r}", remedy=f"instances are {', '.join(topology.instances)}"
            )
    if source == target:
        raise TopologyError(
            f"a packet from {source} to itself passes no bridge", remedy="name two different instances"
        )
    address = address_between(topology, source, target)
    netns = netns_name(topology.name, source)
    route = _route(tools, netns, address, source)
    ports = topology.instances[source].ports
    index = next((i for i in range(len(ports)) if route["dev"] == f"eth{i}"), None)
    if index is None:
        raise TopologyError(
            f"{source} sends it out of {route['dev']}, which is no port of the topology",
            place=f"netns {netns}",
            remedy=f"see ip -n {netns} route",
        )
    port = ports[index]
    own_mac = _mac(tools, netns, route["dev"])
    next_hop = route.get("gateway", address)
    next_mac = _mac_of_address(topology, port, next_hop, tools)
    device = veth_name(topology.name, source, index)
    host = topology.instances[source].host
    ofport = at(topology, host, tools).vsctl("get", "interface", device, "ofport").strip()
    kind, _, number = protocol.partition("/")
    ipv6 = ":" in address
    addresses = (
        f"ipv6_src={route['prefsrc']},ipv6_dst={address}" if ipv6
        else f"nw_src={route['prefsrc']},nw_dst={address},nw_ttl=64"
    )  # fmt: skip
    name = f"{kind}6" if ipv6 else kind
    flow = f"in_port={ofport},{name},dl_src={own_mac},dl_dst={next_mac},{addresses}"
    if number:
        flow += f",{kind}_src=40000,{kind}_dst={number}"
    if kind == "tcp":
        flow += ",tcp_flags=syn"  # the first packet: any other belongs to no connection
    return Stage(host, INTEGRATION if port.network else port.bridge or "", flow)


def _route(tools: Tools, netns: str, address: str, source: str) -> Any:
    """What the kernel of the instance would do with a packet to an address."""
    done = tools.attempt("ip", "-n", netns, "-j", "route", "get", address)
    if done.returncode:
        raise TopologyError(
            f"{source} has no way to {address}: {complaint_of(done)}",
            place=f"netns {netns}",
            remedy="give it a gateway or a route; gossamer up repairs what was removed by hand",
        )
    return json.loads(done.stdout)[0]


def _mac(tools: Tools, netns: str, device: str) -> str:
    shown = json.loads(tools.run("ip", "-n", netns, "-j", "link", "show", device))
    return str(shown[0]["address"])


def _mac_of_address(topology: Topology, sender: Port, address: str, tools: Tools) -> str:
    owners = [
        (port.network != sender.network, name, i)
        for name, instance in topology.instances.items()
        for i, port in enumerate(instance.ports)
        if any(str(ip_interface(a).ip) == address for a in port.all_addresses())
    ]
    if owners:
        # Another tenant may have the address too: who is in the same network is meant.
        _, name, i = min(owners)
        return _mac(tools, netns_name(topology.name, name), f"eth{i}")
    for (router, index), translation in translations(topology).items():
        if any(address == str(outside) for outside, _ in translation.floating):
            return _mac(tools, netns_name(topology.name, router), f"eth{index}")
    raise TopologyError(f"no instance has the address {address}", remedy="is the gateway right?")
