from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import click
import pytest

from lofty_async.cli.options import parse_end, parse_start, parse_time_zone

OSLO = ZoneInfo("Europe/Oslo")


@pytest.mark.parametrize(
    ("text", "zone", "moment"),
    [
        ("2026-03-01T15:00:00-08:00", None, datetime(2026, 3, 1, 15, tzinfo=timezone(timedelta(hours=-8)))),
        ("2026-03-01T15:00:00-08:00", OSLO, datetime(2026, 3, 1, 15, tzinfo=timezone(timedelta(hours=-8)))),
        ("2026-03-01T15:00Z", None, datetime(2026, 3, 1, 15, tzinfo=UTC)),
        ("2026-03-01 15:00", OSLO, datetime(2026, 3, 1, 15, tzinfo=OSLO)),
        ("2026-07-01", OSLO, datetime(2026, 7, 1, tzinfo=OSLO)),
        (None, OSLO, None),
    ],
)
def test_a_start_is_a_time_or_the_beginning_of_a_day(
    text: str | None, zone: ZoneInfo | None, moment: datetime | None
) -> None:
    assert parse_start(text, zone) == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-01", datetime(2026, 3, 1, 23, 59, 59, tzinfo=OSLO)),
        ("2026-03-01T15:00", datetime(2026, 3, 1, 15, tzinfo=OSLO)),
        (None, None),
    ],
)
def test_an_end_is_a_time_or_the_parse_end_a_day(text: str | None, moment: datetime | None) -> None:
    assert parse_end(text, OSLO) == moment


@pytest.mark.parametrize("text", ["2026-03-01", "2026-03-01T15:00"])
def test_without_offset_and_time_zone_a_time_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="pass --time-zone") as refusal:
        parse_start(text, None)
    assert refusal.value.param_hint == "--start"


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-02-30", "1772377200000"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="must be an ISO 8601 time") as refusal:
        parse_end(text, OSLO)
    assert refusal.value.param_hint == "--end"


def test_a_time_zone_is_found_by_its_name() -> None:
    assert parse_time_zone("Europe/Oslo") == OSLO
    assert parse_time_zone(None) is None


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "Europe"])
def test_an_unknown_time_zone_is_refused(name: str) -> None:
    with pytest.raises(click.BadParameter, match="must be an IANA time zone"):
        parse_time_zone(name)
