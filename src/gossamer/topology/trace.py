"""'Where did my packet go': the flow between two instances, for the daemon's ofproto/trace."""

from __future__ import annotations

import json
from ipaddress import ip_interface

from gossamer.errors import TopologyError
from gossamer.topology.check import address_of
from gossamer.topology.command import Tools
from gossamer.topology.model import Topology
from gossamer.topology.resources import netns_name, veth_name


def flow_between(
    topology: Topology, source: str, target: str, protocol: str, tools: Tools
) -> tuple[str, str]:
    """(bridge, flow) of a packet from one instance to another.

    `protocol` is "icmp", "tcp/PORT" or "udp/PORT".  Raises TopologyError for unknown instances.
    """
    for name in (source, target):
        if name not in topology.instances:
            raise TopologyError(
                f"there is no instance {name!r}", remedy=f"instances are {', '.join(topology.instances)}"
            )
    address = address_of(topology, source, target)
    netns = netns_name(topology.name, source)
    route = json.loads(tools.run("ip", "-n", netns, "-j", "route", "get", address))[0]
    index = int(route["dev"].removeprefix("eth"))
    port = topology.instances[source].ports[index]
    own_mac = _mac(tools, netns, route["dev"])
    next_hop = route.get("gateway", address)
    next_mac = _mac_of_address(topology, next_hop, tools)
    device = veth_name(topology.name, source, index)
    ofport = tools.vsctl("get", "interface", device, "ofport").strip()
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
    return port.bridge, flow


def _mac(tools: Tools, netns: str, device: str) -> str:
    shown = json.loads(tools.run("ip", "-n", netns, "-j", "link", "show", device))
    return str(shown[0]["address"])


def _mac_of_address(topology: Topology, address: str, tools: Tools) -> str:
    for name, instance in topology.instances.items():
        for i, port in enumerate(instance.ports):
            if any(str(ip_interface(a).ip) == address for a in port.all_addresses()):
                return _mac(tools, netns_name(topology.name, name), f"eth{i}")
    raise TopologyError(f"no instance has the address {address}", remedy="is the gateway right?")
