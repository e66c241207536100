"""Being interrupted: in the middle of a change it is taken back, and taking back is not interrupted."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any, Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _handling(handler: Any) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals, and only it may say how
        return
    before = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, was in before.items():
            signal.signal(number, was)


def interruptible() -> AbstractContextManager[None]:
    """Within this, SIGTERM and SIGHUP interrupt as Ctrl-C does."""
    return _handling(_interrupt)


def uninterrupted() -> AbstractContextManager[None]:
    """Within this, none of them does anything; nor to commands started here."""
    return _handling(signal.SIG_IGN)
