"""Says everything twice: on the terminal, and in the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table as Grid

from mixtures.cli.report import Report


class Guide:
    """A console and a report that are told the same."""

    def __init__(self, console: Console, report: Report) -> None:
        self.console, self.report = console, report

    def chapter(self, title: str, text: str) -> None:
        """A heading and what is about to be seen."""
        self.console.print(f"\n[bold]{title}[/bold]", highlight=False)
        self.console.print(text.replace("`", ""), highlight=False)
        self.report.heading(title)
        self.report.text(text)

    def say(self, text: str) -> None:
        """A paragraph."""
        self.console.print(text.replace("`", ""), highlight=False)
        self.report.text(text)

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table; numbers to the right."""
        grid = Grid()
        for place, heading in enumerate(headings):
            grid.add_column(heading, justify="right" if place else "left")
        for row in rows:
            grid.add_row(*row)
        self.console.print(grid, highlight=False)
        self.report.table(headings, rows)

    def code(self, text: str) -> None:
        """Lines of code, for the report alone."""
        self.report.code(text)

    def picture(self, ax: Any, caption: str) -> None:
        """A picture, for the report alone."""
        self.report.picture(ax, caption)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Bars while something takes its time."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console) as progress:
            yield progress
