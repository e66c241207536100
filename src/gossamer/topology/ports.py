"""Ports of instances: a veth cable from a namespace to a bridge, compared, made and removed."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Final

from gossamer.topology.command import Refused, Tools, complaint_of
from gossamer.topology.difference import Difference, compare, missing
from gossamer.topology.resources import Spec
from gossamer.topology.seen import Seen, SeenLink, SeenPort

_IPV6: Final = Path("/proc/sys/net/ipv6")
"""Absent where the kernel was booted without IPv6."""


def _pair(seen: Seen, spec: Spec) -> tuple[SeenLink, SeenLink] | None:
    """Both ends of the port's cable, None where they are not there or not of one cable."""
    inside = seen.namespace(spec["netns"])
    near = seen.links.get(spec["device"])
    far = inside.links.get(spec["inside"]) if inside else None
    if near and far and near.peer_ifindex == far.ifindex and far.peer_ifindex == near.ifindex:
        return near, far
    return None


def port_differences(seen: Seen, spec: Spec) -> list[Difference]:
    """The cable with both its ends, and the port's rows in the database."""
    inside, device = spec["inside"], spec["device"]
    out: list[Difference] = []
    pair = _pair(seen, spec)
    if pair is None:
        out.append(missing(f"device {inside} ({device} outside)"))
    else:
        near, far = pair
        out += compare("mac", spec["mac"], far.mac)
        out += compare("mtu", spec["mtu"], far.mtu)
        out += compare("mtu", spec["mtu"], near.mtu, f"mtu of {device}")
        out += compare("", True, far.up, f"device {inside}")
        out += compare("", True, near.up, f"device {device}")
        out += [
            missing(f"address {a}", f"addresses[{i}]")
            for i, a in enumerate(spec["addresses"])
            if a not in far.addresses
        ]
        out += [
            missing(f"address {a}, which is translated,", "floating")
            for a in spec.get("answers", ())
            if a not in far.addresses
        ]
        out += [
            Difference("addresses", f"address {a} is not in the file")
            for a in _surplus(far, spec, None)
        ]
    port = seen.ports.get(device)
    if port is None:
        out.append(missing(f"port {device} on bridge {spec['bridge']}", "bridge"))
        return out
    return out + _row_differences(port, spec)


def _surplus(far: SeenLink, spec: Spec, old: Spec | None) -> list[str]:
    """Addresses to remove: a port that the file gives none may have what it likes."""
    before = [*(old or {}).get("addresses", ()), *(old or {}).get("answers", ())]
    wanted = spec["addresses"]
    return sorted(
        a
        for a in far.addresses
        if a not in wanted
        and a not in spec.get("answers", ())
        and (a in before or (wanted and not ip_address(a.partition("/")[0]).is_link_local))
    )


def _row_differences(port: SeenPort, spec: Spec) -> list[Difference]:
    out = [
        *compare("bridge", spec["bridge"], port.bridge),
        *compare("vlan", spec["vlan"], port.tag),
        *compare("trunks", frozenset(spec["trunks"]), port.trunks),
        *compare("mode", spec["mode"], port.mode),
        *compare("bridge", "system", port.type or "system", "type"),
        *compare("rate", spec["rate_kbps"], port.rate_kbps, "rate in kbit/s"),
        *compare("burst", spec["burst_kb"], port.burst_kb, "burst in kbit"),
    ]
    # The error of a device that is missing is said already.
    return out + ([Difference("", port.error)] if port.error and not out else [])


def port_conflict(seen: Seen, spec: Spec) -> Refused | None:
    """A device or port of that name is somebody else's."""
    device = spec["device"]
    if device in seen.links:
        return Refused(
            f"there is a device {device} already, and it is not of this topology",
            remedy=f"name the instance otherwise, or remove the device: ip link del {device}",
        )
    if device in seen.ports:
        return Refused(
            f"bridge {seen.ports[device].bridge} has a port {device} already",
            remedy=f"remove it: ovs-vsctl del-port {device}",
        )
    return None


