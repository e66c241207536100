"""The error of each violation is the specification's, type and code."""

from __future__ import annotations

import pytest

from gossamer.openflow.codec import Context, decode
from gossamer.openflow.error import OpenFlowError, encode_error
from tests.unit.openflow.error_cases import CASES, XID, Case


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 150
    assert len({(c.version, c.message) for c in CASES}) == len(CASES)
    assert len({c.body for c in CASES}) > 60


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_a_violation_has_the_specification_s_error(case: Case) -> None:
    with pytest.raises(OpenFlowError) as e:
        decode(case.message, Context(case.version))
    told = encode_error(e.value.code, case.version, case.message, XID)
    assert told[8:] == case.body + case.message, e.value.code
    assert told[:2] == bytes((case.version, 1)) and told[4:8] == XID.to_bytes(4, "big")
