"""What commands print: coloured tables on a terminal, plain text elsewhere, JSON on request."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from gossamer.errors import GossamerError
from gossamer.topology.check import Outcome


class Output:
    """One command's output."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.console = Console(highlight=False, soft_wrap=True)
        self.terminal = self.console.is_terminal and not as_json

    def line(self, text: str) -> None:
        """A line for people; nothing with --json."""
        if not self.as_json:
            self.console.print(text)

    def data(self, data: Any) -> None:
        """The result, with --json."""
        if self.as_json:
            json.dump(data, sys.stdout, indent=2)
            sys.stdout.write("\n")

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table; tab-separated where stdout is no terminal."""
        if self.as_json:
            return
        if not self.terminal:
            if title:
                print(title)
            widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
            for row in (columns, *rows):
                print("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())
            return
        table = Table(title=title or None, title_justify="left")
        for column in columns:
            table.add_column(column)
        for row in rows:
            # Only our own verdicts are marked up: a flow may well have brackets.
            table.add_row(*(cell if cell in _VERDICTS else escape(cell) for cell in row))
        self.console.print(table)

    @contextmanager
    def progress(self, what: str) -> Iterator[Step]:
        """A progress bar on a terminal; silence elsewhere."""
        if not self.terminal:
            yield Step(None, None)
            return
        with Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), transient=True,
            console=self.console,
        ) as bar:  # fmt: skip
            yield Step(bar, bar.add_task(what, total=None))


class Step:
    """Moves a progress bar, where there is one."""

    def __init__(self, bar: Progress | None, task: Any) -> None:
        self._bar, self._task = bar, task

    def __call__(self, text: str, done: int, total: int) -> None:
        """`done` of `total` are done; `text` comes next."""
        if self._bar is not None:
            self._bar.update(self._task, description=text, completed=done, total=total)


_GOOD: Final = "[green]ok[/]"
_BAD: Final = "[bold red]FAILED[/]"
_VERDICTS: Final = (_GOOD, _BAD)


def verdict(ok: bool, terminal: bool) -> str:
    """A tick or a cross."""
    if not terminal:
        return "ok" if ok else "FAILED"
    return _GOOD if ok else _BAD


def outcome_rows(outcomes: Sequence[Outcome], terminal: bool) -> list[tuple[str, str, str, str]]:
    """Rows of a table of checks."""
    return [
        (f"{o.source} -> {o.target}", o.expected, o.measured, verdict(o.ok, terminal)) for o in outcomes
    ]


def counted(number: int, noun: str) -> str:
    """``1 change``, ``2 changes``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def report(e: GossamerError, as_json: bool) -> None:
    """An error in two lines: what and where, and the remedy; with --json as JSON on stdout."""
    if as_json:
        print(json.dumps({"error": e.message, "place": e.place, "remedy": e.remedy}, indent=2))
        return
    print(f"gossamer: {e}", file=sys.stderr)
    if e.remedy:
        print(f"remedy: {e.remedy}", file=sys.stderr)
