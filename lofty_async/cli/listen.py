"""What `webhooks listen` does: take in, print, and end in order."""

import asyncio
import json
import secrets
from contextlib import aclosing, suppress
from typing import Any, Final

import click
from aiohttp import web
from attrs import frozen

from lofty_async.errors import InvalidRequestError
from lofty_async.webhooks import NoticeKind, WebhookNotice, WebhookReceiver

from .options import Form
from .output import cell, print_in_thread
from .run import Refused, run
from .server import served

PREFIX: Final = "/lofty"
LAST_LINES: Final = 5.0
"""Seconds for lines that are not printed yet when the command is told to end."""
ENTRIES: Final = (NoticeKind.TASK, NoticeKind.APPOINTMENT)


def listen(host: str, port: int, secret: str | None, form: Form) -> None:
    """Prints what is posted until a signal comes, and then what was accepted before it.

    Raises: Refused where the secret is none or the port is taken; click.exceptions.Exit where lines could not be
        printed in time; what `run` raises.
    """
    try:
        receiver = WebhookReceiver(secrets.token_urlsafe() if secret is None else secret, drain_timeout=LAST_LINES)
    except InvalidRequestError as error:
        raise Refused(str(error)) from error
    path = f"{PREFIX}/{receiver.secret if secret is None else '<your secret>'}"
    run(Listening(receiver, host, port, path, form).serve)


@frozen
class Listening:
    """A receiver served at an address; `shown_path` is what people are told to subscribe."""

    receiver: WebhookReceiver
    host: str
    port: int
    shown_path: str
    form: Form

    async def serve(self) -> None:
        app = web.Application()
        self.receiver.mount(app, PREFIX)
        async with served(app, self.host, self.port) as port:
            click.echo(f"Listening on port {port} of {self.host}; subscribe the path {self.shown_path}", err=True)
            printing = asyncio.create_task(self._print())
            with suppress(asyncio.CancelledError):  # how a signal ends it: an end in order, not a failure
                await asyncio.wait({printing})
        if not printing.done():  # nobody reads; the receiver has counted what is left
            printing.cancel()
            raise click.exceptions.Exit(1)
        await printing

    async def _print(self) -> None:
        async with aclosing(self.receiver.notices()) as notices:
            async for notice in notices:
                await print_in_thread(as_json(notice, self.form) if self.form.as_json else in_words(notice))


def in_words(notice: WebhookNotice) -> str:
    """When, the bucket, and what it is about: `2026-03-01 15:00+00:00 updatedTask task 123 lead 456`."""
    noun = notice.kind if notice.kind in ENTRIES else "entry"
    about = ((noun, notice.task_id), ("lead", notice.lead_id))
    ids = [f"{kind} {number}" for kind, number in about if number is not None]
    return " ".join([cell(notice.at) or "-", cell(notice.bucket), *(ids or [str(notice.kind)])])


def as_json(notice: WebhookNotice, form: Form) -> str:
    """One line with all fields; `raw` is null where it holds what JSON cannot, such as NaN."""
    plain = {
        "bucket": notice.bucket,
        "kind": notice.kind,
        "task_id": _id(notice.task_id, form),
        "lead_id": _id(notice.lead_id, form),
        "at": notice.at and notice.at.isoformat(),
        "raw": notice.raw,
    }
    try:
        return _dumped(plain)
    except (ValueError, RecursionError):
        return _dumped(plain | {"raw": None})


def _dumped(plain: dict[str, Any]) -> str:
    return json.dumps(plain, allow_nan=False)


def _id(number: int | None, form: Form) -> int | str | None:
    return str(number) if form.string_ids and number is not None else number
