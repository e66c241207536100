"""Instances: their namespaces and their routing, compared, made and removed."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Final

from gossamer.topology.command import Refused, Tools, complaint_of
from gossamer.topology.difference import Difference, compare, missing
from gossamer.topology.resources import Spec
from gossamer.topology.seen import Route, Seen

# -- namespaces ------------------------------------------------------------------------------------


def instance_differences(seen: Seen, spec: Spec) -> list[Difference]:
    """The namespace is there, and its loopback device is up."""
    inside = seen.namespace(spec["netns"])
    if inside is None:
        return [missing(f"namespace {spec['netns']}")]
    return list(compare("", True, inside.links["lo"].up, "device lo"))


def instance_conflict(seen: Seen, spec: Spec) -> Refused | None:
    """A namespace of that name is somebody else's."""
    if spec["netns"] not in seen.namespaces:
        return None
    return Refused(
        f"there is a namespace {spec['netns']} already, and it is not of this topology",
        remedy=f"choose another name, or remove it: ip netns del {spec['netns']}",
    )


def ensure_instance(tools: Tools, seen: Seen, spec: Spec, old: Spec | None) -> None:
    """Make it so, from whatever is."""
    if old is not None and old["netns"] != spec["netns"]:
        delete_instance(tools, old)
    if spec["netns"] not in seen.namespaces:
        tools.run("ip", "netns", "add", spec["netns"])
    tools.ip([("link set lo up", "")], spec["netns"])


def delete_instance(tools: Tools, spec: Spec) -> None:
    """Remove the namespace with all that is in it."""
    if spec["netns"] in Seen(tools).namespaces:
        tools.run("ip", "netns", "del", spec["netns"])


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


def _routes(spec: Spec) -> dict[Route, str]:
    """The wanted routes, and the attribute each is from."""
    out: dict[Route, str] = {}
    if spec["gateway"]:
        gateway = ip_address(spec["gateway"])
        out["0.0.0.0/0" if gateway.version == 4 else "::/0", str(gateway)] = "gateway"
    for i, route in enumerate(spec["routes"]):
        destination, _, via = route.partition(" via ")
        out[str(ip_network(destination.strip())), str(ip_address(via.strip()))] = f"routes[{i}]"
    return out


def routing_differences(seen: Seen, spec: Spec) -> list[Difference]:
    """Static routes, forwarding and address translation."""
    inside = seen.namespace(spec["netns"])
    if inside is None:
        return [missing("routing")]
    wanted = _routes(spec)
    out = [
        missing(f"route {d} via {via}", attribute)
        for (d, via), attribute in wanted.items()
        if (d, via) not in inside.routes
    ]
    out += [
        Difference("routes", f"route {d} via {via} is not in the file")
        for d, via in sorted(inside.routes - wanted.keys())
    ]
    for family, on in sorted(inside.forwarding.items()):
        out += compare("forward", spec["forward"], on, f"forwarding of {_FAMILIES[family]}")
    if spec["nat"]:
        out += compare("nat", spec["nat"], seen.masquerades(spec["netns"]))
    return out


_FAMILIES: Final = {"inet": "IPv4", "inet6": "IPv6"}
_FORWARDING: Final = {"inet": "net.ipv4.ip_forward", "inet6": "net.ipv6.conf.all.forwarding"}


def no_conflict(seen: Seen, spec: Spec) -> Refused | None:
    """Inside a namespace of ours all is ours."""
    return None


def ensure_routing(tools: Tools, seen: Seen, spec: Spec, old: Spec | None) -> None:
    """Make it so, from whatever is.  Its ports may just have been changed: look again."""
    netns = spec["netns"]
    inside = Seen(tools).namespace(netns)
    if inside is None:
        raise Refused(f"the namespace {netns} is gone", remedy="gossamer up again")
    wanted = _routes(spec)
    lines = [
        (f"route del {d} via {via} proto static", "routes") for d, via in inside.routes - wanted.keys()
    ]
    lines += [
        (f"route replace {d} via {via} proto static", attribute)
        for (d, via), attribute in wanted.items()
        if (d, via) not in inside.routes
    ]
    tools.ip(lines, netns)
    for family, on in inside.forwarding.items():
        if on != spec["forward"]:
            setting = f"{_FORWARDING[family]}={int(spec['forward'])}"
            tools.run("ip", "netns", "exec", netns, "sysctl", "-q", "-w", setting)
    if spec["nat"]:
        done = tools.attempt(
            "ip", "netns", "exec", netns, "nft", "-f", "-", stdin=_NAT.format(spec["nat"])
        )
        if done.returncode:
            raise Refused(complaint_of(done), attribute="nat", remedy="NAT needs nft(8) and nf_tables")
    elif old is not None and old["nat"]:
        tools.in_netns(netns, "nft", "delete", "table", "inet", "gossamer")


def delete_routing(tools: Tools, spec: Spec) -> None:
    """It goes with its namespace, which goes in the same breath."""
