"""Where in its file a resource is declared."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from gossamer.topology.document import Document
from gossamer.topology.model import Topology

_ADDRESS: Final = re.compile(r"^addresses\[(\d+)\]$")


def document_path(topology: Topology, key: str, attribute: str) -> str:
    """The path in the document, such as ``instances.vm1.ports[0].mac``."""
    kind, first, *rest = key.split("/")
    host, _, name = first.rpartition(":")
    above = f"hosts.{host}." if host else ""
    if kind == "patch":
        patches = topology.hosts[host].patches if host in topology.hosts else topology.patches
        between = [frozenset(p.between) for p in patches]
        wanted = frozenset((name, rest[0]))
        if wanted not in between:
            # Those that networks need stand nowhere.
            return above.rstrip(".") or "patches"
        return _join(f"{above}patches[{between.index(wanted)}]", attribute)
    if kind == "tunnel":
        return above.rstrip(".")
    if kind in ("bridge", "flows"):
        if host in topology.hosts and name not in topology.hosts[host].bridges:
            return above.rstrip(".")
        return _join(f"{above}bridges.{name}", attribute)
    machine = topology.hosts.get(name) or topology.instances.get(name)
    group = "hosts" if name in topology.hosts else "instances"
    if kind != "port":
        return _join(f"{group}.{name}", attribute)
    where = f"{group}.{name}.ports[{rest[0]}]"
    ports = machine.ports if machine else ()
    found = _ADDRESS.match(attribute)
    if found and int(rest[0]) < len(ports) and ports[int(rest[0])].address:
        # `address` stands before `addresses`, where the file has both.
        index = int(found[1])
        attribute = f"addresses[{index - 1}]" if index else "address"
    elif attribute == "addresses" and int(rest[0]) < len(ports) and not ports[int(rest[0])].addresses:
        attribute = "address"
    return _join(where, attribute)


def _join(where: str, attribute: str) -> str:
    return f"{where}.{attribute}" if attribute else where


def place_of(topology: Topology, source: Path, key: str, attribute: str) -> str:
    """``FILE:LINE`` of an attribute of a resource; the nearest line the file has."""
    return Document.read(source).place(document_path(topology, key, attribute))
