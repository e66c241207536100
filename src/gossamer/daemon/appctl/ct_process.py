"""A process that answers a question about very many connections, while the daemon goes on.

``python -m gossamer.daemon.appctl.ct_process QUESTION HEAD TAIL SOCKET CONNECTIONS PARENTS NOW SLOTS``:
the file descriptors are inherited.  It reads the kernel's maps itself, and writes the whole JSON
answer to the caller's socket, so nothing of it passes through the daemon.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Sequence
from typing import Final

from gossamer.daemon.appctl.ct_question import Question
from gossamer.datapath.conntrack.records import Records
from gossamer.errors import GossamerError

NOTHING_SENT: Final = 3
"""How it ends where it failed before it sent anything: the daemon can still say why."""
_SPECIAL: Final = ('"', "\\", *map(chr, (*range(10), *range(11, 32))))
_PATIENCE_S: Final = 60.0
"""How long the caller may take over a piece of the answer."""


def main(argv: Sequence[str]) -> int:
    """Answer; the exit code."""
    question = Question.unpack(argv[0])
    head, tail = argv[1:3]
    to, connections, parents, now_ns, n_slots = (int(number) for number in argv[3:])
    caller = socket.socket(fileno=to)
    caller.settimeout(_PATIENCE_S)
    sent = False
    try:
        for piece in question.answer(Records.of(connections, parents, now_ns, n_slots)):
            said = escaped(piece)
            caller.sendall((said if sent else head + said).encode("ascii"))
            sent = True
        caller.sendall((tail if sent else head + tail).encode("ascii"))
    except GossamerError as e:
        print(e, file=sys.stderr)
        return 1 if sent else NOTHING_SENT
    except OSError as e:
        print(f"the caller went away: {e}", file=sys.stderr)
        return 1
    return 0


def escaped(text: str) -> str:
    """As in a JSON string.  Lines of connections have nothing to be escaped but their ends, which takes a
    tenth of what looking at each character takes."""
    if text.isascii() and not any(special in text for special in _SPECIAL):
        return text.replace("\n", "\\n")
    return json.dumps(text)[1:-1]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
