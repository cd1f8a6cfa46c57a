"""Tables that fit the terminal, without cutting what cannot be read in parts, and lines for what is no terminal."""

import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

NARROWEST: Final = 12
"""Characters that the folding column keeps, where it has as many."""
BESIDES: Final = 3
"""Characters that a column takes besides its text: a blank on each side, and a line."""

Row = Mapping[str, str]


class Layout(NamedTuple):
    """Columns from left to right: `folding` may take several lines, `spare` are left out where room is short."""

    columns: Sequence[str]
    folding: str | None = None
    spare: Sequence[str] = ()
    """Those that can be missed, the first of them the soonest."""


def print_table(layout: Layout, rows: Sequence[Row]) -> None:
    """Prints a table as wide as the terminal; where there is none, a line per row, its cells separated by tabs."""
    if sys.stdout is None or not sys.stdout.isatty():
        click.echo("\n".join("\t".join(row[name] for name in layout.columns) for row in rows))
        return
    console, widths = Console(), _widths(layout.columns, rows)
    shown = fitting(layout, widths, console.width)
    console.width = max(console.width, _taken({name: _least(layout, widths, name) for name in shown}, shown))
    console.print(_table(layout, shown, rows), crop=False)


def fitting(layout: Layout, widths: Mapping[str, int], room: int) -> list[str]:
    """The columns that a table of this many characters shows; what cannot be spared is shown in any case."""
    least = {name: _least(layout, widths, name) for name in layout.columns}
    shown = list(layout.columns)
    for name in layout.spare:
        if _taken(least, shown) <= room:
            break
        shown.remove(name)
    return shown


def _widths(columns: Sequence[str], rows: Sequence[Row]) -> dict[str, int]:
    return {name: max(cell_len(text) for text in (name, *(row[name] for row in rows))) for name in columns}


def _least(layout: Layout, widths: Mapping[str, int], name: str) -> int:
    return min(widths[name], NARROWEST) if name == layout.folding else widths[name]


def _taken(widths: Mapping[str, int], shown: Collection[str]) -> int:
    return 1 + sum(widths[name] + BESIDES for name in shown)


def _table(layout: Layout, shown: Sequence[str], rows: Sequence[Row]) -> Table:
    table = Table()
    for name in shown:
        table.add_column(name, no_wrap=name != layout.folding, overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[name]) for name in shown))
    return table
