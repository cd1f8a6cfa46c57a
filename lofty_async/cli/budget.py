"""The command that shows what is left of the rate limit, and who waits for it."""

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from lofty_async.errors import RateLimitWaitError, StoreUnavailableError

from .options import Number, ServerOptions, examples, server_or_sandbox_options

if TYPE_CHECKING:
    from lofty_async.client import LoftyClient
    from lofty_async.ratelimit import RateLimit, Store

REDRAW_INTERVAL: Final = 0.5
"""Seconds between two pictures."""
REQUEST_INTERVAL: Final = 15.0
"""Seconds between two requests, without a store."""
MIN_INTERVAL: Final = 1.0
"""Seconds between two requests at least, whatever the server tells of its window."""
BAR_WIDTH: Final = 20


Read = Callable[[], Awaitable["RateLimit"]]


@click.command(
    epilog=examples(
        "lofty-async budget",
        "lofty-async budget --once --json",
        "lofty-async budget --store redis://localhost/0 --app-id my-app",
        "LOFTY_STORE=/run/lofty LOFTY_APP_ID=my-app lofty-async budget",
    )
)
@click.option("--once", is_flag=True, help="Print it once, as is done without a terminal.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for programs; implies --once.")
@click.option(
    "--interval",
    type=Number(1),
    default=REQUEST_INTERVAL,
    show_default=True,
    metavar="SECONDS",
    help="Without a store: seconds between two requests.",
)
@server_or_sandbox_options
def budget(*, once: bool, as_json: bool, interval: float, server: ServerOptions) -> None:
    """Show what is left of the rate limit.

    On a terminal it is redrawn until it is interrupted, on one that cannot do that (TERM=dumb) printed once.

    With --store it is the budget of all processes that share the store, and costs no request. Without one, a cheap
    request asks the server, and other processes show only in what they have spent.
    """
    from .output import is_terminal, print_json, show_fields
    from .run import ended_by_signal, run
    from .tables import terminal

    is_shared = server.store is not None

    async def work() -> "RateLimit | None":
        async with _reader(server, interval) as read:
            if once or as_json or not is_terminal() or terminal().is_dumb_terminal:
                return await read()
            with ended_by_signal():
                await _watch(read, is_shared=is_shared)
        return None

    found = run(work)
    if found is not None and as_json:
        print_json(budget_object(found, is_shared=is_shared))
    elif found is not None:
        show_fields(budget_fields(found, is_shared=is_shared))


@asynccontextmanager
async def _reader(server: ServerOptions, interval: float) -> AsyncGenerator[Read, None]:
    """Yields the function that reads the budget: from the store, or from the server.

    Raises: as `shared_store` and `connected` do.
    """
    from .client import connected, shared_store

    async with shared_store(server) as store:
        if store is not None:
            yield partial(stored_budget, store)
            return
    async with connected(server) as lofty:
        yield asking(lofty, interval)


def asking(lofty: "LoftyClient", interval: float) -> Read:
    """Returns the function that asks the server if the last request is so many seconds ago, or its window has ended."""
    at_once = lofty.with_options(max_wait=0)
    asked_at, window_ends_at = -math.inf, math.inf

    async def read() -> "RateLimit":
        nonlocal asked_at, window_ends_at
        now = asyncio.get_running_loop().time()
        if now >= min(asked_at + interval, window_ends_at):
            with suppress(RateLimitWaitError):  # nothing is left, which is an answer too
                await at_once.me()
            asked_at, left = now, lofty.rate_limit.resets_in
            window_ends_at = math.inf if left is None else now + max(left, MIN_INTERVAL)
        return lofty.rate_limit

    return read


async def stored_budget(store: "Store") -> "RateLimit":
    """Returns the budget that the processes of a store share.

    Raises: click.ClickException if the store cannot be read.
    """
    from .run import as_typed

    try:
        return await store.snapshot()
    except StoreUnavailableError as error:
        raise click.ClickException(as_typed(f"store: {error}; check its address, and that it runs")) from error


async def _watch(read: Read, *, is_shared: bool) -> None:
    from rich.live import Live
    from rich.text import Text

    from .tables import SteadyConsole

    with Live(console=SteadyConsole(), auto_refresh=False) as live:
        while True:
            shown = budget_fields(await read(), is_shared=is_shared, draw=True)
            live.update(Text("\n".join(f"{name:<10}{text}" for name, text in shown.items())), refresh=True)
            await asyncio.sleep(REDRAW_INTERVAL)


def budget_object(budget: "RateLimit", *, is_shared: bool) -> dict[str, Any]:
    """Returns the budget for programs; how many wait is known to a store alone."""
    queued = {str(lane): number for lane, number in budget.queued.items()} if is_shared else None
    figures = {"limit": budget.limit, "remaining": budget.remaining, "resets_in": budget.resets_in}
    return figures | {"in_flight": budget.in_flight, "waiting": queued}


def budget_fields(budget: "RateLimit", *, is_shared: bool, draw: bool = False) -> dict[str, str]:
    """Returns names and texts for people; `draw` adds a bar."""
    waiting = ", ".join(f"{number} {lane}" for lane, number in budget.queued.items())
    return {
        "left": _left(budget, is_shared=is_shared, draw=draw),
        "resets in": "unknown" if budget.resets_in is None else f"{math.ceil(budget.resets_in)} s",
        "in flight": str(budget.in_flight),
        "waiting": waiting if is_shared else "unknown; --store shows the processes that share one",
    }


def _left(budget: "RateLimit", *, is_shared: bool, draw: bool) -> str:
    from .tables import is_ascii

    if budget.limit is None or budget.remaining is None:
        reason = "no process has used this store recently" if is_shared else "the server sends no rate limit"
        return f"unknown; {reason}"
    full, empty = ("#", "-") if is_ascii() else ("\N{FULL BLOCK}", "\N{LIGHT SHADE}")
    filled = round(BAR_WIDTH * min(1.0, max(0, budget.remaining) / budget.limit))
    bar = full * filled + empty * (BAR_WIDTH - filled) + " " if draw else ""
    return f"{bar}{budget.remaining:,} of {budget.limit:,}"
