import pytest
from attrs import evolve

from lofty_async.cli.sync_report import progress_text, seconds_left
from lofty_async.mirror import LeadFailure, Phase, SyncReport
from lofty_async.ratelimit import RateLimit

UNKNOWN = RateLimit(limit=None, remaining=None, resets_in=None, queued={}, in_flight=0)
HALFWAY = SyncReport(leads=100, total=250, seconds=10.0)


def limit(remaining: int, *, resets_in: float = 50.0, in_flight: int = 0) -> RateLimit:
    return RateLimit(limit=100, remaining=remaining, resets_in=resets_in, queued={}, in_flight=in_flight)


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [
        (UNKNOWN, 15.0),
        (limit(0), 110.0),
        (limit(50), 50.0),
        (limit(51), 50.0),
        (limit(49), 110.0),
        (limit(150), 15.0),
        (limit(200), 15.0),
        (limit(150, in_flight=1), 50.0),
        (limit(10, in_flight=20), 110.0),
        (limit(0, resets_in=1.0), 61.0),
    ],
)
def test_the_rest_takes_the_pace_so_far_or_the_windows_that_it_needs(limit: RateLimit, seconds: float) -> None:
    assert seconds_left(HALFWAY, limit) == seconds


@pytest.mark.parametrize(
    "report",
    [SyncReport(), SyncReport(total=250), SyncReport(leads=3, seconds=1.0), SyncReport(total=250, skipped=9)],
)
def test_nobody_knows_how_long_it_takes_before_anything_is_known(report: SyncReport) -> None:
    assert seconds_left(report, limit(50)) is None


def test_leads_that_were_skipped_say_nothing_of_the_pace() -> None:
    assert seconds_left(evolve(HALFWAY, skipped=50), UNKNOWN) == 10.0


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (SyncReport(), "0 leads"),
        (SyncReport(total=1250), "0/1,250 leads"),
        (HALFWAY, "100/250 leads · 600/min · 0:15 left"),
        (evolve(HALFWAY, skipped=50), "150/250 leads · 600/min · 0:10 left"),
        (evolve(HALFWAY, total=None), "100 leads · 600/min"),
        (
            evolve(HALFWAY, seconds=0.0, failed=(LeadFailure(7, "gone"),)),
            "100/250 leads · 0:00 left · 1 failed",
        ),
    ],
)
def test_the_progress_of_leads_in_words(report: SyncReport, words: str) -> None:
    assert progress_text(report, UNKNOWN) == words


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (SyncReport(phase=Phase.LISTING), "listing the leads"),
        (SyncReport(phase=Phase.SWEEPING, usable=3012), "sweeping the lists · 3,012 tasks"),
        (
            evolve(HALFWAY, strategy="lists", usable=10_012),
            "usable: 10,012 tasks · proving 100/250 leads · 600/min · 0:15 left",
        ),
        (evolve(HALFWAY, strategy="leads", usable=10_012), "100/250 leads · 600/min · 0:15 left"),
    ],
)
def test_the_progress_of_both_phases_in_words(report: SyncReport, words: str) -> None:
    assert progress_text(report, UNKNOWN) == words