def ensure_port(tools: Tools, seen: Seen, spec: Spec, old: Spec | None) -> None:
    """Make it so, from whatever is."""
    if old is not None and old["device"] != spec["device"]:
        delete_port(tools, old)
    device, netns = spec["device"], spec["netns"]
    pair = _pair(seen, spec)
    if pair is None:
        _make_cable(tools, seen, spec)
    near, far = pair or (None, None)
    outside = []
    if near is None or near.mtu != spec["mtu"]:
        outside.append((f"link set {device} mtu {spec['mtu']}", "mtu"))
    if near is None or not near.up:
        outside.append((f"link set {device} up", ""))
    tools.ip(outside)
    tools.ip(_inside(spec, far, old), netns)
    port = seen.ports.get(device)
    args = ["--", "--if-exists", "del-port", device] if port and port.bridge != spec["bridge"] else []
    args += ["--", "--may-exist", "add-port", spec["bridge"], device, *_columns(spec)]
    tools.vsctl(*args[1:])


def _make_cable(tools: Tools, seen: Seen, spec: Spec) -> None:
    device, inside, netns = spec["device"], spec["inside"], spec["netns"]
    if device in seen.links:
        # Half a cable: its other end went with a namespace, or this is what a crash left.
        _delete_device(tools, device)
    there = seen.namespace(netns)
    if there is not None and inside in there.links:
        # The other half, whose host is gone.
        _delete_device(tools, inside, netns)
    lines = [
        (f"link add {device} type veth peer name {inside} address {spec['mac']} netns {netns}", "mac")
    ]
    if _IPV6.exists():
        # The host's end speaks for nobody: no link-local address, no router solicitations.
        lines.append((f"link set {device} addrgenmode none", ""))
    tools.ip(lines)


def _inside(spec: Spec, far: SeenLink | None, old: Spec | None) -> list[tuple[str, str]]:
    inside = spec["inside"]
    lines = []
    if far is not None and far.mac != spec["mac"]:
        lines.append((f"link set {inside} address {spec['mac']}", "mac"))
    if far is None or far.mtu != spec["mtu"]:
        lines.append((f"link set {inside} mtu {spec['mtu']}", "mtu"))
    if far is not None:
        lines += [(f"address del {a} dev {inside}", "addresses") for a in _surplus(far, spec, old)]
    for i, address in enumerate(spec["addresses"]):
        if far is None or address not in far.addresses:
            # Nobody else has it: to wait for an answer that never comes takes seconds.
            nodad = " nodad" if ":" in address else ""
            lines.append((f"address replace {address} dev {inside}{nodad}", f"addresses[{i}]"))
    for address in spec.get("answers", ()):
        if far is None or address not in far.addresses:
            # Neighbours are answered; deprecated, so that the router itself speaks from its own address.
            line = f"address replace {address} dev {inside} nodad preferred_lft 0"
            lines.append((line, "floating"))
    if far is None or not far.up:
        lines.append((f"link set {inside} up", ""))
    return lines


def _columns(spec: Spec) -> list[str]:
    device = spec["device"]
    trunks = ",".join(map(str, spec["trunks"]))
    args = ["--", "clear", "port", device, "tag", "vlan_mode"]
    args += ["--", "set", "port", device, f"trunks=[{trunks}]"]
    args += [f"tag={spec['vlan']}"] if spec["vlan"] is not None else []
    args += [f"vlan_mode={spec['mode']}"] if spec["mode"] else []
    args += [
        "--", "set", "interface", device, 'type=""', f"ingress_policing_rate={spec['rate_kbps']}",
        f"ingress_policing_burst={spec['burst_kb']}",
    ]  # fmt: skip
    return args


def delete_port(tools: Tools, spec: Spec) -> None:
    """Pull the port off its bridge and remove the cable."""
    tools.vsctl("--if-exists", "del-port", spec["device"])
    _delete_device(tools, spec["device"])


def _delete_device(tools: Tools, device: str, netns: str | None = None) -> None:
    # Whoever removed its namespace removed it too, only some time later: then it is gone before us.
    done = tools.attempt(*tools.ip_command(netns), "link", "del", device)
    if done.returncode and "Cannot find device" not in done.stderr:
        raise Refused(complaint_of(done), remedy=f"remove it by hand: ip link del {device}")
