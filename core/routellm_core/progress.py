"""A progress bar on standard error, where that is a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Advance(Protocol):
    """Says how far the work is."""

    def __call__(self, done: int, total: int | None = None, /, *, remark: str = "") -> None:
        """Set how much is done, of how much if that is known by now, and a remark behind the bar."""


@contextmanager
def progress_bar(title: str, total: int | None = None, *, done: int = 0) -> Iterator[Advance]:
    """Draw a bar that goes when the block ends; gives a function that says how far the work is.

    Args:
        title: What is going on.
        total: How much there is to do; None if that is not known, or only later.
        done: How much is done already.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[remark]}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=total, completed=done, remark="")

        def advance(done: int, total: int | None = None, /, *, remark: str = "") -> None:
            progress.update(task, completed=done, total=total, remark=remark)

        yield advance
