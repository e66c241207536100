"""The kinds of resources, and how each is compared with what is, made and removed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gossamer.errors import TopologyError
from gossamer.topology import bridges, flows, instances, ports
from gossamer.topology.command import Tools
from gossamer.topology.difference import Difference
from gossamer.topology.resources import Spec
from gossamer.topology.seen import Seen


@dataclass(frozen=True, slots=True)
class Kind:
    """How resources of a kind are handled.

    `differences` says where what is differs from a specification.  `conflict`
    says whether somebody else has what one would make.  `ensure` makes it so,
    from whatever is, nothing included; it gets the specification it had
    before, or None.  `delete` removes it, or what is left of it.
    """

    differences: Callable[[Tools, Seen, Spec], list[Difference]]
    conflict: Callable[[Seen, Spec], TopologyError | None]
    ensure: Callable[[Tools, Seen, Spec, Spec | None], None]
    delete: Callable[[Tools, Spec], None]


def _by_sight(
    differences: Callable[[Seen, Spec], list[Difference]],
) -> Callable[[Tools, Seen, Spec], list[Difference]]:
    """For kinds that need no more than what was seen."""
    return lambda tools, seen, spec: differences(seen, spec)


KINDS: Final[dict[str, Kind]] = {
    "bridge": Kind(
        _by_sight(bridges.bridge_differences),
        bridges.bridge_conflict,
        bridges.ensure_bridge,
        bridges.delete_bridge,
    ),
    "patch": Kind(
        _by_sight(bridges.patch_differences),
        bridges.patch_conflict,
        bridges.ensure_patch,
        bridges.delete_patch,
    ),
    "instance": Kind(
        _by_sight(instances.instance_differences),
        instances.instance_conflict,
        instances.ensure_instance,
        instances.delete_instance,
    ),
    "port": Kind(
        _by_sight(ports.port_differences),
        ports.port_conflict,
        ports.ensure_port,
        ports.delete_port,
    ),
    "routing": Kind(
        _by_sight(instances.routing_differences),
        instances.no_conflict,
        instances.ensure_routing,
        instances.delete_routing,
    ),
    "flows": Kind(
        flows.flow_differences, flows.flow_conflict, flows.ensure_flows, flows.delete_flows
    ),
}


def kind_of(key: str) -> Kind:
    """The kind of a resource, from its key."""
    return KINDS[key.split("/", 1)[0]]
