"""Leads (`/v1.0/leads`)."""

import inspect
from collections.abc import Callable
from inspect import Parameter
from typing import Final, ParamSpec, TypedDict, TypeVar, Unpack

from attrs import frozen

from lofty_async import _checks
from lofty_async._checks import OnBadRecord
from lofty_async._strategies import OffsetPages
from lofty_async._wire import Route
from lofty_async.models import Lead
from lofty_async.pagination import Pager

from ._base import Caller

P = ParamSpec("P")
T = TypeVar("T")

LIST: Final = Route("GET", "/v1.0/leads")


class LeadFilters(TypedDict, total=False):
    """Filters of leads; several are combined with "and"."""

    stage: str
    source: str
    phone: str
    email: str
    assigned_user_id: int
    contacted: bool
    groups: str
    segments: str
    all_tags: str
    any_tags: str
    group_ids: int
    query_sub_group: bool
    sort: str
    desc: bool
    languages: str
    precise_search_flag: bool
    role_assignee_filters: str
    key: str
    other_filters: str
    return_fields: str


def _names_filters(method: Callable[P, T]) -> Callable[P, T]:
    """Write each filter into the method's signature, so that a mock made from it refuses others too."""
    signature = inspect.signature(method)
    named = [parameter for parameter in signature.parameters.values() if parameter.kind is not Parameter.VAR_KEYWORD]
    filters = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=_checks.UNSET, annotation=kind)
        for name, kind in LeadFilters.__annotations__.items()
    ]
    method.__dict__["__signature__"] = signature.replace(parameters=[*named, *filters])
    return method


@frozen(eq=False, repr=False)
class Leads:
    """The calls on leads."""

    _caller: Caller

    @_names_filters
    def list(
        self,
        *,
        page_size: int = 100,
        offset: int = 0,
        scroll: bool = False,
        prefetch: int = 1,
        on_bad_record: OnBadRecord | None = None,
        **filters: Unpack[LeadFilters],
    ) -> Pager[Lead]:
        """The leads that the caller may see and that pass the filters.

        `page_size` is 1 to 100. `offset` is the number of leads to skip at the start. With `scroll`, pages follow the
        server's scroll id instead of an offset, where it hands one out.

        Leads that stay where they are while the list is read are yielded once, whatever is added or deleted meanwhile.
        Pages by scroll id do not overlap: if the server's ids are plain offsets, deletions then hide leads.

        Raises: InvalidRequestError if an argument is out of its range or a filter is unknown.
        """
        query = _checks.query(**_checks.filters("leads", LeadFilters, filters))
        strategy = OffsetPages(
            model=Lead,
            request=LIST.label,
            at=("leads",),
            page_size=_checks.within("page_size", page_size, 1, 100),
            start=_checks.within("offset", offset, 0, _checks.LARGEST_ID),
            scroll=_checks.flag("scroll", scroll),
        )
        return self._caller.pager(LIST, strategy, query, on_bad_record, prefetch=prefetch)
