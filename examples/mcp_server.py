"""A server of the Model Context Protocol: an assistant reads, creates and finishes tasks, within the rate limit.

    pip install lofty-async mcp
    LOFTY_API_KEY=… python mcp_server.py

Each assistant starts a server of its own; the file store makes one budget of all that run on this machine. Ids are
text, since many assistants read JSON's numbers as floats.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError

from lofty_async import AssignedRole, FileStore, LoftyClient, LoftyError, RateLimiter


@asynccontextmanager
async def lifespan(_: "MCPServer[LoftyClient]") -> AsyncGenerator[LoftyClient, None]:
    async with (
        RateLimiter(store=FileStore("my-app")) as limiter,
        LoftyClient.from_env(limiter=limiter, max_wait=30) as lofty,
    ):
        yield lofty


server = MCPServer("Lofty tasks", lifespan=lifespan)


@asynccontextmanager
async def explained() -> AsyncGenerator[None, None]:
    """Turns the SDK's errors into answers that an assistant can act on."""
    try:
        yield
    except LoftyError as error:
        raise ToolError(str(error)) from None


@server.tool()
async def my_tasks(ctx: Context[LoftyClient], limit: int = 20, *, open_only: bool = True) -> list[dict[str, Any]]:
    """The caller's tasks and appointments, newest start first."""
    found: list[dict[str, Any]] = []
    async with explained():
        async for task in ctx.request_context.lifespan_context.tasks.mine():
            if not (open_only and task.finished):
                found.append(task.to_dict(ids_as_strings=True))
            if len(found) >= limit:
                break
    return found


@server.tool()
async def tasks_of_lead(ctx: Context[LoftyClient], lead_id: str) -> list[dict[str, Any]]:
    """All tasks and appointments of a lead."""
    async with explained():
        tasks = await ctx.request_context.lifespan_context.tasks.list(int(lead_id)).collect()
    return [task.to_dict(ids_as_strings=True) for task in tasks]


@server.tool()
async def create_task(
    ctx: Context[LoftyClient], lead_id: str, content: str, due: datetime, kind: str = "Call"
) -> dict[str, str]:
    """Create a task for a lead. `due` needs an offset, such as 2026-03-01T15:00:00-08:00."""
    async with explained():
        task_id = await ctx.request_context.lifespan_context.tasks.create(
            type=kind,
            lead_id=int(lead_id),
            content=content,
            assigned_role=AssignedRole.AGENT,
            end_at=due,
            verify=True,
        )
    return {"id": str(task_id)}


@server.tool()
async def finish_task(ctx: Context[LoftyClient], task_id: str) -> str:
    """Mark a task as finished."""
    async with explained():
        await ctx.request_context.lifespan_context.tasks.finish(int(task_id))
    return "finished"


if __name__ == "__main__":
    server.run("stdio")
