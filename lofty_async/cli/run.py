"""Runs a command's coroutine, and turns how it ended into an exit code."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import click

from lofty_async.errors import AuthenticationError, InvalidRequestError, LoftyError

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, T]]


class Refused(click.ClickException):
    """What was asked for cannot be begun: one line, exit code 2."""

    exit_code = 2


def run(work: Work[T]) -> T:
    """What the coroutine returns; SIGINT and SIGTERM cancel it, so that it can keep what it has.

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
        loop.remove_signal_handler(number)  # a second one ends the process at once
        working.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # on Windows, where asyncio.run itself sees to SIGINT
            loop.add_signal_handler(number, stop, number)
    return await working
