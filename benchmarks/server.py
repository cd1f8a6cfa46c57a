"""A server that answers at once from what it has ready, so that the client's side is what gets measured.

It speaks just enough HTTP/1.1 for that: GET, keep-alive, pipelining, and the API's rate limit headers with a limit
that never binds. Run as a process of its own by `serving`.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from functools import cache
from itertools import cycle
from math import ceil
from typing import cast
from urllib.parse import parse_qs, urlsplit

from benchmarks.conversion import lacking_page, sparse_page, task_page
from benchmarks.harness import ROOT

LIMIT = 1_000_000
WINDOW = 60
PAGE = 100
LEAD_WITH_ONE, LEAD_WITH_PAGE, LEAD_WITH_FRESH_PAGES = 1, 100, 101
# Records without one of their keys, and without those that would hold null or "".
LEAD_LACKING_ONE, LEAD_WITH_PAGE_LACKING, LEAD_WITH_PAGE_SPARSE = 2, 102, 103
FRESH_PAGES = 60
CALENDAR_START, MINUTE = datetime(2030, 1, 1, tzinfo=UTC), timedelta(minutes=1)
ENTRY = '{"id":"%d-task","type":"TASK","content":"Ring","leadId":7,"startAt":"%s","finishFlag":false}'
HEAD = (
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nDate: {date}\r\n"
    "X-RateLimit-Limit: {limit}\r\nX-RateLimit-Remaining: {remaining}\r\nX-RateLimit-Reset: {reset}\r\n\r\n"
)


@cache
def date_header(second: int) -> str:
    return formatdate(second, usegmt=True)


def task_list(count: int, page: bytes | None = None) -> bytes:
    """The first records of a page, as a lead's tasks."""
    records = json.loads(page or task_page(0))["records"][:count]
    return json.dumps({"tasks": records}, separators=(",", ":")).encode()


class Bodies:
    """The answer at each address: a lead's tasks, and pages of as many tasks of one's own as are wanted."""

    def __init__(self, tasks: int) -> None:
        self._tasks = tasks
        self._of_lead = {
            LEAD_WITH_ONE: task_list(1),
            LEAD_LACKING_ONE: task_list(1, lacking_page(0)),
            LEAD_WITH_PAGE: task_list(PAGE),
            LEAD_WITH_PAGE_LACKING: task_list(PAGE, lacking_page(0)),
            LEAD_WITH_PAGE_SPARSE: task_list(PAGE, sparse_page(0)),
        }
        self._fresh = cycle([task_list(PAGE, task_page(number)) for number in range(1, FRESH_PAGES + 1)])
        self._record = self._template()

    def at(self, target: str) -> bytes:
        address = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        if address.path == "/v2.0/tasks/my-tasks":
            return self._mine(int(query["currentId"]), int(query["limit"]))
        if address.path == "/v2.0/calendar":
            return self._calendar(query["startTime"], int(query["page"]), int(query["pageSize"]))
        lead_id = int(query["leadId"])
        if lead_id == LEAD_WITH_FRESH_PAGES:
            return next(self._fresh)
        return self._of_lead.get(lead_id, self._of_lead[LEAD_WITH_ONE])

    def _mine(self, after: int, limit: int) -> bytes:
        ids = range(after + 1, min(after + limit, self._tasks) + 1)
        records = b",".join(self._record[number % PAGE] for number in ids)
        return b'{"tasks":[' + records % tuple(ids) + b"]}"

    def _calendar(self, since: str, page: int, size: int) -> bytes:
        """As many entries as tasks, one a minute."""
        first = max(0, ceil((datetime.fromisoformat(since) - CALENDAR_START) / MINUTE))
        numbers = range(first, self._tasks)[page * size :][:size]
        entries = (ENTRY % (number, (CALENDAR_START + number * MINUTE).isoformat()) for number in numbers)
        told = f'{{"data":{{"total":{self._tasks - first},"page":{page},"pageSize":{size},"items":['
        return (told + ",".join(entries) + "]}}").encode()

    @staticmethod
    def _template() -> list[bytes]:
        records = json.loads(task_list(PAGE))["tasks"]
        marked = (json.dumps(record | {"id": "ID"}, separators=(",", ":")) for record in records)
        return [text.replace("%", "%%").replace('"ID"', "%d").encode() for text in marked]


class Replies:
    """Heads and bodies, counted in windows that begin with the clock's minutes."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies, self._window, self._spent = bodies, 0, 0

    def to(self, target: str) -> bytes:
        body, now = self._bodies.at(target), int(time.time())
        window = now // WINDOW
        self._spent = self._spent + 1 if window == self._window else 1
        self._window = window
        head = HEAD.format(
            length=len(body),
            date=date_header(now),
            limit=LIMIT,
            remaining=LIMIT - self._spent,
            reset=(window + 1) * WINDOW,
        )
        return head.encode() + body


class Connection(asyncio.Protocol):
    """Answers each request on one connection, `delay` seconds after it came."""

    def __init__(self, replies: Replies, delay: float) -> None:
        self._replies, self._delay = replies, delay
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        *requests, self._unread = (self._unread + data).split(b"\r\n\r\n")
        for request in requests:
            self._answer(self._replies.to(request.split(b" ", 2)[1].decode()))

    def _answer(self, reply: bytes) -> None:
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, self._transport.write, reply)
        else:
            self._transport.write(reply)


async def serve(tasks: int, delay: float) -> None:
    """Serve until the process is ended; the first line on stdout is the port."""
    replies = Replies(Bodies(tasks))
    server = await asyncio.get_running_loop().create_server(lambda: Connection(replies, delay), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def serving(*, tasks: int = PAGE, delay: float = 0.0) -> Generator[str]:
    """The URL of a server with so many tasks of one's own, as long as the context lasts."""
    command = [sys.executable, "-m", "benchmarks.server", "--tasks", str(tasks), "--delay", str(delay)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:  # noqa: S603 - this module
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=PAGE)
    parser.add_argument("--delay", type=float, default=0.0)
    options = parser.parse_args()
    asyncio.run(serve(options.tasks, options.delay))
