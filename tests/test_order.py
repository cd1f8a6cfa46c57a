import asyncio

from lofty_async.ratelimit.lanes import BULK_SHARE, Lane, Waiter
from lofty_async.ratelimit.order import Order
from tests.virtual import run


def waiter(
    number: int, lane: Lane = Lane.INTERACTIVE, route: str = "", *, max_wait: float | None = None
) -> Waiter[str]:
    return Waiter(number, lane, route, 0.0, asyncio.get_running_loop().create_future(), max_wait)


def order(*waiters: Waiter[str]) -> Order[str]:
    made: Order[str] = Order()
    for one in waiters:
        made.add(one)
    return made


def free(_: Lane, __: bool) -> bool:
    return True


def opened(_: str) -> bool:
    return True


def served(waiting: Order[str]) -> list[Lane]:
    """The lanes of those who go, in their order, everybody's route open and everything free."""
    lanes = list[Lane]()
    while one := waiting.next(free, opened):
        waiting.remove(one)
        waiting.since_bulk = 0 if one.lane is Lane.BULK else waiting.since_bulk + 1
        lanes.append(one.lane)
    return lanes


async def test_interactive_calls_go_first_and_each_tenth_turn_is_bulks() -> None:
    lanes = served(order(*(waiter(number, Lane.BULK) for number in range(3)), *map(waiter, range(10, 40))))
    assert [place for place, lane in enumerate(lanes) if lane is Lane.BULK] == [9, 19, 29]
    assert len(lanes) == 33


async def test_bulk_alone_need_not_wait_for_its_turn() -> None:
    assert served(order(waiter(1, Lane.BULK), waiter(2, Lane.BULK))) == [Lane.BULK, Lane.BULK]


async def test_who_is_next_stays_until_taken_out() -> None:
    waiting = order(waiter(1), waiter(2, Lane.BULK))
    assert waiting.next(free, opened) is waiting.next(free, opened)
    assert len(waiting) == 2


async def test_a_lane_in_which_nothing_is_free_holds_up_none_but_itself() -> None:
    waiting = order(waiter(1), waiter(2, Lane.BULK))
    only_bulk = waiting.next(lambda lane, _: lane is Lane.BULK, opened)
    assert only_bulk is not None
    assert only_bulk.lane is Lane.BULK
    assert waiting.next(lambda *_: False, opened) is None


async def test_bulk_is_due_only_while_it_waits() -> None:
    asked = list[tuple[Lane, bool]]()

    def note(lane: Lane, is_due: bool) -> bool:
        asked.append((lane, is_due))
        return False

    for waiting in (order(waiter(1)), order(waiter(1), waiter(2, Lane.BULK))):
        waiting.since_bulk = BULK_SHARE
        waiting.next(note, opened)
    assert asked == [(Lane.INTERACTIVE, False), (Lane.BULK, True), (Lane.INTERACTIVE, True)]


async def test_a_closed_route_holds_up_nobody_else() -> None:
    waiting = order(waiter(1, route="a"), waiter(2, route="b"), waiter(3, Lane.BULK, "c"))
    found = [waiting.next(free, opened.__contains__) for opened in ("abc", "bc", "c", "")]
    assert [one and one.number for one in found] == [1, 2, 3, None]
    assert waiting.routes() == ["a", "b", "c"]


async def test_nine_interactive_calls_go_before_each_bulk_one() -> None:
    waiting = order(*map(waiter, range(100)), waiter(200, Lane.BULK))

    def ahead(lane: Lane) -> int:
        return waiting.ahead(lane, "", lambda _: 1_000)

    assert ahead(Lane.INTERACTIVE) == 100
    assert ahead(Lane.BULK) == 1 + 2 * BULK_SHARE
    waiting.since_bulk = BULK_SHARE
    assert ahead(Lane.BULK) == 1 + BULK_SHARE


async def test_who_waits_for_a_closed_route_is_not_ahead_of_others() -> None:
    waiting = order(waiter(1, route="closed"), waiter(2, route="open"), waiter(3, route="asked"))
    room = {"closed": 0, "open": 1, "asked": 0}
    assert [waiting.ahead(Lane.INTERACTIVE, route, room.__getitem__) for route in ("asked", None)] == [2, 1]


def test_those_whose_time_is_over_leave_both_lanes() -> None:
    async def main() -> tuple[list[int], list[int], int]:
        waiters = [waiter(1, max_wait=1.0), waiter(2, Lane.BULK, max_wait=2.0), waiter(3, max_wait=3.0), waiter(4)]
        waiting = order(*waiters)
        late = waiting.late(2.0, lambda one: one.number == 2)
        return [one.number for one in late], [one.number for one in waiting.late(2.0, lambda _: False)], len(waiting)

    assert run(main()) == ([1], [2], 2)


async def test_draining_takes_everyone_out() -> None:
    waiting = order(waiter(1, max_wait=1.0), waiter(2, Lane.BULK))
    assert [one.number for one in waiting.drain()] == [1, 2]
    assert (len(waiting), len(waiting.deadlines), waiting.routes()) == (0, 0, [])
