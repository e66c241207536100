"""Long work in the event loop, a slice a round, so that nothing else has to wait for it."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ovs.poller import Poller

log = logging.getLogger(__name__)

SLICE_S: Final = 0.005
"""What a round gives to all such work, seconds; a step that is under way is not cut."""


@dataclass(frozen=True, slots=True)
class _Work:
    steps: Iterator[object]
    done: Callable[[], None]
    failed: Callable[[Exception], None]


class Slices:
    """Work that is under way, each an iterator of steps of some milliseconds, in turns."""

    def __init__(self) -> None:
        self._works: deque[_Work] = deque()

    def start(
        self,
        steps: Iterator[object],
        done: Callable[[], None] = lambda: None,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        """Begin, at once with a slice: what is short is done when this returns.

        One of the two others is called at the end.
        """
        self._works.appendleft(_Work(steps, done, failed or _log))
        self.run()

    def run(self) -> None:
        """Go on, until about `SLICE_S` have passed."""
        until = time.monotonic() + SLICE_S
        while self._works:
            self._step(self._works.popleft())
            if time.monotonic() > until:
                return

    def _step(self, work: _Work) -> None:
        try:
            next(work.steps)
        except StopIteration:
            work.done()
        except Exception as e:
            work.failed(e)
        else:
            self._works.append(work)

    def wait(self, poller: Poller) -> None:
        """Wake at once where there is more to do."""
        if self._works:
            poller.immediate_wake()


def _log(error: Exception) -> None:
    log.error("work of several rounds ended early: %s", error, exc_info=error)
