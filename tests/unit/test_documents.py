"""What the documents of the code name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_CODE = [*_ROOT.glob("bpf/*"), *_ROOT.glob("src/gossamer/**/*.py"), *_ROOT.glob("tests/**/*.py")]
_FOLDERS = (_ROOT, _ROOT / "src" / "gossamer", _ROOT / "src" / "gossamer" / "datapath")
_TEXT = "\n".join(path.read_text() for path in _CODE)


@pytest.fixture(params=["architecture.md", "packet.md"])
def text(request: pytest.FixtureRequest) -> str:
    return (_ROOT / "docs" / request.param).read_text()


def test_files_that_are_named_exist(text: str) -> None:
    found = set(re.findall(r"(?<![*\w/])[a-z_0-9][a-z_0-9/]*\.(?:py|h|c)\b", text))
    assert found
    names = {path.name for path in _CODE}
    missing = {n for n in found if "/" not in n and n not in names} | {
        n for n in found if "/" in n and not any((folder / n).exists() for folder in _FOLDERS)
    }
    assert not missing


def test_functions_that_are_named_exist(text: str) -> None:
    """As something that is called there, the kernel's among them."""
    found = set(re.findall(r"`(\w+)\(\)`", text))
    missing = {name for name in found if not re.search(rf"\b{name}\b", _TEXT)}
    assert not missing


def test_modules_in_the_table_of_the_datapath_exist() -> None:
    text = (_ROOT / "docs" / "architecture.md").read_text()
    table = text[text.index("| modules | their idea |") : text.index("After a restart")]
    found = {n for row in re.findall(r"(?m)^\| (`[^|]*) \|", table) for n in re.findall(r"`(\w+)/?`", row)}
    assert found
    datapath = _ROOT / "src" / "gossamer" / "datapath"
    missing = {n for n in found if not (datapath / f"{n}.py").exists() and not (datapath / n).is_dir()}
    assert not missing
