"""Tables on a terminal: they fit, they say who and when, and they can be drawn in ASCII."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from rich.cells import cell_len

from lofty_async.cli.options import OutputOptions
from lofty_async.cli.output import CALENDAR_ENTRIES, LEAD_TASKS, LEADS, MY_TASKS, show_records
from lofty_async.cli.times import zone_named
from lofty_async.cli.week import draw_slots, draw_week
from lofty_async.models import CalendarEntry, EntryType, Lead, MeetingSlot, Task, TaskType
from lofty_async.sandbox import Sandbox
from tests.commands import answer, on_terminal, plain_terminal, sandboxed

OSLO = zone_named("Europe/Oslo")
NINE = datetime(2026, 3, 4, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
MONDAY = datetime(2026, 3, 2, tzinfo=UTC).date()
TASK = Task(
    id=731_000_000_000_001,
    lead_id=563_000_000_000_007,
    lead_name="Chlo\u00eb \u00d8deg\u00e5rd",
    type=TaskType.CALL,
    content="Call back about the viewing of the house by the lake \U0001f3e1",
    end_at=NINE,
    finished=False,
    assigned_user="Agatha Agent",
)


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with sandboxed(monkeypatch) as running:
        yield running


def shown(monkeypatch: pytest.MonkeyPatch, width: int, *tasks: Task, language: str = "en_US.UTF-8") -> list[str]:
    with monkeypatch.context() as patch:
        terminal = plain_terminal(patch, width, language=language)
        show_records(tasks or (TASK,), MY_TASKS, OutputOptions(), OSLO)
    return terminal.shown.splitlines()


@pytest.mark.parametrize("width", [200, 120, 80, 60, 40, 30, 20])
@pytest.mark.parametrize("language", ["en_US.UTF-8", "C"])
class TestAtEveryWidth:
    def test_a_table_fits(self, monkeypatch: pytest.MonkeyPatch, width: int, language: str) -> None:
        lines = shown(monkeypatch, width, language=language)
        assert max(map(cell_len, lines)) <= width

    def test_who_when_and_what_are_there(self, monkeypatch: pytest.MonkeyPatch, width: int, language: str) -> None:
        text = "\n".join(shown(monkeypatch, width, language=language))
        words = set(text.replace("|", " ").replace("\u2502", " ").split())
        assert str(TASK.id) in words
        assert "2026-03-04" in words
        assert "09:00" in words
        assert "viewing" in words
        assert "Chlo\u00eb" in words

    def test_lines_are_ascii_if_the_language_is(
        self, monkeypatch: pytest.MonkeyPatch, width: int, language: str
    ) -> None:
        plain = Task(id=TASK.id, content="x", start_at=NINE, end_at=NINE + HOUR)
        text = "\n".join(shown(monkeypatch, width, plain, language=language))
        assert text.isascii() is (language == "C")
        assert "\ufffd" not in text
        assert "?" not in text


def test_a_lead_without_a_name_is_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    line = shown(monkeypatch, 120, Task(id=5, lead_id=7), Task(id=6, lead_id=8, lead_first_name="Ann"))
    assert "7" in line[3].split()
    assert "Ann" in line[4].split()


def test_times_are_those_of_the_zone_which_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, 100)
    assert "by 2026-03-04 09:00" in " ".join(lines)
    assert "times: Europe/Oslo" in lines[-1]


def test_columns_without_room_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "not shown: finished, assigned_user" in " ".join(shown(monkeypatch, 80))
    assert "not shown" not in " ".join(shown(monkeypatch, 200))


@pytest.mark.parametrize("layout", [MY_TASKS, LEAD_TASKS, CALENDAR_ENTRIES])
def test_the_time_is_never_spare(layout: object) -> None:
    assert "when" not in getattr(layout, "spare", ())
    assert "when" in getattr(layout, "columns", ())


@pytest.mark.parametrize("width", [100, 80, 40])
def test_leads_fit(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    lead = Lead(id=563_000_000_000_007, first_name="Ann", last_name="Lee", phones=("+1415550100",), updated_at=NINE)
    with monkeypatch.context() as patch:
        terminal = plain_terminal(patch, width)
        show_records([lead], LEADS, OutputOptions(), OSLO)
    lines = terminal.shown.splitlines()
    assert max(map(len, lines)) <= width
    assert "Ann Lee" in terminal.shown
    assert "+1415550100" in terminal.shown


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("command", [("tasks", "mine"), ("leads", "list"), ("calendar", "--start", "2000-01-01")])
@pytest.mark.parametrize("width", [80, 40])
def test_commands_fit_a_terminal(monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], width: int) -> None:
    text = on_terminal(monkeypatch, width, *command)
    assert max(map(cell_len, text.splitlines())) <= width
    has_times = "when" in text or "  updated" in text
    assert ("times: UTC" in text) is has_times


@pytest.mark.parametrize("width", [80, 40, 30])
@pytest.mark.usefixtures("sandbox")
def test_one_record_fits_and_has_its_ids_whole(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    team_id = str(answer("whoami")["team_id"])
    text = on_terminal(monkeypatch, width, "whoami")
    assert max(map(cell_len, text.splitlines())) <= width
    assert team_id in text.split()
    assert len(team_id) == 15


def test_one_record_shows_its_times_in_the_zone(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    one = next(entry for entry in sandbox.state.entries.values() if entry.end_at)
    assert one.end_at is not None
    text = on_terminal(monkeypatch, 100, "tasks", "get", one.id, "--time-zone", "Asia/Kolkata")
    assert f"{one.end_at.astimezone(timezone(timedelta(hours=5.5))):%Y-%m-%d %H:%M}+05:30" in text


def entry(number: int, start: datetime | None, end: datetime | None, **fields: object) -> CalendarEntry:
    values: dict[str, object] = {"type": EntryType.TASK, "content": f"Entry {number}"} | fields
    return CalendarEntry(id=f"{number}-task", start_at=start, end_at=end, **values)  # type: ignore[arg-type]


def week(monkeypatch: pytest.MonkeyPatch, width: int, *entries: CalendarEntry, language: str = "en_US.UTF-8") -> str:
    with monkeypatch.context() as patch:
        terminal = plain_terminal(patch, width, language=language)
        draw_week(entries, OSLO, MONDAY)
    return terminal.shown


def cells(text: str) -> dict[str, dict[str, list[str]]]:
    """The words of each cell of a grid, by its row and the number of its day."""
    lines = [line for line in text.replace("\u2502", "|").replace("\u2503", "|").splitlines() if line.startswith("|")]
    days = [cell.split()[1] for cell in lines[0].strip("|").split("|")[1:]]
    found: dict[str, dict[str, list[str]]] = {}
    row = ""
    for line in lines[1:]:
        label, *parts = line[1:].rstrip("|\n").split("|")
        row = {"all": "all day", "day": "all day"}.get(label.strip(), label.strip()) or row
        for day, part in zip(days, parts, strict=True):
            found.setdefault(row, {}).setdefault(day, []).extend(part.split())
    return found


def test_an_hour_that_comes_twice_is_shown_with_both_its_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    before = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    with monkeypatch.context() as patch:
        terminal = plain_terminal(patch, 200)
        draw_week([entry(1, before, before + timedelta(minutes=40))], OSLO, before.date() - timedelta(6))
    assert cells(terminal.shown)["02:00"]["25"][0].startswith("02:30")
    assert "02:10" in terminal.shown


LATE = datetime(2026, 3, 7, 20, tzinfo=UTC)
LOS_ANGELES = timezone(timedelta(hours=-8))
ALL_DAY = datetime(2026, 3, 3, tzinfo=LOS_ANGELES)


class TestAWeek:
    def test_is_a_grid_of_days_and_hours(self, monkeypatch: pytest.MonkeyPatch) -> None:
        text = week(monkeypatch, 100, entry(1, NINE, NINE + HOUR), entry(2, NINE + HOUR, NINE + 2 * HOUR))
        grid = cells(text)
        assert grid["09:00"]["4"] == ["09:00\u201310:00", "Entry", "1"]
        assert grid["10:00"]["4"] == ["10:00\u201311:00", "Entry", "2"]
        assert not grid["09:00"]["2"]
        assert text.splitlines()[0].strip() == "Week of 2026-03-02"
        assert "times: Europe/Oslo" in text

    def test_has_a_weekend_if_something_is_on_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert "Sat" not in week(monkeypatch, 100, entry(1, NINE, NINE + HOUR))
        assert cells(week(monkeypatch, 120, entry(1, LATE, LATE + HOUR)))["21:00"]["7"][-1] == "1"

    def test_shows_a_whole_day_above_the_hours_on_its_own_date(self, monkeypatch: pytest.MonkeyPatch) -> None:
        grid = cells(week(monkeypatch, 100, entry(1, ALL_DAY, ALL_DAY + timedelta(2)), entry(2, NINE, NINE + HOUR)))
        assert list(grid) == ["all day", "09:00"]
        assert [bool(grid["all day"][day]) for day in "23456"] == [False, True, True, False, False]

    def test_shows_what_goes_on_at_later_hours(self, monkeypatch: pytest.MonkeyPatch) -> None:
        grid = cells(week(monkeypatch, 100, entry(1, NINE, NINE + 3 * HOUR), entry(2, NINE + HOUR - 24 * HOUR, None)))
        assert grid["10:00"]["4"] == ["..."]
        assert grid["10:00"]["3"][0] == "10:00"

    def test_shows_an_entry_on_each_of_its_days(self, monkeypatch: pytest.MonkeyPatch) -> None:
        grid = cells(week(monkeypatch, 100, entry(1, NINE, NINE + timedelta(2))))
        assert grid["09:00"]["4"][0] == "09:00\u2013"
        assert grid["all day"]["5"] == ["Entry", "1"]
        assert grid["all day"]["6"][0] == "\u201309:00"

    def test_ends_an_entry_at_midnight_on_the_day_before(self, monkeypatch: pytest.MonkeyPatch) -> None:
        midnight = datetime(2026, 3, 4, 23, tzinfo=UTC)
        grid = cells(week(monkeypatch, 120, entry(1, midnight - HOUR, midnight)))
        assert grid["23:00"]["4"] == ["23:00\u201300:00", "Entry", "1"]
        assert list(grid) == ["23:00"]
        grid = cells(week(monkeypatch, 120, entry(1, NINE - 24 * HOUR, midnight), entry(2, NINE + 8 * HOUR, None)))
        assert grid["all day"]["4"][0] == "\u201300:00"
        assert not grid["all day"]["5"]
        grid = cells(week(monkeypatch, 120, entry(1, midnight - 3 * HOUR, midnight), entry(2, midnight - HOUR, None)))
        assert grid["23:00"]["4"][0] == "..."

    def test_shows_a_deadline_as_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert cells(week(monkeypatch, 100, entry(1, None, NINE)))["09:00"]["4"][:2] == ["by", "09:00"]

    def test_breaks_times_that_are_wider_than_a_day(self, monkeypatch: pytest.MonkeyPatch) -> None:
        text = week(
            monkeypatch, 77, entry(1, NINE, NINE + HOUR), entry(2, LATE, LATE), entry(3, LATE + 24 * HOUR, None)
        )
        assert cells(text)["09:00"]["4"] == ["09:00\u2013", "10:00", "Entry", "1"]

    def test_marks_today(self, monkeypatch: pytest.MonkeyPatch) -> None:
        today = OSLO.now().date()
        with monkeypatch.context() as patch:
            terminal = plain_terminal(patch, 120)
            draw_week([], OSLO, today - timedelta(today.weekday()))
        assert f"{today:%a} {today.day}" in terminal.shown
        assert "today" in terminal.shown

    def test_marks_what_is_finished(self, monkeypatch: pytest.MonkeyPatch) -> None:
        done = entry(1, NINE, NINE + HOUR, finished=True)
        assert cells(week(monkeypatch, 100, done))["09:00"]["4"][1] == "\u2713"
        assert cells(week(monkeypatch, 100, done, language="C"))["09:00"]["4"][1] == "x"

    @pytest.mark.parametrize("width", [200, 100, 80, 60, 40, 20])
    @pytest.mark.parametrize("language", ["en_US.UTF-8", "C"])
    def test_fits(self, monkeypatch: pytest.MonkeyPatch, width: int, language: str) -> None:
        entries = [entry(number, NINE + number * 5 * HOUR, NINE + number * 6 * HOUR) for number in range(12)]
        text = week(monkeypatch, width, *entries, language=language)
        assert max(map(cell_len, text.splitlines())) <= width
        assert text.isascii() or language != "C"
        assert "Entry" in text

    def test_is_a_list_of_days_on_a_narrow_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lines = week(
            monkeypatch, 40, entry(1, NINE, NINE + HOUR), entry(2, ALL_DAY, ALL_DAY + timedelta(1))
        ).splitlines()
        assert [line.strip() for line in lines] == [
            "Week of 2026-03-02",
            "Tue 2026-03-03",
            "all day Entry 2",
            "Wed 2026-03-04",
            "09:00\u201310:00 Entry 1",
            "times: Europe/Oslo",
        ]

    def test_has_no_control_characters(self, monkeypatch: pytest.MonkeyPatch) -> None:
        text = week(monkeypatch, 100, entry(1, NINE, NINE + HOUR, content="\x1b[31mred\x07\r\n\u202e"))
        assert all(one.isprintable() or one == "\n" for one in text)

    def test_shows_an_endless_entry_on_its_own_days_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ends = datetime(1, 1, 3, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
        grid = cells(week(monkeypatch, 120, entry(1, *ends)))
        assert [len(words) > 0 for words in grid["all day"].values()] == [True] * 7

    def test_says_that_a_long_text_goes_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        words = cells(week(monkeypatch, 200, entry(1, NINE, NINE + HOUR, content="word " * 40)))["09:00"]["4"]
        assert words[-1].endswith("...")
        assert len(words) < 40

    def test_leaves_out_what_has_no_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert "Entry" not in week(monkeypatch, 100, entry(1, None, None))


def test_the_command_draws_the_week_of_a_date(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    some = next(one for one in sandbox.state.entries.values() if one.start_at and not one.finished)
    assert some.start_at is not None
    day = some.start_at.astimezone(UTC).date()
    text = on_terminal(monkeypatch, 120, "calendar", "--week", day, "--time-zone", "UTC")
    assert f"Week of {day - timedelta(day.weekday())}" in text
    assert f"{some.start_at.astimezone(UTC):%H:%M}" in text


def test_slots_are_shown_by_day(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = [MeetingSlot(start_at=NINE + n * HOUR, end_at=NINE + (n + 1) * HOUR) for n in (0, 1, 24)]
    with monkeypatch.context() as patch:
        terminal = plain_terminal(patch, 80)
        draw_slots(slots, OSLO)
    rows = [line.strip("\u2502").split("\u2502") for line in terminal.shown.splitlines() if line.startswith("\u2502")]
    assert [[cell.split() for cell in row] for row in rows] == [
        [["Wed", "2026-03-04"], ["09:00\u201310:00", "10:00\u201311:00"]],
        [["Thu", "2026-03-05"], ["09:00\u201310:00"]],
    ]
