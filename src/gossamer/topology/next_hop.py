"""Where an instance sends a packet: its own kernel's routes, and who has the next address."""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Any

from gossamer.errors import TopologyError
from gossamer.topology.command import Tools, complaint_of
from gossamer.topology.model import Port, Topology
from gossamer.topology.names import netns_name
from gossamer.topology.translations import translations


@dataclass(frozen=True, slots=True)
class NextHop:
    """A port of an instance by which a packet leaves it, and the addresses it then has."""

    index: int
    """Of the port: 0 for eth0."""
    port: Port
    source: str
    """The address that the kernel would speak from; of a packet that is passed on, its own."""
    mac: str
    """Of the port."""
    next_mac: str
    """Of who it is sent to next."""


def next_hop(
    topology: Topology, instance: str, address: str, tools: Tools, *on_behalf: str
) -> NextHop:
    """Where an instance sends a packet to an address.

    `on_behalf` are further words for ip-route(8), such as "from ADDRESS iif DEVICE" for what it
    passes on.  Raises TopologyError where it has no way there by a port of the topology.
    """
    netns = netns_name(topology.name, instance)
    done = tools.attempt("ip", "-n", netns, "-j", "route", "get", address, *on_behalf)
    if done.returncode:
        raise TopologyError(
            f"{instance} has no way to {address}: {complaint_of(done)}",
            place=f"netns {netns}",
            remedy="give it a gateway or a route; gossamer up repairs what was removed by hand",
        )
    route: dict[str, Any] = json.loads(done.stdout)[0]
    device = route["dev"]
    ports = topology.instances[instance].ports
    index = next((i for i in range(len(ports)) if device == f"eth{i}"), None)
    if index is None:
        raise TopologyError(
            f"{instance} sends it out of {device}, which is no port of the topology",
            place=f"netns {netns}",
            remedy=f"see ip -n {netns} route",
        )
    port = ports[index]
    next_address = route.get("gateway", address)
    return NextHop(
        index, port, route.get("prefsrc", ""), device_mac(tools, netns, device),
        _mac_of_address(topology, port, next_address, tools),
    )  # fmt: skip


def device_mac(tools: Tools, netns: str, device: str) -> str:
    """The hardware address of a device in a namespace."""
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
        return device_mac(tools, netns_name(topology.name, name), f"eth{i}")
    for (router, index), translation in translations(topology).items():
        if any(address == str(outside) for outside, _ in translation.floating):
            return device_mac(tools, netns_name(topology.name, router), f"eth{index}")
    raise TopologyError(f"no instance has the address {address}", remedy="is the gateway right?")
