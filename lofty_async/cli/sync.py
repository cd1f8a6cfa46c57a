"""The command that keeps a local copy."""

from collections.abc import Iterable
from contextlib import suppress
from os.path import realpath
from pathlib import Path
from typing import IO, Final

import click

from .options import LEAD_ID, OUTPUT, OUTPUT_NAMES, Places, Target, targeted

FILE = click.Path(dir_okay=False, path_type=Path)
LINES = click.File(encoding="utf-8-sig")
DEFAULT_DB = Path("tasks.sqlite")
LONGEST_ID: Final = 19
"""Digits of 64 bits."""
SHOWN: Final = 40
"""Characters of a line that is no id."""


@click.command()
@click.option("--db", type=FILE, metavar="FILE", help="SQLite file; tasks.sqlite unless --jsonl is given.")
@click.option("--jsonl", type=FILE, metavar="FILE", help="Text file, one JSON object a line; - for standard output.")
@click.option("--lead", "leads", type=LEAD_ID, multiple=True, metavar="ID", help="Only this lead; repeatable.")
@click.option("--leads-file", type=LINES, metavar="FILE", help="Only leads listed here, one id a line.")
@click.option("--concurrency", type=click.IntRange(1), default=32, show_default=True, help="Leads at a time.")
@click.option("--resume", is_flag=True, help="Skip leads that an unfinished run has read within 6 hours.")
@click.option("--string-ids", is_flag=True, help="Ids as strings in JSON, for JavaScript.")
@click.option("--json", "as_json", is_flag=True, help="End with one JSON object for programs.")
@targeted
@click.pass_context
def sync(
    context: click.Context,
    *,
    db: Path | None,
    jsonl: Path | None,
    leads: tuple[int, ...],
    leads_file: IO[str] | None,
    concurrency: int,
    target: Target,
    resume: bool,
    string_ids: bool,
    as_json: bool,
) -> None:
    """Read the tasks of all leads, or of some, into a file.

    The SQLite file's table `tasks` is made equal to what the API has: running this again leaves no duplicates and
    removes what is gone. Leads that fail keep what the file has of them and are named; the exit code is then 1. Leads
    that are not asked for keep what the file has of them too. An interrupted run keeps what it fetched, and --resume
    goes on from there; after a run that reached its end it reads the leads that failed.

    Times in the table are UTC, such as 2026-03-01 23:00:00, and compare as text: WHERE end_at < datetime('now').

    The text file is written to FILE.partial and renamed to FILE at the end, unless all leads failed. On standard output
    (-) tasks appear as they are read, and the report goes to standard error. New files are readable by their owner
    alone.
    """
    jsonl = OUTPUT if str(jsonl) in OUTPUT_NAMES else jsonl
    if db is not None and str(db) in OUTPUT_NAMES:
        raise click.UsageError("--db needs a file; --jsonl - writes to standard output")
    if resume and jsonl is not None:
        raise click.UsageError("--resume goes on with an SQLite file; --jsonl is written anew by every run")
    if db is not None and jsonl is not None and jsonl != OUTPUT and is_same_file(db, jsonl):
        raise click.UsageError("--db and --jsonl name the same file")
    lead_ids = chosen(leads, leads_file)
    from .job import Job, Plan  # noqa: PLC0415 - keeps `--help` fast

    plan = Plan(
        places=Places(db=db if db or jsonl else DEFAULT_DB, jsonl=jsonl),
        lead_ids=lead_ids,
        concurrency=concurrency,
        resume=resume,
        string_ids=string_ids,
        as_json=as_json,
    )
    context.exit(Job(plan, target).run())


def chosen(leads: tuple[int, ...], file: Iterable[str] | None) -> list[int] | None:
    """The ids of the leads asked for; `None` for all of them.

    Raises: click.UsageError where both ways are used; click.BadParameter naming the line that is no id, or where the
    file has no id at all.
    """
    if leads and file is not None:
        raise click.UsageError("--lead and --leads-file exclude each other")
    if file is None:
        return list(leads) or None
    try:
        ids = [_lead_id(text, number) for number, line in enumerate(file, 1) if (text := _text(line))]
    except UnicodeDecodeError as error:
        raise click.BadParameter("is not text in UTF-8", param_hint="--leads-file") from error
    if not ids:
        raise click.BadParameter("the file lists no lead id", param_hint="--leads-file")
    return ids


def is_same_file(db: Path, jsonl: Path) -> bool:
    """Whether both are one file, or would be while the text file grows, by whatever names."""
    place = Path(realpath(jsonl))
    return any(_is_same(db, path) for path in (place, place.with_name(f"{place.name}.partial")))


def _is_same(one: Path, other: Path) -> bool:
    with suppress(OSError):  # one of them does not exist yet
        return one.samefile(other)
    return realpath(one) == realpath(other)


def _text(line: str) -> str:
    return line.partition("#")[0].strip()


def _lead_id(text: str, number: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= LONGEST_ID and int(text)):
        raise click.BadParameter(f"line {number}: {text[:SHOWN]!r} is no lead id", param_hint="--leads-file")
    return int(text)
