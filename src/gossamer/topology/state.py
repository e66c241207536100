"""What topologies have on this host, written down in the run directory as it is made.

So `down` removes exactly what `up` made, also after a crash in the middle.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gossamer.errors import TopologyError
from gossamer.topology.resources import Spec

_PATIENCE_S: Final = 60.0


class State:
    """The resources that one topology has on this host, kept in a file."""

    def __init__(self, rundir: Path, name: str) -> None:
        self.name = name
        self.path = _directory(rundir) / f"{name}.json"
        self.resources: dict[str, Spec] = {}
        self.source = ""
        if self.path.exists():
            try:
                data = json.loads(self._read())
                self.resources, self.source = dict(data["resources"]), str(data["source"])
            except (ValueError, KeyError, TypeError):
                raise TopologyError(
                    "the record of what was made is damaged",
                    place=str(self.path),
                    remedy="remove the namespaces and bridges by hand, then this file",
                ) from None

    def _read(self) -> str:
        try:
            return self.path.read_text()
        except OSError as e:
            raise _not_allowed(self.path, e) from None

    def save(self) -> None:
        """Write it down, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".new")
        partial.write_text(json.dumps({"source": self.source, "resources": self.resources}))
        os.replace(partial, self.path)

    def forget(self) -> None:
        """Nothing is left."""
        self.path.unlink(missing_ok=True)


def known(rundir: Path) -> list[State]:
    """The topologies that are up."""
    return [State(rundir, path.stem) for path in sorted(_directory(rundir).glob("*.json"))]


def _directory(rundir: Path) -> Path:
    return rundir / "topologies"


@contextmanager
def alone(rundir: Path) -> Iterator[None]:
    """One command at a time changes topologies.  Raises TopologyError if another does not end."""
    directory = _directory(rundir)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = open(directory / ".lock", "w")  # noqa: SIM115  (closed by the `with` below)
    except OSError as e:
        raise _not_allowed(directory, e) from None
    with file as lock:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TopologyError(
                        f"another gossamer has been changing topologies for {_PATIENCE_S:.0f} s",
                        place=str(directory),
                        remedy="wait for it, or end it",
                    ) from None
                time.sleep(0.05)
        yield


def _not_allowed(path: Path, e: OSError) -> TopologyError:
    return TopologyError(
        f"no access: {e.strerror}", place=str(path), remedy="run it as root, or set OVS_RUNDIR"
    )
