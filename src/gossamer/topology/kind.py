"""The kinds of resources, and how each is compared with what is, made and removed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gossamer.errors import TopologyError
from gossamer.topology import bridges, daemons, flows, instances, ports, tunnels
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


def _placed(kind: Kind) -> Kind:
    """The kind, for resources that may be on a host: with that host's tools and sight.

    Where a host's daemon does not answer nothing can be said of what is on it:
    the daemon comes first, and the rest is looked at again afterwards.
    """

    def differences(tools: Tools, seen: Seen, spec: Spec) -> list[Difference]:
        host = spec.get("host")
        if host and not seen.at(host).answers:
            return []
        return kind.differences(tools.at(host), seen.at(host), spec)

    def conflict(seen: Seen, spec: Spec) -> TopologyError | None:
        host = spec.get("host")
        return None if host and not seen.at(host).answers else kind.conflict(seen.at(host), spec)

    def ensure(tools: Tools, seen: Seen, spec: Spec, old: Spec | None) -> None:
        host = spec.get("host")
        if old is not None and old.get("host") != host:
            delete(tools, old)
            old = None
        kind.ensure(tools.at(host), seen.at(host), spec, old)

    def delete(tools: Tools, spec: Spec) -> None:
        host = spec.get("host")
        if not host or tools.at(host).answers():
            kind.delete(tools.at(host), spec)

    return Kind(differences, conflict, ensure, delete)


def _on_host(kind: Kind) -> Kind:
    """The kind, for what a host itself consists of."""
    return Kind(
        lambda tools, seen, spec: kind.differences(tools.at(spec["host"]), seen.at(spec["host"]), spec),
        lambda seen, spec: kind.conflict(seen.at(spec["host"]), spec),
        lambda tools, seen, spec, old: kind.ensure(
            tools.at(spec["host"]), seen.at(spec["host"]), spec, old
        ),
        lambda tools, spec: kind.delete(tools.at(spec["host"]), spec),
    )


def _by_sight(
    differences: Callable[[Seen, Spec], list[Difference]],
) -> Callable[[Tools, Seen, Spec], list[Difference]]:
    """For kinds that need no more than what was seen."""
    return lambda tools, seen, spec: differences(seen, spec)


_NAMESPACE: Final = Kind(
    _by_sight(instances.instance_differences),
    instances.instance_conflict,
    instances.ensure_instance,
    instances.delete_instance,
)

KINDS: Final[dict[str, Kind]] = {
    "bridge": _placed(
        Kind(
            _by_sight(bridges.bridge_differences),
            bridges.bridge_conflict,
            bridges.ensure_bridge,
            bridges.delete_bridge,
        )
    ),
    "patch": _placed(
        Kind(
            _by_sight(bridges.patch_differences),
            bridges.patch_conflict,
            bridges.ensure_patch,
            bridges.delete_patch,
        )
    ),
    "tunnel": _placed(
        Kind(
            _by_sight(tunnels.tunnel_differences),
            tunnels.tunnel_conflict,
            tunnels.ensure_tunnel,
            tunnels.delete_tunnel,
        )
    ),
    "host": _NAMESPACE,
    "instance": _NAMESPACE,
    "daemon": _on_host(
        Kind(
            daemons.daemon_differences,
            daemons.daemon_conflict,
            daemons.ensure_daemon,
            daemons.delete_daemon,
        )
    ),
    "port": _placed(
        Kind(
            _by_sight(ports.port_differences),
            ports.port_conflict,
            ports.ensure_port,
            ports.delete_port,
        )
    ),
    "routing": Kind(
        _by_sight(instances.routing_differences),
        instances.no_conflict,
        instances.ensure_routing,
        instances.delete_routing,
    ),
    "flows": _placed(
        Kind(flows.flow_differences, flows.flow_conflict, flows.ensure_flows, flows.delete_flows)
    ),
}


def kind_of(key: str) -> Kind:
    """The kind of a resource, from its key."""
    return KINDS[key.split("/", 1)[0]]
