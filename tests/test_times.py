from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lofty_async._times import epoch_ms, format_time, parse_time

OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
AWARE = st.datetimes(timezones=OFFSETS)


def at(offset: float, year: int, month: int, day: int, *clock: int) -> datetime:
    hours, minutes, seconds, microseconds = (*clock, 0, 0, 0)[:4]
    zone = timezone(timedelta(hours=offset))
    return datetime(year, month, day, hours, minutes, seconds, microseconds, zone)


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("2026-03-01T15:00:00-08:00", at(-8, 2026, 3, 1, 15)),
        ("2026-03-01T15:00:00+05:30", at(5.5, 2026, 3, 1, 15)),
        ("2026-03-01T15:00:00-0800", at(-8, 2026, 3, 1, 15)),
        ("2026-03-01T15:00:00GMT", at(0, 2026, 3, 1, 15)),
        ("2026-03-01T15:00:00Z", at(0, 2026, 3, 1, 15)),
        ("2026-03-01 15:00:00", at(0, 2026, 3, 1, 15)),
        ("2026-03-01T15:00:00", at(0, 2026, 3, 1, 15)),
        ("2026-03-01T15:00:00.25-08:00", at(-8, 2026, 3, 1, 15, 0, 0, 250_000)),
        ("2026-03-01T15:00:00.123456789Z", at(0, 2026, 3, 1, 15, 0, 0, 123_456)),
        ("2026-03-01 15:00:00.5", at(0, 2026, 3, 1, 15, 0, 0, 500_000)),
        ("2026-03-01x15:00:00Z", at(0, 2026, 3, 1, 15)),
        ("2026-W09-7T15:00:00-08:00", at(-8, 2026, 3, 1, 15)),
        ("20260301T150000.123", at(0, 2026, 3, 1, 15, 0, 0, 123_000)),
        ("2026-03-01T150000.5Z", at(0, 2026, 3, 1, 15, 0, 0, 500_000)),
        (1_772_406_000_001, at(0, 2026, 3, 1, 23, 0, 0, 1_000)),
        (-2, datetime(1969, 12, 31, 23, 59, 59, 998_000, tzinfo=UTC)),
    ],
)
def test_every_form_is_read_with_the_offset_it_was_sent_with(value: object, time: datetime) -> None:
    parsed = parse_time(value)
    assert parsed == time
    assert parsed is not None
    assert parsed.utcoffset() == time.utcoffset()


@pytest.mark.parametrize("value", [None, "", 0, -1])
def test_none_is_said_in_four_ways(value: object) -> None:
    assert parse_time(value) is None


@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        1.5,
        [],
        {},
        "soon",
        "None",
        "1772406000000",
        "2026-03-01",
        "2026-03-01T15:00",
        "2026-03-01T15:00Z",
        "20260301T150000Z",
        "2026-W09-7",
        "2026-03-01T15:00+01",
        "2026-03-01T15+01:00",
        "2026-03-01T15:00:00.Z",
        "2026-03-01T15:00:00,5Z",
        "2026-13-01T15:00:00Z",
        "2026-03-01T15:00:61Z",
        "2026-03-01T15:00:00PST",
        "2026-03-01T15:00:00+24:00",
        "2026-03-01T15:00:00+05:60",
        "٢٠٢٦-03-01T15:00:00Z",
        10**18,
        -(10**18),
    ],
)
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - which words it uses is not part of the promise
        parse_time(value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2026-03-01T15:00:00-08:00", "2027-01-01T00:00:00.5-0800"),
        ("2026-03-01T15:00:00GMT", "2026-03-01T15:00:00+00:00"),
        ("2026-03-01 15:00:00", "2026-03-01T15:00:00-00:00"),
        ("2026-03-01T15:00:00.25+05:30", "2026-03-01T15:00:00+05:30"),
    ],
)
def test_one_zone_object_per_offset(one: str, other: str) -> None:
    first, second = parse_time(one), parse_time(other)
    assert first is not None
    assert second is not None
    assert first.tzinfo is second.tzinfo


@given(AWARE)
def test_what_is_written_is_read_back(time: datetime) -> None:
    parsed = parse_time(format_time(time))
    assert parsed == time
    assert parsed is not None
    assert parsed.utcoffset() == time.utcoffset()


def test_seconds_unless_there_are_microseconds() -> None:
    assert format_time(at(-8, 2026, 3, 1, 15)) == "2026-03-01T15:00:00-08:00"
    assert format_time(at(0, 2026, 3, 1, 15, 0, 0, 5)) == "2026-03-01T15:00:00.000005+00:00"


def test_an_offset_with_seconds_is_written_as_utc() -> None:
    local_mean_time = timezone(timedelta(hours=-7, minutes=-52, seconds=-58))
    assert format_time(datetime(1880, 1, 1, tzinfo=local_mean_time)) == "1880-01-01T07:52:58+00:00"


@given(st.integers(-(10**13), 10**14).filter(lambda ms: ms not in (0, -1)))
def test_milliseconds_are_exact(ms: int) -> None:
    time = parse_time(ms)
    assert time is not None
    assert epoch_ms(time) == ms


@pytest.mark.parametrize("write", [format_time, epoch_ms])
def test_a_naive_time_is_refused(write: object) -> None:
    assert callable(write)
    with pytest.raises(ValueError, match="offset"):
        write(datetime(2026, 3, 1))  # noqa: DTZ001 - naive on purpose
