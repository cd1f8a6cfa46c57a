import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("httpx", reason="the benchmarks' libraries are an extra")
pytest.importorskip("matplotlib")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]

QUESTIONS = {
    "conversion": (["--rounds", "1"], ["lofty_async", "cattrs as it comes", "json.loads"]),
    "requests": (["--rounds", "1", "--counted", "0"], ["lofty_async", "aiohttp + json", "a naive SDK", "httpx + json"]),
    "throughput": (
        ["--rounds", "1", "--calls", "100", "--latency", "0.001"],
        ["calls * latency / at once", "aiohttp + json", "lofty_async"],
    ),
    "paging": (
        ["--rounds", "1", "--pages", "3", "--latency", "0.001"],
        ["the slower of the two", "fetched ahead (prefetch=1)", "one after the other (prefetch=0)"],
    ),
    "memory": (
        ["--few", "10", "--tasks", "150", "--entries", "600", "--leads", "20"],
        ["10 tasks streamed", "150 tasks streamed", "600 entries streamed", "10 leads in bulk", "20 leads in bulk"],
    ),
    "mirror": (
        ["--sizes", "12,30", "--rows", "0"],
        ["every lead read, nothing kept", "lists, 1 % changed, SQLite", "growth from 12 leads to 30 leads"],
    ),
    "hidden": (["--leads", "40", "--only", "undated"], ["every lead read", "undated, in both"]),
    "startup": (
        ["--rounds", "1"],
        ["import aiohttp, attrs, backoff, cattrs", "import lofty_async", "lofty-async --help"],
    ),
}


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_prints_a_row_for_each_candidate(name: str) -> None:
    sizes, rows = QUESTIONS[name]
    printed = [line.strip() for line in run(f"benchmarks.{name}", *sizes).splitlines()]
    assert [row for row in rows if not any(line.startswith(row) for line in printed)] == []


def test_pages_are_measured_beside_a_sync(tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    sizes = ["--shares", "0.2", "--leads", "20", "--limit", "50", "--window", "1", "--idle", "1"]
    assert "20% of the limit: " in run("benchmarks.web_app", *sizes, "--json", f"{tmp_path}/rows.json")
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert row["pages"] > 0
    assert row["sync_seconds"] > 0


def test_the_answers_are_written_and_drawn(tmp_path: Path) -> None:
    sizes = ["--rounds", "2", "--pages", "2", "--latency", "0"]
    run("benchmarks", "--only", "paging", "--json", f"{tmp_path}/all.json", "--pictures", f"{tmp_path}/drawn", *sizes)
    rows = next(iter(json.loads((tmp_path / "all.json").read_text())["paging"].values()))
    assert rows["the slower of the two"]["minimum_ratio"] == 1
    assert rows["fetched ahead (prefetch=1)"]["rounds"] == 2
    assert (tmp_path / "drawn" / "paging.svg").read_text().startswith("<?xml")
