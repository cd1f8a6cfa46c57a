import pytest

from lofty_async._wire import RateState
from lofty_async.ratelimit.resets import CLAMP_GUARD, WINDOW, ResetReader, ServerClock

SERVER = 1_780_000_000.0
NOW = 1000.0


def end(reader: ResetReader, reset: float | None, *, server: float | None = SERVER, wall: float = 0.0) -> float | None:
    return reader.end_of_window(RateState(reset=reset, server_time=server), NOW, wall)


@pytest.mark.parametrize(
    ("reset", "left"),
    [
        pytest.param((SERVER + 42) * 1000, 42.0, id="epoch milliseconds"),
        pytest.param(SERVER + 42, 42.0, id="epoch seconds"),
        pytest.param(21000, 21.0, id="milliseconds left, as in the documented example"),
        pytest.param(121, 0.121, id="the fewest milliseconds told from seconds"),
        pytest.param(42, 42.0, id="seconds left"),
        pytest.param(0, 0.0, id="over now"),
        pytest.param(SERVER - 10, 0.0, id="over already"),
        pytest.param(SERVER + 3600, WINDOW + CLAMP_GUARD, id="an hour ahead"),
        pytest.param(900_000, WINDOW + CLAMP_GUARD, id="a quarter of an hour in milliseconds"),
        pytest.param(120, WINDOW + CLAMP_GUARD, id="more seconds than a window has"),
    ],
)
def test_the_unit_shows_in_the_magnitude(reset: float, left: float) -> None:
    assert end(ResetReader(), reset) == pytest.approx(NOW + left)


def test_without_the_header_no_end_is_known() -> None:
    assert end(ResetReader(), None) is None


def test_without_a_date_the_local_wall_clock_stands_in() -> None:
    assert end(ResetReader(), SERVER + 42, server=None, wall=SERVER + 2) == NOW + 40


def test_a_date_once_heard_serves_answers_without_one() -> None:
    reader = ResetReader()
    end(reader, None)
    assert end(reader, SERVER + 42, server=None, wall=SERVER + 2) == NOW + 42


def test_a_server_that_counts_milliseconds_does_so_to_the_end() -> None:
    reader = ResetReader()
    end(reader, 59_000)
    assert end(reader, 90) == pytest.approx(NOW + 0.09)


def test_the_clock_keeps_the_highest_bound() -> None:
    clock = ServerClock()
    assert clock.read(NOW) is None
    clock.observe(SERVER, NOW)
    clock.observe(SERVER, NOW + 0.9)  # the same second, later in it
    assert clock.read(NOW + 1) == pytest.approx(SERVER + 1, abs=0.001)


def test_the_clock_lets_go_slowly_in_case_the_clocks_part() -> None:
    clock = ServerClock()
    clock.observe(SERVER, NOW)
    clock.observe(SERVER + 9_999, NOW + 10_000)
    assert clock.read(NOW + 10_000) == pytest.approx(SERVER + 9_999)


def test_a_date_far_ahead_is_forgotten_with_the_next() -> None:
    clock = ServerClock()
    clock.observe(SERVER + 3600, NOW)
    clock.observe(SERVER, NOW)
    assert clock.read(NOW) == SERVER
