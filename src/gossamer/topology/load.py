"""Read a topology file; a mistake is told with its file, line and remedy."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

from gossamer.errors import TopologyError
from gossamer.topology import model
from gossamer.topology.model import Bridge, Instance, Patch, Port, Topology

_PATH_PART = re.compile(r"\.?([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"unknown field `(.+?)`")
_KNOWN_KEYS = sorted({f for t in (Topology, Bridge, Instance, Port, Patch) for f in t.__struct_fields__})


def load(path: Path) -> Topology:
    """The topology of a file.  Raises TopologyError."""
    try:
        text = path.read_text()
    except OSError as e:
        raise TopologyError(f"cannot be read: {e.strerror}", place=str(path)) from None
    except UnicodeDecodeError:
        raise TopologyError("is not UTF-8 text", place=str(path)) from None
    try:
        document = YAML().load(text)
    except MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        line = mark.line + 1 if mark else 1
        raise TopologyError(
            f"not YAML: {e.problem or e.context}", place=f"{path}:{line}", remedy="check the indentation"
        ) from None
    if not isinstance(document, dict):
        raise TopologyError("is no topology", place=f"{path}:1", remedy="begin with name: and bridges:")
    document.setdefault("name", re.sub(r"[^a-z0-9-]", "-", path.stem.lower())[:14])
    try:
        topology = msgspec.convert(_plain(document), Topology)
    except msgspec.ValidationError as e:
        raise _of_validation(e, document, path) from None
    try:
        model.check(topology)
    except TopologyError as e:
        line = _line(document, e.place)
        raise TopologyError(e.message, place=f"{path}:{line}", remedy=e.remedy) from None
    return topology


def _plain(node: Any) -> Any:
    """The document without the parser's own types."""
    if isinstance(node, dict):
        return {str(k): _plain(v) for k, v in node.items()}
    if isinstance(node, list):
        return [_plain(v) for v in node]
    if isinstance(node, bool) or node is None:
        return node
    if isinstance(node, int):
        return int(node)
    if isinstance(node, float):
        return float(node)
    return str(node)


def _of_validation(e: msgspec.ValidationError, document: Any, path: Path) -> TopologyError:
    message, _, where = str(e).partition(" - at `")
    where = where.rstrip("`").removeprefix("key in ").removeprefix("`").removeprefix("$").lstrip(".")
    remedy = ""
    unknown = _UNKNOWN.search(message)
    if unknown:
        where = f"{where}.{unknown[1]}" if where else unknown[1]
        close = difflib.get_close_matches(unknown[1], _KNOWN_KEYS, n=1)
        message = f"unknown key {unknown[1]!r}"
        remedy = f"did you mean {close[0]!r}?" if close else f"keys are {', '.join(_KNOWN_KEYS)}"
    line = _line(document, where)
    return TopologyError(message, place=f"{path}:{line}", remedy=remedy or f"see docs/cli.md, at {where}")


def _line(document: Any, where: str) -> int:
    """The line of the deepest part of a path that the document has."""
    node: Any = document
    line = 1
    for name, index in _PATH_PART.findall(where):
        if isinstance(node, CommentedMap):
            if index or name not in node:
                # A validator names a member of a mapping "...": look for the one that is wrong.
                break
            key = name
            position = node.lc.key(key) if key in node.lc.data else (node.lc.line, 0)
            node, line = node[key], position[0] + 1
        elif isinstance(node, CommentedSeq) and index.isdigit() and int(index) < len(node):
            line = node.lc.item(int(index))[0] + 1
            node = node[int(index)]
        else:
            break
    else:
        return line
    if isinstance(node, CommentedMap):
        found = _find_key(node, where.rpartition(".")[2])
        line = found or line
    return int(line)


def _find_key(node: Any, key: str) -> int | None:
    """Line of the first `key` anywhere below a node."""
    if isinstance(node, CommentedMap):
        if key in node and key in node.lc.data:
            return int(node.lc.key(key)[0]) + 1
        children = list(node.values())
    elif isinstance(node, list):
        children = list(node)
    else:
        return None
    for child in children:
        found = _find_key(child, key)
        if found:
            return found
    return None
