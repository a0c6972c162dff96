"""What commands draw: tables on standard output, progress on standard error."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from routellm_core.evaluation.tables import TextTable


def print_tables(tables: "Sequence[TextTable]") -> None:
    """Print tables, a title above and a note below each."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text  # drawing is not needed to import the command line

    console = Console()
    for table in tables:
        columns = [Column(Text(name), justify="left" if i == 0 else "right") for i, name in enumerate(table.header)]
        drawn = Table(*columns, title=Text(table.title), title_justify="left", caption_justify="left")
        drawn.caption = Text(table.note) if table.note else None
        for row in table.rows:
            drawn.add_row(*map(Text, row))
        console.print(drawn)


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Draw a progress bar on standard error if that is a terminal.

    Args:
        title: What is going on.

    Yields:
        A function to call with how much is done, and of how much.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
