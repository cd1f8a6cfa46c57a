"""Leads and entries generated from a seed, each lead on its own, so that only what is read is generated."""

import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import frozen

from .entities import ABSENT, LENDER_ID, MEMBER_ID, OFFICES, Entry, EntryKind, Lead
from .times import TimeStyle, zone

FIRST_NAMES = ("Alice", "Bilal", "Chloë", "Dmitri", "Eun-ji", "Faridah", "Gonçalo", "Hana", "Íñigo", "李")
LAST_NAMES = (
    "Johnson",
    "Ødegård",
    "Nakamura",
    "O'Neill",
    "Çelik",
    "Müller",
    "Papadopoulos",
    "García",
    "Smith",
)
STAGES = ("New Leads", "Hot", "Nurture", "Under Contract", "Closed")
SOURCES = ("Website", "Open House", "Referral", "Portal")
TAGS = ("vip", "open house", "relocation")
SEGMENTS = ("First-Time Buyers", "Downtown Area")
LANGUAGES = ("en", "en", "es", "zh")
ZONES = ("America/Los_Angeles", "America/New_York", "America/Chicago", "Asia/Kolkata", "UTC")
WAYS = ("Call", "Email", "Text", "Other")
WORK = ("Call back about the viewing", "Send the pre-approval letter", "Ask for the floor plan", "Follow up")
BEYOND_DOUBLES = 2**53 + 1
"""The first integer that a double cannot hold: readers that parse JSON numbers as floats corrupt it."""
UNICODE = "Überraschung 🏡 für 李先生\n\t\u05e9\u05dc\u05d5\u05dd “quoted” \\ \u2028end"
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)

QUIRKS: tuple[Mapping[str, Any], ...] = (
    {},
    {"time_style": TimeStyle.GMT},
    {"smart_plan": True, "query_id": BEYOND_DOUBLES, "quirks": {"queryInfo": "plan=welcome;step=2"}},
    {"finished_at": -5 * HOUR, "updated_at": -5 * HOUR},
    {"type": "Email", "subject": "Listings in Austin", "body": "<p>Two &amp; a plan.</p>"},
    {"start_at": -72 * HOUR, "end_at": -71 * HOUR},  # overdue
    {"time_style": TimeStyle.ZULU},
    {"content": UNICODE},
    {  # no start
        "start_at": None,
        "quirks": {"startAt": ABSENT, "finishTime": None, "subject": None, "body": None, "address": None},
    },
    {"reminder_type": -1, "quirks": {"pipelineId": -1, "queryId": 0, "leadUserId": -1}},  # numbers for none
    {"type": "Handwritten Note", "assigned_role": "Lender"},  # outside the vocabulary
    {  # no time at all
        "start_at": None,
        "end_at": None,
        "time_zone": None,
        "quirks": {"startAt": "", "endAt": None, "timeZoneCode": "", "leadEmail": "", "finishTime": ABSENT},
    },
    {"quirks": {"aiSummary": {"score": 0.5, "tags": []}, "leadFirstName": ABSENT}},  # a field not documented yet
)
"""The fields in which a task differs from a plain one, times relative to the seed's origin.

They are assigned in turn to the tasks of all leads, so that a few leads have them all.
"""

LEAD_QUIRKS: tuple[Mapping[str, Any], ...] = (
    {},
    {"lastTouch": "", "birthday": None, "pondId": 0},
    {"emails": [], "phones": None, "lenderUserId": -1},
    {"tags": ABSENT, "segments": ABSENT, "leadTypes": [-1], "assignTime": None},
)


