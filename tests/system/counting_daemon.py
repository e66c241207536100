"""gossamerd, which notes what each change of the configuration makes it do.

usage: python -m tests.system.counting_daemon NOTES [OPTION...]    options as gossamerd's

Each round of the event loop that applies a configuration becomes a line of NOTES, as JSON: a
`Round`.  Work is counted, not timed, so that the figures are the same on a busy machine.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

import ovs

import gossamer

_COUNTED: Final = tuple(str(Path(package.__path__[0])) + "/" for package in (gossamer, ovs))


@dataclass(frozen=True)
class Round:
    """What one configuration took, until the answer to it was on its way."""

    calls: int
    """By our code and the database's library; in a loop over all ports there would be one for each."""
    requests: int
    """To the kernel's routing sockets."""
    written: int
    """Rows of the database, and the assertion of its lock."""


def rounds(notes: Path) -> Iterator[Round]:
    """What was noted until now."""
    for line in notes.read_text().splitlines():
        yield Round(**json.loads(line))


class Count:
    """Counts in rounds that apply something."""

    def __init__(self, notes: Path) -> None:
        self._notes = notes
        self._calls = self._requests = self._written = 0
        self._applied = self._counting = False

    def begin(self) -> None:
        """A round begins."""
        self._calls = self._requests = self._written = 0
        self._applied = False

    def answered(self) -> None:
        """What comes later in the round is not for who waits."""
        sys.setprofile(None)
        self._counting = False

    def end(self) -> None:
        """And ends."""
        self.answered()
        if self._applied:
            with self._notes.open("a") as notes:
                it = Round(self._calls, self._requests, self._written)
                notes.write(json.dumps(asdict(it)) + "\n")

    def applied(self) -> None:
        """This round applies a configuration, from here on.

        What the library does before, which reads messages, depends on how many came together.
        """
        self._applied = self._counting = True
        sys.setprofile(self._event)

    def asked(self) -> None:
        """The kernel was."""
        self._requests += self._counting

    def wrote(self, rows: int) -> None:
        """To the database."""
        self._written += rows * self._counting

    def _event(self, frame: FrameType, event: str, argument: object) -> None:
        if event in ("call", "c_call"):
            self._calls += frame.f_code.co_filename.startswith(_COUNTED)


def main(notes: Path) -> None:
    """Run the daemon under watch."""
    from ovs import jsonrpc
    from pyroute2.netlink.nlsocket import NetlinkRequest

    from gossamer.daemon import main as daemon
    from gossamer.ovsdb.client import Client

    count = Count(notes)
    run, write, ask = daemon.Daemon.run, Client.write, NetlinkRequest.send
    send, read = jsonrpc.Session.send, Client._read

    def counting_run(self: Any) -> None:
        count.begin()
        try:
            run(self)
        finally:
            count.end()

    def counting_read(self: Any) -> Any:
        count.applied()
        return read(self)

    def counting_write(self: Any, *arguments: Any) -> None:
        write(self, *arguments)
        count.answered()

    async def counting_ask(self: Any) -> Any:
        count.asked()
        return await ask(self)

    def counting_send(self: Any, message: Any) -> Any:
        if message.method == "transact":
            count.wrote(len(message.params) - 1)
        return send(self, message)

    daemon.Daemon.run = counting_run  # type: ignore[method-assign]
    Client._read, Client.write = counting_read, counting_write  # type: ignore[method-assign]
    NetlinkRequest.send = counting_ask
    jsonrpc.Session.send = counting_send
    daemon.main()


if __name__ == "__main__":
    path = Path(sys.argv.pop(1))
    sys.argv[0] = "gossamerd"
    main(path)
