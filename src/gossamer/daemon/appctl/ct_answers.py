"""Questions about all connections: few are looked at here, many by a process of their own.

A million connections take seconds to put into words, and the interpreter does
one thing at a time; a thread would stop the event loop as well.
"""

from __future__ import annotations

import logging
import os
import select
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gossamer.daemon.appctl import ct_process

if TYPE_CHECKING:
    from ovs.poller import Poller

    from gossamer.daemon.appctl.ct_question import Question
    from gossamer.daemon.control import Reply
    from gossamer.datapath.conntrack import Conntrack

log = logging.getLogger(__name__)

_NEAR: Final = 65536
"""Slots that are looked at in some tens of milliseconds: there may be few connections where there were
very many."""
_FEW: Final = 2000
"""Connections that are put into words in about ten milliseconds."""
_AT_ONCE: Final = 2
"""Processes; further callers wait."""


@dataclass(frozen=True, slots=True)
class _Running:
    process: subprocess.Popen[str]
    pidfd: int
    reply: Reply


class Answers:
    """Answers that are being made."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Question, Conntrack, Reply]] = deque()
        self._running: list[_Running] = []

    def give(self, question: Question, conntrack: Conntrack, reply: Reply) -> None:
        """Answer, now or later."""
        records = conntrack.records()
        if conntrack.count <= _FEW and records.n_slots <= _NEAR:
            reply.ok("".join(question.answer(records)))
            return
        self._waiting.append((question, conntrack, reply))
        self._begin()

    def _begin(self) -> None:
        while self._waiting and len(self._running) < _AT_ONCE:
            question, conntrack, reply = self._waiting.popleft()
            records = conntrack.records()
            fds = reply.socket, records.chunks.fd, records.parents.fd
            command = [
                *(sys.executable, "-m", ct_process.__name__, question.packed(), *reply.frame),
                *(str(number) for number in (*fds, records.now_ns, records.n_slots)),
            ]
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    pass_fds=fds,
                    text=True,
                )
            except OSError as e:
                reply.error(f"starting a process that reads connections: {e.strerror}")
                continue
            self._running.append(_Running(process, os.pidfd_open(process.pid), reply))

    def run(self) -> None:
        """See which processes have ended.  Never blocks."""
        for running in [r for r in self._running if r.process.poll() is not None]:
            self._running.remove(running)
            os.close(running.pidfd)
            _, said = running.process.communicate()
            if running.process.returncode == 0:
                running.reply.answered()
                continue
            log.warning("reading connections: %s", said.strip() or running.process.returncode)
            if running.process.returncode == ct_process.NOTHING_SENT:
                running.reply.error(said)
            else:
                running.reply.lost()
        self._begin()

    def wait(self, poller: Poller) -> None:
        """Wake when a process ends."""
        for running in self._running:
            poller.fd_wait(running.pidfd, select.POLLIN)

    def close(self) -> None:
        """The daemon ends, and so do unfinished answers."""
        for running in self._running:
            running.process.terminate()
            running.process.communicate()
            os.close(running.pidfd)
        self._running.clear()
        self._waiting.clear()
