"""The command line, as init scripts write it."""

from __future__ import annotations

import pytest

from gossamer.daemon.options import OVS_VSWITCHD, parse
from gossamer.switch.config import SslConfig


@pytest.mark.parametrize(
    "flag", ["--pidfile", "--log-file", "--disable-system", "--mlockall", "-v"]
)
def test_the_word_behind_an_option_whose_value_may_be_left_out_is_the_database(flag: str) -> None:
    options = parse(OVS_VSWITCHD, ["--detach", flag, "unix:/run/x/db.sock"])
    assert options.database == "unix:/run/x/db.sock"


def test_values_stand_behind_an_equals_sign_or_follow_where_they_must() -> None:
    options = parse(
        OVS_VSWITCHD,
        ["unix:db", "--pidfile=/run/x.pid", "--unixctl", "x.ctl", "-p", "key.pem", "-vconsole:off"],
    )
    assert options.database == "unix:db"
    assert options.pidfile == "/run/x.pid"
    assert options.unixctl == "x.ctl"
    assert options.tls == SslConfig(private_key="key.pem")
    assert options.verbose == ["console:off"]


def test_several_levels_all_count() -> None:
    options = parse(OVS_VSWITCHD, ["-vconsole:off", "--verbose=syslog:off", "-v", "unix:db"])
    assert options.verbose == ["console:off", "syslog:off", "any:any:dbg"]
    assert options.database == "unix:db"


@pytest.mark.parametrize("argv", [["a", "b"], ["--no-such-option"], ["--unixctl"]])
def test_a_mistake_ends_with_status_1_and_one_line(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(OVS_VSWITCHD, argv)
    assert ended.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
