"""Leads and entries made up from a seed: each lead's data is derived alone, when it is first asked for."""

import random
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import define, evolve, field, frozen

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
"""The first integer that a double cannot hold: readers that take JSON numbers for floats lose it."""

Quirk = Callable[[Entry, datetime], Entry]


def _plain(entry: Entry, _origin: datetime) -> Entry:
    return entry


def _gmt(entry: Entry, _origin: datetime) -> Entry:
    return evolve(entry, time_style=TimeStyle.GMT)


def _zulu(entry: Entry, _origin: datetime) -> Entry:
    return evolve(entry, time_style=TimeStyle.ZULU)


def _no_start(entry: Entry, _origin: datetime) -> Entry:
    quirks = {"startAt": ABSENT, "finishTime": None, "subject": None, "body": None, "address": None}
    return evolve(entry, start_at=None, quirks=quirks)


def _timeless(entry: Entry, _origin: datetime) -> Entry:
    quirks = {"startAt": "", "endAt": None, "timeZoneCode": "", "leadEmail": "", "finishTime": ABSENT}
    return evolve(entry, start_at=None, end_at=None, time_zone=None, quirks=quirks)


def _numbers_for_none(entry: Entry, _origin: datetime) -> Entry:
    return evolve(entry, reminder_type=-1, quirks={"pipelineId": -1, "queryId": 0, "leadUserId": -1})


def _unknown_vocabulary(entry: Entry, _origin: datetime) -> Entry:
    return evolve(entry, type="Handwritten Note", assigned_role="Lender")


def _unicode(entry: Entry, _origin: datetime) -> Entry:
    return evolve(entry, content="Überraschung 🏡 für 李先生\n\t\u05e9\u05dc\u05d5\u05dd “quoted” \\ \u2028end")


def _email(entry: Entry, _origin: datetime) -> Entry:
    return evolve(entry, type="Email", subject="Listings in Austin", body="<p>Two of them &amp; a plan.</p>")


def _smart_plan(entry: Entry, _origin: datetime) -> Entry:
    query_id = BEYOND_DOUBLES + 2 * (entry.id % 1_000_000)
    return evolve(entry, smart_plan=True, query_id=query_id, quirks={"queryInfo": "plan=welcome;step=2"})


def _finished(entry: Entry, origin: datetime) -> Entry:
    return evolve(entry, finished_at=origin - timedelta(hours=5), updated_at=origin - timedelta(hours=5))


def _overdue(entry: Entry, origin: datetime) -> Entry:
    return evolve(entry, start_at=origin - timedelta(days=3), end_at=origin - timedelta(days=2, hours=23))


def _new_field(entry: Entry, _origin: datetime) -> Entry:
    return evolve(entry, quirks={"aiSummary": {"score": 0.5, "tags": []}, "leadFirstName": ABSENT})


QUIRKS: tuple[Quirk, ...] = (
    _plain,
    _gmt,
    _smart_plan,
    _finished,
    _email,
    _overdue,
    _zulu,
    _unicode,
    _no_start,
    _numbers_for_none,
    _unknown_vocabulary,
    _timeless,
    _new_field,
)
"""Dealt round to the tasks of all leads, so that a handful of leads has them all."""


@frozen
class Numbering:
    """Fifteen-digit ids from which a lead's place in the list can be computed."""

    leads: int
    stride: int
    base: int

    @property
    def first_lead(self) -> int:
        return 563_000_000_000_000 + self.base

    @property
    def first_entry(self) -> int:
        return 731_000_000_000_000 + self.base

    def lead_ids(self) -> range:
        return range(self.first_lead, self.first_lead + 7 * self.leads, 7)

    def place(self, lead_id: int) -> int:
        return (lead_id - self.first_lead) // 7

    def entry_id(self, place: int, number: int) -> int:
        return self.first_entry + place * self.stride + number

    def owner(self, entry_id: int) -> int | None:
        """The lead that was given this entry, were it derived."""
        place = (entry_id - self.first_entry) // self.stride
        return self.lead_ids()[place] if 0 <= place < self.leads else None


