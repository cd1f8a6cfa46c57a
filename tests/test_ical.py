import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import icalendar
import pytest
import vobject
from hypothesis import given, settings
from hypothesis import strategies as st

from lofty_async import CalendarEntry, EntryType, InvalidRequestError, LoftyClient, Task, TaskType, TaskV1
from lofty_async.ical import to_ical
from lofty_async.sandbox import Sandbox
from tests.model_values import models_of

USUAL = settings.default
assert USUAL
FEW = settings(max_examples=USUAL.max_examples // 3)  # two other libraries read each
PACIFIC = timezone(timedelta(hours=-8))
NOON = datetime(2026, 3, 1, 12, tzinfo=PACIFIC)
NOON_UTC = datetime(2026, 3, 1, 20, tzinfo=UTC)
MIDNIGHT = datetime(2026, 3, 1, tzinfo=PACIFIC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MARCH_1 = date(2026, 3, 1)

ENTRIES = models_of(CalendarEntry) | models_of(Task)


def appointment(**fields: Any) -> CalendarEntry:
    values: dict[str, Any] = {"id": "5-appointment", "type": EntryType.APPOINTMENT} | fields
    return CalendarEntry(**values)


def deadline(**fields: Any) -> CalendarEntry:
    values: dict[str, Any] = {"id": "6-task", "type": EntryType.TASK, "end_at": NOON} | fields
    return CalendarEntry(**values)


def components(content: bytes) -> list[Any]:
    """The events and to-dos, as icalendar reads them."""
    calendar: Any = icalendar.Calendar.from_ical(content)
    assert not calendar.errors
    return list(calendar.subcomponents)


def the_one(*entries: CalendarEntry | Task, **options: Any) -> Any:
    (component,) = components(to_ical(entries, **options))
    return component


def times(component: Any) -> dict[str, date]:
    """The times of a component by the names of their properties."""
    names = ("DTSTART", "DTEND", "DUE", "COMPLETED")
    return {name.lower(): component[name].dt for name in names if name in component}


def lines(content: bytes) -> list[str]:
    """The unfolded lines of a file that keeps to the form."""
    assert content.endswith(b"\r\n")
    physical = content.removesuffix(b"\r\n").split(b"\r\n")
    assert all(0 < len(line) <= 75 for line in physical)
    return b"\r\n".join(physical).replace(b"\r\n ", b"").decode().split("\r\n")


def texts(content: bytes, name: str) -> Iterator[str]:
    """The values of a text property, by the rules of RFC 5545, which icalendar's own reader bends."""
    for line in lines(content):
        if line.startswith(f"{name}:"):
            yield "".join(unescaped(line.removeprefix(f"{name}:")))


def unescaped(value: str) -> Iterator[str]:
    characters = iter(value)
    for one in characters:
        assert one not in ";,"
        yield {"n": "\n", "\\": "\\", ";": ";", ",": ","}[next(characters)] if one == "\\" else one


def with_vobject(content: bytes) -> Any:
    (calendar,) = vobject.readComponents(content.decode())
    return calendar


def test_an_appointment_is_an_event() -> None:
    entry = appointment(content="Show the house", start_at=NOON, end_at=NOON + HOUR)
    event = the_one(entry)
    assert (event.name, event["SUMMARY"]) == ("VEVENT", "Show the house")
    assert times(event) == {"dtstart": NOON_UTC, "dtend": NOON_UTC + HOUR}
    assert "TRANSP" not in event
    assert the_one(entry, tasks="todo").name == "VEVENT"


def test_a_task_is_an_event_at_its_deadline() -> None:
    event = the_one(deadline(content="Ring"))
    assert (event.name, event["SUMMARY"], event["TRANSP"]) == ("VEVENT", "Ring", "TRANSPARENT")
    assert times(event) == {"dtstart": NOON_UTC}


def test_a_task_is_a_todo_if_wanted() -> None:
    todo = the_one(deadline(content="Ring", start_at=NOON - HOUR, finished=False), tasks="todo")
    assert (todo.name, todo["SUMMARY"], todo["STATUS"]) == ("VTODO", "Ring", "NEEDS-ACTION")
    assert times(todo) == {"dtstart": NOON_UTC - HOUR, "due": NOON_UTC}


def test_what_is_finished_is_completed() -> None:
    task = Task(id=6, content="Ring", end_at=NOON, finished=True, finished_at=NOON - HOUR)
    todo = the_one(task, tasks="todo")
    assert (todo["STATUS"], todo["PERCENT-COMPLETE"], todo["SUMMARY"]) == ("COMPLETED", 100, "Ring")
    assert times(todo) == {"due": NOON_UTC, "completed": NOON_UTC - HOUR}
    for entry in (task, appointment(content="Ring", start_at=NOON, finished=True)):
        event = the_one(entry)
        assert (event["SUMMARY"], event["TRANSP"]) == ("\N{CHECK MARK} Ring", "TRANSPARENT")


def test_nothing_is_said_of_what_nobody_knows() -> None:
    todo = the_one(deadline(finished=None), tasks="todo")
    assert "STATUS" not in todo


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (MIDNIGHT, MIDNIGHT + DAY, {"dtstart": MARCH_1, "dtend": MARCH_1 + DAY}),
        (MIDNIGHT, MIDNIGHT + 3 * DAY, {"dtstart": MARCH_1, "dtend": MARCH_1 + 3 * DAY}),
        (MIDNIGHT, MIDNIGHT, {"dtstart": MARCH_1, "dtend": MARCH_1 + DAY}),
        (MIDNIGHT, datetime(2026, 3, 2, tzinfo=UTC), {"dtstart": MARCH_1, "dtend": MARCH_1 + DAY}),
        (MIDNIGHT, NOON, {"dtstart": MIDNIGHT, "dtend": NOON}),
        (MIDNIGHT, None, {"dtstart": MIDNIGHT}),
    ],
)
def test_an_appointment_from_midnight_to_midnight_is_all_day(start: Any, end: Any, expected: Any) -> None:
    assert times(the_one(appointment(start_at=start, end_at=end))) == expected
    task = Task(id=5, type=TaskType.APPOINTMENT, start_at=start, end_at=end)
    assert times(the_one(task)) == expected


