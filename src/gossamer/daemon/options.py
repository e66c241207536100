"""The command line, the peer's and ours (ovs-vswitchd(8))."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final

OVS_VERSION: Final = "3.1.0"
"""The Open vSwitch whose behaviour we follow, for scripts that ask."""


def product_version() -> str:
    """Our own version."""
    try:
        return version("gossamer")
    except PackageNotFoundError:
        return "0.1.0"


@dataclass(frozen=True, slots=True)
class Guise:
    """Under which name the daemon was started."""

    program: str
    product: str
    """Names the default directories."""
    starts_database: bool


GOSSAMERD: Final = Guise("gossamerd", "gossamer", True)
OVS_VSWITCHD: Final = Guise("ovs-vswitchd", "openvswitch", False)


def version_text(guise: Guise) -> str:
    """What --version and ``ovs-appctl version`` say: two lines, the first for scripts."""
    if guise is OVS_VSWITCHD:
        first = f"ovs-vswitchd (Open vSwitch) {OVS_VERSION}"
        return f"{first}\nGossamer {product_version()}"
    return f"gossamerd (Gossamer) {product_version()}\nfollows Open vSwitch {OVS_VERSION}"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        """One line, and the status the peer exits with."""
        print(f"{self.prog}: {message} (use --help for help)", file=sys.stderr)
        raise SystemExit(1)


def parse(guise: Guise, argv: Sequence[str]) -> argparse.Namespace:
    """The options.  Exits for --help, --version and mistakes."""
    # The library reads its directories from the environment when it is imported.
    import ovs.daemon
    import ovs.vlog

    parser = _Parser(prog=guise.program, allow_abbrev=False)
    parser.add_argument(
        "database", nargs="?", help="where ovsdb-server listens (default: unix:RUNDIR/db.sock)"
    )
    ovs.daemon.add_args(parser)
    ovs.vlog.add_args(parser)
    parser.add_argument("--unixctl", metavar="SOCKET", help="override default control socket name")
    parser.add_argument("-V", "--version", action="store_true", help="display version information")
    accepted = parser.add_argument_group(
        "accepted for compatibility", "they change nothing: there is no other datapath to disable"
    )
    for flag in ("--disable-system", "--disable-system-route", "--mlockall", "--enable-dummy",
                 "--dpdk"):  # fmt: skip
        accepted.add_argument(flag, nargs="?", const="", help=argparse.SUPPRESS)
    accepted.add_argument("--syslog-method", help=argparse.SUPPRESS)
    accepted.add_argument("--syslog-target", help=argparse.SUPPRESS)
    accepted.add_argument("--hw-rawio-access", action="store_true", help=argparse.SUPPRESS)
    ssl = parser.add_argument_group("TLS, also from the database's SSL table")
    for flag in ("-p --private-key", "-c --certificate", "-C --ca-cert", "--peer-ca-cert",
                 "--bootstrap-ca-cert", "--ssl-protocols", "--ssl-ciphers"):  # fmt: skip
        ssl.add_argument(*flag.split(), metavar="FILE")
    options = parser.parse_args(_arguments_last(parser, argv))
    if options.version:
        print(version_text(guise))
        raise SystemExit(0)
    return options


def _arguments_last(parser: argparse.ArgumentParser, argv: Sequence[str]) -> list[str]:
    """The words with all options first, as getopt_long(3) takes them.

    A word behind ``--pidfile`` is no value of it: values that may be left out
    are only those behind ``=``.  argparse would take the database for one, and
    of several ``-v`` only the last.
    """
    with_value = {
        name for action in parser._actions if action.nargs is None for name in action.option_strings
    }
    options: list[str] = []
    arguments: list[str] = []
    levels: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            arguments += words
        elif word == "-" or not word.startswith("-"):
            arguments.append(word)
        elif word.startswith(("-v", "--verbose=")) or word == "--verbose":
            value = word[2:] if word.startswith("-v") else word.partition("=")[2]
            levels.append(value or "any:any:dbg")
        else:
            options.append(word)
            if word in with_value:
                options += [value for value in (next(words, None),) if value is not None]
    if levels:
        options += ["-v", *levels]
    return [*options, "--", *arguments]
