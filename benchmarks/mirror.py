"""The cost of a mirror's syncs, by size of the account, strategy and database.

The baseline of each size reads every lead and keeps nothing. Each run is a process of its own against a sandbox with
tasks of 20 users, 2 a lead: 20 % finished, 30 % appointments, 5 % undated. Minutes are the windows that the requests
need, as the limiter spends each at once: arithmetic, no measurement. Rows a second are all rows held at the end over
the seconds of the run, requests included; CPU is the client's alone. Growth is the exponent between two sizes: 1 is
linear. The first account has 100 tasks a lead, so that rows count and requests do not.
"""

import argparse
import asyncio
import json
import math
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

from attrs import frozen

from benchmarks.harness import ROOT, Table, page_plots, publish, read_options, save_for_page, worker
from benchmarks.mirror_run import NOTHING, Cost, opened
from lofty_async.sandbox import Sandbox
from tests.account import Account, fields_of, wrong
from tests.postgres_server import HAS_POSTGRES, running_postgres

LIMITS = (100, 500)
BASELINE = "every lead read, nothing kept"
STRATEGIES = ("leads", "lists")
STEPS = ("first", "unchanged", "1 % changed")
ROWS_A_LEAD = 100
FIGURES = {
    "requests": "requests",
    "usable": "requests until usable",
    "wall": "seconds",
    "cpu": "CPU seconds",
    "rows_a_second": "rows a second",
    "rows_a_cpu_second": "rows a CPU second",
    "peak": "MiB at most",
}


@frozen
class Size:
    """An account of so many leads."""

    leads: int
    tasks_a_lead: int = 2

    def __str__(self) -> str:
        return f"{self.leads:,} leads" + (f" of {self.tasks_a_lead} tasks" if self != Size(self.leads) else "")


Costs = dict[Size, dict[str, Cost]]


async def measured(sandbox: Sandbox, target: str, strategy: str) -> Cost:
    command = worker("benchmarks.mirror_run", sandbox.url, sandbox.api_key, target, strategy)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return Cost(**json.loads(out))


async def measure(size: Size, databases: dict[str, str]) -> AsyncIterator[tuple[str, Cost]]:
    """The baseline, then a first sync, one over an unchanged server, and one after 1 % has changed, of each kind."""
    async with Sandbox(size.leads, 0, appointments_per_lead=0, limit=10**9, keep_requests=0) as sandbox:
        account = Account(sandbox)
        account.populate(size.tasks_a_lead)
        yield BASELINE, await measured(sandbox, NOTHING, "")
        for step in STEPS:
            if step == STEPS[-1]:
                account.change(0.01)
            for strategy in STRATEGIES:
                for name, target in databases.items():
                    yield f"{strategy}, {step}, {name}", await measured(sandbox, target + strategy, strategy)
        for target in (target + strategy for target in databases.values() for strategy in STRATEGIES):
            async with opened(target) as database:
                assert wrong(fields_of(await database.tasks()), account.truth()) == 0


def cells(cost: Cost, base: Cost) -> list[str]:
    """A run's figures as text, those with a ratio against the baseline's."""
    usable = f"{cost.usable:,} / " if cost.usable != cost.requests else ""
    return [
        f"{usable}{cost.requests:,}",
        f"{cost.requests / base.requests:.3f}",
        *(cost.minutes(limit) for limit in LIMITS),
        f"{cost.wall:,.1f}",
        f"{cost.rows_a_second:,.0f}",
        f"{cost.cpu:,.1f}",
        f"{cost.cpu / base.cpu:.2f}",
        f"{cost.rows_a_cpu_second:,.0f}",
        f"{cost.peak:,.0f}",
        f"{cost.peak / base.peak:.2f}",
    ]


HEADS = ("requests", "x", "min at 100", "min at 500", "s", "rows/s", "CPU s", "x", "rows/CPU s", "MiB", "x")
WIDTHS = (16, 7, 11, 11, 8, 8, 8, 6, 11, 6, 6)


def line(name: str, texts: list[str]) -> str:
    return f"{name:<34}" + "".join(f"{text:>{width}}" for text, width in zip(texts, WIDTHS, strict=True))


def scaled(costs: Costs) -> Costs:
    """The accounts that differ in their leads alone."""
    return {size: runs for size, runs in costs.items() if size == Size(size.leads)}


