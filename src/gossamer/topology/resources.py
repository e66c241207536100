"""What a topology consists of, piece by piece: how each is made, changed and removed.

A resource is a key and a specification of plain data.  Two topologies differ
where the specification of a key differs; that, and nothing else, is changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from gossamer.topology.command import Tools
from gossamer.topology.model import Instance, Port, Topology

Spec = dict[str, Any]


def netns_name(topology: str, instance: str) -> str:
    """The network namespace of an instance."""
    return f"{topology}-{instance}"


def veth_name(topology: str, instance: str, index: int) -> str:
    """The host's end of an instance's port; at most 15 characters, the same every time."""
    digest = hashlib.sha256(f"{topology}/{instance}".encode()).hexdigest()[:4]
    return f"{instance[:7]}-{digest}.{index}"[:15]


def patch_name(here: str, there: str) -> str:
    """A patch port on bridge `here`."""
    return f"{here}-to-{there}"


def resources(topology: Topology) -> dict[str, Spec]:
    """All resources, in the order they are made."""
    out: dict[str, Spec] = {}
    for name, bridge in topology.bridges.items():
        out[f"bridge/{name}"] = {
            "name": name,
            "fail_mode": bridge.fail_mode,
            "controllers": list(bridge.controllers),
            "other_config": dict(bridge.other_config),
            "devices": list(bridge.devices),
        }
    for patch in topology.patches:
        a, b = patch.between
        out[f"patch/{a}/{b}"] = {"a": a, "b": b, "trunks": list(patch.trunks)}
    for name, instance in topology.instances.items():
        netns = netns_name(topology.name, name)
        out[f"instance/{name}"] = {"netns": netns}
        for i, port in enumerate(instance.ports):
            out[f"port/{name}/{i}"] = _port_spec(topology.name, name, i, port)
        out[f"routing/{name}"] = _routing_spec(netns, instance)
    for name, bridge in topology.bridges.items():
        if bridge.flows:
            out[f"flows/{name}"] = {"bridge": name, "flows": list(bridge.flows)}
    return out


def _port_spec(topology: str, name: str, index: int, port: Port) -> Spec:
    return {
        "netns": netns_name(topology, name),
        "device": veth_name(topology, name, index),
        "inside": f"eth{index}",
        "bridge": port.bridge,
        "addresses": list(port.all_addresses()),
        "mac": port.mac,
        "mtu": port.mtu,
        "vlan": port.vlan,
        "trunks": list(port.trunks),
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


@dataclass(frozen=True, slots=True)
class Kind:
    """How resources of a kind are handled.  `update` gets the old and the new specification."""

    create: Callable[[Tools, Spec], None]
    update: Callable[[Tools, Spec, Spec], None]
    delete: Callable[[Tools, Spec], None]
    exists: Callable[[Tools, Spec], bool]


# -- bridges -------------------------------------------------------------------------------------


def _bridge_columns(spec: Spec) -> list[str]:
    name = spec["name"]
    args = ["--", "set-fail-mode", name, spec["fail_mode"]]
    args += ["--", "set-controller", name, *spec["controllers"]] if spec["controllers"] else [
        "--", "del-controller", name
    ]  # fmt: skip
    args += ["--", "clear", "bridge", name, "other_config"]
    if spec["other_config"]:
        pairs = [f"other_config:{k}={_quote(v)}" for k, v in spec["other_config"].items()]
        args += ["--", "set", "bridge", name, *pairs]
    return args


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _create_bridge(tools: Tools, spec: Spec) -> None:
    args = ["--", "add-br", spec["name"], *_bridge_columns(spec)]
    for device in spec["devices"]:
        args += ["--", "add-port", spec["name"], device]
    tools.vsctl(*args[1:])


def _update_bridge(tools: Tools, old: Spec, new: Spec) -> None:
    args = _bridge_columns(new)
    for device in set(old["devices"]) - set(new["devices"]):
        args += ["--", "--if-exists", "del-port", new["name"], device]
    for device in new["devices"]:
        args += ["--", "--may-exist", "add-port", new["name"], device]
    tools.vsctl(*args[1:])


def _delete_bridge(tools: Tools, spec: Spec) -> None:
    tools.vsctl("--if-exists", "del-br", spec["name"])


def _bridge_exists(tools: Tools, spec: Spec) -> bool:
    return tools.attempt("ovs-vsctl", "--timeout=15", "br-exists", spec["name"]).returncode == 0


# -- patches -------------------------------------------------------------------------------------


def _create_patch(tools: Tools, spec: Spec) -> None:
    args: list[str] = []
    for here, there in ((spec["a"], spec["b"]), (spec["b"], spec["a"])):
        port, peer = patch_name(here, there), patch_name(there, here)
        args += ["--", "--may-exist", "add-port", here, port]
        args += ["--", "set", "interface", port, "type=patch", f"options:peer={peer}"]
        trunks = ",".join(map(str, spec["trunks"]))
        args += ["--", "set", "port", port, f"trunks=[{trunks}]"]
    tools.vsctl(*args[1:])


def _delete_patch(tools: Tools, spec: Spec) -> None:
    a, b = spec["a"], spec["b"]
    tools.vsctl(
        "--if-exists", "del-port", patch_name(a, b), "--", "--if-exists", "del-port", patch_name(b, a)
    )


def _patch_exists(tools: Tools, spec: Spec) -> bool:
    return _has_port(tools, patch_name(spec["a"], spec["b"]))


def _has_port(tools: Tools, name: str) -> bool:
    return tools.attempt("ovs-vsctl", "--timeout=15", "port-to-br", name).returncode == 0


# -- instances -------------------------------------------------------------------------------------


def _create_instance(tools: Tools, spec: Spec) -> None:
    tools.run("ip", "netns", "add", spec["netns"])
    tools.ip(["link set lo up"], spec["netns"])


def _delete_instance(tools: Tools, spec: Spec) -> None:
    if _instance_exists(tools, spec):
        tools.run("ip", "netns", "del", spec["netns"])


def _instance_exists(tools: Tools, spec: Spec) -> bool:
    listed = tools.run("ip", "netns", "list").split("\n")
    return any(line.split(" ")[0] == spec["netns"] for line in listed)


def _unchanged(tools: Tools, old: Spec, new: Spec) -> None:
    """Nothing of this kind can differ but its key."""


# -- ports -----------------------------------------------------------------------------------------


def _port_columns(spec: Spec) -> list[str]:
    device = spec["device"]
    trunks = ",".join(map(str, spec["trunks"]))
    args = ["--", "set", "port", device, f"trunks=[{trunks}]"]
    args += [f"tag={spec['vlan']}"] if spec["vlan"] is not None else []
    args += [f"vlan_mode={spec['mode']}"] if spec["mode"] else []
    cleared = [c for c, v in (("tag", spec["vlan"]), ("vlan_mode", spec["mode"])) if v is None]
    if cleared:
        args += ["--", "clear", "port", device, *cleared]
    args += [
        "--", "set", "interface", device, f"ingress_policing_rate={spec['rate_kbps']}",
        f"ingress_policing_burst={spec['burst_kb']}",
    ]  # fmt: skip
    return args


def _inside(spec: Spec) -> list[str]:
    inside = spec["inside"]
    lines = []
    if spec["mac"]:
        lines.append(f"link set {inside} address {spec['mac']}")
    if spec["mtu"]:
        lines.append(f"link set {inside} mtu {spec['mtu']}")
    for address in spec["addresses"]:
        nodad = " nodad" if ":" in address else ""
        lines.append(f"address replace {address} dev {inside}{nodad}")
    lines.append(f"link set {inside} up")
    return lines


def _create_port(tools: Tools, spec: Spec) -> None:
    device, netns = spec["device"], spec["netns"]
    tools.ip(
        [
            f"link add {device} type veth peer name {spec['inside']} netns {netns}",
            f"link set {device} up",
            *([f"link set {device} mtu {spec['mtu']}"] if spec["mtu"] else []),
        ]
    )
    tools.ip(_inside(spec), netns)
    tools.vsctl("add-port", spec["bridge"], device, *_port_columns(spec))


def _update_port(tools: Tools, old: Spec, new: Spec) -> None:
    gone = [a for a in old["addresses"] if a not in new["addresses"]]
    tools.ip([f"address del {a} dev {new['inside']}" for a in gone], new["netns"])
    tools.ip(_inside(new), new["netns"])
    moved = old["bridge"] != new["bridge"]
    args = ["--", "--if-exists", "del-port", new["device"]] if moved else []
    args += ["--", "--may-exist", "add-port", new["bridge"], new["device"], *_port_columns(new)]
    tools.vsctl(*args[1:])


def _delete_port(tools: Tools, spec: Spec) -> None:
    tools.vsctl("--if-exists", "del-port", spec["device"])
    if tools.attempt("ip", "link", "show", spec["device"]).returncode == 0:
        tools.run("ip", "link", "del", spec["device"])


def _port_exists(tools: Tools, spec: Spec) -> bool:
    shown = tools.attempt("ip", "link", "show", spec["device"])
    return shown.returncode == 0 and _has_port(tools, spec["device"])


# -- routing ---------------------------------------------------------------------------------------

_NAT: Final = """table inet gossamer
delete table inet gossamer
table inet gossamer {{
	chain post {{
		type nat hook postrouting priority 100
		oifname {} masquerade
	}}
}}
"""


def _create_routing(tools: Tools, spec: Spec) -> None:
    netns = spec["netns"]
    lines = []
    if spec["gateway"]:
        lines.append(f"route replace default via {spec['gateway']}")
    for route in spec["routes"]:
        lines.append(f"route replace {route}")
    tools.ip(lines, netns)
    on = int(spec["forward"])
    for key in (f"net.ipv4.ip_forward={on}", f"net.ipv6.conf.all.forwarding={on}"):
        tools.run("ip", "netns", "exec", netns, "sysctl", "-q", "-w", key)
    if spec["nat"]:
        tools.run(
            "ip", "netns", "exec", netns, "nft", "-f", "-", stdin=_NAT.format(spec["nat"])
        )


def _update_routing(tools: Tools, old: Spec, new: Spec) -> None:
    _delete_routing(tools, old)
    _create_routing(tools, new)


def _delete_routing(tools: Tools, spec: Spec) -> None:
    if not _instance_exists(tools, spec):
        return
    netns = spec["netns"]
    if spec["gateway"]:
        tools.attempt("ip", "-n", netns, "route", "del", "default")
    for route in spec["routes"]:
        tools.attempt("ip", "-n", netns, "route", "del", *route.split())
    if spec["nat"]:
        tools.in_netns(netns, "nft", "delete", "table", "inet", "gossamer")


# -- flows -----------------------------------------------------------------------------------------


def _create_flows(tools: Tools, spec: Spec) -> None:
    tools.ofctl("--bundle", "replace-flows", spec["bridge"], "-", stdin="\n".join(spec["flows"]) + "\n")


def _update_flows(tools: Tools, old: Spec, new: Spec) -> None:
    _create_flows(tools, new)


def _delete_flows(tools: Tools, spec: Spec) -> None:
    if _bridge_exists(tools, {"name": spec["bridge"]}):
        tools.ofctl("--bundle", "replace-flows", spec["bridge"], "-", stdin="actions=NORMAL\n")


def _always(tools: Tools, spec: Spec) -> bool:
    return True


KINDS: Final[dict[str, Kind]] = {
    "bridge": Kind(_create_bridge, _update_bridge, _delete_bridge, _bridge_exists),
    "patch": Kind(
        _create_patch, lambda tools, old, new: _create_patch(tools, new), _delete_patch, _patch_exists
    ),
    "instance": Kind(_create_instance, _unchanged, _delete_instance, _instance_exists),
    "port": Kind(_create_port, _update_port, _delete_port, _port_exists),
    "routing": Kind(_create_routing, _update_routing, _delete_routing, _always),
    "flows": Kind(_create_flows, _update_flows, _delete_flows, _always),
}


def kind_of(key: str) -> Kind:
    """The kind of a resource, from its key."""
    return KINDS[key.split("/", 1)[0]]
