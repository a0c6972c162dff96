"""A progress bar on standard error, if that is a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(description: str) -> Iterator[Callable[[int, int | None], None]]:
    """Draw a bar that goes when the block ends; tell it how much is done, and of how much if that is known.

    Args:
        description: What stands before the bar.
    """
    from rich.console import Console
    from rich.progress import Progress  # drawing is not needed to import the command line

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
