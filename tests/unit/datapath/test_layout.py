"""Both sides of the BPF maps say the same."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from gossamer.datapath import layout
from gossamer.datapath.loader import OBJECT_FILE
from gossamer.pipeline.layout import c_header

BPF = Path(__file__).resolve().parents[3] / "bpf"


def test_the_key_header_is_what_the_field_table_generates() -> None:
    assert (BPF / "flow_key.h").read_text() == c_header()


def _defines(name: str) -> dict[str, int]:
    text = (BPF / name).read_text()
    found: dict[str, int] = {}
    for key, value in re.findall(r"^#define (\w+)[ \t]+([^/\n]+)", text, re.M):
        try:
            found[key] = int(eval(value, {}, dict(found)))
        except (SyntaxError, NameError, TypeError):
            continue
    return found


@pytest.mark.parametrize(
    "name",
    ["MAX_PORTS", "MAX_BRIDGES", "MAX_TABLES", "MAX_SUBTABLES", "MAX_TABLE_INDEX", "MAX_MEMBERS",
     "MAX_FLOWS", "FILTER_WORDS", "MAX_MASKS", "MATCH_WORDS", "CACHE_WORDS", "CACHE_SETS", "SMALL_OPS", "LARGE_OPS",
     "CACHED_OPS", "CACHED_FLOWS", "INJECT_MARK", "INJECT_ARRIVED", "MAX_CONNECTIONS", "CT_ZONES", "CT_POLICIES",
     "CT_NAT_RULES", "CT_EXPECTATIONS", "CT_CHUNK", "CT_CHUNKS", "CT_SLOT_BITS", "CT_HOME_LINES", "CT_MORE_LINES",
     "CT_LEAST_REACH", "MAX_OPTIONS"],
)  # fmt: skip
def test_a_limit_is_the_same_in_c_and_python(name: str) -> None:
    assert _defines("limits.h")[name] == getattr(layout, name)


def _enum(header: str, name: str) -> list[str]:
    text = (BPF / header).read_text()
    body = text[text.index(f"enum {name} {{") :]
    return re.findall(r"^\t(\w+)", body[: body.index("};")], re.M)


def test_counters_and_states_of_connections_are_named_in_the_order_of_their_enums() -> None:
    counts = _enum("conntrack.h", "ct_count")[:-1]
    *single, fragments = [n.removeprefix("CT_COUNT_").lower() for n in counts]
    fates = [
        n.removeprefix("CT_FRAGMENT_").lower()
        for n in _enum("conntrack.h", "ct_fragment_count")[:-1]
    ]
    assert fates == list(layout.CT_FRAGMENT_COUNTS)
    each = [f"{fragments}_{family}_{fate}" for family in ("v4", "v6") for fate in fates]
    assert [*single, *each] == list(layout.CT_COUNTS)
    states = _enum("conntrack.h", "ct_tcp_state")
    assert [n.removeprefix("CT_TCP_") for n in states] == list(layout.CT_TCP_STATES)
    timeouts = _enum("conntrack.h", "ct_timeout")[:-1]
    assert [n.removeprefix("CT_TIMEOUT_").lower() for n in timeouts] == list(layout.CT_TIMEOUTS)


@pytest.mark.parametrize(
    "name",
    ["ct_tuple", "ct_connection", "ct_zone", "ct_policy", "ct_config", "ct_shared",
     "ct_nat_rule", "ct_expectation", "ct_sequences"],
)  # fmt: skip
def test_a_record_of_connections_has_the_same_size_in_c_and_python(name: str) -> None:
    dump = subprocess.run(
        ["bpftool", "btf", "dump", "file", str(OBJECT_FILE)], check=True, capture_output=True
    ).stdout.decode()
    found = re.search(rf"STRUCT '{name}' size=(\d+)", dump)
    assert found and int(found[1]) == getattr(layout, name.upper()).size