@frozen
class Seed:
    """Generates leads, each with its tasks and appointments; the same seed and day give the same data.

    Ids have fifteen digits, and the index of a lead can be computed from its own and those of its entries.
    """

    leads: int
    tasks_per_lead: int
    appointments_per_lead: int
    seed: int
    origin: datetime
    """The midnight (UTC) to which all times are relative."""

    @property
    def lead_ids(self) -> range:
        first = 563_000_000_000_000 + self._base
        return range(first, first + 7 * self.leads, 7)

    def lead_of(self, entry_id: int) -> int | None:
        """The lead to which the seed gives this entry, if there is one."""
        index = (entry_id - self._first_entry) // self._stride
        return self.lead_ids[index] if 0 <= index < self.leads else None

    @property
    def _base(self) -> int:
        return self.seed % 1000 * 100_000_000_000

    @property
    def _first_entry(self) -> int:
        return 731_000_000_000_000 + self._base

    @property
    def _stride(self) -> int:
        """The distance between the first entries of two leads."""
        return max(1000, self.tasks_per_lead + self.appointments_per_lead)

    def lead(self, lead_id: int) -> Lead:
        rng = random.Random(f"{self.seed}:{lead_id}:lead")
        index = self.lead_ids.index(lead_id)
        return Lead(
            id=lead_id,
            first_name=rng.choice(FIRST_NAMES),
            last_name=rng.choice(LAST_NAMES),
            email=f"lead{index}@example.com",
            phone=f"+1415{5_550_000 + index % 10_000:07}",
            stage=rng.choice(STAGES),
            source=rng.choice(SOURCES),
            created_at=self._before(rng, 900, DAY),
            updated_at=self._before(rng, 20, HOUR),
            user_id=BEYOND_DOUBLES + 2 * index,
            score=rng.randrange(-1, 100),
            quirks=LEAD_QUIRKS[index % len(LEAD_QUIRKS)],
            **self._history(rng),
        )

    def _history(self, rng: random.Random) -> dict[str, Any]:
        """The fields that change while agents work with a lead."""
        touched, visited = self._before(rng, 2000, HOUR), self._before(rng, 2000, HOUR)
        return {
            "assigned_at": self._before(rng, 50_000, MINUTE),
            "tags": tuple(rng.sample(TAGS, rng.randrange(3))),
            "segments": tuple(rng.sample(SEGMENTS, rng.randrange(3))),
            "language": rng.choice(LANGUAGES),
            "office_id": rng.choice((None, *OFFICES)),
            "lender_user_id": rng.choice((None, LENDER_ID)),
            "custom_roles": rng.choice(({}, {"Coordinator": MEMBER_ID})),
            "last_touch": rng.choice((None, touched)),
            "last_visit": rng.choice((None, visited)),
        }

    def _before(self, rng: random.Random, most: int, unit: timedelta) -> datetime:
        return self.origin - rng.randrange(1, most) * unit

    def entries(self, lead_id: int) -> Iterator[Entry]:
        rng = random.Random(f"{self.seed}:{lead_id}:entries")
        index = self.lead_ids.index(lead_id)
        first = self._first_entry + index * self._stride
        for number in range(self.tasks_per_lead):
            quirk = QUIRKS[(index * self.tasks_per_lead + number) % len(QUIRKS)]
            times = {name: self.origin + value for name, value in quirk.items() if isinstance(value, timedelta)}
            fields: dict[str, Any] = {**self._fields(rng, first + number, lead_id), **quirk, **times}
            yield Entry(**fields)
        for number in range(self.tasks_per_lead, self.tasks_per_lead + self.appointments_per_lead):
            yield self._appointment(rng, first + number, lead_id)

    def _fields(self, rng: random.Random, entry_id: int, lead_id: int) -> dict[str, Any]:
        """The fields of a plain task."""
        code = rng.choice(ZONES)
        start = self._moment(code, hours=rng.randrange(24, 24 * 60))
        return {
            "id": entry_id,
            "lead_id": lead_id,
            "type": rng.choice(WAYS),
            "content": rng.choice(WORK),
            "start_at": start,
            "end_at": start + HOUR,
            "time_zone": code,
            "created_at": self.origin - rng.randrange(48, 2000) * HOUR,
            "updated_at": self._before(rng, 48, HOUR),
            "assigned_role": rng.choice(("Agent", "Agent", "Assistant")),
        }

    def _appointment(self, rng: random.Random, entry_id: int, lead_id: int) -> Entry:
        fields = self._fields(rng, entry_id, lead_id)
        fields |= {"kind": EntryKind.APPOINTMENT, "type": "Appointment", "content": "Viewing"}
        if rng.random() < 0.25:  # all day
            start = fields["start_at"].replace(hour=0, minute=0, second=0)
            fields |= {"start_at": start, "end_at": start + DAY}
        return Entry(**fields, address=rng.choice(("12 Main St, Austin, TX", "", "Rua Augusta 1º, Lisboa")))

    def _moment(self, code: str, hours: int) -> datetime:
        return (self.origin + hours * HOUR).astimezone(zone(code) or UTC)
