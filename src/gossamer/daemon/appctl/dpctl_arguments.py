"""What dpctl commands have in common: options before arguments, and how errors are worded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gossamer.switch.show import CommandError


class DpctlError(CommandError):
    """An error as dpctl words it: the daemon's name, the text, and the C library's."""

    def __init__(self, text: str, errno: str = "") -> None:
        super().__init__(f"ovs-vswitchd: {text}{f' ({errno})' if errno else ''}")


@dataclass(slots=True)
class Options:
    """What stood before the arguments."""

    verbosity: int = 0
    statistics: bool = False
    names: bool | None = None

    @property
    def shows_names(self) -> bool:
        """Ports by name: where it was asked for, or more than the short form was."""
        return self.names if self.names is not None else self.verbosity > 0


def options(argv: Sequence[str]) -> tuple[Options, list[str]]:
    """Options, and the arguments behind them.  Raises CommandError for one nobody knows."""
    found = Options()
    rest = list(argv)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word in ("--statistics", "--clear", "--may-create", "--more", "--names", "--no-names"):
            found.statistics |= word == "--statistics"
            found.verbosity += word == "--more"
            if word.endswith("names"):
                found.names = word == "--names"
            continue
        if word.startswith("--"):
            raise CommandError(f"Unrecognized option {word}")
        for letter in word[1:]:
            if letter not in "ms":
                raise CommandError(f"Unrecognized option -{letter}")
            found.verbosity += letter == "m"
            found.statistics |= letter == "s"
    return found, rest