@pytest.mark.parametrize(
    ("start", "end", "event", "todo"),
    [
        (None, NOON, {"dtstart": MARCH_1, "dtend": MARCH_1 + DAY}, {"due": MARCH_1}),
        (None, MIDNIGHT, {"dtstart": MARCH_1, "dtend": MARCH_1 + DAY}, {"due": MARCH_1}),
        (NOON, None, {"dtstart": MARCH_1, "dtend": MARCH_1 + DAY}, {"due": MARCH_1}),
        (
            NOON,
            NOON + DAY,
            {"dtstart": MARCH_1, "dtend": MARCH_1 + 2 * DAY},
            {"dtstart": MARCH_1, "due": MARCH_1 + DAY},
        ),
        (NOON, MIDNIGHT + DAY, {"dtstart": MARCH_1, "dtend": MARCH_1 + DAY}, {"due": MARCH_1}),
        (NOON, NOON - DAY, {"dtstart": MARCH_1, "dtend": MARCH_1 + DAY}, {"due": MARCH_1}),
    ],
)
def test_a_task_that_says_so_is_all_day(start: Any, end: Any, event: Any, todo: Any) -> None:
    task = Task(id=5, type=TaskType.CALL, all_day=True, start_at=start, end_at=end)
    assert times(the_one(task)) == event
    assert times(the_one(task, tasks="todo")) == todo


def test_a_task_is_all_day_only_if_it_says_so() -> None:
    task = Task(id=5, type=TaskType.CALL, start_at=MIDNIGHT, end_at=MIDNIGHT + DAY)
    assert times(the_one(task)) == {"dtstart": MIDNIGHT, "dtend": MIDNIGHT + DAY}
    said_not = Task(id=5, type=TaskType.APPOINTMENT, all_day=False, start_at=MIDNIGHT, end_at=MIDNIGHT + DAY)
    assert times(the_one(said_not)) == {"dtstart": MIDNIGHT, "dtend": MIDNIGHT + DAY}


@pytest.mark.parametrize(
    ("entry", "event", "todo"),
    [
        (appointment(start_at=NOON), {"dtstart": NOON}, {"dtstart": NOON}),
        (appointment(end_at=NOON), {"dtstart": NOON}, {"dtstart": NOON}),
        (appointment(start_at=NOON, end_at=NOON - HOUR), {"dtstart": NOON}, {"dtstart": NOON}),
        (deadline(start_at=NOON + HOUR), {"dtstart": NOON}, {"due": NOON}),
        (deadline(start_at=NOON, end_at=None), {"dtstart": NOON}, {"dtstart": NOON}),
        # In the hour that comes twice the later of the two has the earlier wall clock.
        (
            appointment(
                start_at=datetime(2026, 11, 1, 1, 30, tzinfo=timezone(-7 * HOUR)),
                end_at=datetime(2026, 11, 1, 1, 10, tzinfo=timezone(-8 * HOUR)),
            ),
            *[{"dtstart": datetime(2026, 11, 1, 8, 30, tzinfo=UTC), "dtend": datetime(2026, 11, 1, 9, 10, tzinfo=UTC)}]
            * 2,
        ),
    ],
)
def test_half_times_and_times_in_disorder_are_written_as_far_as_they_make_sense(
    entry: Any, event: Any, todo: Any
) -> None:
    assert times(the_one(entry)) == event
    assert times(the_one(entry, tasks="todo")) == todo


