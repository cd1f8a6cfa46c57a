"""Help with examples at every level, and completion in a shell."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from lofty_async.cli.app import app
from tests.commands import invoke

Path_ = tuple[str, ...]


def commands(group: click.Group, path: Path_ = ()) -> Iterator[tuple[Path_, click.Command]]:
    yield path, group
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


BASH = shutil.which("bash") or ""
ALL = dict(commands(app))


def test_these_are_the_commands() -> None:
    assert {" ".join(path) for path in ALL} == {
        "",
        "budget",
        "calendar",
        *(f"calendar {word}" for word in ("list", "create", "update", "finish", "unfinish", "delete")),
        "changes",
        "completion",
        "doctor",
        "leads",
        "leads list",
        "login",
        "sandbox",
        "slots",
        "status",
        "sync",
        "tasks",
        *(f"tasks {word}" for word in ("mine", "list", "get", "create", "update", "finish", "unfinish", "delete")),
        "webhooks",
        *(f"webhooks {word}" for word in ("list", "ensure", "delete", "listen")),
        "whoami",
        "worker",
    }


def test_the_sandbox_that_is_run_by_its_module_has_the_same_help() -> None:
    alone = CliRunner().invoke(app.commands["sandbox"], ["-h"])
    assert (alone.exit_code, alone.stderr) == (0, "")


@pytest.mark.parametrize("path", ALL, ids=" ".join)
class TestHelp:
    def test_is_there_with_examples(self, path: Path_) -> None:
        for option in ("--help", "-h"):
            result = invoke(*path, option)
            assert result.exit_code == 0
            assert "Examples:" in result.stdout
            assert result.stdout.startswith("Usage: ")

    def test_says_what_a_command_does_in_a_sentence(self, path: Path_) -> None:
        text = ALL[path].help or ""
        assert re.match(r"[A-Z][^\n]+\.(\n|$)", text)

    def test_describes_every_option(self, path: Path_) -> None:
        options = [one for one in ALL[path].params if isinstance(one, click.Option) and not one.hidden]
        assert [one.name for one in options if not one.help] == []

    def test_has_examples_that_are_commands(self, path: Path_) -> None:
        _, _, examples = (ALL[path].epilog or "").partition("Examples:\n")
        assert examples
        for line in examples.splitlines():
            for words in parsed(line):
                context = app.make_context("lofty-async", words, resilient_parsing=False)
                run_to_the_end(context)

    def test_its_usage_errors_name_the_command(self, path: Path_) -> None:
        result = invoke(*path, "--no-such-option")
        assert result.exit_code == 2
        assert "--no-such-option" in result.stderr
        assert f"Usage: {' '.join(('app', *path))}" in result.stderr or path == ("calendar",)


def parsed(line: str) -> Iterator[list[str]]:
    """The arguments of each `lofty-async …` in a line of a shell."""
    if line.strip().startswith("eval"):
        line = line.partition("$(")[2].partition(")")[0]
    words: list[str] = []
    for word in [*shlex.split(line, comments=True), ";"]:
        if word in {";", "|", ">"}:
            if "lofty-async" in words:
                yield words[words.index("lofty-async") + 1 :]
            words = []
        else:
            words.append(word)


def run_to_the_end(context: click.Context) -> None:
    """Parses the arguments of the commands that a context names, one below another."""
    command, rest = context.command, [*context._protected_args, *context.args]
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None
        assert name is not None
        context = found.make_context(name, rest, parent=context)
        command, rest = found, [*context._protected_args, *context.args]


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("", {"calendar", "tasks", "doctor", "budget"}),
        ("ta", {"tasks"}),
        ("tasks fi", {"finish"}),
        ("tasks create --type ", {"call", "email"}),
        ("tasks mine --cs", {"--csv"}),
        ("calendar ", {"list", "create"}),
        ("calendar --we", {"--week"}),
        ("completion ", {"bash", "zsh", "fish"}),
        ("sandbox --reset-style epoch", {"epoch_s", "epoch_ms"}),
    ],
)
def test_commands_options_and_choices_are_completed(typed: str, offered: set[str]) -> None:
    *words, incomplete = typed.split(" ")
    found = BashComplete(app, {}, "lofty-async", "_LOFTY_ASYNC_COMPLETE").get_completions(words, incomplete)
    values = {item.value for item in found}
    assert offered <= {value.lower() for value in values}  # click of 2025 offers choices as they are written
    assert all(value.startswith(incomplete) for value in values)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell: str) -> None:
    result = invoke("completion", shell)
    assert result.exit_code == 0
    assert f"_LOFTY_ASYNC_COMPLETE={shell}_complete" in result.stdout


def test_another_shell_is_refused() -> None:
    assert invoke("completion", "tcsh").exit_code == 2


@pytest.mark.skipif(not BASH, reason="bash is not installed")
def test_bash_completes_with_it(tmp_path: Path) -> None:
    command = tmp_path / "lofty-async"
    command.write_text(f"#!{sys.executable}\nfrom lofty_async.cli import main\nmain()\n")
    command.chmod(0o755)
    script = tmp_path / "script"
    script.write_text(invoke("completion", "bash").stdout)
    typed = (
        f"PATH={tmp_path}:$PATH; source {script}; COMP_WORDS=(lofty-async tasks fi); COMP_CWORD=2;"
        '_lofty_async_completion lofty-async; echo "${COMPREPLY[@]}"; complete -p lofty-async'
    )
    ended = subprocess.run([BASH, "-c", typed], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.splitlines()[0] == "finish"
    assert "-F _lofty_async_completion lofty-async" in ended.stdout
