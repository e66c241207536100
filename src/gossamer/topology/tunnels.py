"""Tunnel ports of a host's br-tun: compared with the database, made, removed."""

from __future__ import annotations

from gossamer.topology.command import Refused, Tools
from gossamer.topology.difference import Difference, compare, missing
from gossamer.topology.resources import Spec
from gossamer.topology.seen import Seen


def tunnel_differences(seen: Seen, spec: Spec) -> list[Difference]:
    """The port's bridge, type and options."""
    name = spec["name"]
    port = seen.ports.get(name)
    if port is None:
        return [missing(f"tunnel port {name}")]
    out = [
        *compare("", spec["bridge"], port.bridge, f"the bridge of {name}"),
        *compare("", spec["type"], port.type, f"the type of {name}"),
        *compare("", spec["options"], port.options, f"options of {name}"),
    ]
    return out + ([Difference("", f"{name}: {port.error}")] if port.error and not out else [])


def tunnel_conflict(seen: Seen, spec: Spec) -> Refused | None:
    """On a host of ours all ports are ours."""
    return None


def ensure_tunnel(tools: Tools, seen: Seen, spec: Spec, old: Spec | None) -> None:
    """Make it so, from whatever is."""
    name = spec["name"]
    port = seen.ports.get(name)
    args = ["--", "--if-exists", "del-port", name] if port and port.bridge != spec["bridge"] else []
    args += ["--", "--may-exist", "add-port", spec["bridge"], name]
    args += ["--", "clear", "interface", name, "options"]
    args += ["--", "set", "interface", name, f"type={spec['type']}"]
    args += [f'options:{key}="{value}"' for key, value in spec["options"].items()]
    tools.vsctl(*args[1:])
    error = tools.vsctl("get", "interface", name, "error").strip().strip('"')
    if error != "[]":
        raise Refused(f"{name}: {error}", remedy=f"see {tools.rundir}/ovs-vswitchd.log")


def delete_tunnel(tools: Tools, spec: Spec) -> None:
    """Remove the port; the underlay stays as it is."""
    tools.vsctl("--if-exists", "del-port", spec["name"])
