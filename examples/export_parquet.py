"""All tasks as a pandas table and a Parquet file: ids exact, times in UTC, what is absent as `<NA>`.

    pip install lofty-async pandas pyarrow
    LOFTY_API_KEY=… python export_parquet.py tasks.parquet

Editors that know `# %%` run it cell by cell, as a notebook.
"""

# %% Read every lead's tasks
import asyncio
import sys
import typing
from collections.abc import Sequence
from datetime import datetime
from types import NoneType

import attrs
import pandas as pd

from lofty_async import LoftyClient, Task


async def read_all() -> list[Task]:
    async with LoftyClient.from_env() as lofty:
        leads = (lead.id async for lead in lofty.leads.list())
        tasks: list[Task] = []
        async with lofty.tasks.for_leads(leads) as run:
            async for lead in run:
                if lead.error:
                    print(f"lead {lead.lead_id}: {lead.error}", file=sys.stderr)
                tasks += lead.tasks
    return tasks


# %% Make a table of them
def table_of(tasks: Sequence[Task]) -> pd.DataFrame:
    """A column per field, with pandas' nullable types: as floats, 64-bit ids would lose their last digits."""
    types = typing.get_type_hints(Task)
    return pd.DataFrame(
        {one.name: column([getattr(task, one.name) for task in tasks], types[one.name]) for one in attrs.fields(Task)}
    )


def column(values: list[object], annotation: object) -> "pd.Series[typing.Any]":
    kinds = [kind for kind in typing.get_args(annotation) or (annotation,) if kind is not NoneType]
    if kinds == [int]:
        return pd.Series(values, dtype="Int64")
    if kinds == [bool]:
        return pd.Series(values, dtype="boolean")
    if kinds == [datetime]:
        return pd.Series(pd.to_datetime(pd.Series(values, dtype="object"), utc=True))
    return pd.Series([None if value is None else str(value) for value in values], dtype="string")


# %% Write it, and look at it
def main(path: str) -> None:
    table = table_of(asyncio.run(read_all()))
    table.to_parquet(path, index=False)
    print(f"{len(table)} tasks in {path}")
    print(table.groupby(["type", "finished"]).size().to_string())


if __name__ == "__main__":
    main(sys.argv[1])
