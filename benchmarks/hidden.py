"""Syncs while the lists hide a class of tasks: requests, and the rows that are wrong afterwards.

An account of 20 users, 2 tasks a lead: 20 % finished, 30 % appointments, 5 % undated. After a first sync, 1 % of the
tasks change, a third of these being deletions. Counted are the requests of the next run, by the strategy that the
mirror chooses, and by the lists if it chooses to read every lead; the rows that are wrong after it; those of them that
a list shows to be wrong, of which there must be none; and the runs until no row is wrong, at most 30. The baseline
reads every lead.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from typing import Any

from attrs import define

from benchmarks.harness import Table, publish, read_options
from lofty_async import LoftyClient
from lofty_async.mirror import Mirror, SqliteDatabase, SyncReport
from lofty_async.sandbox import Sandbox
from tests.account import Account, fields_of
from tests.visibility import HIDDEN, Visibility, differing

RUNS = 30
BASELINE = "every lead read"


@define
class Outcome:
    """A run after a change: the rows that are wrong after it, and the runs until none is."""

    report: SyncReport
    tasks: int
    wrong: int
    shown: int
    runs: int = 1

    def told(self, name: str, ratio: float) -> str:
        requests = f"{self.report.strategy:<9}{self.report.requests:>9,}{ratio:>7.3f}"
        return f"{name:<34}{requests}{self.wrong:>8}{self.shown:>8}{self.runs:>8}"


async def measure(leads: int, options: dict[str, Any], strategy: str) -> Outcome:
    with tempfile.TemporaryDirectory() as directory:
        async with (
            Sandbox(leads, 0, appointments_per_lead=0, limit=10**9, keep_requests=0, **options) as sandbox,
            LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty,
            SqliteDatabase(f"{directory}/tasks.sqlite") as database,
        ):
            account, mirror = Account(sandbox), Mirror(lofty, database)
            account.populate(2)
            await mirror.sync()
            account.change(0.01)
            truth = account.truth()
            report = await mirror.sync(strategy=strategy)
            wrong = differing(fields_of(await database.tasks()), truth)
            shown = sum(Visibility(**options).shows_difference(*rows) for rows in wrong)
            outcome = Outcome(report, len(truth), len(wrong), shown)
            while wrong:
                await mirror.sync(strategy=strategy)
                wrong, outcome.runs = differing(fields_of(await database.tasks()), truth), outcome.runs + 1
                assert outcome.runs <= RUNS
            return outcome


async def outcomes(leads: int, only: str) -> AsyncIterator[tuple[str, Outcome]]:
    """The baseline, then each case by the strategy chosen, and by the lists where that is another."""
    yield BASELINE, await measure(leads, {}, "leads")
    for name in (name for name in HIDDEN if only in name):
        outcome = await measure(leads, HIDDEN[name], "auto")
        yield name, outcome
        if outcome.report.strategy != "lists":
            yield f"{name}, by lists", await measure(leads, HIDDEN[name], "lists")


async def ask(options: argparse.Namespace) -> list[Table]:
    requests = Table(f"a run after 1 % has changed, {options.leads:,} leads", "requests", BASELINE)
    right = Table(f"rows that are right after it, {options.leads:,} leads", "rows", BASELINE)
    runs = Table(f"runs until all rows are right, {options.leads:,} leads", "runs", BASELINE)
    print(f"{'hidden':<34}{'strategy':<9}{'requests':>9}{'x':>7}{'wrong':>8}{'shown':>8}{'runs':>8}")
    async for name, outcome in outcomes(options.leads, options.only):
        requests.add(name, outcome.report.requests)
        right.add(name, outcome.tasks - outcome.wrong)
        runs.add(name, outcome.runs)
        print(outcome.told(name, requests.rows[name]["median_ratio"]), flush=True)
        assert not outcome.shown
    return [requests, right, runs]


def main(arguments: list[str] | None = None) -> None:
    options = read_options(__doc__, arguments, leads=500, only="")
    publish(asyncio.run(ask(options)), options)


if __name__ == "__main__":
    main(sys.argv[1:])
