import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from attrs import evolve

from lofty_async.cli.options import STDOUT
from lofty_async.cli.sync import SyncOptions
from lofty_async.cli.sync_report import (
    plan_lines,
    print_report,
    report_lines,
    report_object,
)
from lofty_async.mirror import LeadFailure, Strategy, SyncPlan, SyncReport
from lofty_async.mirror.decide import Size, plan_of

REPORT = SyncReport(
    leads=1200,
    tasks=5000,
    added=20,
    changed=3,
    removed=1,
    requests=1212,
    waited_s=480.0,
    seconds=494.5,
    complete=True,
)
LOST = (LeadFailure(7, "no"), LeadFailure(9, "no"))
FAILED = SyncReport(leads=2, tasks=1, failed=(LeadFailure(2**53 + 1, "gone"),), seconds=1.0, skipped=5)
DB = SyncOptions(db=Path("tasks.sqlite"), jsonl=None)
JSONL = SyncOptions(db=None, jsonl=Path("tasks.jsonl"))


def test_a_run_in_words() -> None:
    assert report_lines(REPORT, DB) == [
        "1,200 leads, 5,000 tasks",
        "tasks.sqlite: 20 added, 3 changed, 1 removed",
        "1,212 requests, 0 rate limited, 494.5 s, 480.0 s of them waiting for the rate limit",
    ]


def test_a_run_says_what_is_proven_and_what_the_lists_do_not_show() -> None:
    report = evolve(
        REPORT,
        proven=4000,
        unproven=1000,
        oldest_proof=datetime(2026, 3, 1, 23, tzinfo=UTC),
        hidden=("open undated tasks: 3 of 3, 2 leads, read every run",),
    )
    assert report_lines(report, DB)[2:4] == [
        "4,000 of 5,000 tasks confirmed by reading their lead, the oldest at 2026-03-01 23:00 UTC",
        "not in the lists: open undated tasks: 3 of 3, 2 leads, read every run",
    ]
    assert report_object(report, string_ids=False)["oldest_proof"] == "2026-03-01T23:00:00+00:00"


def test_a_plan_in_words() -> None:
    size = Size(leads=5000, tasks=10_000, users=20)
    plans = tuple(plan_of(strategy, size, 100) for strategy in (Strategy.LISTS, Strategy.LEADS))
    plan = SyncPlan(leads=5000, tasks=10_000, users=20, limit=100, chosen=Strategy.LISTS, plans=plans)
    assert plan_lines(plan) == [
        "5,000 leads, 10,000 tasks (a guess), 20 users; 100 requests a minute",
        "lists: usable after 192 requests (1 min), proven after 5,192 requests (51 min) (chosen)",
        "leads: usable after 5,051 requests (50 min), proven after 5,051 requests (50 min)",
    ]
    unknown = evolve(plan, limit=None, plans=(plan_of(Strategy.LEADS, size, None),), is_first=False, hidden=("x",))
    assert plan_lines(unknown) == [
        "5,000 leads, 10,000 tasks, 20 users; rate limit unknown",
        "leads: usable after 5,051 requests, proven after 5,051 requests",
        "not in the lists: x",
    ]


def test_a_text_file_in_words() -> None:
    assert report_lines(REPORT, JSONL)[1] == "tasks.jsonl: 5,000 lines written"


def test_a_run_that_was_cut_short_says_how_to_go_on() -> None:
    first, second, third = report_lines(FAILED, DB)
    assert first == "Cut short: 2 leads, 1 task, 1 failed, 5 skipped as done before"
    assert second == "tasks.sqlite: 0 added, 0 changed, 0 removed; the next sync goes on from here"
    assert third == "0 requests, 0 rate limited, 1.0 s"


@pytest.mark.parametrize("report", [SyncReport(), SyncReport(leads=2, failed=LOST)])
def test_where_nothing_was_done_there_is_nothing_to_go_on_from(report: SyncReport) -> None:
    assert report_lines(report, DB)[1] == "tasks.sqlite: 0 added, 0 changed, 0 removed"


@pytest.mark.parametrize("report", [SyncReport(skipped=1), SyncReport(leads=3, failed=LOST)])
def test_what_was_done_can_be_gone_on_from(report: SyncReport) -> None:
    assert report_lines(report, DB)[1].endswith("; the next sync goes on from here")


@pytest.mark.parametrize(
    ("report", "told"),
    [
        (SyncReport(complete=True), "0 lines written"),
        (SyncReport(complete=True, leads=2, failed=LOST), "left as it was"),
        (
            SyncReport(complete=True, leads=2, failed=LOST, tasks=1),
            "1 line written, besides those it had of the leads that failed",
        ),
    ],
)
def test_a_text_file_of_leads_that_failed_says_what_it_has(report: SyncReport, told: str) -> None:
    assert report_lines(report, JSONL)[1] == f"tasks.jsonl: {told}"


def test_a_text_file_that_was_cut_short_is_where_it_grew() -> None:
    assert report_lines(FAILED, JSONL)[1] == "tasks.jsonl.partial: 1 line"


@pytest.mark.parametrize("as_json", [True, False])
def test_where_standard_output_takes_the_tasks_the_report_is_on_standard_error(
    capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    print_report(REPORT, SyncOptions(db=None, jsonl=STDOUT, as_json=as_json))
    out, err = capsys.readouterr()
    assert out == ""
    assert (json.loads(err)["tasks"] == 5000) if as_json else "standard output: 5,000 lines" in err


def test_a_run_as_an_object() -> None:
    report = report_object(FAILED, string_ids=False)
    assert report["failed"] == 1
    assert report["failures"] == [{"lead_id": 2**53 + 1, "error": "gone"}]
    assert {"leads", "tasks", "requests", "rate_limited", "waited_s", "seconds", "complete"} <= report.keys()


def test_ids_can_be_strings() -> None:
    assert report_object(FAILED, string_ids=True)["failures"][0]["lead_id"] == "9007199254740993"


@pytest.mark.parametrize("as_json", [True, False])
def test_failures_are_named_on_standard_error(capsys: pytest.CaptureFixture[str], *, as_json: bool) -> None:
    print_report(FAILED, DB._replace(as_json=as_json))
    out, err = capsys.readouterr()
    assert err == f"lead {2**53 + 1}: gone\n"
    assert (json.loads(out)["leads"] == 2) if as_json else out.startswith("Cut short: 2 leads")
