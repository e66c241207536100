"""Bridges and the patches between them: compared with the database, made, removed."""

from __future__ import annotations

from gossamer.topology.command import Refused, Tools
from gossamer.topology.difference import Difference, compare, missing
from gossamer.topology.names import patch_name
from gossamer.topology.resources import Spec
from gossamer.topology.seen import Seen, SeenBridge

# -- bridges -------------------------------------------------------------------------------------


def bridge_differences(seen: Seen, spec: Spec) -> list[Difference]:
    """A bridge's own columns, and the host's devices on it."""
    name = spec["name"]
    bridge = seen.bridges.get(name)
    if bridge is None:
        return [missing(f"bridge {name}")]
    out = [
        *compare("fail_mode", spec["fail_mode"], bridge.fail_mode or "standalone"),
        *compare("controllers", frozenset(spec["controllers"]), bridge.controllers),
        *compare("other_config", spec["other_config"], bridge.other_config),
    ]
    for i, device in enumerate(spec["devices"]):
        attribute = f"devices[{i}]"
        port = seen.ports.get(device)
        if port is None:
            out.append(missing(f"{device} on the bridge", attribute))
            continue
        out += compare(attribute, name, port.bridge, f"the bridge of {device}")
        if port.error:
            out.append(Difference(attribute, f"{device}: {port.error}"))
    return out


def bridge_conflict(seen: Seen, spec: Spec) -> Refused | None:
    """A bridge or device of that name is somebody else's."""
    name = spec["name"]
    if name in seen.bridges:
        return Refused(
            f"there is a bridge {name} already, and it is not of this topology",
            remedy=f"choose another name, or remove it: ovs-vsctl del-br {name}",
        )
    if name in seen.links or name in seen.ports:
        return Refused(
            f"there is a device {name} already", remedy="choose another name for the bridge"
        )
    return None


def ensure_bridge(tools: Tools, seen: Seen, spec: Spec, old: Spec | None) -> None:
    """Make it so, from whatever is."""
    name = spec["name"]
    _refuse_devices_of_others(seen, spec)
    args = ["--may-exist", "add-br", name, *_columns(spec, seen.bridges.get(name))]
    for device in (old or {}).get("devices", ()):
        if device not in spec["devices"]:
            args += ["--", "--if-exists", "del-port", name, device]
    for device in spec["devices"]:
        args += ["--", "--may-exist", "add-port", name, device]
    tools.vsctl(*args)


def _refuse_devices_of_others(seen: Seen, spec: Spec) -> None:
    for i, device in enumerate(spec["devices"]):
        if device not in seen.links:
            raise Refused(
                f"this host has no device {device}",
                attribute=f"devices[{i}]",
                remedy="see ip link; add it to the host, or take it out of devices",
            )
        port = seen.ports.get(device)
        if port is not None and port.bridge != spec["name"]:
            raise Refused(
                f"{device} is a port of bridge {port.bridge}",
                attribute=f"devices[{i}]",
                remedy=f"take it off there first: ovs-vsctl del-port {port.bridge} {device}",
            )


def _columns(spec: Spec, bridge: SeenBridge | None) -> list[str]:
    """What differs and no more: a controller that is set again is connected to again."""
    name = spec["name"]
    args: list[str] = []
    if bridge is None or bridge.fail_mode != spec["fail_mode"]:
        args += ["--", "set-fail-mode", name, spec["fail_mode"]]
    if (bridge.controllers if bridge else frozenset()) != frozenset(spec["controllers"]):
        args += ["--", "del-controller", name]
        args += ["--", "set-controller", name, *spec["controllers"]] if spec["controllers"] else []
    if (bridge.other_config if bridge else {}) != spec["other_config"]:
        pairs = [f"other_config:{_quote(k)}={_quote(v)}" for k, v in spec["other_config"].items()]
        args += ["--", "clear", "bridge", name, "other_config"]
        args += ["--", "set", "bridge", name, *pairs] if pairs else []
    return args


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def delete_bridge(tools: Tools, spec: Spec) -> None:
    """Remove it with its flows; the host's devices on it stay."""
    tools.vsctl("--if-exists", "del-br", spec["name"])


# -- patches -------------------------------------------------------------------------------------


def _ends(spec: Spec) -> tuple[tuple[str, str, str], ...]:
    """(bridge, port, peer) of both ends."""
    a, b = spec["a"], spec["b"]
    return (a, patch_name(a, b), patch_name(b, a)), (b, patch_name(b, a), patch_name(a, b))


def patch_differences(seen: Seen, spec: Spec) -> list[Difference]:
    """Both ports of a patch."""
    out: list[Difference] = []
    for bridge, name, peer in _ends(spec):
        port = seen.ports.get(name)
        if port is None:
            out.append(missing(f"patch port {name}"))
            continue
        out += compare("between", bridge, port.bridge, f"the bridge of {name}")
        out += compare("between", "patch", port.type, f"the type of {name}")
        out += compare("between", peer, port.options.get("peer", ""), f"the peer of {name}")
        out += compare("trunks", frozenset(spec["trunks"]), port.trunks, f"trunks of {name}")
        out += compare("trunks", None, port.tag, f"tag of {name}")
        out += compare("trunks", None, port.mode, f"vlan_mode of {name}")
        if port.error:
            out.append(Difference("between", f"{name}: {port.error}"))
    return out


def patch_conflict(seen: Seen, spec: Spec) -> Refused | None:
    """A port of that name is somebody else's."""
    for _, name, _ in _ends(spec):
        if name in seen.ports:
            return Refused(
                f"bridge {seen.ports[name].bridge} has a port {name} already",
                attribute="between",
                remedy=f"remove it: ovs-vsctl del-port {name}",
            )
    return None


def ensure_patch(tools: Tools, seen: Seen, spec: Spec, old: Spec | None) -> None:
    """Make it so, from whatever is."""
    args: list[str] = []
    for bridge, name, peer in _ends(spec):
        port = seen.ports.get(name)
        if port is not None and (port.bridge != bridge or port.error):
            args += ["--", "--if-exists", "del-port", name]
        args += ["--", "--may-exist", "add-port", bridge, name]
        args += ["--", "set", "interface", name, "type=patch", f"options:peer={peer}"]
        trunks = ",".join(map(str, spec["trunks"]))
        args += ["--", "clear", "port", name, "tag", "vlan_mode"]
        args += ["--", "set", "port", name, f"trunks=[{trunks}]"]
    tools.vsctl(*args[1:])


def delete_patch(tools: Tools, spec: Spec) -> None:
    """Remove both ends."""
    args: list[str] = []
    for _, name, _ in _ends(spec):
        args += ["--", "--if-exists", "del-port", name]
    tools.vsctl(*args[1:])
