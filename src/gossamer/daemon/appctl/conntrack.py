"""dpctl/*conntrack and dpctl/ct-*: the connections there are (ovs-dpctl(8)).

All datapaths share one table of connections, so the one that a command names
only has to exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from gossamer.daemon.appctl import datapaths
from gossamer.daemon.appctl.ct_answers import Answers
from gossamer.daemon.appctl.ct_question import Question
from gossamer.daemon.appctl.dpctl_arguments import DpctlError, options
from gossamer.daemon.appctl.ipf import FragmentCommands
from gossamer.daemon.control import Deferring
from gossamer.errors import DatapathError
from gossamer.switch.ct_match import CtMatch, flushing, masked, number_of
from gossamer.switch.show import CommandError

if TYPE_CHECKING:
    from gossamer.daemon.control import Reply
    from gossamer.daemon.slices import Slices
    from gossamer.datapath.conntrack import Conntrack
    from gossamer.switch.switch import Switch

_MANY: Final = 1 << 30
_ZONE: Final = re.compile(r"zone=(\d+)")
_ZONES: Final = 65536
_INVALID: Final = "Invalid argument"

_PEERS_NAMES: Final = {
    "tcp_flags": "conntrack_invalid_tcp_flags",
    "tcp_sequence": "conntrack_tcp_seq_chk_failed",
}

Row = tuple[str, int, int, Callable[[Sequence[str]], str]]


def coverage_name(count: str) -> str:
    """What coverage/show calls one of layout.CT_COUNTS: as the peer does, where it has it."""
    return _PEERS_NAMES.get(count, f"conntrack_{count}")


class ConntrackCommands:
    """The commands, over a switch; flushes take their time in `slices`, what is read in `answers`."""

    def __init__(self, switch: Switch, slices: Slices, answers: Answers) -> None:
        self._switch = switch
        self._slices = slices
        self._answers = answers

    @property
    def _conntrack(self) -> Conntrack:
        return self._switch.datapath.conntrack

    def commands(self) -> dict[str, Row]:
        """Usage, least and most arguments, and what to run, by the name after ``dpctl/``."""
        fragments = FragmentCommands(lambda: self._conntrack, self._open)
        return {
            **fragments.commands(),
            "ct-set-maxconns": ("[dp] maxconns", 1, 2, self.set_maxconns),
            "ct-get-maxconns": ("[dp]", 0, 1, self.get_maxconns),
            "ct-get-nconns": ("[dp]", 0, 1, self.get_nconns),
            "ct-enable-tcp-seq-chk": ("[dp]", 0, 1, lambda argv: self.check(argv, on=True)),
            "ct-disable-tcp-seq-chk": ("[dp]", 0, 1, lambda argv: self.check(argv, on=False)),
            "ct-get-tcp-seq-chk": ("[dp]", 0, 1, self.get_check),
            "ct-set-limits": ("[dp] [default=L] [zone=N,limit=L]...", 1, _MANY, self.set_limits),
            "ct-del-limits": ("[dp] zone=N1[,N2]...", 1, 2, self.del_limits),
            "ct-get-limits": ("[dp] [zone=N1[,N2]...]", 0, 2, self.get_limits),
        }

    def deferring(self) -> dict[str, Deferring]:
        """The commands that go over all connections, by the name after ``dpctl/``."""
        flush = "[dp] [zone=N] [mark=X[/M]] [labels=Y[/N]] [ct-orig-tuple [ct-reply-tuple]]"
        return {
            "dump-conntrack": Deferring("[-m] [-s] [dp] [zone=N]", 0, 4, self.dump),
            "flush-conntrack": Deferring(flush, 0, 4, self.flush),
            "ct-stats-show": Deferring("[dp] [zone=N]", 0, 3, self.stats_show),
            "ct-bkts": Deferring("[dp] [gt=N]", 0, 2, self.buckets),
        }

    def _open(self, args: list[str], most: int) -> list[str]:
        """The arguments behind the datapath's name, where one is given.

        Raises CommandError where it does not exist, or none is given and
        there is not just one.
        """
        if args and datapaths.find(self._switch, args[0]) is not None:
            return args[1:]
        if len(args) == most:
            raise DpctlError("datapath not found", _INVALID)
        datapaths.the_only(self._switch)
        return args

    # -- connections ---------------------------------------------------------------------------

    def dump(self, argv: Sequence[str], reply: Reply) -> None:
        """All connections, or those of a zone."""
        asked, args = options(argv)
        zone = _zone(args[-1]) if args else None
        self._open(args if zone is None else args[:-1], 1)
        question = Question("dump", zone, asked.verbosity > 0, asked.statistics)
        self._answers.give(question, self._conntrack, reply)

    def flush(self, argv: Sequence[str], reply: Reply) -> None:
        """Remove all connections, those of a zone, or those that a description fits."""
        _, args = options(argv)
        args = self._open(args, 6)
        zone: int | None = None
        match = CtMatch()
        try:
            if args and args[0].startswith("zone="):
                zone = _zone(args.pop(0))
                if zone is None:
                    raise CommandError("failed to parse zone")
            if args and args[0].startswith("mark="):
                match.mark = _masked(args.pop(0), 32, "mark")
            if args and args[0].startswith("labels="):
                match.label = _masked(args.pop(0), 128, "labels")
            for of_answers in (False, True):
                if args:
                    match.read_tuple(args.pop(0), reply=of_answers)
            if args:
                raise CommandError("invalid arguments")
        except CommandError as e:
            raise DpctlError(e.message, _INVALID) from None
        try:
            steps = flushing(self._conntrack, match, zone)
        except CommandError:
            raise DpctlError("failed to flush conntrack", "No such file or directory") from None
        self._slices.start(steps, lambda: reply.ok(""), lambda e: reply.error(str(e)))

    def stats_show(self, argv: Sequence[str], reply: Reply) -> None:
        """How many connections there are of each protocol, and of TCP in each state."""
        asked, args = options(argv)
        verbose = asked.verbosity > 0
        zone: int | None = None
        while args:
            if args[-1].startswith("verbose"):
                verbose = True
            elif (last := _zone(args[-1])) is not None:
                zone = last
            else:
                break
            args.pop()
        self._open(args, 1)
        self._answers.give(Question("stats", zone, verbose), self._conntrack, reply)

    def buckets(self, argv: Sequence[str], reply: Reply) -> None:
        """How connections are spread."""
        _, args = options(argv)
        found = re.fullmatch(r"gt=(\d+)", args[-1]) if args else None
        self._open(args[:-1] if found else args, 1)
        question = Question("buckets", greater_than=int(found[1]) if found else 0)
        self._answers.give(question, self._conntrack, reply)

    # -- how many ------------------------------------------------------------------------------

    def set_maxconns(self, argv: Sequence[str]) -> str:
        """How many connections there may be at all."""
        _, args = options(argv)
        args = self._open(args, 2)
        most = number_of(args[-1]) if args else None
        if most is None:
            raise DpctlError("maxconns missing or malformed", _INVALID)
        try:
            self._conntrack.config.maximum = most
        except DatapathError as e:
            raise DpctlError(f"ct set maxconns failed: {e.message}", _INVALID) from None
        return "setting maxconns successful"

    def get_maxconns(self, argv: Sequence[str]) -> str:
        """That number."""
        self._open(options(argv)[1], 1)
        return f"{self._conntrack.config.maximum}\n"

    def get_nconns(self, argv: Sequence[str]) -> str:
        """How many there are."""
        self._open(options(argv)[1], 1)
        return f"{self._conntrack.count}\n"

    def check(self, argv: Sequence[str], *, on: bool) -> str:
        """Whether TCP packets outside the window are invalid."""
        self._open(options(argv)[1], 2)
        self._conntrack.config.sequence_check = on
        return f"{'enabling' if on else 'disabling'} TCP sequence checking successful"

    def get_check(self, argv: Sequence[str]) -> str:
        """That setting."""
        self._open(options(argv)[1], 1)
        state = "enabled" if self._conntrack.config.sequence_check else "disabled"
        return f"TCP sequence checking: {state}\n"

    def set_limits(self, argv: Sequence[str]) -> str:
        """How many connections zones may have; all is read before any is set."""
        _, args = options(argv)
        args = self._open(args, _MANY)
        default: int | None = None
        if args and args[0].startswith("default="):
            default = number_of(args.pop(0).removeprefix("default="))
            if default is None or default >> 32:
                raise DpctlError("invalid default limit", _INVALID)
        limits = [_zone_limit(text) for text in args]
        if default is not None:
            self._conntrack.config.default_limit = default
        for zone, limit in limits:
            self._conntrack.zones.set_limit(zone, limit)
        return ""

    def del_limits(self, argv: Sequence[str]) -> str:
        """Let the default limit hold for zones again."""
        _, args = options(argv)
        args = self._open(args, 2)
        for zone in _zones(args[0]) if args else ():
            self._conntrack.zones.set_limit(zone, None)
        return ""

    def get_limits(self, argv: Sequence[str]) -> str:
        """Limits, with how many connections there are, of zones that have one or are named."""
        _, args = options(argv)
        args = self._open(args, 2)
        if args:
            limits = [(zone, self._conntrack.zones.limit(zone)) for zone in _zones(args[0])]
        else:
            limits = sorted(self._conntrack.zones.limited().items())
        lines = [f"default limit={self._conntrack.config.default_limit}"]
        lines += [f"zone={zone},limit={z.limit},count={z.count}" for zone, z in limits]
        return "".join(f"{line}\n" for line in lines)


def _zone(text: str) -> int | None:
    found = _ZONE.match(text)
    return int(found[1]) if found and int(found[1]) < _ZONES else None


def _masked(text: str, bits: int, name: str) -> tuple[int, int]:
    found = masked(text.partition("=")[2], bits)
    if found is None:
        raise CommandError(f"failed to parse {name}")
    return found


def _zones(text: str) -> list[int]:
    if not text.startswith("zone="):
        raise DpctlError(f"invalid argument {text}", _INVALID)
    zones = [_zone(f"zone={part}") for part in text.removeprefix("zone=").split(",") if part]
    if not zones or None in zones:
        raise DpctlError("invalid zone", _INVALID)
    return [zone for zone in zones if zone is not None]


def _zone_limit(text: str) -> tuple[int, int]:
    values: dict[str, int] = {}
    for part in text.split(","):
        key, _, value = part.partition("=")
        if not value:
            raise DpctlError(f"field {key} missing value", _INVALID)
        if key not in ("zone", "limit"):
            raise DpctlError(f"invalid zone limit field: {key}", _INVALID)
        number = number_of(value)
        if number is None or number >> (16 if key == "zone" else 32):
            raise DpctlError(f"failed to parse field {key}", _INVALID)
        values[key] = number
    if len(values) < 2:
        raise DpctlError("failed to parse zone limit", _INVALID)
    return values["zone"], values["limit"]
