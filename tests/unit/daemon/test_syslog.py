"""Ways to the syslog daemon."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest

from gossamer.daemon import log_levels, syslog
from gossamer.daemon.getopt import UsageError


def _record(level: int, text: str) -> logging.LogRecord:
    return logging.LogRecord("syslog", level, "", 0, text, None, None)


def test_lines_go_to_a_socket_with_their_facility_and_severity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(tmp_path / "log"))
        daemon.settimeout(60)
        way = syslog.method(f"unix:{tmp_path}/log")
        way.handler.emit(_record(logging.WARNING, "one\ntwo"))
        assert [daemon.recv(99), daemon.recv(99)] == [b"<28>one", b"<28>two"]
        monkeypatch.setattr(syslog.Facility, "chosen", 0)
        log_levels.apply("FACILITY:local3")
        way.handler.emit(_record(logging.INFO, "three"))
        assert daemon.recv(99) == b"<158>three"
        way.handler.close()


def test_a_server_is_reached_by_udp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(60)
        for make in (
            lambda where: syslog.method(f"udp:{where}").handler,
            syslog.target,
        ):
            handler = make(f"127.0.0.1:{server.getsockname()[1]}")
            handler.emit(_record(logging.ERROR, "gone"))
            assert server.recv(99) == b"<27>gone"
            handler.close()


def test_each_method_says_what_stands_before_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert syslog.method("null").prefix == ""
    assert syslog.method("unix:/nowhere").prefix == "<%B>"
    assert syslog.method("").prefix == syslog.method("libc").prefix == "<%B> %D{%h %e %T} %E %A:"
    monkeypatch.setenv("OVS_SYSLOG_METHOD", "null")
    assert syslog.method("").prefix == ""


def test_other_methods_are_refused() -> None:
    with pytest.raises(UsageError) as told:
        syslog.method("carrier-pigeon")
    assert str(told.value) == "unsupported syslog method 'carrier-pigeon'"
