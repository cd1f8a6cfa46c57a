"""Lists that change between any two requests: records that stay are yielded once, at a bounded number of requests.

`LIST_SEEDS` is the number of seeds for each row, 5 unless set.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine
from random import Random
from statistics import mean
from typing import Any

import pytest

from lofty_async.errors import LoftyError
from lofty_async.pagination import Pager
from tests.changing import CHANGES, KINDS, ChangingServer, ids, least, pager, read
from tests.virtual import run

SEEDS = int(os.environ.get("LIST_SEEDS", "5"))
HARD_SEEDS = (70, 206, 475, 515, 1604)
SIZES = (7, 20, 50, 99, 100, 250, 500)
UNKNOWN_CURSOR = ("empty", "restart", "error")

Reader = Callable[[ChangingServer, int, int, Random], Coroutine[Any, Any, list[list[int]]]]


def made(kind: str, seed: int, **options: Any) -> tuple[ChangingServer, int, int]:
    """A server with a page size and a number of pages to fetch ahead, all from the seed."""
    dice = Random(seed)
    size = dice.choice(SIZES[:5] if kind in ("mine", "leads") else SIZES)
    ahead, count = dice.choice([0, 1, 4]), dice.choice([5, 60, 300])
    return ChangingServer(kind, random=dice, count=count, **options), size, ahead


async def once(server: ChangingServer, size: int, ahead: int, _: Random) -> list[list[int]]:
    return [ids(await pager(server, size, ahead, "skip").collect())]


async def resumed(server: ChangingServer, size: int, ahead: int, _: Random) -> list[list[int]]:
    """Each failure is resumed from its cursor by another client; a record that then comes again has moved."""
    taken, cursor, is_over = list[int](), None, False
    while not is_over:
        try:
            await read(pager(server, size, ahead, "skip").resume(cursor).pages(), taken)
            is_over = True
        except LoftyError as error:
            cursor = error.cursor
    assert not [row for row in server.stayed if taken.count(row) > 1]
    return [list(dict.fromkeys(taken))]


async def cancelled(server: ChangingServer, size: int, ahead: int, dice: Random) -> list[list[int]]:
    taken, pages, is_over = list[int](), pager(server, size, ahead, "skip").pages(), False
    while not is_over:
        task = asyncio.ensure_future(read(pages, taken))
        for _ in range(dice.randrange(1, 30)):
            await asyncio.sleep(0)
        is_over = task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return [taken]


async def by_two(server: ChangingServer, size: int, ahead: int, _: Random) -> list[list[int]]:
    both: tuple[list[int], list[int]] = ([], [])
    whole = pager(server, size, ahead, "skip")
    await asyncio.gather(*(read(whole.pages(), taken) for taken in both))
    return [*both]


async def shared(server: ChangingServer, size: int, ahead: int, _: Random) -> list[list[int]]:
    records, taken = aiter(pager(server, size, ahead, "skip")), list[int]()

    async def take() -> None:
        async for record in records:
            taken.extend(ids([record]))
            await asyncio.sleep(0)

    await asyncio.gather(take(), take(), take())
    return [taken]


DICE = Random(1)
TOTALS: dict[str, Callable[[int], int | None]] = {
    "missing": lambda _: None,
    "zero": lambda _: 0,
    "too small": lambda count: count // 2,
    "too large": lambda count: 2 * count + 1,
    "changing": lambda count: DICE.choice([None, 0, count, count // 2, 2 * count, count + 3]),
}

ROWS: dict[str, tuple[tuple[str, ...], Reader, dict[str, Any]]] = {
    "insert": (KINDS, once, {"changes": ["insert"]}),
    "delete or finish": (KINDS, once, {"changes": ["delete"]}),
    "move": (KINDS, once, {"changes": ["move"]}),
    "swap": (KINDS, once, {"changes": ["swap"]}),
    "one goes and one comes": (KINDS, once, {"changes": ["insert", "delete"], "rate": 2.0}),
    "much at once": (KINDS, once, {"rate": 4.0}),
    "now and then": (KINDS, once, {"rate": 0.1}),
    **{f"total {name}": (KINDS[1:], once, {"total": total}) for name, total in TOTALS.items()},
    "capped and told": (KINDS[1:], once, {"most": 30}),
    "capped, not told": (KINDS[1:], once, {"most": 30, "tells_size": False}),
    "inclusive": (KINDS[:1], once, {"is_inclusive": True}),
    "ties": (KINDS[:3], once, {"has_ties": True}),
    "overlapping": (KINDS[1:3], once, {"longest": 300}),
    "long": (KINDS[1:3], once, {"longest": 60 * 24 * 30}),
    "long, much at once": (KINDS[1:3], once, {"longest": 60 * 24 * 30, "rate": 4.0}),
    "long, with failures": (KINDS[1:3], resumed, {"longest": 60 * 24 * 30, "failure": 0.2}),
    "bounds left out": (KINDS[1:3], once, {"bounds_included": False}),
    "doubled, empty and served again": (KINDS, once, {"glitch": 0.1}),
    "bad": (KINDS, once, {"bad_share": 0.1}),
    "failures": (KINDS, resumed, {"failure": 0.2}),
    "failures and all else": (KINDS, resumed, {"failure": 0.2, "glitch": 0.05, "bad_share": 0.05}),
    "cancelled": (KINDS, cancelled, {}),
    "two readers": (KINDS, by_two, {}),
    "a shared reader": (KINDS, shared, {}),
}
CASES = [
    pytest.param(kind, reader, options | extra, id=f"{kind}-{name}{''.join(f'-{value}' for value in extra.values())}")
    for name, (kinds, reader, options) in ROWS.items()
    for kind in kinds
    for extra in ([{"unknown_cursor": answer} for answer in UNKNOWN_CURSOR] if kind == "mine" else [dict[str, str]()])
]


@pytest.mark.parametrize(("kind", "reader", "options"), CASES)
def test_records_that_stay_are_yielded_once(kind: str, reader: Reader, options: dict[str, Any]) -> None:
    for seed in (*range(SEEDS), *HARD_SEEDS):
        server, size, ahead = made(kind, seed, **{"changes": CHANGES} | options)
        for taken in run(reader(server, size, ahead, Random(seed))):
            assert server.stayed <= set(taken), f"lost with seed {seed}"
            assert len(taken) == len(set(taken)), f"doubled with seed {seed}"


@pytest.mark.parametrize(
    ("kind", "size", "seeds", "options"),
    [
        ("calendar", 1, (271,), {"changes": ["insert"]}),
        ("calendar", 2, (148, 335), {"bad_share": 0.1}),
        ("calendar", 3, (0, 1, 4, 9, 13), {"longest": 300}),
        ("calendar, newest first", 7, (205,), {"bad_share": 0.1}),
        ("leads", 1, (0, 2, 4, 5, 6), {"changes": ["move"]}),
    ],
)
def test_pages_of_a_few_records_end_with_the_list(
    kind: str, size: int, seeds: tuple[int, ...], options: dict[str, Any]
) -> None:
    for seed in seeds:
        server = ChangingServer(kind, random=Random(seed), count=60, **{"changes": CHANGES} | options)
        taken = ids(run(pager(server, size, seed % 4, "skip").collect()))
        assert server.stayed <= set(taken), f"lost with seed {seed}"


@pytest.mark.parametrize("longest", [60 * 24 * 5, 60 * 24 * 30, 60 * 24 * 3650])
@pytest.mark.parametrize("prefetch", [1, 4])
@pytest.mark.parametrize("kind", KINDS[1:3])
def test_entries_that_overlap_for_long_cost_no_more_than_others(kind: str, prefetch: int, longest: int) -> None:
    for size in (20, 100, 500):
        server = ChangingServer(kind, random=Random(size), count=1_300, longest=longest)
        assert ids(run(pager(server, size, prefetch).collect())) == server.rows
        assert len(server.asked) <= least(server.count, size) + 2


@pytest.mark.parametrize("total", [lambda count: count, lambda _: None])
@pytest.mark.parametrize("kind", KINDS)
def test_a_list_that_stands_still_costs_at_most_one_request_too_many(
    kind: str, total: Callable[[int], int | None]
) -> None:
    for seed in range(4 * SEEDS):
        server, size, ahead = made(kind, seed, total=total)
        assert ids(run(pager(server, size, ahead).collect())) == server.rows
        fewest = least(server.count, size)
        assert len(server.asked) <= max(1.02 * fewest, fewest + 1), f"seed {seed}"


@pytest.mark.parametrize("change", ["insert", "delete"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_change_at_every_request_costs_at_most_as_many_again(kind: str, change: str) -> None:
    ratios: list[float] = []
    for seed in range(4 * SEEDS):
        server, size, ahead = made(kind, seed, changes=[change])
        taken = run(pager(server, size, ahead).collect())
        ratios.append(len(server.asked) / least(len(taken), size))
    assert mean(ratios) <= 2.2


async def finish_by_page(whole: Pager[Any], server: ChangingServer) -> None:
    async for page in whole.pages():
        for row in ids(page.items):
            await asyncio.sleep(0)
            server.delete(row)


async def finish_by_record(whole: Pager[Any], server: ChangingServer) -> None:
    async for record in whole:
        await asyncio.sleep(0)
        server.delete(*ids([record]))


@pytest.mark.parametrize("finish", [finish_by_page, finish_by_record])
@pytest.mark.parametrize("prefetch", [0, 1, 4])
@pytest.mark.parametrize(
    ("kind", "unknown_cursor"), [*(("mine", answer) for answer in UNKNOWN_CURSOR), *((kind, "") for kind in KINDS[1:])]
)
def test_a_loop_that_finishes_each_record_as_it_is_read_finishes_all(
    kind: str,
    unknown_cursor: str,
    prefetch: int,
    finish: Callable[[Pager[Any], ChangingServer], Coroutine[Any, Any, None]],
) -> None:
    for size in (7, 20, 100):
        server = ChangingServer(kind, random=Random(size), count=300, unknown_cursor=unknown_cursor)
        run(finish(pager(server, size, prefetch), server))
        assert server.rows == []
