"""The short run of the fuzzer; `make fuzz` is the long one."""

from __future__ import annotations

from tests.fuzz.openflow_codec import run


def test_mutated_messages_are_accepted_or_refused_and_nothing_else() -> None:
    accepted, refused = run(30_000)
    assert accepted > 1000
    assert refused > 1000
