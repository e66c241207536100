"""The control socket, over a real socket."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import ovs.poller
import pytest
from ovs.unixctl.client import UnixctlClient

from gossamer.daemon.control import ANY_NUMBER, Control, Reply
from gossamer.errors import FieldError
from gossamer.switch.show import CommandError


class Server:
    """A control socket served in a thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.control = Control(str(path), "3.1.0")
        self.waiting: list[Reply] = []
        self._stop = False
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _loop(self) -> None:
        while not self._stop:
            self.control.run()
            poller = ovs.poller.Poller()
            self.control.wait(poller)
            poller.timer_wait(20)
            poller.block()
        for reply in self.waiting:
            reply.ok("ended")
        self.control.close()

    def ask(self, command: str, *arguments: str) -> tuple[str | None, str | None]:
        """(error, answer)."""
        _, client = UnixctlClient.create(str(self.path))
        status, error, answer = client.transact(command, list(arguments))
        client.close()
        assert not status
        return error, answer

    def end(self) -> None:
        self._stop = True
        self._thread.join(60)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    it = Server(tmp_path / "test.ctl")
    yield it
    it.end()


def _raise(error: Exception) -> Callable[[Sequence[str]], str]:
    def run(argv: Sequence[str]) -> str:
        raise error

    return run


def test_answers_end_with_a_newline_and_nothing_stays_nothing(server: Server) -> None:
    server.control.add("words", "WORD...", 0, ANY_NUMBER, lambda argv: " ".join(argv))
    server.start()
    assert server.ask("words", "a", "b c") == (None, "a b c\n")
    assert server.ask("words", "line\n") == (None, "line\n")
    assert server.ask("words") == (None, "")


def test_version_and_the_list_of_commands_are_there(server: Server) -> None:
    server.control.add("long/name-of-a-command", "X", 0, 1, lambda argv: "")
    server.start()
    assert str(server.ask("version")[1]).endswith(" (Open vSwitch) 3.1.0\n")
    assert server.ask("list-commands")[1] == (
        "The available commands are:\n"
        "  list-commands           \n"
        "  long/name-of-a-command  X\n"
        "  version                 \n"
    )


def test_counts_of_arguments_are_checked(server: Server) -> None:
    server.control.add("one", "X", 1, 1, lambda argv: "fine")
    server.start()
    assert server.ask("one") == ('"one" command requires at least 1 arguments\n', None)
    assert server.ask("one", "a", "b") == ('"one" command takes at most 1 arguments\n', None)
    assert server.ask("one", "a") == (None, "fine\n")


def test_errors_go_to_standard_error_alone(server: Server) -> None:
    server.control.add("peer", "", 0, 0, _raise(CommandError("no such bridge", remedy="look")))
    server.control.add("ours", "", 0, 0, _raise(FieldError("no such field", remedy="see the manual")))
    server.start()
    assert server.ask("peer") == ("no such bridge\n", None)
    assert server.ask("ours") == ("no such field\nsee the manual\n", None)


def test_a_mistake_in_a_command_is_told_and_ends_nothing(server: Server) -> None:
    server.control.add("broken", "", 0, 0, _raise(ValueError("oops")))
    server.start()
    error, _ = server.ask("broken")
    assert error == "broken: internal error, see the log (ValueError: oops)\n"
    assert server.ask("list-commands")[0] is None


def test_a_later_command_of_the_same_name_takes_its_place(server: Server) -> None:
    server.control.add("x", "", 0, 0, lambda argv: "first")
    server.control.add("x", "", 0, 0, lambda argv: "second")
    server.start()
    assert server.ask("x") == (None, "second\n")


def test_a_deferred_answer_comes_when_it_is_given_and_others_do_not_wait(server: Server) -> None:
    server.control.add_deferring("exit", "", 0, 0, lambda argv, reply: server.waiting.append(reply))
    server.control.add("other", "", 0, 0, lambda argv: "here")
    server.start()
    answers: list[tuple[str | None, str | None]] = []
    asking = threading.Thread(target=lambda: answers.append(server.ask("exit")), daemon=True)
    asking.start()
    while not server.waiting:
        assert server.ask("other") == (None, "here\n")
    assert not answers
    server.end()
    asking.join(60)
    assert answers == [(None, "ended\n")]


def test_no_socket_is_opened_where_none_is_wanted() -> None:
    control = Control("none", "3.1.0")
    control.run()
    control.close()
