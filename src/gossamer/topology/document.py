"""A YAML file with the lines of what it says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from gossamer.errors import TopologyError

_PATH_PART: Final = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")
_NODES: Final = 200_000
"""More than any network; a few aliases of aliases would make billions."""
_QUOTED: Final = re.compile(r'found duplicate key "?(.*?)"? with')


@dataclass(frozen=True, slots=True)
class Document:
    """A file's text as data, and where in it each part stands."""

    path: Path
    data: Any
    """As the parser made it: mappings and sequences know their lines."""

    @classmethod
    def read(cls, path: Path) -> Document:
        """Raises TopologyError with file and line where the file is no YAML."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as e:
            raise TopologyError(
                f"cannot be read: {e.strerror}", place=str(path), remedy="is that the file's name?"
            ) from None
        except UnicodeDecodeError as e:
            line = path.read_bytes()[: e.start].count(b"\n") + 1
            raise TopologyError(
                "is not UTF-8 text", place=f"{path}:{line}", remedy="save it as UTF-8"
            ) from None
        try:
            return cls(path, YAML().load(text))
        except DuplicateKeyError as e:
            name = _QUOTED.search(str(e.problem))
            raise TopologyError(
                f"{name[1]!r} is there twice" if name else str(e.problem),
                place=f"{path}:{_mark(e)}",
                remedy="give each a name of its own, or make them one",
            ) from None
        except MarkedYAMLError as e:
            raise TopologyError(
                f"not YAML: {e.problem or e.context}",
                place=f"{path}:{_mark(e)}",
                remedy="check the indentation, colons and brackets there and on the line before",
            ) from None
        except (YAMLError, ValueError, RecursionError) as e:
            said = str(e).strip().splitlines()
            raise TopologyError(
                f"not YAML: {said[0] if said else type(e).__name__}",
                place=str(path),
                remedy="see docs/cli.md for what a topology looks like",
            ) from None

    def plain(self) -> Any:
        """The data without the parser's own types.  Raises TopologyError where it has no end."""
        left = _NODES

        def strip(node: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise RecursionError
            if isinstance(node, dict):
                return {str(k): strip(v) for k, v in node.items()}
            if isinstance(node, list):
                return [strip(v) for v in node]
            if isinstance(node, bool) or node is None:
                return node
            if isinstance(node, int):
                return int(node)
            if isinstance(node, float):
                return float(node)
            return str(node)

        try:
            return strip(self.data)
        except RecursionError:
            raise TopologyError(
                "aliases within aliases have no end", place=str(self.path), remedy="write it out"
            ) from None

    def place(self, where: str) -> str:
        """``FILE:LINE`` of a path such as ``instances.vm1.ports[0].mac``."""
        return f"{self.path}:{self.line(where)}"

    def line(self, where: str) -> int:
        """The line of the deepest part of a path that the document has."""
        node: Any = self.data
        line = 1
        for name, index in _PATH_PART.findall(where):
            # A key may be a number: the path has its text.
            key = next((k for k in node if str(k) == name), None) if isinstance(node, CommentedMap) else None
            if key is not None:
                if key in node.lc.data:
                    line = node.lc.key(key)[0] + 1
                node = node[key]
            elif isinstance(node, CommentedSeq) and index and int(index) < len(node):
                if int(index) in node.lc.data:
                    line = node.lc.item(int(index))[0] + 1
                node = node[int(index)]
            else:
                break
        return int(line)


def _mark(e: MarkedYAMLError) -> int:
    mark = e.problem_mark or e.context_mark
    return int(mark.line) + 1 if mark else 1
