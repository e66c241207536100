"""Tests that make devices or load BPF run only inside the sandbox (tests/sandbox.sh)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.property.examples import use_profile

use_profile()

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the sandbox where we are not in it, and say so."""
    if os.environ.get("GOSSAMER_SANDBOX") == "inside":
        return
    outside = pytest.mark.skip(reason="needs the sandbox: run make test, or sh tests/sandbox.sh ...")
    for item in items:
        part = item.path.relative_to(_HERE).parts[0]
        if part in ("system", "property"):
            item.add_marker(outside)


def pytest_report_header() -> list[str]:
    """What this kernel lacks, and what is therefore not tested."""
    with open("/proc/filesystems", encoding="ascii") as f:
        bpf = "bpf" in f.read()
    modules = Path("/sys/module")
    absent = [m for m in ("openvswitch", "8021q") if not (modules / m).exists()]
    return [
        f"kernel {os.uname().release}, bpf file system: {'yes' if bpf else 'no'}",
        f"not on this kernel, so not compared with: {', '.join(absent) or 'nothing'}",
    ]
