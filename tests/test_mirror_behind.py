import asyncio
from collections.abc import Sequence

import pytest

from lofty_async.mirror.behind import WriteBehind


class SlowWriter:
    """Remembers batches; each write waits to be let through."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.written = asyncio.Event()
        self.begun = asyncio.Event()
        self.go = asyncio.Event()

    async def write(self, leads: Sequence[int]) -> None:
        self.begun.set()
        await self.go.wait()
        self.batches.append(list(leads))
        self.written.set()


async def broken(leads: Sequence[int]) -> None:
    raise OSError(f"disk full at lead {min(leads)}")


async def test_what_comes_during_a_write_is_the_next_batch() -> None:
    writer = SlowWriter()
    behind = WriteBehind(writer.write)
    await behind.add(1)
    await writer.begun.wait()
    for lead_id in (2, 3, 4):
        await behind.add(lead_id)
    writer.go.set()
    await behind.flush()
    assert writer.batches == [[1], [2, 3, 4]]


async def test_a_lead_is_written_at_once_where_nothing_else_comes() -> None:
    writer = SlowWriter()
    writer.go.set()
    behind = WriteBehind(writer.write)
    for lead_id in (1, 2):
        await behind.add(lead_id)
        await writer.written.wait()
        writer.written.clear()
    await behind.flush()
    assert writer.batches == [[1], [2]]


async def test_reading_waits_where_writing_falls_behind() -> None:
    writer = SlowWriter()
    behind = WriteBehind(writer.write, most_waiting=2)
    await behind.add(1)
    await writer.begun.wait()
    await behind.add(2)
    full = asyncio.create_task(behind.add(3))
    await asyncio.sleep(0)
    assert not full.done()
    writer.go.set()
    await full
    await behind.flush()
    assert writer.batches == [[1], [2, 3]]


async def test_cancelling_a_reader_that_waits_does_not_cancel_the_write() -> None:
    writer = SlowWriter()
    behind = WriteBehind(writer.write, most_waiting=1)
    await behind.add(1)
    await writer.begun.wait()
    full = asyncio.create_task(behind.add(2))
    await asyncio.sleep(0)
    full.cancel()
    with pytest.raises(asyncio.CancelledError):
        await full
    writer.go.set()
    await behind.flush()
    assert writer.batches == [[1], [2]]


async def test_a_failed_write_ends_the_reading() -> None:
    behind = WriteBehind(broken)
    await behind.add(1)
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="disk full"):
        await behind.add(2)
    with pytest.raises(OSError, match="disk full"):
        await behind.flush()


async def test_nothing_to_write_is_no_write() -> None:
    await WriteBehind(broken).flush()
