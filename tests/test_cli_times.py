"""Times as they are typed and shown, and the zone in which they are read."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import pytest

from lofty_async.cli import times
from lofty_async.cli.times import Zone, local_zone, parse_day, parse_end, parse_start, span, zone_named

OSLO = Zone("Europe/Oslo", ZoneInfo("Europe/Oslo"))
LOS_ANGELES = timezone(timedelta(hours=-8))


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    yield monkeypatch
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-01T15:00:00-08:00", datetime(2026, 3, 1, 15, tzinfo=LOS_ANGELES)),
        ("2026-03-01T15:00Z", datetime(2026, 3, 1, 15, tzinfo=UTC)),
        ("2026-03-01 15:00", datetime(2026, 3, 1, 15, tzinfo=OSLO.info)),
        ("2026-07-01", datetime(2026, 7, 1, tzinfo=OSLO.info)),
        (None, None),
    ],
)
def test_a_start_is_a_time_or_the_beginning_of_a_day(text: str | None, moment: datetime | None) -> None:
    assert parse_start(text, OSLO) == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-01", datetime(2026, 3, 1, 23, 59, 59, tzinfo=OSLO.info)),
        ("2026-03-01T15:00", datetime(2026, 3, 1, 15, tzinfo=OSLO.info)),
        (None, None),
    ],
)
def test_an_end_is_a_time_or_the_end_of_a_day(text: str | None, moment: datetime | None) -> None:
    assert parse_end(text, OSLO) == moment


@pytest.mark.parametrize(("word", "days"), [("yesterday", -1), ("today", 0), ("tomorrow", 1), (" Tomorrow ", 1)])
def test_days_have_names(word: str, days: int) -> None:
    before = OSLO.now().date()
    found = parse_day(word, OSLO, "--week") - timedelta(days)
    assert before <= found <= OSLO.now().date()


def test_a_day_by_its_name_may_have_a_time() -> None:
    at = parse_start("tomorrow 15:30", OSLO)
    assert at is not None
    assert at.tzinfo is OSLO.info
    assert (at.hour, at.minute) == (15, 30)


@pytest.mark.parametrize("text", ["tomorrow 9:05", "2026-03-01 9:05", "2026-03-01T9:05"])
def test_an_hour_may_have_one_digit(text: str) -> None:
    at = parse_start(text, OSLO)
    assert at is not None
    assert (at.hour, at.minute) == (9, 5)


def test_now_is_a_time() -> None:
    before = datetime.now(UTC)
    now = parse_start("now", OSLO)
    assert now is not None
    assert before <= now.astimezone(UTC) <= datetime.now(UTC)


@pytest.mark.parametrize("text", ["", "soon", "2026-02-30", "1772377200000", "tomorrow noon", "now 15:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(click.UsageError, match="--end must be an ISO 8601 time"):
        parse_end(text, OSLO)


@pytest.mark.parametrize("text", ["", "2026-03-01T15:00", "monday"])
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(click.UsageError, match="--week must be a date"):
        parse_day(text, OSLO, "--week")


def test_a_time_zone_is_found_by_its_name() -> None:
    assert zone_named("Europe/Oslo") == OSLO


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "Europe"])
def test_an_unknown_time_zone_is_refused(name: str) -> None:
    with pytest.raises(click.UsageError, match="must be an IANA time zone"):
        zone_named(name)


@pytest.mark.parametrize("name", ["Europe/Oslo", ":Europe/Oslo"])
def test_the_default_zone_is_that_of_the_environment(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv("TZ", name)
    assert zone_named(None) == OSLO


@pytest.mark.parametrize("folder", ["zoneinfo", "zoneinfo/posix"])
def test_else_it_is_that_of_the_machine(environment: pytest.MonkeyPatch, tmp_path: Path, folder: str) -> None:
    link = tmp_path / "localtime"
    link.symlink_to(tmp_path / folder / "Europe" / "Oslo")
    environment.delenv("TZ", raising=False)
    environment.setattr(times, "LOCALTIME", link)
    assert local_zone() == OSLO


def test_a_zone_without_a_name_follows_the_machines_rules(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TZ", "XYZ-2XYS,M3.5.0,M10.5.0")
    time.tzset()
    zone = local_zone()
    assert (zone.name, zone.label) == (None, "local time")
    for month, offset in ((1, 2), (7, 3)):
        at = parse_start(f"2026-{month:02}-15", zone)
        assert at is not None
        assert (at.utcoffset(), at.hour) == (timedelta(hours=offset), 0)
        assert zone.shown(at.astimezone(UTC)).hour == 0


NINE = datetime(2026, 3, 2, 9, tzinfo=UTC)
TWICE = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # before the hour that comes twice in Oslo
MIDNIGHT = datetime(2026, 3, 2, tzinfo=LOS_ANGELES)
DAY = timedelta(1)


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [
        (NINE, NINE + timedelta(hours=1), "2026-03-02 10:00-11:00"),
        (NINE, NINE, "2026-03-02 10:00"),
        (NINE, None, "2026-03-02 10:00"),
        # the hour that Oslo's clocks show twice
        (
            datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
            datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
            "2026-10-25 02:30-02:30",
        ),
        (None, NINE, "by 2026-03-02 10:00"),
        (None, None, ""),
        (TWICE, TWICE + timedelta(hours=1), "2026-10-25 02:30-02:30"),
        (TWICE, TWICE + timedelta(minutes=40), "2026-10-25 02:30-02:10"),
        (NINE, NINE + DAY, "2026-03-02 10:00 - 2026-03-03 10:00"),
        (MIDNIGHT, MIDNIGHT + DAY, "2026-03-02 all day"),
        (MIDNIGHT, MIDNIGHT + 3 * DAY, "2026-03-02 - 2026-03-04 all day"),
    ],
)
def test_both_ends_of_an_entry_are_shown_in_the_zone(start: datetime | None, end: datetime | None, text: str) -> None:
    assert span(start, end, OSLO, "-") == text


def test_a_time_that_the_zone_cannot_show_stays_as_it_is() -> None:
    first = datetime.min.replace(tzinfo=OSLO.info)
    assert zone_named("America/Los_Angeles").shown(first) == first


def test_the_date_of_a_name_is_that_of_the_zone() -> None:
    far_apart = {parse_day("today", zone_named(name), "--start") for name in ("Pacific/Kiritimati", "Pacific/Niue")}
    assert len(far_apart) == 2  # they are 25 hours apart
