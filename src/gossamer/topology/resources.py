"""What a topology consists of, piece by piece.

A resource is a key such as ``port/vm1/0`` and a specification of plain data.
How each kind is compared with what is, made and removed stands in `kind.py`.
"""

from __future__ import annotations

import hashlib
from ipaddress import ip_interface
from typing import Any, Final

from gossamer.errors import TopologyError
from gossamer.topology.model import Bridge, Instance, Port, Topology
from gossamer.topology.port_names import instance_ports

Spec = dict[str, Any]

DEFAULT_MTU: Final = 1500
_DEVICE_NAME_LENGTH: Final = 15
_DEFAULT_FLOW: Final = "priority=0,actions=NORMAL"
"""What Open vSwitch gives a bridge in fail mode standalone."""
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


def netns_name(topology: str, instance: str) -> str:
    """The network namespace of an instance."""
    return f"{topology}-{instance}"


def veth_name(topology: str, instance: str, index: int) -> str:
    """The host's end of an instance's port; at most 15 characters, the same every time."""
    number = int.from_bytes(_digest(f"{topology}/{instance}")[:8], "big")
    short = "".join(_DIGITS[number // 36**i % 36] for i in range(5))
    suffix = f"-{short}.{index}"
    return instance[: _DEVICE_NAME_LENGTH - len(suffix)] + suffix


def default_mac(topology: str, instance: str, index: int) -> str:
    """The address of a port that the file gives none: locally administered, the same every time."""
    return "02:" + _digest(f"{topology}/{instance}/{index}")[:5].hex(":")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def patch_name(here: str, there: str) -> str:
    """A patch port on bridge `here`."""
    return f"{here}-to-{there}"


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
    for name, instance in topology.instances.items():
        netns = netns_name(topology.name, name)
        out[f"instance/{name}"] = {"netns": netns}
        for i, port in enumerate(instance.ports):
            spec = out[f"port/{name}/{i}"] = _port_spec(topology.name, name, i, port)
            other = devices.setdefault(spec["device"], name)
            if other != name:
                raise TopologyError(
                    f"the devices of {other} and {name} would have the same name {spec['device']}",
                    place=f"instances.{name}",
                    remedy="name one of them otherwise",
                )
        out[f"routing/{name}"] = _routing_spec(netns, instance)
    for name, bridge in topology.bridges.items():
        out[f"flows/{name}"] = _flows_spec(topology.name, name, bridge)
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


def _flows_spec(topology: str, name: str, bridge: Bridge) -> Spec:
    declared = [" ".join(flow.split()) for flow in bridge.flows]
    shared = bool(bridge.controllers)
    if not declared and not shared and bridge.fail_mode == "standalone":
        declared = [_DEFAULT_FLOW]
    return {
        "bridge": name,
        "flows": declared,
        "ports": {
            f"{instance}.eth{i}": veth_name(topology, instance, i)
            for flow in declared
            for instance, i in instance_ports(flow)
        },
        # Beside a controller, or flows that learn, others' flows are none of our business.
        "shared": shared or any("learn(" in f for f in declared),
    }
