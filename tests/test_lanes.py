import asyncio
from collections.abc import Callable
from math import inf

import pytest

from lofty_async.ratelimit.lanes import Deadlines, Lane, Queue, Waiter
from tests.virtual import run


def waiter(number: int, route: str = "", *, max_wait: float | None = None) -> Waiter[str]:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    return Waiter(number, Lane.BULK, route, 0.0, future, max_wait)


def every(_: str) -> bool:
    return True


def nobody(_: Waiter[str]) -> bool:
    return False


def order(queue: Queue[str], is_open: Callable[[str], bool] = every) -> list[int]:
    numbers = []
    while first := queue.first(is_open):
        queue.remove(first)
        numbers.append(first.number)
    return numbers


def queued(*waiters: Waiter[str]) -> Queue[str]:
    queue: Queue[str] = Queue()
    for one in waiters:
        queue.add(one)
    return queue


def test_a_lane_is_named_as_people_write_it() -> None:
    assert [str(lane) for lane in Lane] == ["interactive", "bulk"]


async def test_first_come_first_served_whatever_the_route() -> None:
    queue = queued(waiter(1, "a"), waiter(2, "b"), waiter(3, "a"), waiter(4, "c"))
    assert order(queue) == [1, 2, 3, 4]
    assert len(queue) == 0


async def test_a_closed_route_holds_up_nobody_else() -> None:
    queue = queued(waiter(1, "a"), waiter(2, "b"), waiter(3, "a"))
    assert order(queue, lambda route: route != "a") == [2]
    assert len(queue) == 2
    assert queue.routes() == ["a"]


@pytest.mark.parametrize("returning", [[1], [2, 1], [1, 2], [3, 1, 2], [2, 3, 1]])
async def test_who_returns_has_the_old_place_back(returning: list[int]) -> None:
    queue = queued(waiter(8), waiter(9))
    for number in returning:
        queue.add(waiter(number))
    assert order(queue) == [*sorted(returning), 8, 9]


async def test_leaving_works_from_anywhere_and_twice() -> None:
    one, two, three = waiter(1), waiter(2), waiter(3)
    queue = queued(one, two, three)
    queue.remove(two)
    queue.remove(two)
    queue.remove(waiter(7))
    queue.remove(waiter(7, "elsewhere"))
    assert len(queue) == 2
    assert order(queue) == [1, 3]
    assert queue.routes() == []


async def test_only_oneself_leaves_not_another_with_the_same_number() -> None:
    queue = queued(waiter(1))
    queue.remove(waiter(1))
    assert len(queue) == 1


async def test_draining_takes_everyone_out() -> None:
    queue = queued(waiter(1, "a"), waiter(2, "b"))
    assert [one.number for one in queue.drain()] == [1, 2]
    assert len(queue) == 0
    assert queue.first(every) is None


async def test_failing_tells_only_those_who_still_wait() -> None:
    one, served = waiter(1), waiter(2)
    served.future.set_result("permit")
    for each in (one, served):
        each.fail(ValueError("late"))
    assert isinstance(one.future.exception(), ValueError)
    assert served.future.result() == "permit"


async def test_deadlines_come_due_in_their_order() -> None:
    deadlines: Deadlines[str] = Deadlines()
    for one in [waiter(1, max_wait=5), waiter(2, max_wait=3), waiter(3), waiter(4, max_wait=3)]:
        deadlines.add(one)
    assert deadlines.next() == 3
    assert deadlines.due(2.9, nobody) == []
    assert [one.number for one in deadlines.due(3, nobody)] == [2, 4]
    assert [one.number for one in deadlines.due(9, nobody)] == [1]
    assert deadlines.next() == inf


async def test_a_deadline_that_was_left_never_comes_due() -> None:
    deadlines: Deadlines[str] = Deadlines()
    one, two, three = (waiter(number, max_wait=number) for number in (1, 2, 3))
    for each in (one, two, three):
        deadlines.add(each)
    deadlines.remove(one)
    deadlines.remove(one)
    assert deadlines.next() == 2
    assert [each.number for each in deadlines.due(9, nobody)] == [2, 3]


async def test_who_is_late_with_an_excuse_gives_up_when_it_is_gone() -> None:
    deadlines: Deadlines[str] = Deadlines()
    for one in [waiter(1, max_wait=1), waiter(2, max_wait=1)]:
        deadlines.add(one)
    assert [one.number for one in deadlines.due(1, lambda one: one.number == 1)] == [2]
    assert deadlines.next() == inf
    assert [one.number for one in deadlines.due(1, nobody)] == [1]
    assert deadlines.due(9, nobody) == []


async def test_of_each_route_no_more_are_counted_than_it_has_room_for() -> None:
    queue = queued(*(waiter(number, "ab"[number % 2]) for number in range(10)))
    assert [queue.count({"a": 3, "b": most}.__getitem__) for most in (0, 2, 99)] == [3, 5, 8]


async def test_who_returns_has_a_new_deadline_and_not_the_old_one() -> None:
    deadlines: Deadlines[str] = Deadlines()
    others, before = [waiter(number, max_wait=50) for number in range(2, 9)], waiter(1, max_wait=5)
    for each in [*others, before]:
        deadlines.add(each)
    deadlines.remove(before)
    deadlines.add(waiter(1, max_wait=9))
    assert deadlines.next() == 9


def test_what_is_kept_of_deadlines_shrinks_with_them() -> None:
    async def main() -> None:
        deadlines: Deadlines[str] = Deadlines()
        waiters = [waiter(number, max_wait=number) for number in range(1000)]
        for one in waiters:
            deadlines.add(one)
        for one in waiters[:990]:
            deadlines.remove(one)
        assert len(deadlines) == 10
        assert len(deadlines._heap) <= 20
        deadlines.drain()
        assert (len(deadlines), deadlines.next()) == (0, inf)

    run(main())
