"""What is left over: tasks that go on after what began them has ended."""

import asyncio
import gc
from typing import Any


def others() -> set["asyncio.Task[Any]"]:
    return asyncio.all_tasks() - {task for task in [asyncio.current_task()] if task}


async def settled() -> None:
    """Let what was cancelled end."""
    gc.collect()
    for _ in range(4):
        await asyncio.sleep(0)
