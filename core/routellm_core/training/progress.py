"""A progress bar on standard error, where that is a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int, str], None]


@contextmanager
def progress_bar(title: str, total: int, *, done: int = 0) -> Iterator[Advance]:
    """Show a bar while the block runs; gives a function that sets how much is done, and a remark.

    Args:
        title: What is going on.
        total: How many steps there are.
        done: How many are done already.
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
        yield lambda completed, remark: progress.update(task, completed=completed, remark=remark)
