"""Tables on standard output."""

from collections.abc import Sequence
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
