"""The reference pipeline and the BPF datapath agree on random packets in random worlds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
N_PACKETS = 5000
N_TRACKED = 4000

needs_kernel = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("clang") is None, reason="needs root and clang"
)


def oracle(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the oracle in a process of its own: it leaves the mount namespace for good."""
    environment = dict(os.environ, PYTHONPATH=f"{ROOT / 'src'}:{ROOT}")
    return subprocess.run(
        [sys.executable, "-m", "tests.property.nightly", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )


@needs_kernel
def test_kernel_and_reference_agree_on_random_packets() -> None:
    done = oracle(str(N_PACKETS))
    assert done.returncode == 0, done.stdout + done.stderr


@needs_kernel
def test_kernel_and_reference_agree_on_connections_step_by_step() -> None:
    done = oracle(str(N_TRACKED), "--seed", "100000", "--features", "ct,nat")
    assert done.returncode == 0, done.stdout + done.stderr
