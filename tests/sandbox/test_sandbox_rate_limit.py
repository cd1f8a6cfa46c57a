import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lofty_async.sandbox.rate_limit import FixedWindow, ResetStyle, Throttle, WindowState


def count(window: FixedWindow, now: float) -> bool:
    return window.count(now).allowed


def test_allows_its_limit_and_no_more() -> None:
    window = FixedWindow(3, 60.0)
    assert [count(window, 0.0) for _ in range(5)] == [True, True, True, False, False]


def test_reports_what_remains_and_when_it_resets() -> None:
    window = FixedWindow(2, 60.0, anchor=0.0)
    assert window.count(10.0) == WindowState(2, 1, 60.0, allowed=True)
    assert window.count(59.9) == WindowState(2, 0, 60.0, allowed=True)
    assert window.count(59.9) == WindowState(2, 0, 60.0, allowed=False)
    assert window.count(60.0) == WindowState(2, 1, 120.0, allowed=True)


def test_windows_with_an_anchor_lie_on_a_grid() -> None:
    window = FixedWindow(1, 60.0, anchor=7.0)
    assert count(window, 66.9)
    assert count(window, 67.0)
    assert window.resets_at == 127.0
    assert count(window, 500.0)
    assert window.resets_at == 547.0


def test_windows_without_an_anchor_open_with_a_request() -> None:
    window = FixedWindow(1, 60.0)
    assert count(window, 50.0)
    assert not count(window, 109.9)
    assert count(window, 300.0)
    assert window.resets_at == 360.0


def test_a_clock_set_back_opens_a_window() -> None:
    window = FixedWindow(1, 60.0, anchor=0.0)
    assert count(window, 100.0)
    assert count(window, 10.0)


@example(limit=1, steps=[0.0, 0.0], anchor=2e-112)
@given(
    limit=st.integers(1, 20),
    steps=st.lists(st.floats(0, 90), max_size=80),
    anchor=st.none() | st.floats(-100, 100),
)
def test_no_window_ever_allows_more_than_its_limit(limit: int, steps: list[float], anchor: float | None) -> None:
    window, now, allowed = FixedWindow(limit, 60.0, anchor), 0.0, dict[float, int]()
    for step in steps:
        now += step
        state = window.count(now)
        allowed[state.resets_at] = allowed.get(state.resets_at, 0) + state.allowed
        assert state.remaining == limit - allowed[state.resets_at]
        assert now < state.resets_at <= now + 60.0 + 1e-9
    assert all(count <= limit for count in allowed.values())


@pytest.mark.parametrize(
    ("style", "reset"),
    [
        (ResetStyle.EPOCH_SECONDS, "1780000060"),
        (ResetStyle.EPOCH_MILLISECONDS, "1780000060000"),
        (ResetStyle.MILLISECONDS_LEFT, "21000"),
        (ResetStyle.SECONDS_LEFT, "21"),
    ],
)
def test_every_reset_style(style: ResetStyle, reset: str) -> None:
    state = WindowState(100, 3, 1_780_000_060.0, allowed=True)
    assert state.headers(style, 1_780_000_039.0) == {
        "X-RateLimit-Limit": "100",
        "X-RateLimit-Remaining": "3",
        "X-RateLimit-Reset": reset,
    }


def test_absent_headers() -> None:
    assert WindowState(100, 3, 0.0, allowed=True).headers(ResetStyle.ABSENT, 0.0) == {}


def test_an_endpoint_with_its_own_limit_reports_it_and_spends_both() -> None:
    throttle = Throttle(FixedWindow(10, 60.0), {"GET /v2.0/calendar": FixedWindow(2, 60.0)})
    assert throttle.count("GET /v2.0/calendar", 0.0) == WindowState(2, 1, 60.0, allowed=True)
    assert throttle.count("GET /v2.0/tasks", 0.0) == WindowState(10, 8, 60.0, allowed=True)


def test_an_exhausted_endpoint_leaves_the_others_alone() -> None:
    throttle = Throttle(FixedWindow(10, 60.0), {"GET /v2.0/calendar": FixedWindow(1, 60.0)})
    throttle.count("GET /v2.0/calendar", 0.0)
    assert throttle.count("GET /v2.0/calendar", 0.0) == WindowState(1, 0, 60.0, allowed=False)
    assert throttle.count("GET /v2.0/tasks", 0.0) == WindowState(10, 8, 60.0, allowed=True)


def test_an_exhausted_application_spends_nothing_of_the_endpoint() -> None:
    own = FixedWindow(5, 60.0)
    throttle = Throttle(FixedWindow(0, 60.0), {"GET /v2.0/calendar": own})
    assert throttle.count("GET /v2.0/calendar", 0.0) == WindowState(0, 0, 60.0, allowed=False)
    assert own.peek(0.0).remaining == 5


def test_a_burst_is_rate_limited_while_requests_remain() -> None:
    throttle = Throttle(FixedWindow(10, 60.0), burst=FixedWindow(2, 1.0))
    assert [throttle.count("GET /v1.0/me", 0.5).allowed for _ in range(3)] == [True, True, False]
    assert throttle.count("GET /v1.0/me", 0.9) == WindowState(10, 8, 60.5, allowed=False)
    assert throttle.count("GET /v1.0/me", 1.5) == WindowState(10, 7, 60.5, allowed=True)
