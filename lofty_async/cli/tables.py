"""Records as tables on a terminal: as wide as it is, with no id cut and no time left out.

Where a table is too narrow for the columns that matter, each record becomes a block of lines.
"""

import os
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from shutil import get_terminal_size
from typing import Final, NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .times import Zone

MIN_FOLDING_WIDTH: Final = 12
"""Characters that a folding column keeps, if its text has as many."""
MIN_TIME_WIDTH: Final = len("2026-03-02 15:00")
MIN_BLOCK_WIDTH: Final = 32
"""Characters of a terminal from which on names and values stand side by side."""
COLUMN_PADDING: Final = 3
"""Characters of a column beside its text: a blank on each side, and a line."""
TIMES: Final = {"when", "updated", "free"}
"""Columns of times."""
INDENT: Final = (0, 0, 0, 2)
ASCII_LOCALES: Final = {"C", "POSIX"}

Row = Mapping[str, str]


class Layout(NamedTuple):
    """The columns of a table from left to right.

    `folding` columns may take several lines, `spare` ones are omitted, in this order, if the table is too wide. Tables
    without a terminal have the columns `plain`; they are for the tools of a shell. `model` has the fields of CSV.
    """

    columns: Sequence[str]
    model: type | None = None
    folding: Collection[str] = ()
    spare: Sequence[str] = ()
    plain: Sequence[str] = ()


FIELDS: Final = Layout(("field", "value"), folding={"value"})


class SteadyConsole(Console):
    """A console with its cursor shown: a process that a second signal kills could not show it again."""

    def show_cursor(self, show: bool = True) -> bool:  # noqa: ARG002 - Rich's signature
        return False


def terminal() -> Console:
    """Returns the console of standard output, as wide as it is; Rich takes one with TERM=dumb for 80 columns."""
    width, height = get_terminal_size()
    return Console(width=width, height=height)


def is_ascii() -> bool:
    """Whether lines and dashes are drawn in ASCII: standard output or the locale, such as LANG=C, has no more."""
    if not (sys.stdout.encoding or "").lower().startswith("utf"):
        return True
    named = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or ""
    if named == "C.UTF-8" and not os.environ.get("LC_ALL"):
        named = ""  # Python itself sets LC_CTYPE so, if the locale was C
    return (named or os.environ.get("LANG") or ("C" if os.name == "posix" else "")) in ASCII_LOCALES


def dash() -> str:
    return "-" if is_ascii() else "\N{EN DASH}"


def new_table(title: str | None = None, caption: str | None = None) -> Table:
    """Returns an empty table, its lines in ASCII where nothing else can be drawn."""
    return Table(
        box=box.ASCII2 if is_ascii() else box.HEAVY_HEAD,
        title=title,
        caption=caption,
        title_justify="left",
        caption_justify="left",
    )


def print_table(layout: Layout, rows: Sequence[Row], zone: Zone | None = None) -> None:
    """Prints a table as wide as the terminal; as blocks of lines if it is too narrow for the columns that matter.

    Below it stand the zone of its times, and the columns for which there is no room.
    """
    console, widths = terminal(), column_widths(layout.columns, rows)
    shown = fitting(layout, widths, console.width)
    if shown is None:
        _print_blocks(console, layout, rows, _zone_note(layout.columns, zone))
        return
    hidden = [name for name in layout.columns if name not in shown and any(row[name] for row in rows)]
    notes = (_zone_note(shown, zone), f"not shown: {', '.join(hidden)}" if hidden else "")
    console.print(_table(layout, shown, rows, "; ".join(filter(None, notes)) or None), crop=False)


def _zone_note(columns: Collection[str], zone: Zone | None) -> str:
    return f"times: {zone.label}" if zone is not None and TIMES & {*columns} else ""


def fitting(layout: Layout, widths: Mapping[str, int], room: int) -> list[str] | None:
    """Returns the columns of a table that is `room` characters wide, `None` if those that are not spare need more."""
    least = {name: _min_width(layout, widths, name) for name in layout.columns}
    shown = list(layout.columns)
    for name in layout.spare:
        if _table_width(least, shown) <= room:
            break
        shown.remove(name)
    return shown if _table_width(least, shown) <= room else None


def column_widths(columns: Sequence[str], rows: Sequence[Row]) -> dict[str, int]:
    return {name: max(cell_len(text) for text in (name, *(row[name] for row in rows))) for name in columns}


def _min_width(layout: Layout, widths: Mapping[str, int], name: str) -> int:
    if name not in layout.folding:
        return widths[name]
    return min(widths[name], MIN_TIME_WIDTH if name == "when" else MIN_FOLDING_WIDTH)


def _table_width(widths: Mapping[str, int], shown: Collection[str]) -> int:
    return 1 + sum(widths[name] + COLUMN_PADDING for name in shown)


def _table(layout: Layout, shown: Sequence[str], rows: Sequence[Row], caption: str | None) -> Table:
    table, widths = new_table(caption=caption), column_widths(shown, rows)
    for name in shown:
        is_folding = name in layout.folding
        table.add_column(name, no_wrap=not is_folding, overflow="fold", min_width=_min_width(layout, widths, name))
    for row in rows:
        table.add_row(*(Text(row[name]) for name in shown))
    return table


def print_fields(values: Mapping[str, str]) -> None:
    """Prints names and values as a table of two columns, without its lines where they would cut an id."""
    console = terminal()
    longest = max((len(text) for text in values.values() if text.isdecimal()), default=0)
    names = max(map(cell_len, values), default=0)
    if 1 + names + longest + 2 * COLUMN_PADDING <= console.width:
        print_table(FIELDS, [{"field": name, "value": text} for name, text in values.items()])
    else:
        _print_values(console, values)


def _print_blocks(console: Console, layout: Layout, rows: Sequence[Row], note: str) -> None:
    """Prints the first column on a line of its own, and below it the others that have a value."""
    first, *others = layout.columns
    for row in rows:
        console.print(Text(row[first], style="bold"), no_wrap=True, crop=False, overflow="ignore")
        _print_values(console, {name: row[name] for name in others if row[name]})
    if note:
        console.print(Text(note, style="italic"))


def _print_values(console: Console, fields: Mapping[str, str]) -> None:
    if console.width >= MIN_BLOCK_WIDTH:
        print_pairs(console, fields.items())
        return
    for name, text in fields.items():
        console.print(Padding(Text(f"{name}: {text}", overflow="fold"), INDENT))


def print_pairs(console: Console, pairs: Iterable[tuple[str, str]]) -> None:
    """Prints two columns without lines; texts of the second fold."""
    block = Table.grid(padding=(0, 1))
    block.add_column(no_wrap=True)
    block.add_column(overflow="fold")
    for name, text in pairs:
        block.add_row(name, Text(text))
    console.print(Padding(block, INDENT))
