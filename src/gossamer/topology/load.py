"""Read a topology file; a mistake is told with its file, line and remedy."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, Final

import msgspec

from gossamer.errors import TopologyError
from gossamer.topology import validate
from gossamer.topology.document import Document
from gossamer.topology.model import (
    MAC_PATTERN,
    NAME_PATTERN,
    Bridge,
    Gateway,
    Host,
    Instance,
    Name,
    Network,
    Patch,
    Port,
    SecurityGroup,
    Topology,
)

_UNKNOWN: Final = re.compile(r"unknown field `(.+?)`")
_REQUIRED: Final = re.compile(r"missing required field `(.+?)`")
_EXPECTED: Final = re.compile(r"Expected (.+), got `(\w+)`$")
_BOUND: Final = re.compile(r"Expected `(int|float)` ([<>]=?) ([0-9.]+)$")
_PATTERN: Final = re.compile(r"Expected `str` matching regex (.*)$")
_LENGTH: Final = re.compile(r"Expected `(\w+)` of length (>= )?(\d+)")
_CHOICE: Final = re.compile(r"Invalid enum value (.+)$")
_STRUCTS: Final = (
    Topology, Bridge, Instance, Port, Patch, Host, Network, Gateway, SecurityGroup
)  # fmt: skip
_KEYS: Final = {t: list(t.__struct_fields__) for t in _STRUCTS}
_ALL_KEYS: Final = sorted({f for fields in _KEYS.values() for f in fields})
_TYPES: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "null": "nothing",
    "array": "a list",
    "object": "a mapping",
}
_RULES: Final = ("allow", "egress")
_RULES_REMEDY: Final = "write a line with a dash for each rule below {}:, or [] for none"
_SAY_REMEDY: Final = "write something after it, or take the line out"
_CHOICES: Final = {
    "mode": "access, trunk, native-tagged or native-untagged",
    "fail_mode": "standalone or secure",
    "kind": "vxlan, gre, geneve, vlan or flat",
}


def load(path: Path) -> Topology:
    """The topology of a file.  Raises TopologyError."""
    document = Document.read(path)
    if not isinstance(document.data, dict):
        raise TopologyError(
            "is no topology", place=f"{path}:1", remedy="begin with name: and bridges:, see docs/cli.md"
        )
    plain = _completed(document.plain(), path)
    try:
        topology = _convert(plain)
    except _Wrong as e:
        raise TopologyError(e.message, place=document.place(e.place), remedy=e.remedy) from None
    try:
        validate.check(topology)
    except TopologyError as e:
        raise TopologyError(e.message, place=document.place(e.place), remedy=e.remedy) from None
    return topology


def _completed(plain: dict[str, Any], path: Path) -> dict[str, Any]:
    """With a name, and with what people leave empty."""
    plain.setdefault("name", _name_of(path))
    hosts = plain.get("hosts")
    if isinstance(hosts, dict):
        plain["hosts"] = hosts = {k: {} if v is None else v for k, v in hosts.items()}
    for holder in (plain, *(hosts.values() if isinstance(hosts, dict) else ())):
        bridges = holder.get("bridges") if isinstance(holder, dict) else None
        if isinstance(bridges, dict):
            holder["bridges"] = {k: {} if v is None else v for k, v in bridges.items()}
    groups = plain.get("security_groups")
    if isinstance(groups, dict):
        plain["security_groups"] = {k: {} if v is None else v for k, v in groups.items()}
    for key in ("instances", "patches", "expect", "security_groups", "hosts", "networks"):
        if key in plain and plain[key] is None:
            del plain[key]
    return plain


def _name_of(path: Path) -> str:
    """A topology's name from its file's."""
    name = re.sub(r"[^a-z0-9-]+", "-", path.stem.lower()).strip("-")
    return (name if name[:1].isalpha() else f"t-{name}".strip("-"))[:14].rstrip("-")


class _Wrong(TopologyError):
    """What is wrong, with a path in the document as its place."""


def _convert(plain: dict[str, Any]) -> Topology:
    """The document as types.

    A member of a mapping is converted by itself: the converter does not say
    which of them it found wrong.
    """
    members = (
        ("bridges", Bridge), ("instances", Instance), ("security_groups", SecurityGroup),
        ("networks", Network), ("hosts", Host),
    )  # fmt: skip
    for key, member in members:
        for name, value in plain[key].items() if isinstance(plain.get(key), dict) else ():
            _convert_one(name, Name, f"{key}.{name}", value)
            if member is Host and isinstance(value, dict):
                _convert_bridges(value.get("bridges"), f"{key}.{name}.bridges")
            _convert_one(value, member, f"{key}.{name}", value)
            _check_said(value, f"{key}.{name}")
    topology: Topology = _convert_one(plain, Topology, "", plain)
    return topology


def _check_said(value: Any, place: str) -> None:
    """Refuse keys with nothing after them, which types take for keys that are not there.

    `allow:` whose last rule was taken out must not open the port.
    """
    if isinstance(value, list):
        for i, item in enumerate(value):
            _check_said(item, f"{place}[{i}]")
    for key, said in value.items() if isinstance(value, dict) else ():
        if said is None:
            remedy = _RULES_REMEDY.format(key) if key in _RULES else _SAY_REMEDY
            raise _Wrong(f"{place}.{key} says nothing", place=f"{place}.{key}", remedy=remedy)
        _check_said(said, f"{place}.{key}")


def _convert_bridges(bridges: Any, place: str) -> None:
    for name, value in bridges.items() if isinstance(bridges, dict) else ():
        _convert_one(name, Name, f"{place}.{name}", value)
        _convert_one(value, Bridge, f"{place}.{name}", value)


def _convert_one(value: Any, to: Any, place: str, data: Any) -> Any:
    try:
        return msgspec.convert(value, to)
    except msgspec.ValidationError as e:
        raise _of_validation(e, place, data) from None


def _of_validation(e: msgspec.ValidationError, base: str, data: Any) -> _Wrong:
    message, _, path = str(e).partition(" - at `")
    relative = path.rstrip("`").removeprefix("key in ").removeprefix("`").removeprefix("$").lstrip(".")
    relative = relative.partition("[...]")[0]
    where = f"{base}.{relative}".strip(".") if not relative.startswith("[") else base + relative
    leaf = re.sub(r"\[\d+\]", "", where.rpartition(".")[2])
    unknown = _UNKNOWN.search(message)
    if unknown:
        keys = _keys_at(where)
        close = difflib.get_close_matches(unknown[1], keys, n=1) or difflib.get_close_matches(
            unknown[1], _ALL_KEYS, n=1
        )
        return _Wrong(
            f"unknown key {unknown[1]!r}",
            place=f"{where}.{unknown[1]}".lstrip("."),
            remedy=(f"did you mean {close[0]!r}? " if close else "") + f"keys here are {', '.join(keys)}",
        )
    required = _REQUIRED.search(message)
    if required:
        return _Wrong(
            f"{required[1]} is missing", place=where, remedy=f"add {required[1]}:, see docs/cli.md"
        )
    text, remedy = _in_words(message, leaf)
    return _Wrong(
        f"{where or 'the file'}: {text}", place=where, remedy=remedy or "see docs/cli.md, Topology files"
    )


def _keys_at(where: str) -> list[str]:
    """The keys that a mapping at that place may have."""
    parts = re.sub(r"\[\d+\]", "", where).split(".")
    if where == "":
        return _KEYS[Topology]
    if parts[0] == "hosts":
        # Below a host stands what may stand at the top.
        inside = parts[2:]
        if not inside:
            return _KEYS[Host]
        parts = inside
    for key, struct in (("bridges", Bridge), ("patches", Patch), ("security_groups", SecurityGroup)):
        if parts[0] == key:
            return _KEYS[struct]
    if parts[0] == "networks":
        return _KEYS[Gateway] if parts[-1] == "gateways" else _KEYS[Network]
    return _KEYS[Port] if parts[-1] == "ports" else _KEYS[Instance]


def _in_words(message: str, leaf: str) -> tuple[str, str]:
    """(what is wrong, remedy) of a converter's message."""
    if found := _PATTERN.search(message):
        if found[1].strip("'\"") == NAME_PATTERN:
            return "is no name", "names are small letters, digits and hyphens, 14 at most, a letter first"
        if found[1].strip("'\"") == MAC_PATTERN:
            return "is no MAC address", "write it as 02:00:00:00:00:01"
        return "is not written as it must be", "write it as eth0, eth1, ..."
    if found := _BOUND.search(message):
        most = found[2].startswith("<")
        return f"must be {found[3]} at {'most' if most else 'least'}", f"take a {'smaller' if most else 'larger'} one"
    if found := _LENGTH.search(message):
        return f"must have {found[3]}{' at least' if found[2] else ''}", f"add to {leaf}"
    if _CHOICE.search(message):
        return f"must be {_CHOICES.get(leaf, 'one of those in docs/cli.md')}", ""
    if found := _EXPECTED.search(message):
        wanted = " or ".join(
            _TYPES.get(t.strip("` "), t) for t in found[1].split(" | ") if t.strip("` ") != "null"
        )
        remedy = "write a number, without quotes" if "int" in found[1] else ""
        if leaf in _RULES:
            remedy = _RULES_REMEDY.format(leaf)
        elif found[2] == "null":
            remedy = _SAY_REMEDY
        elif leaf == "expect":
            remedy = "write a line with a dash for each: - vm1 -> vm2: reachable"
        elif "array" in found[1]:
            remedy = f"write {leaf}: [...], or a line with a dash for each"
        elif "object" in found[1]:
            remedy = f"write keys below {leaf}:, or {{}} for none"
        elif "`str`" in found[1]:
            remedy = "put it in quotes"
        return f"must be {wanted}, and is {_TYPES.get(found[2], found[2])}", remedy
    return message, ""
