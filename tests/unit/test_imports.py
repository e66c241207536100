"""Folders depend one way, and modules on each other without circles."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import gossamer

_SRC = Path(gossamer.__file__).parent
_BELOW = {
    "errors": "",
    "breath": "",
    "pipeline": "errors",
    "export": "errors pipeline",
    "openflow": "errors pipeline export",
    "datapath": "errors breath pipeline",
    "devices": "errors pipeline",
    "switch": "errors breath pipeline export openflow datapath devices",
    "ovsdb": "errors switch",
    "daemon": "errors breath pipeline export openflow datapath devices switch ovsdb",
    "topology": "errors",
    "cli": "errors topology",
}
"""What each folder, or module beside them, may import; docs/architecture.md has the picture.
topology and cli talk to a daemon over its sockets."""


@dataclass(frozen=True)
class Import:
    """`of` is imported by `by`, both as dotted names below gossamer."""

    by: str
    of: str
    for_types: bool
    """Only where types are checked."""


def _name(path: Path) -> str:
    parts = path.relative_to(_SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


_MODULES = {_name(path): path for path in sorted(_SRC.rglob("*.py"))}


def _imports(by: str, node: ast.AST, for_types: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ImportFrom):
            assert not child.level, f"{by}: imports are absolute"
            assert child.module is not None
            if child.module.split(".")[0] == "gossamer":
                where = child.module.removeprefix("gossamer").removeprefix(".")
                for alias in child.names:
                    inner = f"{where}.{alias.name}".removeprefix(".")
                    yield Import(by, inner if inner in _MODULES else where, for_types)
        elif isinstance(child, ast.Import):
            for alias in child.names:
                if alias.name.split(".")[0] == "gossamer":
                    yield Import(by, alias.name.removeprefix("gossamer."), for_types)
        else:
            types = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            yield from _imports(by, child, for_types or types)


_IMPORTS = [
    found
    for name, path in _MODULES.items()
    for found in _imports(name, ast.parse(path.read_text()))
    if found.of != name
]


def test_imports_are_found() -> None:
    assert len(_IMPORTS) > len(_MODULES)


def test_no_folder_imports_from_above_not_even_for_types() -> None:
    wrong = {
        f"{i.by} imports {i.of}"
        for i in _IMPORTS
        if (mine := i.by.split(".")[0]) != (other := i.of.split(".")[0])
        and mine and other not in _BELOW[mine].split()
    }  # fmt: skip
    assert not wrong


def test_what_may_be_imported_has_no_circles() -> None:
    order = TopologicalSorter({name: below.split() for name, below in _BELOW.items()})
    assert set(order.static_order()) == {n.split(".")[0] for n in _MODULES if n}


def test_no_module_needs_itself_to_be_imported() -> None:
    order: TopologicalSorter[str] = TopologicalSorter()
    for i in _IMPORTS:
        # What a folder's __init__ hands on is imported from there by others alone.
        if not i.for_types and not (i.of and i.by.startswith(f"{i.of}.")):
            order.add(i.by, i.of)
    try:
        order.prepare()
    except CycleError as e:
        raise AssertionError(f"modules import each other: {' <- '.join(e.args[1])}") from None