@pytest.mark.parametrize(
    "entry", [deadline(end_at=None, content="Ring"), appointment(content="Ring"), Task(id=1, content="Ring")]
)
@pytest.mark.parametrize("tasks", ["event", "todo"])
def test_what_has_no_time_is_a_todo_without_a_date(entry: Any, tasks: Any) -> None:
    todo = the_one(entry, tasks=tasks)
    assert (todo.name, times(todo), todo["SUMMARY"]) == ("VTODO", {}, "Ring")


def test_a_time_beyond_the_last_year_is_no_time() -> None:
    last = datetime.max.replace(tzinfo=PACIFIC)
    assert times(the_one(deadline(end_at=last))) == {}
    assert times(the_one(Task(id=1, all_day=True, end_at=last))) == {}


def test_an_entry_has_one_uid_however_it_is_read() -> None:
    read: list[CalendarEntry | Task] = [
        CalendarEntry(id="12345-task", task_id=12345),
        CalendarEntry(id="12345-appointment"),
        CalendarEntry(id="12345-TASK"),
        Task(id=12345),
    ]
    uids = {the_one(entry)["UID"] for entry in read}
    assert uids == {"12345@api.lofty.com"}
    assert len(components(to_ical(read))) == 1
    assert the_one(CalendarEntry(id="strange"))["UID"] == "strange@api.lofty.com"


def test_the_stamp_is_when_the_entry_changed_else_the_one_given() -> None:
    changed = Task(id=1, end_at=NOON, created_at=NOON - DAY, updated_at=NOON - HOUR)
    event = the_one(changed, stamp=NOON)
    assert (event["DTSTAMP"].dt, event["CREATED"].dt) == (NOON - HOUR, NOON - DAY)
    assert event["LAST-MODIFIED"].dt == NOON - HOUR
    assert the_one(Task(id=1, created_at=NOON))["DTSTAMP"].dt == NOON
    assert the_one(deadline(), stamp=NOON)["DTSTAMP"].dt == NOON
    assert the_one(deadline())["DTSTAMP"].dt == datetime(1970, 1, 1, tzinfo=UTC)


def test_the_details_of_a_task_go_with_it() -> None:
    task = Task(
        id=1,
        type=TaskType.APPOINTMENT,
        content="\n Meet, greet \nBring keys",
        lead_name="Jane Doe",
        address="1 Main St",
    )
    todo = the_one(task)
    assert todo["SUMMARY"] == "Meet, greet"
    assert todo["DESCRIPTION"] == "\n Meet, greet \nBring keys\nLead: Jane Doe"
    assert todo["LOCATION"] == "1 Main St"
    assert todo["CATEGORIES"].cats == ["Appointment"]


@pytest.mark.parametrize(
    ("entry", "title"),
    [
        (CalendarEntry(id="1-task", title="Title", content="Content"), "Title"),
        (CalendarEntry(id="1-task", title=" \n", content="Content"), "Content"),
        (CalendarEntry(id="1-task"), "Task"),
        (CalendarEntry(id="1-appointment"), "Appointment"),
        (Task(id=1, subject="Offer", type=TaskType.EMAIL), "Offer"),
        (Task(id=1, type=TaskType("Fax")), "Fax"),
        (Task(id=1), "Task"),
    ],
)
def test_everything_has_a_title(entry: Any, title: str) -> None:
    assert the_one(entry)["SUMMARY"] == title


HOSTILE = [
    "C:\\New\\notes",
    "a;b,c:d\"e'f",
    "\\n is no line break",
    "END:VEVENT",
    "\N{FAMILY}\N{ZERO WIDTH JOINER}\N{GRINNING FACE}" * 40,
    "word " * 100,
    "x" * 3000,
    "trailing backslash\\",
    "\t tab",
]


@pytest.mark.parametrize("content", HOSTILE)
def test_any_text_comes_back(content: str) -> None:
    file = to_ical([deadline(title="Ring", content=content, end_at=NOON)], name=content)
    assert list(texts(file, "DESCRIPTION")) == [content]
    assert list(texts(file, "NAME")) == list(texts(file, "X-WR-CALNAME")) == [content]
    assert len(components(file)) == 1


@pytest.mark.parametrize("breaks", ["\r\n", "\r", "\u2028", "\x0b", "\x85", "\x1e"])
def test_a_line_break_of_any_kind_is_one_and_forges_no_line(breaks: str) -> None:
    file = to_ical([deadline(title="Ring", content=f"a{breaks}END:VEVENT{breaks}b")])
    assert list(texts(file, "DESCRIPTION")) == ["a\nEND:VEVENT\nb"]


def test_control_characters_are_replaced() -> None:
    file = to_ical([deadline(title="Ring", content="\x00a\x1b[31m\x7f\x9b\ud800")])
    assert list(texts(file, "DESCRIPTION")) == ["\ufffda\ufffd[31m\ufffd\ufffd\ufffd"]


