from math import inf

import pytest

from lofty_async.ratelimit.routes import FIRST_PAUSE, LONGEST_PAUSE, Routes
from lofty_async.ratelimit.window import Window

NOW = 100.0


@pytest.mark.parametrize(
    ("limit", "application", "own"),
    [(20, 100, True), (100, 100, False), (500, 100, False), (20, None, False)],
)
def test_a_limit_below_the_applications_is_the_routes_own(limit: int, application: int | None, own: bool) -> None:
    assert Routes().has_own_limit("slow", limit, application) is own


def test_a_route_that_told_the_applications_limit_and_tells_less_tells_that_it_fell() -> None:
    routes = Routes()
    routes.has_own_limit("tasks", 100, 100)
    assert not routes.has_own_limit("tasks", 20, 100)


def test_a_route_that_tells_the_applications_limit_again_loses_its_window() -> None:
    routes = Routes()
    routes.own_window("slow", None, NOW)
    routes.has_own_limit("slow", 100, 100)
    assert not routes.windows


def exhausted() -> tuple[Routes, Window]:
    routes = Routes()
    window, serial = routes.own_window("slow", None, NOW)
    window.answer(serial, 20, 0, NOW + 30, NOW)
    return routes, window


def test_a_window_of_its_own_that_is_spent_closes_the_route_until_it_ends() -> None:
    routes, _ = exhausted()
    assert routes.ready_at("slow", NOW) == NOW + 30
    assert routes.ready_at("fast", NOW) == NOW
    assert routes.ready_at("slow", NOW + 30) == NOW + 30


def test_a_permit_granted_before_the_window_was_known_is_counted_in_it_when_it_lands() -> None:
    routes, window = exhausted()
    assert routes.own_window("slow", None, NOW)[0] is window
    assert window.in_flight == 1


def test_a_permit_of_a_window_that_is_gone_is_not_taken_off_the_next() -> None:
    routes, window = exhausted()
    own, serial = routes.own_window("slow", (Window(), window.take(NOW)), NOW)
    own.lose(serial, NOW)
    assert window.in_flight == 1


def test_a_permit_is_counted_in_its_routes_window_once() -> None:
    routes, window = exhausted()
    own = routes.take("slow", NOW)
    assert own is not None
    assert routes.own_window("slow", own, NOW) is own
    assert window.in_flight == 1
    assert routes.take("fast", NOW) is None


def test_what_one_route_alone_told_was_its_own_limit() -> None:
    routes, window = Routes(), Window(limit=20, remaining=7, in_flight=3, ends_at=NOW + 30, has_figures=True)
    routes.has_own_limit("slow", 20, None)
    routes.has_own_limit("tasks", 100, 20)
    routes.cede(window, 100)
    assert routes.windows["slow"].spare == 7
    assert (window.remaining, window.in_flight) == (7, 3)


@pytest.mark.parametrize("tellers", [["a", "b"], []])
def test_what_several_or_the_same_told_is_the_applications_that_rose(tellers: list[str]) -> None:
    routes = Routes()
    for route in tellers:
        routes.has_own_limit(route, 20, None)
    routes.cede(Window(limit=20), 100)
    assert not routes.windows


@pytest.mark.parametrize("limit", [None, 100])
def test_a_limit_that_is_new_or_falls_is_nobodys_own(limit: int | None) -> None:
    routes = Routes()
    routes.has_own_limit("a", 100, None)
    routes.cede(Window(limit=limit), 50)
    assert not routes.windows


def paused() -> Routes:
    routes = Routes()
    assert routes.refuse("tasks", NOW - 1, NOW, NOW)
    return routes


def test_a_pause_holds_its_route_and_no_other() -> None:
    routes = paused()
    assert routes.ready_at("tasks", NOW) == NOW + FIRST_PAUSE
    assert routes.ready_at("calendar", NOW) == NOW


def test_a_pause_lasts_as_long_as_the_server_said() -> None:
    routes = Routes()
    routes.refuse("tasks", NOW, NOW + 25, NOW)
    assert routes.opens_at("tasks", NOW) == NOW + 25


def test_refusals_of_requests_sent_before_it_do_not_prolong_it() -> None:
    routes = paused()
    assert not routes.refuse("tasks", NOW - 1, NOW, NOW + 0.5)
    assert routes.ready_at("tasks", NOW) == NOW + FIRST_PAUSE


def test_one_request_tries_after_a_pause_and_all_others_wait_for_its_answer() -> None:
    routes = paused()
    routes.take("tasks", NOW + 1)
    assert routes.ready_at("tasks", NOW + 2) == inf
    assert routes.opens_at("tasks", NOW + 2) == NOW + 2


def test_each_refused_try_doubles_the_pause_up_to_a_longest() -> None:
    routes, now, lengths = paused(), NOW, list[float]()
    for _ in range(8):
        now = routes.pauses["tasks"].until
        routes.take("tasks", now)
        routes.refuse("tasks", now, now, now)
        lengths.append(routes.pauses["tasks"].until - now)
    assert lengths == [2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


def test_a_try_let_through_ends_the_pause() -> None:
    routes = paused()
    routes.take("tasks", NOW + 1)
    routes.accept("tasks", NOW + 1)
    assert routes.ready_at("tasks", NOW + 1) == NOW + 1


def test_a_late_refusal_of_the_burst_before_it_does_not_outlast_the_try() -> None:
    routes = paused()
    tried_at = NOW + FIRST_PAUSE
    routes.take("tasks", tried_at)
    routes.refuse("tasks", NOW - 1, tried_at + 0.5, tried_at + 0.5)
    assert routes.accept("tasks", tried_at)
    assert routes.ready_at("tasks", tried_at + 1) == tried_at + 1


def test_an_answer_to_an_older_request_does_not_end_it() -> None:
    routes = paused()
    routes.accept("tasks", NOW)
    routes.accept("calendar", NOW)
    assert "tasks" in routes.pauses


def test_a_try_that_came_to_nothing_lets_the_next_one_try() -> None:
    routes = paused()
    routes.take("tasks", NOW + 1)
    routes.stop_trying("tasks", NOW)  # an older request, not the one that tries
    assert routes.ready_at("tasks", NOW + 2) == inf
    routes.stop_trying("tasks", NOW + 1)
    assert routes.ready_at("tasks", NOW + 2) == NOW + 2
    routes.stop_trying("calendar", NOW)


def test_the_pause_that_ended_tells_what_came_before_it_and_whether_it_was_prolonged() -> None:
    routes = Routes()
    routes.refuse("tasks", NOW - 1, NOW, NOW, passed=40)
    routes.take("tasks", NOW + 1)
    routes.refuse("tasks", NOW + 1, NOW + 1, NOW + 1, passed=3)
    ended = routes.accept("tasks", NOW + 3)
    assert ended is not None
    assert (ended.began, ended.passed, ended.is_prolonged) == (NOW, 40, True)
    assert routes.accept("tasks", NOW + 3) is None
