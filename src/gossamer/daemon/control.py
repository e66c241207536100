"""The control socket: what ``ovs-appctl`` may ask (unixctl)."""

from __future__ import annotations

import resource
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import ovs.unixctl
import ovs.unixctl.server

from gossamer.errors import GossamerError

if TYPE_CHECKING:
    from ovs.poller import Poller

    from gossamer.switch.show import Command

Handler = Callable[[Sequence[str]], str]


class Control:
    """The socket and its commands."""

    def __init__(self, path: str, version: str) -> None:
        error, server = ovs.unixctl.server.UnixctlServer.create(path, version)
        if error:
            raise GossamerError(
                f"creating the control socket: error {error}", place=path, remedy="is it writable?"
            )
        self._server = server
        self.add("list-commands", "", 0, 0, lambda argv: list_commands())

    def add(self, name: str, usage: str, low: int, high: int, handler: Handler) -> None:
        """Register a command of `low` to `high` arguments."""

        def callback(connection: Any, argv: list[str], aux: object) -> None:
            try:
                connection.reply(handler([str(a) for a in argv]))
            except GossamerError as e:
                remedy = f"\n{e.remedy}" if e.remedy else ""
                connection.reply_error(f"{e}{remedy}")

        ovs.unixctl.command_register(name, usage, low, high, callback, None)

    def add_all(self, commands: dict[str, Command]) -> None:
        """Register the commands of a part."""
        for name, c in commands.items():
            self.add(name, c.usage, c.min_args, c.max_args, c.run)

    def run(self) -> None:
        """Serve what was asked."""
        self._server.run()

    def wait(self, poller: Poller) -> None:
        """Wake for the next question."""
        self._server.wait(poller)

    def close(self) -> None:
        """Close the socket."""
        self._server.close()


def list_commands() -> str:
    """list-commands: every command with its arguments."""
    lines = ["The available commands are:"]
    for name, command in sorted(ovs.unixctl.commands.items()):
        lines.append(f"  {name:<23} {command.usage or ''}".rstrip())
    return "\n".join(lines) + "\n"


def memory_show() -> str:
    """memory/show: what the process uses."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return f"maxrss:{used.ru_maxrss}"
