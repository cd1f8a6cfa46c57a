"""The cost of a sync: requests, minutes under a limit, rows a second and memory, by strategy and size.

Each sync is a process of its own against a sandbox with tasks of 20 users: 20 % finished, 30 % appointments, 5 %
undated. Minutes are the windows that the requests need, as the limiter spends each at once. Growth is the exponent
between two sizes: 1 is linear.
"""

import argparse
import asyncio
import json
import math
import sys
import tempfile
import time
from typing import Any

from benchmarks.harness import ROOT, Table, publish, read_options, worker
from benchmarks.memory import MEBI, resident
from lofty_async import ApiKey, LoftyClient
from lofty_async.mirror import Mirror, SqliteDatabase, SyncReport
from lofty_async.sandbox import Sandbox
from tests.account import Account, fields_of, wrong

TASKS_PER_LEAD = 2
LIMITS = (100, 500)
STEPS = ("first", "unchanged", "1 % changed")
FIGURES = {"requests": "requests", "usable": "requests until usable", "cpu": "CPU seconds", "peak": "MiB at most"}


async def sync(url: str, key: str, path: str, strategy: str) -> None:
    """Syncs once, and prints what it took."""
    usable: list[int] = []

    def look(report: SyncReport) -> None:
        if report.phase == "proving" and not usable:
            usable.append(report.requests if strategy == "lists" else 0)

    async with LoftyClient(ApiKey(key), base_url=url) as lofty, SqliteDatabase(path) as database:
        began = time.process_time()
        report = await Mirror(lofty, database).sync(strategy=strategy, on_progress=look)
        cpu = time.process_time() - began
    figures = {"requests": report.requests, "usable": (usable or [0])[0] or report.requests, "cpu": cpu}
    print(json.dumps(figures | {"peak": resident("VmHWM") / MEBI, "written": report.added + report.changed}))


async def measured(sandbox: Sandbox, path: str, strategy: str) -> dict[str, Any]:
    command = worker("benchmarks.mirror", sandbox.url, sandbox.api_key, path, strategy)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    out, _ = await process.communicate()
    assert process.returncode == 0
    figures: dict[str, Any] = json.loads(out)
    return figures


async def measure(leads: int, strategy: str, tables: dict[str, Table]) -> None:
    """A first sync, one over an unchanged server, and one after 1 % has changed."""
    sandbox = Sandbox(leads, 0, appointments_per_lead=0, limit=10**9, keep_requests=0)
    account = Account(sandbox)
    with tempfile.TemporaryDirectory() as directory:
        async with sandbox:
            account.populate(TASKS_PER_LEAD)
            for step in STEPS:
                if step == STEPS[-1]:
                    account.change(0.01)
                figures = await measured(sandbox, f"{directory}/tasks.sqlite", strategy)
                for name, table in tables.items():
                    table.add(f"{leads:,} leads, {strategy}, {step}", figures[name])
                print(f"{leads:,} leads, {strategy}, {step}: {told(figures)}", flush=True)
        async with SqliteDatabase(f"{directory}/tasks.sqlite") as database:
            assert wrong(fields_of(await database.tasks()), account.truth()) == 0


def told(figures: dict[str, Any]) -> str:
    """The figures of a sync in words."""
    requests = figures["requests"]
    minutes = ", ".join(f"{max(0, math.ceil(requests / limit) - 1):,} min at {limit}" for limit in LIMITS)
    rows = f", {figures['written'] / figures['cpu']:,.0f} rows a CPU second" if figures["written"] > requests else ""
    usable = f"usable after {figures['usable']:,}" if figures["usable"] != requests else "usable at the end"
    return (
        f"{requests:,} requests ({usable}), {minutes}, {figures['cpu']:.1f} s of CPU{rows}, {figures['peak']:.0f} MiB"
    )


def growth(table: Table, few: int, many: int, strategy: str, step: str) -> float:
    """The exponent with which a figure grows from one size to another."""
    ends = [table.measured[f"{leads:,} leads, {strategy}, {step}"][-1] for leads in (few, many)]
    return math.log(ends[1] / ends[0]) / math.log(many / few)


def ask(options: argparse.Namespace) -> list[Table]:
    sizes = (options.few, options.leads)
    base = f"{sizes[0]:,} leads, leads, {STEPS[0]}"
    tables = {name: Table(f"a sync: {what}", what, base) for name, what in FIGURES.items()}
    for leads in sizes:
        for strategy in ("leads", "lists"):
            asyncio.run(measure(leads, strategy, tables))
    for name in ("requests", "cpu"):
        exponents = (
            f"{strategy}, {step}: {growth(tables[name], *sizes, strategy, step):.2f}"
            for strategy in ("leads", "lists")
            for step in STEPS
        )
        print(f"growth of {FIGURES[name]}: {'; '.join(exponents)}")
    for table in tables.values():
        print(table)
    return list(tables.values())


def main(arguments: list[str] | None = None) -> None:
    options = read_options(__doc__, arguments, few=200, leads=5000)
    if options.worker:
        asyncio.run(sync(*options.worker))
    else:
        publish(ask(options), options)


if __name__ == "__main__":
    main(sys.argv[1:])
