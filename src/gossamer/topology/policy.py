"""The flows of a bridge with stateful rules or translated addresses, in place of the file's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gossamer.topology.membership import Member, members
from gossamer.topology.model import Port, Topology
from gossamer.topology.names import default_mac
from gossamer.topology.nat import add_translation
from gossamer.topology.security import (
    GROUP_BIT,
    Protected,
    add_security,
    flooded,
    heard,
    rules_of,
)
from gossamer.topology.stages import (
    LOAD_PORT,
    LOAD_VLAN,
    LOAD_ZONE,
    VLAN,
    FlowList,
    Stage,
    go,
    zones,
)
from gossamer.topology.translations import Translation, Where, translations


def policy_flows(topology: Topology, bridge: str) -> list[str]:
    """The flows that rules and translated addresses of a bridge's ports ask for; none where none do."""
    protected = [
        protected_port(topology, (name, i), port.vlan or 0)
        for name, instance in topology.instances.items()
        for i, port in enumerate(instance.ports)
        if port.bridge == bridge and not instance.host and port.protected
    ]
    routers = {w: t for w, t in translations(topology).items() if _port(topology, w).bridge == bridge}
    if not protected and not routers:
        return []
    return site_flows(topology, list(members(topology, bridge)), protected, routers)


def protected_port(topology: Topology, where: Where, vlan: int) -> Protected:
    """A port with its rules, in the VLAN that its bridge has it in."""
    port = _port(topology, where)
    allow, egress = rules_of(topology, port)
    return Protected(
        port_name(where), port, vlan, _mac(topology, where), _zones(topology)[f"port {where}"],
        topology.instances[where[0]].forward, allow, egress,
    )  # fmt: skip


def site_flows(
    topology: Topology,
    ports: list[Member],
    protected: list[Protected],
    routers: Mapping[Where, Translation],
    admission: Iterable[tuple[int, str, str]] = (),
) -> list[str]:
    """The flows of a bridge with these ports.

    `admission` has (priority, match, actions) of table 0, over 60, for ports
    whose VLANs are not those of the bridge; the actions end where `admitted()` does.
    """
    flows = FlowList()
    for priority, match, actions in admission:
        flows.add(Stage.ADMIT, priority, match, actions)
    _add_admission(flows, ports, protected)
    add_security(flows, topology, protected)
    flows.add(Stage.SOURCE_NAT, 0, "", go(Stage.TARGET_NAT))
    flows.add(Stage.TARGET_NAT, 0, "", go(Stage.RECEIVER))
    for where, translation in routers.items():
        vlan, zone = _port(topology, where).vlan or 0, _zones(topology)[f"nat {where}"]
        add_translation(flows, translation, port_name(where), vlan, _mac(topology, where), zone)
    for vlan in sorted({p.vlan for p in protected}):
        _add_groupcast(flows, vlan, ports, [p for p in protected if p.vlan == vlan])
    flows.add(Stage.RECEIVER, 0, "", go(Stage.DELIVER))
    flows.add(Stage.DELIVER, 0, "", "NORMAL")
    return flows.lines()


def admitted(vlan: int) -> str:
    """The actions that take a frame of a VLAN on."""
    return f"load:{vlan}->{LOAD_VLAN},{go(Stage.SENDER)}"


def _zones(topology: Topology) -> dict[str, int]:
    """Of all ports, whether they need one or not: a rule added to one must not renumber others."""
    every = [(n, i) for n, instance in topology.instances.items() for i in range(len(instance.ports))]
    return zones(topology.name, [f"{use} {where}" for use in ("port", "nat") for where in every])


def _port(topology: Topology, where: Where) -> Port:
    return topology.instances[where[0]].ports[where[1]]


def port_name(where: Where) -> str:
    """An instance's port as flows name it."""
    return f'"{where[0]}.eth{where[1]}"'


def _mac(topology: Topology, where: Where) -> str:
    mac = topology.instances[where[0]].ports[where[1]].mac
    return mac.lower() if mac else default_mac(topology.name, *where)


def _add_admission(flows: FlowList, ports: list[Member], protected: list[Protected]) -> None:
    """Into the VLAN that a frame's port and tag say.

    NORMAL does so too, later: here it is to find receivers, and to refuse
    what NORMAL never sees.
    """
    table, checked = Stage.ADMIT, go(Stage.SENDER)
    own = {p.name: p for p in protected}
    for port in ports:
        who = f"in_port={port.name}"
        if port.native is None:
            flows.add(table, 60, f"{who},vlan_tci=0x0000/0x1fff", "drop")
        elif port.native or port.name in own:
            zone = f"load:{own[port.name].zone}->{LOAD_ZONE}," if port.name in own else ""
            actions = f"load:{port.native}->{LOAD_VLAN},{zone}{checked}"
            flows.add(table, 60, f"{who},vlan_tci=0x0000/0x1fff", actions)
        if port.tagged is not None:
            for vlan in sorted(port.tagged):
                flows.add(table, 50, f"{who},dl_vlan={vlan}", admitted(vlan))
            flows.add(table, 40, f"{who},vlan_tci=0x1000/0x1000", "drop")
    flows.add(
        table, 10, "vlan_tci=0x1000/0x1000",
        f"move:OXM_OF_VLAN_VID[0..11]->{LOAD_VLAN[:-2]}[0..11],{checked}",
    )  # fmt: skip
    flows.add(table, 0, "", checked)


def _add_groupcast(flows: FlowList, vlan: int, ports: list[Member], protected: list[Protected]) -> None:
    """Broadcasts and multicasts: protected ports get what their rules allow, the others all.

    NORMAL would flood to all alike.  Ports that have the frame as it is come
    first, then its tag is taken off or put on for the rest.
    """
    for match in flooded(vlan):
        flows.add(Stage.RECEIVER, 70, match, go(Stage.DELIVER))
    names = {p.name for p in protected}
    hearing = [p.name for p in protected if any(heard(r) for r in p.allow)]
    copies = [f"load:{name}->{LOAD_PORT},{go(Stage.GROUPCAST)})" for name in hearing]
    forms = [(p.name, p.form(vlan)) for p in ports if p.name not in names]
    tagged = [f"output:{n}" for n, form in forms if form == "tagged"]
    untagged = [f"output:{n}" for n, form in forms if form == "untagged"]
    match = f"{VLAN}={vlan},{GROUP_BIT}"
    strip = ["strip_vlan", *untagged] if untagged else []
    push = [f"mod_vlan_vid:{vlan}", *tagged] if tagged else []
    flows.add(
        Stage.RECEIVER, 60, f"{match},vlan_tci=0x1000/0x1000",
        ",".join((*(f"clone(strip_vlan,{c}" for c in copies), *tagged, *strip)) or "drop",
    )  # fmt: skip
    flows.add(
        Stage.RECEIVER, 60, f"{match},vlan_tci=0x0000/0x1fff",
        ",".join((*(f"clone({c}" for c in copies), *untagged, *push)) or "drop",
    )  # fmt: skip
