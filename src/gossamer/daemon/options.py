"""The command line, the peer's and ours (ovs-vswitchd(8))."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from gossamer.daemon import getopt
from gossamer.daemon.getopt import Option, UsageError, Value
from gossamer.switch.config import SslConfig

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


@dataclass
class Options:
    """What was asked for.  Files as they were given: relative ones are in the run directory."""

    database: str = ""
    """Where ovsdb-server listens, empty for the default."""
    detach: bool = False
    monitor: bool = False
    no_chdir: bool = False
    pidfile: str | None = None
    """None for no file, empty for the default one."""
    overwrite_pidfile: bool = False
    user: str = ""
    """``USER``, ``USER:GROUP`` or ``:GROUP``."""
    mlockall: bool = False
    unixctl: str = ""
    log_file: str | None = None
    """None for no file, empty for the default one."""
    verbose: list[str] = field(default_factory=list)
    """Specifications of vlog/set, in their order."""
    syslog_method: str = ""
    syslog_target: str = ""
    tls: SslConfig | None = None


_FILES: Final = {
    "private-key": "private_key",
    "certificate": "certificate",
    "ca-cert": "ca_cert",
    "bootstrap-ca-cert": "ca_cert",
    "peer-ca-cert": "peer_ca_cert",
    "ssl-protocols": "protocols",
    "ssl-ciphers": "ciphers",
}
"""Options of TLS and what they set of SslConfig."""

# In the order in which the peer names the possibilities of an ambiguous one.
_OPTIONS: Final = (
    Option("help", letter="h"),
    Option("version", letter="V"),
    Option("mlockall"),
    Option("unixctl", Value.NEEDED),
    Option("detach"),
    Option("no-self-confinement"),
    Option("no-chdir"),
    Option("pidfile", Value.OPTIONAL),
    Option("overwrite-pidfile"),
    Option("monitor"),
    Option("user", Value.NEEDED),
    Option("verbose", Value.OPTIONAL, "v"),
    Option("log-file", Value.OPTIONAL),
    Option("syslog-method", Value.NEEDED),
    Option("syslog-target", Value.NEEDED),
    Option("private-key", Value.NEEDED, "p"),
    Option("certificate", Value.NEEDED, "c"),
    Option("ca-cert", Value.NEEDED, "C"),
    Option("ssl-protocols", Value.NEEDED),
    Option("ssl-ciphers", Value.NEEDED),
    Option("peer-ca-cert", Value.NEEDED),
    Option("bootstrap-ca-cert", Value.NEEDED),
    Option("enable-dummy", Value.OPTIONAL),
    Option("disable-system"),
    Option("disable-system-route"),
    Option("dpdk", Value.OPTIONAL),
    Option("dummy-numa", Value.NEEDED),
    Option("hw-rawio-access"),
)


def parse(guise: Guise, argv: Sequence[str]) -> Options:
    """The options.  Ends the program for --help, --version and mistakes, as the peer does."""
    options = Options()
    arguments = []
    try:
        for given in getopt.read(_OPTIONS, argv):
            if given.name is None:
                arguments.append(given.value or "")
            else:
                _take(guise, options, given.name, given.value)
        if len(arguments) > 1:
            raise UsageError("at most one non-option argument accepted; use --help for usage")
    except UsageError as e:
        print(f"{guise.program}: {e}", file=sys.stderr)
        raise SystemExit(1) from None
    options.database = arguments[0] if arguments else ""
    return options


def _take(guise: Guise, options: Options, name: str, value: str | None) -> None:
    if name == "help":
        print(_help(guise), end="")
        raise SystemExit(0)
    if name == "version":
        print(version_text(guise))
        raise SystemExit(0)
    if name == "dpdk":
        raise UsageError("Using --dpdk to configure DPDK is not supported.")
    if name in ("detach", "monitor", "no-chdir", "overwrite-pidfile", "mlockall"):
        setattr(options, name.replace("-", "_"), True)
    elif name in ("pidfile", "log-file"):
        setattr(options, name.replace("-", "_"), value or "")
    elif name in ("unixctl", "user", "syslog-method", "syslog-target"):
        setattr(options, name.replace("-", "_"), value)
    elif name == "verbose":
        options.verbose.append(value or "any:any:dbg")
    elif name in _FILES:
        options.tls = _with(options.tls or SslConfig(), name, value or "")
    # What is left concerns other datapaths than ours.


def _with(tls: SslConfig, name: str, value: str) -> SslConfig:
    changes: dict[str, Any] = {_FILES[name]: value}
    if name in ("ca-cert", "bootstrap-ca-cert"):
        changes["bootstrap_ca_cert"] = name == "bootstrap-ca-cert"
    return replace(tls, **changes)


def _help(guise: Guise) -> str:
    from gossamer.ovsdb.server import Directories

    dirs = Directories.from_environment(guise.product)
    database = (
        f"Without DATABASE, unix:{os.path.join(dirs.run, 'db.sock')} is used"
        f"{', and ovsdb-server started where none runs' if guise.starts_database else ''}."
    )
    pidfile, log = os.path.join(dirs.run, "ovs-vswitchd.pid"), os.path.join(dirs.log, "ovs-vswitchd.log")
    return f"""{guise.program}: the switch daemon
usage: {guise.program} [OPTIONS] [DATABASE]
DATABASE is where ovsdb-server is to be found: tcp:HOST:PORT, ssl:HOST:PORT or unix:FILE.
{database}

The daemon:
  --detach                   go into the background once the bridges are there
  --monitor                  a second process restarts the daemon when a signal ends it
  --no-chdir                 stay in this directory
  --pidfile[=FILE]           keep the process id in FILE (default: {pidfile})
  --overwrite-pidfile        start though the pidfile is another daemon's
  --user=USER[:GROUP]        root, with this group: nobody else may load BPF programs
  --mlockall                 keep what is in memory there
  --unixctl=SOCKET           the control socket of ovs-appctl; "none" for no socket

TLS; table SSL of the database comes first:
  -p, --private-key=FILE     our private key
  -c, --certificate=FILE     its certificate
  -C, --ca-cert=FILE         who may be trusted, "none" for everybody
  --bootstrap-ca-cert=FILE   the same, kept from the first connection where it is missing
  --peer-ca-cert=FILE        sent along with our certificate
  --ssl-protocols=LIST       of TLSv1, TLSv1.1, TLSv1.2
  --ssl-ciphers=LIST         as openssl-ciphers(1) has it

The log:
  -v, --verbose[=SPEC]       levels, PATTERN:destination:pattern or FACILITY:name, as vlog/set
  --log-file[=FILE]          write to FILE too (default: {log})
  --syslog-method=METHOD     libc, unix:FILE, udp:IP:PORT or null
  --syslog-target=IP:PORT    to this UDP port too

Accepted, and without a meaning here: --disable-system, --disable-system-route, --enable-dummy,
--dummy-numa, --no-self-confinement, --hw-rawio-access

  -h, --help                 this text
  -V, --version              versions
"""
