import json
from pathlib import Path

import pytest

from lofty_async.cli.options import STDOUT
from lofty_async.cli.sync import SyncOptions, print_report, report_lines, report_object
from lofty_async.mirror import LeadFailure, SyncReport

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


def test_a_text_file_in_words() -> None:
    assert report_lines(REPORT, JSONL)[1] == "tasks.jsonl: 5,000 lines written"


def test_a_run_that_was_cut_short_says_how_to_go_on() -> None:
    first, second, third = report_lines(FAILED, DB)
    assert first == "Cut short: 2 leads, 1 task, 1 failed, 5 skipped as done before"
    assert second == "tasks.sqlite: 0 added, 0 changed, 0 removed; go on with --resume"
    assert third == "0 requests, 0 rate limited, 1.0 s"


@pytest.mark.parametrize("report", [SyncReport(), SyncReport(leads=2, failed=LOST)])
def test_where_nothing_was_done_there_is_nothing_to_go_on_from(report: SyncReport) -> None:
    assert report_lines(report, DB)[1] == "tasks.sqlite: 0 added, 0 changed, 0 removed"


@pytest.mark.parametrize("report", [SyncReport(skipped=1), SyncReport(leads=3, failed=LOST)])
def test_what_was_done_can_be_gone_on_from(report: SyncReport) -> None:
    assert report_lines(report, DB)[1].endswith("; go on with --resume")


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
