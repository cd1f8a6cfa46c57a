"""One run of a coroutine, shared by everybody who asks while it lasts."""

import asyncio

from lofty_async.oauth.flight import SingleFlight


async def test_who_asks_just_after_the_end_gets_a_run_of_its_own() -> None:
    flight, ending = SingleFlight[str](), asyncio.get_running_loop().create_future()

    async def first() -> str:
        ending.set_result(None)
        return "first"

    async def second() -> str:
        return "second"

    async def late() -> str:
        await ending
        return await flight.join(second)

    late_caller = asyncio.create_task(late())
    await asyncio.sleep(0)
    assert await flight.join(first) == "first"
    assert await late_caller == "second"
    await asyncio.sleep(0)
    assert flight._tasks == {}
