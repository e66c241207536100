"""What a topology consists of, piece by piece.

A resource is a key such as ``port/vm1/0`` and a specification of plain data.
How each kind is compared with what is, made and removed stands in `kind.py`.
"""

from __future__ import annotations

from ipaddress import ip_interface
from typing import Any, Final

from gossamer.errors import TopologyError
from gossamer.topology.model import Bridge, Instance, Port, Topology
from gossamer.topology.names import default_mac, netns_name, patch_name, veth_name
from gossamer.topology.nat import translations
from gossamer.topology.policy import policy_flows
from gossamer.topology.port_names import instance_ports

__all__ = ["Spec", "default_mac", "netns_name", "patch_name", "resources", "veth_name"]

Spec = dict[str, Any]

DEFAULT_MTU: Final = 1500
_DEFAULT_FLOW: Final = "priority=0,actions=NORMAL"
"""What Open vSwitch gives a bridge in fail mode standalone."""


def resources(topology: Topology) -> dict[str, Spec]:
    """All resources, in the order they are made.

    Raises TopologyError where two ports would get the same device name.
    """
    out: dict[str, Spec] = {}
    for name, bridge in topology.bridges.items():
        out[f"bridge/{name}"] = _bridge_spec(name, bridge)
    for patch in topology.patches:
        a, b = patch.between
        out[f"patch/{a}/{b}"] = {"a": a, "b": b, "trunks": sorted(patch.trunks)}
    devices: dict[str, str] = {}
    translated = translations(topology)
    for name, instance in topology.instances.items():
        netns = netns_name(topology.name, name)
        out[f"instance/{name}"] = {"netns": netns}
        for i, port in enumerate(instance.ports):
            spec = out[f"port/{name}/{i}"] = _port_spec(topology.name, name, i, port)
            if (name, i) in translated:
                spec["answers"] = translated[name, i].extra_addresses()
            other = devices.setdefault(spec["device"], name)
            if other != name:
                raise TopologyError(
                    f"the devices of {other} and {name} would have the same name {spec['device']}",
                    place=f"instances.{name}",
                    remedy="name one of them otherwise",
                )
        out[f"routing/{name}"] = _routing_spec(netns, instance)
    for name, bridge in topology.bridges.items():
        out[f"flows/{name}"] = _flows_spec(topology, name, bridge)
    return out


def _bridge_spec(name: str, bridge: Bridge) -> Spec:
    return {
        "name": name,
        "fail_mode": bridge.fail_mode,
        "controllers": list(bridge.controllers),
        "other_config": bridge.other_config_text(),
        "devices": list(bridge.devices),
    }


def _port_spec(topology: str, name: str, index: int, port: Port) -> Spec:
    return {
        "netns": netns_name(topology, name),
        "device": veth_name(topology, name, index),
        "inside": f"eth{index}",
        "bridge": port.bridge,
        "addresses": [str(ip_interface(a)) for a in port.all_addresses()],
        "mac": port.mac.lower() if port.mac else default_mac(topology, name, index),
        "mtu": port.mtu or DEFAULT_MTU,
        "vlan": port.vlan,
        "trunks": sorted(port.trunks),
        "mode": port.mode,
        "rate_kbps": port.rate_kbps,
        "burst_kb": port.burst or 0,
    }


def _routing_spec(netns: str, instance: Instance) -> Spec:
    return {
        "netns": netns,
        "gateway": instance.gateway,
        "routes": list(instance.routes),
        "forward": instance.forward,
        "nat": instance.nat,
    }


def _flows_spec(topology: Topology, name: str, bridge: Bridge) -> Spec:
    declared = [" ".join(flow.split()) for flow in bridge.flows] or policy_flows(topology, name)
    shared = bool(bridge.controllers)
    if not declared and not shared and bridge.fail_mode == "standalone":
        declared = [_DEFAULT_FLOW]
    return {
        "bridge": name,
        "flows": declared,
        "ports": {
            f"{instance}.eth{i}": veth_name(topology.name, instance, i)
            for flow in declared
            for instance, i in instance_ports(flow)
        },
        # Beside a controller, or flows that learn, others' flows are none of our business.
        "shared": shared or any("learn(" in f for f in declared),
    }
