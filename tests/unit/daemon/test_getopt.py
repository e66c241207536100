"""getopt_long(3), as scripts rely on it; texts are those of the GNU C library."""

from __future__ import annotations

import pytest

from gossamer.daemon.getopt import Given, Option, UsageError, Value, read

_OPTIONS = (
    Option("version", letter="V"),
    Option("pidfile", Value.OPTIONAL),
    Option("verbose", Value.OPTIONAL, "v"),
    Option("private-key", Value.NEEDED, "p"),
)


def _read(line: str) -> list[Given]:
    return list(read(_OPTIONS, line.split()))


@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("--pidfile x", [Given("pidfile"), Given(None, "x")]),
        ("--pidfile=x", [Given("pidfile", "x")]),
        ("x --pid -V", [Given("pidfile"), Given("version"), Given(None, "x")]),
        ("--private-key x", [Given("private-key", "x")]),
        ("-p x -px", [Given("private-key", "x"), Given("private-key", "x")]),
        ("-Vvinfo", [Given("version"), Given("verbose", "info")]),
        ("-v info", [Given("verbose"), Given(None, "info")]),
        ("-- -V -", [Given(None, "-V"), Given(None, "-")]),
        ("-", [Given(None, "-")]),
    ],
)
def test_options_are_read_wherever_they_stand(line: str, given: list[Given]) -> None:
    assert _read(line) == given


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("--nope=3", "unrecognized option '--nope'"),
        ("-Z", "invalid option -- 'Z'"),
        ("--ver", "option '--ver' is ambiguous; possibilities: '--version' '--verbose'"),
        ("--versio=1", "option '--version' doesn't allow an argument"),
        ("--priv", "option '--private-key' requires an argument"),
        ("-p", "option requires an argument -- 'p'"),
    ],
)
def test_mistakes_are_told_as_the_c_library_tells_them(line: str, text: str) -> None:
    with pytest.raises(UsageError) as told:
        _read(line)
    assert str(told.value) == text
