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
    kind, name, *rest = key.split("/")
    if kind == "patch":
        between = [frozenset(p.between) for p in topology.patches]
        wanted = frozenset((name, rest[0]))
        return _join(f"patches[{between.index(wanted)}]" if wanted in between else "patches", attribute)
    if kind in ("bridge", "flows"):
        return _join(f"bridges.{name}", attribute)
    if kind != "port":
        return _join(f"instances.{name}", attribute)
    where = f"instances.{name}.ports[{rest[0]}]"
    ports = topology.instances[name].ports if name in topology.instances else ()
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
