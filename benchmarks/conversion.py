"""The cost of turning a page of JSON into models, against a bare decoder and against other libraries.

All candidates read the same bytes in the same run, in turn, round after round. Ratios are to `orjson.loads`,
which makes dicts only. Times include letting go of the result. "again" reads one page over and over; "fresh"
reads a page never seen before, each round. Memory is that of tasks held, with what the SDK keeps for reuse.
"""

import argparse
import gc
import json
import random
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta, timezone
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
from cattrs import Converter

from lofty_async._codec import codec_of, structure_list
from lofty_async.models import CalendarEntry, Task

Decode = Callable[[bytes], Any]
BASELINE = "orjson.loads"
ZONES = [("America/Los_Angeles", -8), ("America/Denver", -7), ("America/New_York", -5)]
FIRST_NAMES = [
    "Olivia",
    "Liam",
    "Emma",
    "Noah",
    "Ava",
    "Mia",
    "Ethan",
    "Sofia",
    "Lucas",
    "Chloe",
    "Mason",
    "Zoe",
]
LAST_NAMES = [
    "Nguyen",
    "Garcia",
    "Smith",
    "Brown",
    "Lee",
    "Walker",
    "Hall",
    "Young",
    "King",
    "Wright",
    "Diaz",
]
START = datetime(2026, 1, 1, tzinfo=UTC)


def installed(name: str) -> ModuleType | None:
    try:
        return import_module(name)
    except ModuleNotFoundError:
        return None


def task_record(dice: random.Random, leads: list[dict[str, Any]], number: int) -> dict[str, Any]:
    zone_name, hours = dice.choice(ZONES)
    zone = timezone(timedelta(hours=hours))
    created = (START + timedelta(seconds=dice.randrange(60 * 86_400))).astimezone(zone)
    updated = created if dice.random() < 0.5 else created + timedelta(seconds=dice.randrange(10 * 86_400))
    starts = START.astimezone(zone) + timedelta(days=60 + dice.randrange(30), minutes=15 * dice.randrange(96))
    finished = dice.random() < 0.3
    user = 563_172_647_000_000 + dice.randrange(4)
    return dice.choice(leads) | {
        "id": 563_172_647_600_000 + number * 17,
        "creatorId": user,
        "content": f"Ask about the offer on {dice.randrange(10_000)} Oak Street",
        "type": dice.choice(["Call", "Email", "Text", "Other", "Appointment"]),
        "startAt": starts.isoformat(),
        "endAt": (starts + timedelta(minutes=30)).isoformat(),
        "timeZoneCode": zone_name,
        "allDay": False,
        "finishFlag": finished,
        "overdueFlag": False,
        "finishTime": updated.isoformat() if finished else None,
        "createTime": created.isoformat(),
        "lastUpdate": updated.isoformat(),
        "reminderType": 0,
        "assignedRole": "Agent",
        "assignedUser": f"{FIRST_NAMES[user % 4]} {LAST_NAMES[user % 4]}",
        "teamId": 18_437_265,
        "subject": "",
        "body": "",
        "assignedUserId": user,
        "pipelineId": dice.choice([12, 13, 14]),
        "queryInfo": "",
        "queryId": 0,
        "address": "",
    }


def lead_fields(dice: random.Random) -> dict[str, Any]:
    first, last = dice.choice(FIRST_NAMES), dice.choice(LAST_NAMES)
    return {
        "leadId": dice.randrange(10**14, 10**15),
        "leadUserId": dice.randrange(10**14, 10**15),
        "leadName": f"{first} {last}",
        "leadFirstName": first,
        "leadLastName": last,
        "leadEmail": f"{first}.{last}{dice.randrange(1000)}@example.com".lower(),
        "leadPhone": f"+1415555{dice.randrange(10_000):04}",
    }


