"""Writes to standard output that block neither the event loop nor the end of the process."""

import asyncio
import os
import select
import sys
from contextlib import suppress
from threading import Thread


async def write_stdout(text: str) -> None:
    """Writes the text from a new thread: a slow reader blocks neither the event loop nor the end of the process.

    Raises: OSError, ValueError if standard output cannot be written; any error of a program's own stream.
    """
    loop = asyncio.get_running_loop()
    written: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if not written.done():
            written.set_result(None) if error is None else written.set_exception(error)

    def write() -> None:
        error: Exception | None = None
        try:
            _write(text)
        except Exception as raised:  # noqa: BLE001 - the stream may be the program's own, and the caller waits
            error = raised
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, error)

    # A daemon: a thread that is blocked in a write must not keep the process alive.
    Thread(target=write, name="lofty-output", daemon=True).start()
    await written


def _write(text: str) -> None:
    stream = sys.stdout
    if stream is None:  # as under pythonw
        return
    buffer = getattr(stream, "buffer", None)
    if buffer is None:  # a program's own, without bytes
        stream.write(text)
        return
    # Not through the buffer: Python takes its lock at exit, and would abort if a blocked thread holds it.
    raw = getattr(buffer, "raw", buffer)
    rest = memoryview(text.replace("\n", os.linesep).encode(stream.encoding, stream.errors or "strict"))
    while rest:
        written = raw.write(rest)
        if written is None:  # a pipe that does not block has no room
            select.select([], [raw], [])
        else:
            rest = rest[written:]
