"""What may be asked about all connections, and the answers; to be asked here or in a process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from gossamer.daemon.appctl.ct_brief import BriefText
from gossamer.daemon.appctl.ct_text import ConnectionText, buckets_text, statistics_text

if TYPE_CHECKING:
    from gossamer.datapath.conntrack.records import Records


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and what it is about."""

    what: Literal["dump", "stats", "buckets"]
    zone: int | None = None
    verbose: bool = False
    statistics: bool = False
    greater_than: int = 0

    def answer(self, records: Records) -> Iterator[str]:
        """The text, in pieces."""
        match self.what:
            case "dump":
                if self.verbose:
                    long = ConnectionText(records, verbose=True, statistics=self.statistics)
                    yield from long.lines(self.zone)
                else:
                    yield from BriefText(records, statistics=self.statistics).lines(self.zone)
            case "stats":
                yield statistics_text(records, self.zone, verbose=self.verbose)
            case "buckets":
                yield buckets_text(records, self.greater_than)

    def packed(self) -> str:
        """For the command line of a process."""
        return json.dumps(asdict(self))

    @classmethod
    def unpack(cls, text: str) -> Question:
        """From `packed()`."""
        return cls(**json.loads(text))
