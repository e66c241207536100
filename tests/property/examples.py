"""How many cases hypothesis makes: the same ones in each run, or new ones in the long run.

A run of all tests must say the same of the same sources, on a busy machine too.  New cases are for
``make nightly-properties``, which makes many times as many; what it finds becomes a test of its own.
"""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, settings

TIMES: Final = int(os.environ.get("GOSSAMER_EXAMPLES", "0"))
"""0: the cases that follow from a test's own text.  Else this many times as many, by chance."""

_PROFILE: Final = settings(
    max_examples=100 * max(1, TIMES),
    derandomize=not TIMES,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)


def use_profile() -> None:
    """For all tests that say nothing else."""
    settings.register_profile("gossamer", _PROFILE)
    settings.load_profile("gossamer")


def examples(number: int) -> settings:
    """Settings of a test for which other than 100 cases are enough, or not."""
    return settings(_PROFILE, max_examples=number * max(1, TIMES))
