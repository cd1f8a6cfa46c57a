"""Times drawn for people: a week of the calendar as a grid, and free slots by day."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lofty_async.models import CalendarEntry, MeetingSlot

from .output import cell
from .tables import Layout, dash, is_ascii, new_table, print_pairs, print_table, terminal
from .times import Zone, is_all_day

WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
WEEKEND: Final = 5
ALL_DAY: Final = -1
"""The row of what has no hour of its day."""
GUTTER: Final = len("00:00")
MIN_DAY_WIDTH: Final = 9
"""Characters of a day's column below which days are listed one below another."""
TIMES_WIDTH: Final = len("09:00-10:00")
MAX_TEXT: Final = 80
DAY: Final = timedelta(1)
SLOTS: Final = Layout(("day", "free"), folding={"free"})


class Piece(NamedTuple):
    """The part of an entry that falls on one day: its row, which is an hour or `ALL_DAY`, its times and its text.

    `until` is the last hour that it reaches into.
    """

    day: date
    row: int
    times: str
    text: str
    until: int
    is_finished: bool


def draw_week(entries: Sequence[CalendarEntry], zone: Zone, monday: date) -> None:
    """Prints a grid of days and of the hours at which entries begin; day by day if it is too narrow for that."""
    console = terminal()
    week = [monday + number * DAY for number in range(len(WEEKDAYS))]
    pieces = sorted((piece for entry in entries for piece in pieces_of(entry, zone, week)), key=lambda piece: piece[:3])
    busy = {piece.day for piece in pieces}
    today = zone.now().date()
    days = [day for day in week if day.weekday() < WEEKEND or day in busy or day == today]
    room = (console.width - GUTTER - 2) // len(days) - 1
    title = f"Week of {monday}"
    if room < MIN_DAY_WIDTH:
        _print_days(console, pieces, title)
    else:
        console.print(_grid(pieces, days, title, today, room))
    console.print(Text(f"times: {zone.label}", style="italic"))


def pieces_of(entry: CalendarEntry, zone: Zone, week: Sequence[date]) -> Iterator[Piece]:
    """Yields the parts of an entry, one for each day of the week that it touches; none if it has no time at all."""
    start, end = entry.start_at or entry.end_at, entry.end_at or entry.start_at
    if start is None or end is None:
        return
    text, is_finished = _shortened(cell(entry.content or entry.title)), bool(entry.finished)
    if is_all_day(start, end):
        for day in (day for day in week if start.date() <= day < end.date()):
            yield Piece(day, ALL_DAY, "", text, ALL_DAY, is_finished)
        return
    first, last = zone.shown(start), zone.shown(end)
    is_deadline, last_day = entry.start_at is None, _last_day(first, last)
    for day in (day for day in week if first.date() <= day <= last_day):
        begins, ends = day == first.date(), day == last_day
        times = _times(first if begins else None, last if ends else None, is_deadline=is_deadline)
        row, until = (first.hour if begins else ALL_DAY), (_last_hour(last) if day == last.date() else 23)
        yield Piece(day, row, times, text, until, is_finished)


def _last_day(first: datetime, last: datetime) -> date:
    """Returns the last day of an entry; one that ends at midnight ends on the day before."""
    if first.date() < last.date() and last.time() == time.min:
        return last.date() - DAY
    return max(first.date(), last.date())


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."


def _last_hour(end: datetime) -> int:
    return end.hour if (end.minute, end.second) > (0, 0) else end.hour - 1


def _times(first: datetime | None, last: datetime | None, *, is_deadline: bool) -> str:
    """Returns `09:00-10:00`, with one of its ends if the other is on another day."""
    if is_deadline and first is not None:
        return f"by {first:%H:%M}"
    if first is not None and last is not None and first.timestamp() >= last.timestamp():
        return f"{first:%H:%M}"
    begin, end = ("" if moment is None else f"{moment:%H:%M}" for moment in (first, last))
    return f"{begin}{dash()}{end}" if begin or end else ""


def _grid(pieces: Sequence[Piece], days: Sequence[date], title: str, today: date, room: int) -> Table:
    """Returns the table of a week, each day `room` characters wide."""
    table, padding = new_table(title), int(room >= TIMES_WIDTH + 2)
    width = room - 2 * padding
    table.show_lines, table.padding, table.pad_edge = True, (0, padding), False
    table.add_column(width=GUTTER)
    for day in days:
        mark = "\ntoday" if day == today else ""
        table.add_column(
            f"{WEEKDAYS[day.weekday()]} {day.day}{mark}",
            overflow="fold",
            width=width,
            header_style="reverse" if mark else "",
        )
    for row in sorted({piece.row for piece in pieces}):
        label = "all day" if row == ALL_DAY else f"{row:02}:00"
        table.add_row(label, *(_cell(pieces, day, row, width) for day in days))
    return table


def _cell(pieces: Sequence[Piece], day: date, row: int, width: int) -> Text:
    """Returns what begins in this hour of this day, below a sign of what goes on from before."""
    text = Text()
    for piece in pieces:
        if piece.day != day:
            continue
        if piece.row == row:
            text.append("\n" if text else "")
            times = piece.times if len(piece.times) <= width else piece.times.replace(dash(), f"{dash()}\n")
            text.append(f"{times}\n" if times else "", style="bold")
            text.append(f"{_mark(piece)}{piece.text}", style="dim" if piece.is_finished else "")
        elif piece.row != ALL_DAY and piece.row < row <= piece.until:
            text.append("\n" if text else "")
            text.append("...", style="dim")
    return text


def _mark(piece: Piece) -> str:
    if not piece.is_finished:
        return ""
    return "x " if is_ascii() else "\N{CHECK MARK} "


def _print_days(console: Console, pieces: Sequence[Piece], title: str) -> None:
    console.print(Text(title, style="bold"))
    for day in sorted({piece.day for piece in pieces}):
        console.print(Text(f"{WEEKDAYS[day.weekday()]} {day}", style="bold"))
        of_day = (piece for piece in pieces if piece.day == day)
        print_pairs(console, ((piece.times or "all day", f"{_mark(piece)}{piece.text}") for piece in of_day))


def draw_slots(slots: Sequence[MeetingSlot], zone: Zone) -> None:
    """Prints a table of days and their free times."""
    by_day: dict[date, list[str]] = {}
    for slot in slots:
        first, last = zone.shown(slot.start_at), zone.shown(slot.end_at)
        by_day.setdefault(first.date(), []).append(f"{first:%H:%M}{dash()}{last:%H:%M}")
    rows = [{"day": f"{WEEKDAYS[day.weekday()]} {day}", "free": "  ".join(times)} for day, times in by_day.items()]
    print_table(SLOTS, rows, zone)
