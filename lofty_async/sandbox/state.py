"""The sandbox's data and its rules; no HTTP."""

import itertools
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, MutableMapping
from datetime import datetime
from typing import Any, Final, TypeVar, Unpack

from attrs import define, evolve, field

from . import times
from .entities import MEMBER_ID, Entry, EntryClass, EntryFields, EntryKind, Lead, LeadFields
from .seed import Seed

FIRST_NEW_ID = 900_000_000_000_001
MAX_CACHED_LISTS = 16

T = TypeVar("T")

SortKey = Callable[[Entry], tuple[float, int]]
Watcher = Callable[[str, Entry], None]
"""Called with an action (`created`, `updated`, `finished`, `unfinished`, `deleted`) and the entry after it."""


def newest_first(entry: Entry) -> tuple[float, int]:
    start = entry.start_at or entry.end_at or times.EPOCH
    return -start.timestamp(), -entry.id


def latest_end_first(entry: Entry) -> tuple[float, int]:
    end = entry.end_at or entry.start_at or times.EPOCH
    return -end.timestamp(), -entry.id


def aware(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields.

    Raises: ValueError naming a naive datetime.
    """
    for name, value in fields.items():
        if isinstance(value, datetime) and value.utcoffset() is None:
            raise ValueError(f"{name} must be timezone-aware, e.g. datetime.now(UTC)")
    return fields


class Leads(MutableMapping[int, Lead]):
    """All leads by id, in the order of lists; each is generated on first access."""

    def __init__(self, seed: Seed) -> None:
        self._seed = seed
        self._leads: dict[int, Lead | None] = dict.fromkeys(seed.lead_ids)
        self.version = 0
        """Increases with every change; caches of lists compare it."""

    def __getitem__(self, lead_id: int) -> Lead:
        lead = self._leads[lead_id]
        if lead is None:
            lead = self._leads[lead_id] = self._seed.lead(lead_id)
        return lead

    def __setitem__(self, lead_id: int, lead: Lead) -> None:
        self._leads[lead_id] = lead
        self.version += 1

    def __delitem__(self, lead_id: int) -> None:
        del self._leads[lead_id]
        self.version += 1

    def __iter__(self) -> Iterator[int]:
        return iter(self._leads)

    def __len__(self) -> int:
        return len(self._leads)

    def __contains__(self, lead_id: object) -> bool:
        return lead_id in self._leads

    def ids(self) -> list[int]:
        """The ids in order."""
        return list(self._leads)


class Entries(MutableMapping[int, Entry]):
    """All tasks and appointments by id; those of a lead are generated on first access."""

    def __init__(self, seed: Seed, leads: Leads) -> None:
        self._seed = seed
        self._leads = leads
        self._entries: dict[int, Entry] = {}
        self._by_lead: dict[int, dict[int, Entry]] = {}
        self.version = 0
        """Increases with every change; caches of sorted lists compare it."""

    def __getitem__(self, entry_id: int) -> Entry:
        if entry_id not in self._entries:
            self._derive(self._seed.lead_of(entry_id))
        return self._entries[entry_id]

    def __setitem__(self, entry_id: int, entry: Entry) -> None:
        if entry_id in self:
            del self._by_lead[self._entries[entry_id].lead_id][entry_id]
        self.of(entry.lead_id)
        self._entries[entry_id] = self._by_lead.setdefault(entry.lead_id, {})[entry_id] = entry
        self.version += 1

    def __delitem__(self, entry_id: int) -> None:
        entry = self[entry_id]
        del self._entries[entry_id], self._by_lead[entry.lead_id][entry_id]
        self.version += 1

    def __iter__(self) -> Iterator[int]:
        for lead_id in self._leads:
            self._derive(lead_id)
        return iter(self._entries)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def of(self, lead_id: int) -> list[Entry]:
        self._derive(lead_id)
        return list(self._by_lead.get(lead_id, {}).values())

    def _derive(self, lead_id: int | None) -> None:
        if lead_id is None or lead_id in self._by_lead or lead_id not in self._leads:
            return
        seeded = lead_id in self._seed.lead_ids
        self._by_lead[lead_id] = {entry.id: entry for entry in self._seed.entries(lead_id)} if seeded else {}
        self._entries |= self._by_lead[lead_id]


class EntriesOfKind(MutableMapping[int, Entry]):
    """A live view of the entries of one kind."""

    def __init__(self, state: "State", kind: EntryKind) -> None:
        self._state = state
        self._kind = kind

    def __getitem__(self, entry_id: int) -> Entry:
        entry = self._state.entries[entry_id]
        if entry.kind is not self._kind:
            raise KeyError(entry_id)
        return entry

    def __setitem__(self, entry_id: int, entry: Entry) -> None:
        self._state.entries[entry_id] = entry

    def __delitem__(self, entry_id: int) -> None:
        self._state.remove(self[entry_id].id)

    def __iter__(self) -> Iterator[int]:
        return (entry.id for entry in self._state.entries.values() if entry.kind is self._kind)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@define(eq=False)
class State:
    """Leads, tasks and appointments, which may be read and changed while a client pages through them.

    Records are frozen: update one with `change(id, content="…")`.
    """

    seed: Seed
    now: Callable[[], datetime]
    read_lag: Callable[[], float] = float
    """Returns the seconds for which a new entry is missing from lists, as it may be on the real server."""
    leads: Leads = field(init=False)
    """All leads by id; `leads.ids()` lists the ids in the order of lists."""
    entries: Entries = field(init=False)
    """All tasks and appointments by id; `entries.of(lead_id)` lists those of a lead."""
    tasks: EntriesOfKind = field(init=False)
    appointments: EntriesOfKind = field(init=False)
    forbidden_leads: set[int] = field(factory=set[int], init=False)
    """Leads that exist and that the caller does not manage."""
    removed: dict[int, Entry] = field(factory=dict[int, Entry], init=False, repr=False)
    watchers: list[Watcher] = field(factory=list[Watcher], init=False, repr=False)
    _cache: dict[Hashable, list[Any]] = field(factory=dict[Hashable, list[Any]], init=False, repr=False)
    _cache_version: Hashable = field(default=None, init=False)
    _new_ids: Iterator[int] = field(factory=lambda: itertools.count(FIRST_NEW_ID, 3), init=False)

    def __attrs_post_init__(self) -> None:
        self.leads = Leads(self.seed)
        self.entries = Entries(self.seed, self.leads)
        self.tasks = EntriesOfKind(self, EntryKind.TASK)
        self.appointments = EntriesOfKind(self, EntryKind.APPOINTMENT)

    def manages(self, lead_id: int) -> bool:
        return lead_id in self.leads and lead_id not in self.forbidden_leads

    def permission_modes(self, lead_id: int) -> frozenset[int]:
        """The permission modes of webhooks for a lead: 0 if it is the caller's own, 1 if the caller manages it."""
        if not self.manages(lead_id):
            return frozenset()
        return frozenset({0, 1} if self.leads[lead_id].assigned_user_id == MEMBER_ID else {1})

    def listed(self, entry: Entry) -> bool:
        """Whether lists show the entry yet."""
        lag = self.read_lag()
        return lag <= 0 or (self.now() - entry.created_at).total_seconds() >= lag

    def sorted_entries(self, key: SortKey) -> list[Entry]:
        """All entries in this order; the caller must not change the list."""
        return self.cached(key, lambda: sorted(self.entries.values(), key=key))

    def cached(self, key: Hashable, make: Callable[[], list[T]]) -> list[T]:
        """The list that `make` returns, kept until the data changes, so that later pages cost little.

        The list may depend on leads, entries and permissions, but not on the time.
        """
        version = self.entries.version, self.leads.version, frozenset(self.forbidden_leads)
        if version != self._cache_version or len(self._cache) >= MAX_CACHED_LISTS:
            self._cache, self._cache_version = {}, version
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]

    def visible(
        self, key: Hashable, find: Callable[[], Iterable[Entry]], hidden: Collection[EntryClass]
    ) -> list[Entry]:
        """Those of the found entries that a list shows which hides these classes; cached under `key` and `hidden`."""
        of_class = [_OF_CLASS[one] for one in hidden]
        found = self.cached(
            (key, frozenset(hidden)),
            lambda: [entry for entry in find() if not any(is_in(self, entry) for is_in in of_class)],
        )
        return found if self.read_lag() <= 0 else [entry for entry in found if self.listed(entry)]

    def add_lead(self, **fields: Unpack[LeadFields]) -> Lead:
        """Adds a lead with any fields of `Lead`; defaults for the others.

        Raises: ValueError for a naive datetime; TypeError for an unknown field.
        """
        lead = Lead(**self._new_fields({**fields}))
        self.leads[lead.id] = lead
        return lead

    def remove_lead(self, lead_id: int) -> None:
        """Removes the lead and all its entries."""
        for entry in self.entries.of(lead_id):
            self.remove(entry.id)
        del self.leads[lead_id]

    def add_task(self, lead_id: int, **fields: Unpack[EntryFields]) -> Entry:
        """Adds a task with any fields of `Entry`; id and times have defaults.

        Raises: ValueError for a lead that does not exist and for a naive datetime; TypeError for an unknown field.
        """
        self._check_lead(lead_id)
        entry = Entry(**self._new_fields({"lead_id": lead_id, **fields}))
        self.entries[entry.id] = entry
        self._notify("created", entry)
        return entry

    def add_appointment(self, lead_id: int, **fields: Unpack[EntryFields]) -> Entry:
        """As `add_task`, for an appointment."""
        kind: dict[str, Any] = {"kind": EntryKind.APPOINTMENT, "type": "Appointment", **fields}
        return self.add_task(lead_id, **kind)

    def change(self, entry_id: int, *, event: str = "updated", **fields: Any) -> Entry:
        """Changes any fields of an entry.

        Raises: KeyError if there is none with this id; otherwise as `add_task`.
        """
        changes: dict[str, Any] = {"updated_at": self.now()} | aware(fields)
        changed = evolve(self.entries[entry_id], **changes)
        self._check_lead(changed.lead_id)
        self.entries[entry_id] = changed
        self._notify(event, changed)
        return changed

    def finish(self, entry_id: int) -> Entry:
        """Finishes an entry; a second finish keeps the first time."""
        finished_at = self.entries[entry_id].finished_at or self.now()
        return self.change(entry_id, event="finished", finished_at=finished_at)

    def unfinish(self, entry_id: int) -> Entry:
        """Opens an entry again."""
        return self.change(entry_id, event="unfinished", finished_at=None)

    def remove(self, entry_id: int) -> Entry:
        """Removes a task or appointment and keeps the record in `removed`."""
        entry = self.removed[entry_id] = self.entries[entry_id]
        del self.entries[entry_id]
        self._notify("deleted", entry)
        return entry

    def _check_lead(self, lead_id: int) -> None:
        if lead_id not in self.leads:
            raise ValueError(f"there is no lead {lead_id!r}: add_lead() makes one, leads.ids() lists them")

    def _new_fields(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields, with defaults for id and times."""
        defaults = {"id": next(self._new_ids), "created_at": self.now(), "updated_at": self.now()}
        return defaults | aware(fields)

    def _notify(self, event: str, entry: Entry) -> None:
        for watcher in self.watchers:
            watcher(event, entry)


_OF_CLASS: Final[Mapping[EntryClass, Callable[[State, Entry], bool]]] = {
    EntryClass.FINISHED: lambda _, entry: entry.finished,
    EntryClass.APPOINTMENTS: lambda _, entry: entry.kind is EntryKind.APPOINTMENT,
    EntryClass.UNDATED: lambda _, entry: entry.start_at is None and entry.end_at is None,
    EntryClass.OTHERS: lambda _, entry: entry.assigned_user_id != MEMBER_ID,
    EntryClass.UNMANAGED: lambda state, entry: not state.manages(entry.lead_id),
}
