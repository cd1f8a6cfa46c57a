"""The calendar as an iCalendar file."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lofty_async.sandbox import Sandbox
from tests.commands import answer, invoke, sandboxed

RANGE = ("--start", "2000-01-01", "--end", "2100-01-01")


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with sandboxed(monkeypatch) as running:
        yield running


@pytest.mark.usefixtures("sandbox")
def test_a_file_holds_every_entry(tmp_path: Path) -> None:
    file = tmp_path / "lofty.ics"
    result = invoke("calendar", *RANGE, "--ics", file)
    entries = answer("calendar", *RANGE)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"{file}: {len(entries)} entries\n"
    text = file.read_bytes().decode()
    assert text.startswith("BEGIN:VCALENDAR\r\n")
    assert text.count("BEGIN:VEVENT\r\n") + text.count("BEGIN:VTODO\r\n") == len(entries)


@pytest.mark.usefixtures("sandbox")
def test_a_dash_is_standard_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("calendar", "--week", "--ics", "-")
    assert result.stdout_bytes.startswith(b"BEGIN:VCALENDAR\r\n")
    assert result.stdout_bytes.endswith(b"END:VCALENDAR\r\n")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_named_before_anything_is_sent(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "icalendar", None)
    result = invoke("calendar", *RANGE, "--ics", tmp_path / "lofty.ics")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == 'Error: --ics needs icalendar: pip install "lofty-async[ical]"\n'
    assert not sandbox.requests
    assert list(tmp_path.iterdir()) == []
