"""Runs a command's coroutine, and turns how it ended into an exit code."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

import click

from lofty_async.errors import AuthenticationError, InvalidRequestError, LoftyError

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, T]]

STOPPING: Final = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Refused(click.ClickException):
    """What was asked for cannot be begun: one line, exit code 2."""

    exit_code = 2


def run(work: Work[T]) -> T:
    """What the coroutine returns; SIGINT, SIGTERM and SIGHUP cancel it, so that it can keep what it has.

    A second signal of any of these ends the process at once.

    Raises: Refused for credentials and for input that was never sent; click.ClickException for any other
    error; click.exceptions.Exit with 128 and the signal's number where it was stopped.
    """
    received: list[int] = []
    try:
        return asyncio.run(_stoppable(work, received))
    except LoftyError as error:
        raise (Refused if _is_refusal(error) else click.ClickException)(str(error)) from error
    except (asyncio.CancelledError, KeyboardInterrupt) as error:
        raise click.exceptions.Exit(128 + next(iter(received), signal.SIGINT)) from error


def _is_refusal(error: LoftyError) -> bool:
    never_sent = isinstance(error, InvalidRequestError) and error.status is None
    return never_sent or isinstance(error, AuthenticationError)


async def _stoppable(work: Work[T], received: list[int]) -> T:
    loop, working = asyncio.get_running_loop(), asyncio.create_task(work())

    def stop(number: int) -> None:
        received.append(number)
        for each in handled:
            loop.remove_signal_handler(each)
            # Not Python's own handler, which would wait for whatever blocks this thread.
            signal.signal(each, signal.SIG_DFL)
        working.cancel()

    # nohup has a process ignore SIGHUP, and means it.
    handled = [each for each in STOPPING if each == signal.SIGINT or signal.getsignal(each) is not signal.SIG_IGN]
    for number in handled:
        with suppress(NotImplementedError):  # on Windows, where asyncio.run itself sees to SIGINT
            loop.add_signal_handler(number, stop, number)
    return await working
