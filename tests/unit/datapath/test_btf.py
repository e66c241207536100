"""The layouts that the compiled programs bring along, read as the kernel gives them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from gossamer.datapath import layout
from gossamer.datapath.btf import Field, Types
from gossamer.datapath.conntrack.store import KEY_AT, VALUE_AT
from gossamer.datapath.loader import OBJECT_FILE
from gossamer.errors import DatapathError


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Types:
    objcopy = shutil.which("llvm-objcopy") or shutil.which("llvm-objcopy-14")
    if objcopy is None:
        pytest.skip("no llvm-objcopy here")
    folder: Path = tmp_path_factory.mktemp("btf")
    subprocess.run(
        [objcopy, f"--dump-section=.BTF={folder / 'btf'}", str(OBJECT_FILE), str(folder / "object")],
        check=True,
    )
    return Types((folder / "btf").read_bytes())


def test_a_record_is_laid_out_as_the_daemon_reads_it(types: Types) -> None:
    record = types.struct("ct_record")
    assert record is not None, "without it nobody could take connections over from this version"
    assert record.size == layout.CT_RECORD_SIZE
    assert record.fields["key.src[0]"] == Field(KEY_AT, 4)
    assert record.fields["key.family"] == Field(KEY_AT + 37, 1)
    assert record.fields["c.lock"].offset == VALUE_AT
    assert record.fields["c.expires"] == Field(VALUE_AT + 8, 8)
    assert record.fields["c.reply.src[0]"].offset == VALUE_AT + layout.CT_REPLY_AT
    assert record.fields["c.peer[1].state"] == Field(VALUE_AT + 95, 1)


@pytest.mark.parametrize(
    ("name", "its"),
    [("ct_tuple", layout.CT_TUPLE), ("ct_connection", layout.CT_CONNECTION), ("ct_zone", layout.CT_ZONE),
     ("ct_config", layout.CT_CONFIG), ("ct_shared", layout.CT_SHARED), ("ct_nat_rule", layout.CT_NAT_RULE),
     ("ct_expectation", layout.CT_EXPECTATION), ("ct_sequences", layout.CT_SEQUENCES)],
)  # fmt: skip
def test_a_struct_is_as_long_as_the_daemon_packs_it(types: Types, name: str, its: layout.Struct) -> None:
    found = types.struct(name)
    assert found is not None
    assert found.size == its.size


def test_members_of_unions_lie_upon_each_other_under_their_own_names(types: Types) -> None:
    found = types.struct("ct_tuple")
    assert found is not None
    assert found.fields["ports"] == Field(32, 4)
    assert (found.fields["sport"], found.fields["dport"]) == (Field(32, 2), Field(34, 2))


def test_signs_of_numbers_are_known(types: Types) -> None:
    found = types.struct("ct_sequences")
    assert found is not None
    assert found.fields["of[1].after"] == Field(20, 4, signed=True)
    assert not found.fields["of[1].until"].signed


def test_a_struct_that_is_not_there_is_none(types: Types) -> None:
    assert types.struct("no_such_struct") is None


def test_what_is_no_btf_is_refused() -> None:
    with pytest.raises(DatapathError, match="not to be read"):
        Types(bytes(100))