def exponents(costs: Costs) -> list[str]:
    """The exponents with which requests, CPU and memory grow between each size and the next."""
    sizes, lines = list(scaled(costs)), []
    for few, many in pairwise(sizes):
        lines.append(f"growth from {few} to {many}: requests, CPU, memory")
        for name in (name for name in costs[few] if name in costs[many]):
            grown = [
                math.log(getattr(costs[many][name], figure) / getattr(costs[few][name], figure))
                / math.log(many.leads / few.leads)
                for figure in ("requests", "cpu", "peak")
            ]
            lines.append(f"  {name:<34}" + "".join(f"{exponent:8.2f}" for exponent in grown))
    return lines


def tables_of(costs: Costs) -> list[Table]:
    tables = []
    for size, runs in costs.items():
        for figure, unit in FIGURES.items():
            table = Table(f"{size}: {unit}", unit, BASELINE)
            for name, cost in runs.items():
                table.add(name, getattr(cost, figure))
            tables.append(table)
    return tables


LINES = {
    "every lead": (BASELINE, "requests", "-", "#8c959f"),
    "first, proven": ("lists, first, SQLite", "requests", "-", "#c8553d"),
    "first, usable": ("lists, first, SQLite", "usable", ":", "#c8553d"),
    "1 % changed": ("lists, 1 % changed, SQLite", "requests", "-", "#3b8fc2"),
    "unchanged": ("lists, unchanged, SQLite", "requests", "-", "#4c9f70"),
}
PANELS = {"requests": "requests", "cpu": "CPU seconds", "peak": "MiB at most"}


def draw(costs: Costs, path: Path) -> None:
    """Requests, CPU and memory of syncs by the lists over the number of leads."""
    sizes = scaled(costs)
    figure, axes = page_plots("mirror").subplots(1, len(PANELS), figsize=(8, 3.2), layout="constrained")
    for axis, (panel, title) in zip(axes, PANELS.items(), strict=True):
        for label, (run, requests, style, colour) in LINES.items():
            name = requests if panel == "requests" else panel
            points = {size.leads: getattr(runs[run], name) for size, runs in sizes.items() if run in runs}
            if points and "requests" in {requests, panel}:
                axis.plot(
                    *zip(*points.items(), strict=True), style, marker="o", markersize=3, color=colour, label=label
                )
        axis.set(xscale="log", yscale="linear" if panel == "peak" else "log")
        axis.set_xticks([size.leads for size in sizes], [f"{size.leads:,}" for size in sizes])
        axis.minorticks_off()
        axis.yaxis.set_major_formatter("{x:,g}")
        axis.set_title(title, fontsize=9, loc="left")
        axis.set_xlabel("leads", fontsize=8)
        axis.tick_params(labelsize=8)
    axes[-1].set_ylim(bottom=0)
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=len(LINES), fontsize=8, frameon=False)
    save_for_page(figure, path)


async def ask(options: argparse.Namespace) -> None:
    costs: Costs = {}
    many_rows = [Size(options.rows // ROWS_A_LEAD, ROWS_A_LEAD)] if options.rows else []
    sizes = [*many_rows, *(Size(int(leads)) for leads in options.sizes.split(","))]
    if not HAS_POSTGRES:
        print("PostgreSQL or psycopg is not installed: its rows are left out")
    for size in sizes:
        print(line(str(size), list(HEADS)))
        with tempfile.TemporaryDirectory() as directory, running_postgres() if HAS_POSTGRES else nullcontext() as dsn:
            databases = {"SQLite": f"{directory}/"} | ({"PostgreSQL": f"{dsn}#"} if dsn else {})
            async for name, cost in measure(size, databases):
                costs.setdefault(size, {})[name] = cost
                print(line(f"  {name}", cells(cost, costs[size][BASELINE])), flush=True)
        publish(tables_of(costs), options, draw=lambda _, path: draw(costs, path))
    print(*exponents(costs), sep="\n")


def main(arguments: list[str] | None = None) -> None:
    options = read_options(__doc__, arguments, sizes="200,1000", rows=2000)
    asyncio.run(ask(options))


if __name__ == "__main__":
    main(sys.argv[1:])
