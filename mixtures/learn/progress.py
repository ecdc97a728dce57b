"""What is shown while something is learned: a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from mixtures.importing import Later
from mixtures.learn.history import Record

if TYPE_CHECKING:
    from rich import console as consoles
    from rich import progress as bars
else:
    consoles, bars = Later("rich.console"), Later("rich.progress")


class Display:
    """A progress bar on standard error, if wanted and if that is a terminal or a notebook.

    >>> with Display(10, wanted=False) as display:
    ...     display.show(1, Record(-2.0, 0.0, None, 0.1))
    """

    def __init__(
        self, iterations: int, *, wanted: bool = True, console: consoles.Console | None = None
    ) -> None:
        console = consoles.Console(stderr=True) if console is None else console
        seen = wanted and (console.is_terminal or console.is_jupyter)
        columns = (
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TimeElapsedColumn(),
        )
        self.bar = bars.Progress(*columns, console=console, disable=not seen)
        self.iterations = iterations
        self.task = self.bar.add_task("starting", total=iterations)

    def __enter__(self) -> Display:
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def show(self, iteration: int, record: Record, restart: str = "") -> None:
        """So many iterations are done; what the last of them met."""
        text = f"{restart}log-likelihood {record.log_likelihood:.5g}"
        if record.validation is not None:
            text += f", validation {record.validation:.5g}"
        self.say(iteration, text)

    def say(self, iteration: int, text: str) -> None:
        """So many iterations are done, described in other words."""
        self.bar.update(self.task, completed=iteration, description=text)