@given(entries=st.lists(ENTRIES, max_size=3), tasks=st.sampled_from(["event", "todo"]), name=st.text(min_size=1))
@FEW
def test_any_entries_are_a_file_that_reads_back(entries: list[Any], tasks: Any, name: str) -> None:
    file = to_ical(entries, tasks=tasks, name=f"x{name}")
    assert file == to_ical(iter(entries), tasks=tasks, name=f"x{name}")
    assert not [one for line in lines(file) for one in line if one < " " and one != "\t"]
    read = components(file)
    assert len(read) == len(set(texts(file, "UID"))) <= len(entries)
    for component in read:
        check(component)
    assert {component["UID"] for component in read} == {it.uid.value for it in with_vobject(file).components()}


def check(component: Any) -> None:
    """What the standard asks of an event or a to-do."""
    assert component.name in {"VEVENT", "VTODO"}
    assert {"UID", "DTSTAMP", "SUMMARY"} <= component.keys()
    found = times(component)
    start, end = found.get("dtstart"), found.get("dtend", found.get("due"))
    assert component.name == "VTODO" or start is not None
    if start is not None and end is not None:
        assert type(start) is type(end)
        assert start < end


@pytest.mark.parametrize("tasks", ["event", "todo"])
def test_another_library_reads_the_same(tasks: Any) -> None:
    entries: list[CalendarEntry | Task] = [
        appointment(content="Show, the house; \N{HOUSE BUILDING}", start_at=NOON, end_at=NOON + HOUR),
        CalendarEntry(id="7-appointment", content="Away", start_at=MIDNIGHT, end_at=MIDNIGHT + 2 * DAY),
        Task(id=8, content="Ring\nagain", end_at=NOON, finished=True, finished_at=NOON),
    ]
    calendar = with_vobject(to_ical(entries, tasks=tasks, name="Jane, Agent"))
    house, away, ring = calendar.components()
    assert calendar.x_wr_calname.value == "Jane, Agent"
    assert (house.summary.value, house.dtstart.value, house.dtend.value) == (entries[0].content, NOON, NOON + HOUR)
    assert (away.dtstart.value, away.dtend.value) == (MARCH_1, MARCH_1 + 2 * DAY)
    assert ring.description.value == "Ring\nagain"
    if tasks == "todo":
        assert (ring.name, ring.due.value, ring.status.value) == ("VTODO", NOON, "COMPLETED")
    else:
        assert (ring.name, ring.dtstart.value) == ("VEVENT", NOON)


async def test_a_calendar_of_the_server_becomes_a_file() -> None:
    async with Sandbox(leads=3, tasks_per_lead=4) as sandbox, LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty:
        entries = await lofty.calendar.list(
            start=datetime(2000, 1, 1, tzinfo=UTC), end=datetime(2100, 1, 1, tzinfo=UTC), include_finished=True
        ).collect()
        tasks = [task async for task in lofty.tasks.mine()]
    assert entries
    read = components(to_ical([*entries, *tasks]))
    assert {it["UID"] for it in read} == {f"{it.task_id}@api.lofty.com" for it in entries} | {
        f"{it.id}@api.lofty.com" for it in tasks
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"entries": deadline()}, "entries must be a list of CalendarEntry or Task"),
        ({"entries": [TaskV1(id=1)]}, "entries must hold CalendarEntry or Task, not TaskV1"),
        ({"entries": [None]}, "entries must hold CalendarEntry or Task, not NoneType"),
        ({"entries": [deadline(end_at=NOON.replace(tzinfo=None))]}, "entries must hold timezone-aware times"),
        ({"entries": [], "name": ""}, "name must not be empty"),
        ({"entries": [], "tasks": "todos"}, "tasks must be 'event' or 'todo'"),
        ({"entries": [], "stamp": NOON.replace(tzinfo=None)}, "stamp must be timezone-aware"),
    ],
)
def test_a_wrong_argument_is_named(arguments: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"^{message}"):
        to_ical(**arguments)


async def test_a_list_that_was_not_awaited_is_refused() -> None:
    async with Sandbox(leads=1) as sandbox, LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty:
        pager: Any = lofty.calendar.list(start=NOON)
        with pytest.raises(TypeError, match="async for"):
            to_ical(pager)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "icalendar", None)
    with pytest.raises(ModuleNotFoundError, match=r"lofty-async\[ical\]"):
        to_ical([])


def test_no_entries_are_an_empty_calendar() -> None:
    empty: Iterable[Task] = ()
    assert lines(to_ical(empty)) == [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//lofty_async//calendar//EN",
        "NAME:Lofty",
        "X-WR-CALNAME:Lofty",
        "END:VCALENDAR",
    ]
