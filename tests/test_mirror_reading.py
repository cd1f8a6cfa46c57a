from collections.abc import AsyncIterator

import pytest

from lofty_async.client import LoftyClient
from lofty_async.errors import ClientClosedError, DecodeError, InvalidRequestError, NotFoundError
from lofty_async.mirror.reading import LeadReader, UnreadTasksError
from lofty_async.sandbox import Sandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(leads=1, tasks_per_lead=3, appointments_per_lead=0) as running:
        yield running


@pytest.fixture
async def reader(sandbox: Sandbox) -> AsyncIterator[LeadReader]:
    async with LoftyClient(sandbox.auth, base_url=sandbox.url) as client:
        yield LeadReader(client)


@pytest.mark.parametrize(
    ("record_ids", "ids"),
    [
        ((1,), {1}),
        ((1, "2"), {1, 2}),
        ((1, None), None),
        (("x",), None),
        (("²",), None),
        ((-1,), None),
    ],
)
def test_the_tasks_that_are_unread_are_known_by_their_ids(
    record_ids: tuple[int | str | None, ...], ids: set[int] | None
) -> None:
    assert UnreadTasksError.of([DecodeError("bad", record_id=id) for id in record_ids]).ids == ids


def test_the_first_of_several_is_told() -> None:
    assert str(UnreadTasksError.of([DecodeError("a")])) == "a"
    assert str(UnreadTasksError.of([DecodeError("a"), DecodeError("b"), DecodeError("c")])) == "a, and 2 more"


async def test_a_lead_is_read_whole(sandbox: Sandbox, reader: LeadReader) -> None:
    (lead_id,) = sandbox.state.leads
    lead = await reader.read(lead_id)
    assert (lead.lead_id, len(lead.tasks), lead.error) == (lead_id, 3, None)


@pytest.mark.parametrize("quirks", [{"createTime": "rubbish"}, {"id": 2**63}, {"id": "?"}])
async def test_what_can_be_read_is_read(sandbox: Sandbox, reader: LeadReader, quirks: dict[str, object]) -> None:
    (lead_id,) = sandbox.state.leads
    sandbox.state.change(sandbox.state.entries.of(lead_id)[0].id, quirks=quirks)
    lead = await reader.read(lead_id)
    assert len(lead.tasks) == 2
    assert isinstance(lead.error, UnreadTasksError)


async def test_a_lead_that_fails_is_a_value(reader: LeadReader) -> None:
    assert isinstance((await reader.read(7)).error, NotFoundError)
    assert isinstance((await reader.read(2**63)).error, InvalidRequestError)


async def test_a_closed_client_ends_the_run(reader: LeadReader) -> None:
    await reader.client.close()
    with pytest.raises(ClientClosedError):
        await reader.read(7)
