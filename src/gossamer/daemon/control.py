"""The control socket: what ``ovs-appctl`` may ask, and how it is answered (ovs-appctl(8)).

JSON-RPC over a Unix socket, as every Open vSwitch daemon speaks it.  Commands
get their arguments as strings and give back text; what they refuse goes to
the caller's standard error, worded as the peer words it.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import ovs.dirs
import ovs.jsonrpc
import ovs.stream
import ovs.util

from gossamer.errors import GossamerError
from gossamer.switch.show import CommandError

if TYPE_CHECKING:
    from ovs.poller import Poller

    from gossamer.switch.show import Command

log = logging.getLogger(__name__)

Handler = Callable[[Sequence[str]], str]
ANY_NUMBER: Final = 1 << 30
"""For commands that take as many arguments as are given."""
_ACCEPT_AT_ONCE: Final = 10
_FAREWELL_S: Final = 1.0
"""How long last answers may take to leave when the daemon ends."""


class Reply:
    """Where the answer to one request goes; one of its methods is called, once."""

    def __init__(self, connection: _Connection, request_id: object) -> None:
        self._connection = connection
        self._id = request_id

    def ok(self, text: str) -> None:
        """The command succeeded; `text` goes to standard output."""
        if text and not text.endswith("\n"):
            text += "\n"
        self._connection.send(ovs.jsonrpc.Message.create_reply(text, self._id))

    def error(self, text: str) -> None:
        """It failed; `text` goes to standard error."""
        if text and not text.endswith("\n"):
            text += "\n"
        self._connection.send(ovs.jsonrpc.Message.create_error(text, self._id))

    @property
    def socket(self) -> int:
        """The caller's socket, for a process that answers in our place (see `frame`).

        One of `answered()` and `lost()` is then called when that process has ended.
        """
        return int(self._connection.rpc.stream.socket.fileno())

    @property
    def frame(self) -> tuple[str, str]:
        """What stands before and behind the text of an answer, itself escaped as in a JSON string."""
        return f'{{"id":{json.dumps(self._id)},"error":null,"result":"', '"}'

    def answered(self) -> None:
        """Another process has written the answer."""
        self._connection.busy = False

    def lost(self) -> None:
        """There will be no whole answer: the caller is told by the end of the connection."""
        self._connection.rpc.error(errno.EPIPE)


DeferringHandler = Callable[[Sequence[str], Reply], None]


@dataclass(frozen=True, slots=True)
class Deferring:
    """A command that answers when it likes to: usage, least and most arguments, what to run."""

    usage: str | None
    low: int
    high: int
    run: DeferringHandler


class _Connection:
    """One caller; asks one thing at a time."""

    def __init__(self, stream: Any) -> None:
        self.rpc = ovs.jsonrpc.Connection(stream)
        self.busy = False

    def send(self, message: Any) -> None:
        self.rpc.send(message)
        self.busy = False

    def wait(self, poller: Poller) -> None:
        self.rpc.wait(poller)
        if not self.busy and not self.rpc.get_backlog():
            self.rpc.recv_wait(poller)


class Control:
    """The socket and its commands.

    `path` is relative to the run directory; "none" opens no socket.  Raises
    GossamerError where it cannot be created.
    """

    def __init__(self, path: str, version: str) -> None:
        self._listener: Any = None
        self._connections: list[_Connection] = []
        self._commands: dict[str, Deferring] = {}
        self.n_received = 0
        if path != "none":
            name = ovs.util.abs_file_name(ovs.dirs.RUNDIR, path)
            error, self._listener = ovs.stream.PassiveStream.open(f"punix:{name}")
            if error:
                raise GossamerError(
                    f"could not initialize control socket ({os.strerror(error)})",
                    place=name,
                    remedy="is its directory there, and writable?",
                )
            # Who may do what is asked here may do anything with the switch.
            os.chmod(name, 0o750)
        program = ovs.util.PROGRAM_NAME
        self.add("version", "", 0, 0, lambda argv: f"{program} (Open vSwitch) {version}")
        self.add("list-commands", "", 0, 0, lambda argv: self.list_commands())

    def add(self, name: str, usage: str | None, low: int, high: int, handler: Handler) -> None:
        """Register a command of `low` to `high` arguments, in place of an earlier one."""

        def run(argv: Sequence[str], reply: Reply) -> None:
            reply.ok(handler(argv))

        self.add_deferring(name, usage, low, high, run)

    def add_deferring(
        self, name: str, usage: str | None, low: int, high: int, handler: DeferringHandler
    ) -> None:
        """Register a command that answers when it likes to; its caller waits."""
        self._commands[name] = Deferring(usage, low, high, handler)

    def add_all(self, commands: dict[str, Command]) -> None:
        """Register the commands of a part."""
        for name, c in commands.items():
            self.add(name, c.usage, c.min_args, c.max_args, c.run)

    def list_commands(self) -> str:
        """Every command with its arguments."""
        lines = ["The available commands are:"]
        listed = sorted((name, c.usage) for name, c in self._commands.items() if c.usage is not None)
        lines += [f"  {name:<23} {usage}" for name, usage in listed]
        return "\n".join(lines) + "\n"

    def run(self) -> None:
        """Serve what was asked."""
        if self._listener is None:
            return
        for _ in range(_ACCEPT_AT_ONCE):
            error, stream = self._listener.accept()
            if error:
                break
            self._connections.append(_Connection(stream))
        for connection in list(self._connections):
            if not self._serve(connection):
                connection.rpc.close()
                self._connections.remove(connection)

    def _serve(self, connection: _Connection) -> bool:
        """Answer one caller; False when it is gone."""
        rpc = connection.rpc
        rpc.run()
        for _ in range(_ACCEPT_AT_ONCE):
            if rpc.get_status() or connection.busy or rpc.get_backlog():
                break
            _, message = rpc.recv()
            if message is None:
                break
            if message.type != ovs.jsonrpc.Message.T_REQUEST:
                log.warning("control socket: a message that is no request; closing")
                return False
            connection.busy = True
            self.n_received += 1
            self._execute(message.method, message.params, Reply(connection, message.id))
        return not rpc.get_status()

    def _execute(self, name: str, params: Sequence[Any], reply: Reply) -> None:
        command = self._commands.get(name)
        if command is None:
            hint = '(use "list-commands" to see a list of valid commands)'
            reply.error(f'"{name}" is not a valid command {hint}')
        elif len(params) < command.low:
            reply.error(f'"{name}" command requires at least {command.low} arguments')
        elif len(params) > command.high:
            reply.error(f'"{name}" command takes at most {command.high} arguments')
        elif not all(isinstance(p, str) for p in params):
            reply.error(f'"{name}" command has non-string argument')
        else:
            self._run(name, command, [str(p) for p in params], reply)

    def _run(self, name: str, command: Deferring, argv: Sequence[str], reply: Reply) -> None:
        try:
            command.run(argv, reply)
        except CommandError as e:
            reply.error(str(e))  # worded for scripts that know the peer's text
        except GossamerError as e:
            reply.error(f"{e}\n{e.remedy}" if e.remedy else str(e))
        except Exception as e:
            # A mistake in a command that only shows something must not end the switch.
            log.exception("command=%s arguments=%s", name, " ".join(argv))
            reply.error(f"{name}: internal error, see the log ({type(e).__name__}: {e})")

    def wait(self, poller: Poller) -> None:
        """Wake for the next question."""
        if self._listener is None:
            return
        self._listener.wait(poller)
        for connection in self._connections:
            connection.wait(poller)

    def close(self) -> None:
        """Let last answers leave, and close the socket."""
        until = time.monotonic() + _FAREWELL_S
        for connection in self._connections:
            while connection.rpc.get_backlog() and not connection.rpc.get_status():
                connection.rpc.run()
                if time.monotonic() > until:
                    break
            connection.rpc.close()
        self._connections.clear()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
