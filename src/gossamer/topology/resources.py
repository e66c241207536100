"""What a topology consists of, piece by piece.

A resource is a key such as ``port/vm1/0`` and a specification of plain data.
How each kind is compared with what is, made and removed stands in `kind.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_interface
from typing import Any, Final

from gossamer.errors import TopologyError
from gossamer.topology.host_policy import has_rules
from gossamer.topology.model import Bridge, Host, Instance, Patch, Port, Topology
from gossamer.topology.names import default_mac, netns_name, patch_name, veth_name
from gossamer.topology.networks import (
    DEFAULT_MTU,
    INTEGRATION,
    TUNNEL,
    Tunnel,
    local_vlans,
    mtu_of,
    tunnels_of,
)
from gossamer.topology.nodes import host_bridges, host_patches
from gossamer.topology.policy import policy_flows
from gossamer.topology.port_names import instance_ports
from gossamer.topology.translations import translations

__all__ = ["Spec", "default_mac", "netns_name", "patch_name", "resources", "veth_name"]

Spec = dict[str, Any]

_DEFAULT_FLOW: Final = "priority=0,actions=NORMAL"
"""What Open vSwitch gives a bridge in fail mode standalone."""


def resources(topology: Topology) -> dict[str, Spec]:
    """All resources, in the order they are made.

    Those of a host have the name of its namespace as `host`, and its name in
    their keys: ``bridge/h1:br-int``.  Raises TopologyError where two ports
    would get the same device name.
    """
    out: dict[str, Spec] = {}
    devices: dict[str, str] = {}
    translated = translations(topology)
    for name, bridge in topology.bridges.items():
        out[f"bridge/{name}"] = _bridge_spec(name, bridge)
    for patch in topology.patches:
        out[f"patch/{'/'.join(patch.between)}"] = _patch_spec(patch)
    for name, host in topology.hosts.items():
        _add_namespace(out, devices, topology, "host", name, host)
    for name in topology.hosts:
        out[f"daemon/{name}"] = {"netns": netns_name(topology.name, name)} | _where(topology, name)
    for name in topology.hosts:
        out |= _host_resources(topology, name)
    for name, instance in topology.instances.items():
        _add_namespace(out, devices, topology, "instance", name, instance)
    for (name, i), translation in translated.items():
        out[f"port/{name}/{i}"]["answers"] = translation.extra_addresses()
    for name, bridge in topology.bridges.items():
        rules = policy_flows(topology, name)
        out[f"flows/{name}"] = _flows_spec(topology.name, name, bridge, bridge.flows or rules)
        if rules:
            out[f"flows/{name}"] |= _JUDGES_FRAGMENTS
    for host_name in topology.hosts:
        where = _where(topology, host_name)
        for name, bridge in host_bridges(topology, host_name).items():
            out[f"flows/{host_name}:{name}"] = (
                _flows_spec(topology.name, name, bridge, bridge.flows) | where
            )
        if has_rules(topology, host_name):
            out[f"flows/{host_name}:{INTEGRATION}"] |= _JUDGES_FRAGMENTS
    return out


_JUDGES_FRAGMENTS: Final[Spec] = {"fragments": "nx-match"}
"""Rules name ports, which tables do not see of fragments unless they are asked to show those of first ones
(ovs-ofctl(8), set-frags).  What follows a first one that was dropped is invalid."""


def _where(topology: Topology, host: str | None) -> Spec:
    return {"host": netns_name(topology.name, host)} if host else {}


def _host_resources(topology: Topology, host: str) -> dict[str, Spec]:
    """A host's bridges, patches and tunnels."""
    out: dict[str, Spec] = {}
    for name, bridge in host_bridges(topology, host).items():
        out[f"bridge/{host}:{name}"] = _bridge_spec(name, bridge)
    for patch in host_patches(topology, host):
        out[f"patch/{host}:{'/'.join(patch.between)}"] = _patch_spec(patch)
    for tunnel in tunnels_of(topology, host):
        out[f"tunnel/{host}:{tunnel.name}"] = _tunnel_spec(tunnel)
    where = _where(topology, host)
    return {key: spec | where for key, spec in out.items()}


def _add_namespace(
    out: dict[str, Spec],
    devices: dict[str, str],
    topology: Topology,
    kind: str,
    name: str,
    machine: Instance | Host,
) -> None:
    """An instance's or a host's namespace, ports and routing."""
    netns = netns_name(topology.name, name)
    out[f"{kind}/{name}"] = {"netns": netns}
    host = machine.host if isinstance(machine, Instance) else None
    for i, port in enumerate(machine.ports):
        spec = out[f"port/{name}/{i}"] = _port_spec(topology, name, i, port, host)
        other = devices.setdefault(spec["device"], name)
        if other != name:
            raise TopologyError(
                f"the devices of {other} and {name} would have the same name {spec['device']}",
                place=f"{kind}s.{name}",
                remedy="name one of them otherwise",
            )
    out[f"routing/{name}"] = _routing_spec(netns, machine)


def _bridge_spec(name: str, bridge: Bridge) -> Spec:
    return {
        "name": name,
        "fail_mode": bridge.fail_mode,
        "controllers": list(bridge.controllers),
        "other_config": bridge.other_config_text(),
        "devices": list(bridge.devices),
    }


def _patch_spec(patch: Patch) -> Spec:
    a, b = patch.between
    return {"a": a, "b": b, "trunks": sorted(patch.trunks)}


def _tunnel_spec(tunnel: Tunnel) -> Spec:
    return {
        "name": tunnel.name,
        "bridge": TUNNEL,
        "type": tunnel.type,
        "options": {
            "remote_ip": str(tunnel.remote),
            "local_ip": str(tunnel.local),
            "key": "flow",
        },
    }


def _port_spec(topology: Topology, name: str, index: int, port: Port, host: str | None) -> Spec:
    bridge, vlan, mtu = port.bridge, port.vlan, port.mtu or DEFAULT_MTU
    if port.network and host:
        bridge, vlan = INTEGRATION, local_vlans(topology, host)[port.network]
        mtu = port.mtu or mtu_of(topology, port.network)
    if port.protected and vlan is None:
        vlan = 0  # Without a tag of its own it would get the frames of all VLANs.
    spec = {
        "netns": netns_name(topology.name, name),
        "device": veth_name(topology.name, name, index),
        "inside": f"eth{index}",
        "bridge": bridge,
        "addresses": [str(ip_interface(a)) for a in port.all_addresses()],
        "mac": port.mac.lower() if port.mac else default_mac(topology.name, name, index),
        "mtu": mtu,
        "vlan": vlan,
        "trunks": sorted(port.trunks),
        "mode": port.mode,
        "rate_kbps": port.rate_kbps,
        "burst_kb": port.burst or 0,
    }
    return spec | _where(topology, host)


def _routing_spec(netns: str, machine: Instance | Host) -> Spec:
    return {
        "netns": netns,
        "gateway": machine.gateway,
        "routes": list(machine.routes),
        "forward": machine.forward,
        "nat": machine.nat if isinstance(machine, Instance) else None,
    }


def _flows_spec(topology: str, name: str, bridge: Bridge, flows: Sequence[str]) -> Spec:
    declared = [" ".join(flow.split()) for flow in flows]
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
