"""Commands run within the test's process, on a sandbox of their own."""

import io
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lofty_async.cli.app import app
from lofty_async.sandbox import Sandbox


@contextmanager
def sandboxed(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Generator[Sandbox, None, None]:
    """A sandbox of four leads that the environment names, and no other variable of Lofty."""
    for name in [name for name in os.environ if name.startswith("LOFTY_")]:
        monkeypatch.delenv(name)
    with Sandbox.in_thread(**({"leads": 4, "tasks_per_lead": 5} | options)) as running:
        monkeypatch.setenv("LOFTY_API_KEY", running.api_key)
        monkeypatch.setenv("LOFTY_BASE_URL", running.url)
        yield running


def invoke(*arguments: object, typed: str | None = None) -> Result:
    result = CliRunner().invoke(app, [*map(str, arguments)], input=typed)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def answer(*arguments: object) -> Any:
    """The JSON that a command prints."""
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


class Terminal(io.TextIOWrapper):
    """A standard output that is a terminal; `shown` is what stands on it."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self.kept = io.BytesIO()
        super().__init__(self.kept, encoding=encoding, errors="replace", write_through=True)

    def isatty(self) -> bool:
        return True

    @property
    def shown(self) -> str:
        self.flush()
        return self.kept.getvalue().decode(self.encoding)


def plain_terminal(monkeypatch: pytest.MonkeyPatch, width: int, *, language: str = "en_US.UTF-8") -> Terminal:
    """A terminal of this width and without colours as standard output, in that language, on a machine in UTC."""
    for name in ("LC_ALL", "LC_CTYPE", "FORCE_COLOR", "LINES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"LANG": language, "COLUMNS": str(width), "TERM": "dumb", "NO_COLOR": "1", "TZ": "UTC"}.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    return terminal


def on_terminal(monkeypatch: pytest.MonkeyPatch, width: int, *arguments: object, language: str = "en_US.UTF-8") -> str:
    """What a command that succeeds shows on such a terminal."""
    with monkeypatch.context() as patch:
        terminal = plain_terminal(patch, width, language=language)
        code = app.main([*map(str, arguments)], standalone_mode=False)
    assert not code
    return terminal.shown
