"""A FastAPI application: a lead's tasks, a new task, and a bulk job beside them.

    pip install lofty-async fastapi uvicorn
    LOFTY_API_KEY=… uvicorn fastapi_app:app

http://127.0.0.1:8000/docs then shows what it answers.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from math import ceil
from typing import Annotated, TypedDict

from fastapi import Depends, FastAPI, Request, status
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, BaseModel

from lofty_async import (
    AmbiguousWriteError,
    AssignedRole,
    InvalidRequestError,
    LoftyClient,
    LoftyError,
    NotFoundError,
    RateLimitedError,
    RateLimitWaitError,
    Task,
    TaskType,
)
from lofty_async.mirror import Mirror, SqliteDatabase, SyncReport

log = logging.getLogger(__name__)


class BulkJob:
    """Copies all tasks into an SQLite file, one run at a time, beside interactive calls."""

    def __init__(self, lofty: LoftyClient, path: str) -> None:
        self._lofty, self._path = lofty, path
        self._task: asyncio.Task[None] | None = None
        self.report = SyncReport()

    @property
    def is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Begin a run, unless one is under way."""
        if not self.is_running:
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End the run. What it has read is kept, and the next one goes on from there."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        try:
            async with SqliteDatabase(self._path) as database:
                self.report = await Mirror(self._lofty, database).sync(on_progress=self._note)
        except LoftyError:
            log.exception("the bulk job failed; the next one goes on from there")

    def _note(self, report: SyncReport) -> None:
        self.report = report


class State(TypedDict):
    """The objects that live as long as the application."""

    lofty: LoftyClient
    job: BulkJob


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[State, None]:
    # Nobody waits for a page longer than this; the bulk job waits as long as it has to.
    async with LoftyClient.from_env(max_wait=2.0) as lofty:
        job = BulkJob(lofty, os.environ.get("TASKS_DB", "tasks.sqlite"))
        try:
            yield {"lofty": lofty, "job": job}
        finally:
            await job.stop()


def client(request: Request) -> LoftyClient:
    lofty: LoftyClient = request.state.lofty
    return lofty


def bulk_job(request: Request) -> BulkJob:
    job: BulkJob = request.state.job
    return job


Lofty = Annotated[LoftyClient, Depends(client)]
Job = Annotated[BulkJob, Depends(bulk_job)]

app = FastAPI(lifespan=lifespan)


class NewTask(BaseModel):
    """The body of a request for a new task; `end_at` needs an offset."""

    content: str
    end_at: AwareDatetime
    type: str = TaskType.CALL


class Created(BaseModel):
    """An id as text: the numbers of JavaScript lose its last digits."""

    id: str


class Progress(BaseModel):
    """How far the bulk job is."""

    leads: int
    total: int | None
    tasks: int
    running: bool
    complete: bool


@app.get("/leads/{lead_id}/tasks")
async def tasks(lead_id: int, lofty: Lofty, *, due_before: AwareDatetime | None = None) -> list[Task]:
    """The open tasks of a lead."""
    found = [task for task in await lofty.tasks.list(lead_id).collect() if not task.finished]
    return [task for task in found if due_before is None or (task.end_at and task.end_at < due_before)]


@app.post("/leads/{lead_id}/tasks", status_code=status.HTTP_201_CREATED)
async def create(lead_id: int, task: NewTask, lofty: Lofty) -> Created:
    """A new task, created once whatever happens to the response of Lofty."""
    created = await lofty.tasks.create(
        type=task.type,
        lead_id=lead_id,
        content=task.content,
        assigned_role=AssignedRole.AGENT,
        end_at=task.end_at,
        verify=True,
    )
    return Created(id=str(created))


@app.post("/sync", status_code=status.HTTP_202_ACCEPTED)
async def start_sync(job: Job) -> Progress:
    """Start the bulk job, unless it runs."""
    job.start()
    return await progress(job)


@app.get("/sync")
async def progress(job: Job) -> Progress:
    """How far the bulk job is."""
    report = job.report
    return Progress(
        leads=report.leads,
        total=report.total,
        tasks=report.tasks,
        running=job.is_running,
        complete=report.complete,
    )


@app.exception_handler(LoftyError)
async def explain(_: Request, error: Exception) -> JSONResponse:
    """One place that turns the SDK's errors into answers; texts of the server stay in the log."""
    match error:
        case NotFoundError():
            return JSONResponse({"detail": "no such record"}, status.HTTP_404_NOT_FOUND)
        case InvalidRequestError(argument=argument):  # the name of what was wrong, where it was refused unsent
            detail = error.message if argument else "refused by Lofty"
            return JSONResponse({"detail": detail, "argument": argument}, status.HTTP_422_UNPROCESSABLE_CONTENT)
        case RateLimitWaitError(predicted=seconds):
            headers = {"Retry-After": str(max(1, ceil(seconds)))}
            return JSONResponse({"detail": "busy"}, status.HTTP_503_SERVICE_UNAVAILABLE, headers)
        case RateLimitedError():
            return JSONResponse({"detail": "busy"}, status.HTTP_503_SERVICE_UNAVAILABLE, {"Retry-After": "60"})
        case AmbiguousWriteError():
            return JSONResponse({"detail": "the task may exist: look before trying again"}, status.HTTP_409_CONFLICT)
        case _:
            return JSONResponse({"detail": "Lofty failed"}, status.HTTP_502_BAD_GATEWAY)