def task_page(seed: int, count: int = 100) -> bytes:
    dice = random.Random(seed)
    leads = [lead_fields(dice) for _ in range(count * 3 // 10)]
    return encode([task_record(dice, leads, seed * count + number) for number in range(count)])


def lacking_page(seed: int) -> bytes:
    """Records that lack one key, the same one each."""
    records = json.loads(task_page(seed))["records"]
    return encode([{name: value for name, value in one.items() if name != "queryId"} for one in records])


def sparse_page(seed: int) -> bytes:
    """Records without the keys that hold null or an empty text."""
    records = json.loads(task_page(seed))["records"]
    return encode([{name: value for name, value in one.items() if value not in (None, "")} for one in records])


def calendar_page(seed: int, count: int = 500) -> bytes:
    dice = random.Random(seed)
    leads = [lead_fields(dice) for _ in range(count * 3 // 10)]
    return encode([entry_record(task_record(dice, leads, seed * count + n)) for n in range(count)])


def entry_record(task: dict[str, Any]) -> dict[str, Any]:
    kept = ("content", "startAt", "endAt", "timeZoneCode", "leadId")
    times = {f"{name}Ms": int(datetime.fromisoformat(task[name]).timestamp() * 1000) for name in ("startAt", "endAt")}
    own = {
        "id": f"{task['id']}-task",
        "type": "TASK",
        "taskId": task["id"],
        "sourceType": 1,
        "title": f"{task['leadName']} {task['type']}",
        "finished": task["finishFlag"],
    }
    return own | {name: task[name] for name in kept} | times


def encode(records: list[dict[str, Any]]) -> bytes:
    return json.dumps({"records": records}, separators=(",", ":")).encode()


def wire_name(kind: type[Any], name: str) -> str:
    return next(field.wire_names[0] for field in codec_of(kind).fields if field.name == name)


def candidates(kind: type[Any]) -> dict[str, Decode]:
    found: dict[str, Decode] = {}
    if orjson := installed("orjson"):
        found[BASELINE] = orjson.loads
    found["json.loads"] = json.loads
    loads = found.get(BASELINE, json.loads)

    def ours(body: bytes) -> Any:
        return structure_list(kind, loads(body)["records"], path="records", request="GET")

    found["lofty_async"] = ours
    found["cattrs as it comes"] = cattrs_candidate(kind, loads)
    if pydantic := installed("pydantic"):
        found["pydantic"] = pydantic_candidate(pydantic, kind)
    if msgspec := installed("msgspec"):
        found["msgspec"] = msgspec_candidate(msgspec, kind)
    return found


def cattrs_candidate(kind: type[Any], loads: Decode) -> Decode:
    converter = Converter()
    converter.register_structure_hook(datetime, lambda value, _: datetime.fromisoformat(value))
    converter.register_structure_hook_func(lambda kind: kind == int | str | None, lambda code, _: code)
    names = {wire_name(kind, one.name): one.name for one in attrs.fields(kind)}

    def decode(body: bytes) -> Any:
        records = loads(body)["records"]
        renamed = [{names[key]: value for key, value in one.items() if key in names} for one in records]
        return converter.structure(renamed, list[kind])  # type: ignore[valid-type] # a type at run time

    return decode


def pydantic_candidate(pydantic: ModuleType, kind: type[Any]) -> Decode:
    fields = {
        one.name: (
            one.type,
            pydantic.Field(... if one.default is attrs.NOTHING else None, alias=wire_name(kind, one.name)),
        )
        for one in attrs.fields(kind)
    }
    model = pydantic.create_model(kind.__name__, __config__=pydantic.ConfigDict(frozen=True), **fields)
    decode: Decode = pydantic.TypeAdapter(dict[str, list[model]]).validate_json  # type: ignore[valid-type] # a type at run time
    return decode


def msgspec_candidate(msgspec: ModuleType, kind: type[Any]) -> Decode:
    fields = [
        (one.name, one.type) if one.default is attrs.NOTHING else (one.name, one.type, None)
        for one in attrs.fields(kind)
    ]
    names = {one.name: wire_name(kind, one.name) for one in attrs.fields(kind)}
    struct = msgspec.defstruct(kind.__name__, fields, rename=names, frozen=True, kw_only=True)
    decode: Decode = msgspec.json.Decoder(dict[str, list[struct]]).decode  # type: ignore[valid-type] # a type at run time
    return decode


def microseconds(decode: Decode, body: bytes) -> float:
    started = time.perf_counter()
    decode(body)
    return (time.perf_counter() - started) * 1e6


def compare(decoders: dict[str, Decode], bodies: Iterable[bytes], count: int) -> dict[str, dict[str, float]]:
    """Microseconds per record, and ratios to the first decoder."""
    taken: dict[str, list[float]] = {name: [] for name in decoders}
    for body in bodies:
        for name, decode in decoders.items():
            taken[name].append(microseconds(decode, body) / count)
    first = next(iter(taken.values()))
    return {
        name: {
            "minimum_us": min(times),
            "median_us": statistics.median(times),
            "minimum_ratio": min(times) / min(first),
            "median_ratio": statistics.median(times) / statistics.median(first),
        }
        for name, times in taken.items()
    }


def held_bytes(decode: Decode, pages: list[bytes]) -> float:
    """Bytes per task, of many tasks held at once."""
    gc.collect()
    tracemalloc.start()
    held = [decode(page) for page in pages]
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return taken / (100 * len(held))


def show(question: str, rows: dict[str, dict[str, float]]) -> None:
    print(f"\n{question:<34}{'min':>9}{'median':>9}{'ratio':>9}{'median':>9}")
    for name, row in rows.items():
        numbers = f"{row['minimum_us']:9.2f}{row['median_us']:9.2f}"
        print(f"  {name:<32}{numbers}{row['minimum_ratio']:9.2f}{row['median_ratio']:9.2f}")


def measure(rounds: int) -> dict[str, Any]:
    tasks, entries = candidates(Task), candidates(CalendarEntry)
    compare(tasks, [task_page(0)] * 10, 100)
    compare(entries, [calendar_page(0)] * 5, 500)
    return {
        "100 tasks, again (us a task)": compare(tasks, [task_page(0)] * rounds, 100),
        "100 tasks, fresh (us a task)": compare(tasks, map(task_page, range(1, rounds + 1)), 100),
        "100 tasks, fresh, one key absent (us a task)": compare(tasks, map(lacking_page, range(1, rounds + 1)), 100),
        "100 tasks, fresh, nulls left out (us a task)": compare(tasks, map(sparse_page, range(1, rounds + 1)), 100),
        "500 entries, again (us an entry)": compare(entries, [calendar_page(0)] * rounds, 500),
        "500 entries, fresh (us an entry)": compare(entries, map(calendar_page, range(1, rounds + 1)), 500),
    }


def measure_memory() -> dict[str, dict[str, float]]:
    pages = [task_page(seed) for seed in range(1000, 1050)]
    decoders = candidates(Task)
    for decode in decoders.values():
        decode(b'{"records":[]}')
    return {
        "100 tasks": {name: held_bytes(decode, pages[:1]) for name, decode in decoders.items()},
        "5,000 tasks": {name: held_bytes(decode, pages) for name, decode in decoders.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers here")
    options = parser.parse_args()
    memory = measure_memory()
    results = measure(options.rounds)
    for question, rows in results.items():
        show(question, rows)
    for held, sizes in memory.items():
        print(f"\nmemory of a held task, {held} held (bytes)")
        for name, size in sizes.items():
            print(f"  {name:<32}{size:9.0f}")
    if options.json:
        options.json.write_text(json.dumps(results | {"memory of a held task (bytes)": memory}, indent=2))


if __name__ == "__main__":
    main()
