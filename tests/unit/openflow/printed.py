"""What ovs-ofctl makes of our messages."""

from __future__ import annotations

import shutil
import subprocess

import pytest

needs_ofctl = pytest.mark.skipif(not shutil.which("ovs-ofctl"), reason="needs ovs-ofctl")


def printed(message: bytes) -> str:
    """The text of a message.  Raises CalledProcessError where it cannot be read at all."""
    done = subprocess.run(
        ["ovs-ofctl", "ofp-print", message.hex(), "2"], check=True, capture_output=True, text=True
    )
    assert "decode error" not in done.stdout and not done.stderr, done.stdout + done.stderr
    return done.stdout
