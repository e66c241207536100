"""What types alone cannot say of rules for connections and of translated addresses."""

from __future__ import annotations

from collections.abc import Iterator

from gossamer.errors import TopologyError
from gossamer.topology.allow import Direction, parse_rule
from gossamer.topology.model import Port, Topology
from gossamer.topology.translations import translations


def check_security(topology: Topology) -> None:
    """Rules, the groups they name, and the ports and bridges they are for."""
    for name, group in topology.security_groups.items():
        _check_rules(topology, group.allow, "in", f"security_groups.{name}.allow")
        _check_rules(topology, group.egress or (), "out", f"security_groups.{name}.egress")
    for name, i, port in _ports(topology):
        place = f"instances.{name}.ports[{i}]"
        _check_rules(topology, port.allow or (), "in", f"{place}.allow")
        _check_rules(topology, port.egress or (), "out", f"{place}.egress")
        for k, group_name in enumerate(port.groups()):
            if group_name not in topology.security_groups:
                raise TopologyError(
                    f"there is no security group {group_name!r}",
                    place=f"{place}.security_groups[{k}]",
                    remedy=_groups(topology),
                )
        if port.protected and port.network is None:
            _check_stateful(topology, port, place, "a port with rules")
    for (name, i), translation in translations(topology).items():
        port = topology.instances[name].ports[i]
        what = "snat" if translation.hiding else "floating addresses"
        _check_stateful(topology, port, f"instances.{name}.ports[{i}]", f"a router's port with {what}")


def _check_rules(topology: Topology, rules: tuple[str, ...], direction: Direction, place: str) -> None:
    for i, text in enumerate(rules):
        try:
            rule = parse_rule(text, direction)
        except TopologyError as e:
            raise TopologyError(e.message, place=f"{place}[{i}]", remedy=e.remedy) from None
        if rule.group is not None and rule.group not in topology.security_groups:
            raise TopologyError(
                f"{text!r}: there is no security group {rule.group!r}",
                place=f"{place}[{i}]",
                remedy=_groups(topology),
            )


def _groups(topology: Topology) -> str:
    if not topology.security_groups:
        return "declare it below security_groups: at the top of the file"
    return f"security groups are {', '.join(topology.security_groups)}"


def _check_stateful(topology: Topology, port: Port, place: str, what: str) -> None:
    """Flows with ct() stand in for those of the bridge, and need to know what the port carries."""
    bridge = topology.bridges[port.bridge or ""]
    if port.trunks or port.mode not in (None, "access"):
        raise TopologyError(
            f"{what} carries one VLAN",
            place=f"{place}.{'trunks' if port.trunks else 'mode'}",
            remedy="make it an access port: vlan: 10, without trunks and mode",
        )
    if bridge.flows or bridge.controllers:
        key = "flows" if bridge.flows else "controllers"
        raise TopologyError(
            f"bridge {port.bridge} has {key}, and {what} makes flows of its own",
            place=f"bridges.{port.bridge}.{key}",
            remedy=f"take the {key} out, or put the port on a bridge of its own and join them by a patch",
        )


def _ports(topology: Topology) -> Iterator[tuple[str, int, Port]]:
    for name, instance in topology.instances.items():
        for i, port in enumerate(instance.ports):
            yield name, i, port