@define
class Seed:
    """Made-up leads, each with its tasks and appointments; the same seed and day give the same data."""

    leads: int
    tasks_per_lead: int
    appointments_per_lead: int
    seed: int
    origin: datetime
    """The day's midnight (UTC) that every time is counted from."""
    numbering: Numbering = field(init=False)

    def __attrs_post_init__(self) -> None:
        stride = max(1000, self.tasks_per_lead + self.appointments_per_lead)
        self.numbering = Numbering(self.leads, stride, self.seed % 1000 * 100_000_000_000)

    def lead(self, lead_id: int) -> Lead:
        dice = random.Random(f"{self.seed}:{lead_id}:lead")
        place = self.numbering.place(lead_id)
        return evolve(self._person(dice, lead_id, place), **self._dealings(dice))

    def _person(self, dice: random.Random, lead_id: int, place: int) -> Lead:
        first, last = dice.choice(FIRST_NAMES), dice.choice(LAST_NAMES)
        return Lead(
            id=lead_id,
            first_name=first,
            last_name=last,
            email=f"lead{place}@example.com",
            phone=f"+1415{5_550_000 + place % 10_000:07}",
            stage=dice.choice(STAGES),
            source=dice.choice(SOURCES),
            created_at=self.origin - timedelta(days=dice.randrange(1, 900)),
            updated_at=self.origin - timedelta(hours=dice.randrange(1, 20)),
            user_id=BEYOND_DOUBLES + 2 * place,
            score=dice.randrange(-1, 100),
            quirks=_lead_quirks(place),
        )

    def _dealings(self, dice: random.Random) -> dict[str, Any]:
        """What has come of a lead since it was made."""
        touched, visited = (self.origin - timedelta(hours=dice.randrange(1, 2000)) for _ in range(2))
        return {
            "assigned_at": self.origin - timedelta(minutes=dice.randrange(1, 50_000)),
            "tags": tuple(dice.sample(TAGS, dice.randrange(3))),
            "segments": tuple(dice.sample(SEGMENTS, dice.randrange(3))),
            "language": dice.choice(LANGUAGES),
            "office_id": dice.choice((None, *OFFICES)),
            "lender_user_id": dice.choice((None, LENDER_ID)),
            "custom_roles": dice.choice(({}, {"Coordinator": MEMBER_ID})),
            "last_touch": dice.choice((None, touched)),
            "last_visit": dice.choice((None, visited)),
        }

    def entries(self, lead_id: int) -> Iterator[Entry]:
        dice = random.Random(f"{self.seed}:{lead_id}:entries")
        place = self.numbering.place(lead_id)
        for number in range(self.tasks_per_lead):
            quirk = QUIRKS[(place * self.tasks_per_lead + number) % len(QUIRKS)]
            yield quirk(self._task(dice, self.numbering.entry_id(place, number), lead_id), self.origin)
        for number in range(self.tasks_per_lead, self.tasks_per_lead + self.appointments_per_lead):
            yield self._appointment(dice, self.numbering.entry_id(place, number), lead_id)

    def _task(self, dice: random.Random, entry_id: int, lead_id: int) -> Entry:
        code = dice.choice(ZONES)
        start = self._moment(code, hours=dice.randrange(24, 24 * 60))
        return Entry(
            id=entry_id,
            lead_id=lead_id,
            type=dice.choice(WAYS),
            content=dice.choice(WORK),
            start_at=start,
            end_at=start + timedelta(hours=1),
            time_zone=code,
            created_at=self.origin - timedelta(hours=dice.randrange(48, 2000)),
            updated_at=self.origin - timedelta(hours=dice.randrange(1, 48)),
            assigned_role=dice.choice(("Agent", "Agent", "Assistant")),
        )

    def _appointment(self, dice: random.Random, entry_id: int, lead_id: int) -> Entry:
        task = self._task(dice, entry_id, lead_id)
        start, end = task.start_at, task.end_at
        every_fourth = dice.random() < 0.25
        if every_fourth and start is not None:
            start = start.replace(hour=0, minute=0, second=0)
            end = start + timedelta(days=1)
        return evolve(
            task,
            kind=EntryKind.APPOINTMENT,
            type="Appointment",
            content="Viewing",
            address=dice.choice(("12 Main St, Austin, TX", "", "Rua Augusta 1º, Lisboa")),
            start_at=start,
            end_at=end,
        )

    def _moment(self, code: str, hours: int) -> datetime:
        return (self.origin + timedelta(hours=hours)).astimezone(zone(code) or UTC)


def _lead_quirks(place: int) -> Mapping[str, Any]:
    quirks: tuple[Mapping[str, Any], ...] = (
        {},
        {"lastTouch": "", "birthday": None, "pondId": 0},
        {"emails": [], "phones": None, "lenderUserId": -1},
        {"tags": ABSENT, "segments": ABSENT, "leadTypes": [-1], "assignTime": None},
    )
    return quirks[place % len(quirks)]
