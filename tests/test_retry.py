import ast
import sys
from itertools import pairwise
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lofty_async
from lofty_async.errors import InvalidRequestError
from lofty_async.retry import EARNED_RETRIES, RETRY_BUDGET, Failure, RetryBudget, RetryPolicy, decide

SOURCES = Path(lofty_async.__file__).parent
POLICY = RetryPolicy(retries=3, base_delay=0.5, max_delay=20.0, deadline=120.0)

NEVER_LEFT = Failure(arrived=False, temporary=True)
LOST = Failure(arrived=True, temporary=True)
REFUSED_FOR_GOOD = Failure(arrived=False, temporary=False)
SERVER_FAILED = Failure(arrived=True, temporary=True, retry_after=7.0)


def longest(ceiling: float) -> float:
    return ceiling


def shortest(_: float) -> float:
    return 0.0


@pytest.mark.parametrize(
    ("failure", "repeatable", "attempt", "elapsed", "wait"),
    [
        (NEVER_LEFT, True, 1, 0.0, 0.5),
        (NEVER_LEFT, True, 2, 0.0, 1.0),
        (NEVER_LEFT, True, 3, 0.0, 2.0),
        (NEVER_LEFT, True, 4, 0.0, None),
        (NEVER_LEFT, False, 1, 0.0, 0.5),
        (NEVER_LEFT, False, 3, 0.0, 2.0),
        (LOST, True, 1, 0.0, 0.5),
        (LOST, True, 4, 0.0, None),
        (LOST, False, 1, 0.0, None),
        (SERVER_FAILED, True, 1, 0.0, 7.0),
        (SERVER_FAILED, False, 1, 0.0, None),
        (REFUSED_FOR_GOOD, True, 1, 0.0, None),
        (REFUSED_FOR_GOOD, False, 1, 0.0, None),
        (LOST, True, 1, 119.5, 0.5),
        (LOST, True, 1, 119.6, None),
        (LOST, True, 1, 500.0, None),
        (SERVER_FAILED, True, 1, 113.0, 7.0),
        (SERVER_FAILED, True, 1, 113.1, None),
        (Failure(arrived=False, temporary=True, retry_after=121.0), True, 1, 0.0, None),
    ],
)
def test_a_failure_is_met_with_a_wait_or_an_end(
    failure: Failure, *, repeatable: bool, attempt: int, elapsed: float, wait: float | None
) -> None:
    decided = decide(POLICY, failure, repeatable=repeatable, attempt=attempt, elapsed=elapsed, jitter=longest)
    assert decided == wait


@pytest.mark.parametrize(
    ("asked", "max_wait", "wait"),
    [(7.0, 7.0, 7.0), (7.0, 6.9, None), (3600.0, inf, 3600.0), (3600.1, inf, None), (0.0, 0.0, 0.5)],
)
def test_a_server_that_asks_for_too_long_a_wait_is_not_asked_again(
    asked: float, max_wait: float, wait: float | None
) -> None:
    patient, failure = RetryPolicy(deadline=inf), Failure(arrived=True, temporary=True, retry_after=asked)
    decided = decide(patient, failure, repeatable=True, attempt=1, elapsed=0, max_wait=max_wait, jitter=longest)
    assert decided == wait


def test_the_jitter_chooses_below_a_ceiling_that_doubles_up_to_the_longest_wait() -> None:
    patient = RetryPolicy(retries=10_000, base_delay=0.5, max_delay=20.0)
    ceilings = [decide(patient, LOST, repeatable=True, attempt=n, elapsed=0, jitter=longest) for n in range(1, 9)]
    assert ceilings == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0]
    assert decide(patient, LOST, repeatable=True, attempt=10_000, elapsed=0, jitter=longest) == 20.0
    assert decide(patient, LOST, repeatable=True, attempt=5, elapsed=0, jitter=shortest) == 0.0


def test_waits_of_nothing_stay_nothing_however_often() -> None:
    eager = RetryPolicy(retries=10_000, base_delay=0.0)
    assert decide(eager, LOST, repeatable=True, attempt=10_000, elapsed=0) == 0.0


@given(attempt=st.integers(1, 3), wish=st.floats(0, 100), arrived=st.booleans(), elapsed=st.floats(0, 200))
def test_no_retry_comes_before_the_server_s_wish_or_after_the_deadline(
    attempt: int, wish: float, *, arrived: bool, elapsed: float
) -> None:
    failure = Failure(arrived=arrived, temporary=True, retry_after=wish)
    wait = decide(POLICY, failure, repeatable=True, attempt=attempt, elapsed=elapsed)
    ceiling = POLICY.base_delay * 2 ** (attempt - 1)
    if wait is None:
        assert elapsed + max(wish, ceiling) > POLICY.deadline
    else:
        assert wish <= wait <= max(wish, ceiling)
        assert elapsed + wait <= POLICY.deadline


@given(st.integers(0, 5), st.integers(1, 10))
def test_a_call_is_sent_again_as_often_as_its_policy_says(retries: int, attempt: int) -> None:
    wait = decide(POLICY.with_retries(retries), LOST, repeatable=True, attempt=attempt, elapsed=0)
    assert (wait is not None) is (attempt <= retries)


def test_the_default_jitter_is_full() -> None:
    waits = {decide(POLICY, LOST, repeatable=True, attempt=3, elapsed=0) for _ in range(200)}
    numbers = sorted(wait for wait in waits if wait is not None)
    assert 0 <= numbers[0] < 0.5
    assert 1.5 < numbers[-1] <= 2.0
    assert all(one < other for one, other in pairwise(numbers))


def test_retries_are_replaced_and_the_rest_kept() -> None:
    assert RetryPolicy(deadline=9.0).with_retries(0) == RetryPolicy(deadline=9.0, retries=0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, value) for name in ("retries", "refusals") for value in (-1, 1.5, inf, nan, True, "3", None)],
        *[
            (name, value)
            for name in ("base_delay", "max_delay", "deadline")
            for value in (-0.1, nan, -inf, True, "3", None)
        ],
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequestError, match=f"{name} must be") as caught:
        RetryPolicy(**{name: value})
    assert caught.value.argument == name


def test_a_policy_may_have_no_deadline_and_no_retries() -> None:
    assert RetryPolicy(retries=0, deadline=inf, base_delay=0, max_delay=0, refusals=0).deadline == inf


def test_an_outage_drains_the_budget() -> None:
    budget = RetryBudget()
    assert all(budget.spend() for _ in range(int(RETRY_BUDGET)))
    assert not budget.spend()
    assert budget.left == 0


def test_success_earns_the_budget_back_up_to_where_it_began() -> None:
    budget = RetryBudget(0.0)
    budget.earn()
    assert not budget.spend()
    for _ in range(round(1 / EARNED_RETRIES)):
        budget.earn()
    assert budget.spend()
    for _ in range(round(2 * RETRY_BUDGET / EARNED_RETRIES)):
        budget.earn()
    assert budget.left == RETRY_BUDGET


def imported(source: Path) -> set[str]:
    """What a module imports, as the roots of absolute names; our own are `lofty_async`."""
    roots: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add("lofty_async" if node.level else str(node.module).partition(".")[0])
    return roots


def importers(package: str) -> set[str]:
    return {str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.py") if package in imported(path)}


@pytest.mark.parametrize(("package", "module"), [("backoff", "retry.py"), ("cattrs", "_convert.py"), ("orjson", None)])
def test_a_package_is_imported_in_one_module_or_by_name_alone(package: str, module: str | None) -> None:
    assert importers(package) == ({module} if module else set())


def test_models_import_nothing_of_ours_but_each_other() -> None:
    for path in (SOURCES / "models").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            assert not isinstance(node, ast.ImportFrom) or node.level < 2, path.name
        assert imported(path) <= {"lofty_async", "attrs", *sys.stdlib_module_names}, path.name
        assert "lofty_async" not in path.read_text("utf-8")


@pytest.mark.parametrize("name", ["tasks", "calendar", "leads", "webhooks", "v1"])
def test_an_endpoint_module_only_declares_calls(name: str) -> None:
    tree = ast.parse((SOURCES / "endpoints" / f"{name}.py").read_text("utf-8"))
    kinds = (ast.For, ast.AsyncFor, ast.While, ast.Try, ast.With, ast.AsyncWith)
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, kinds)]
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not names & {"manager", "session", "headers", "auth"}


@pytest.mark.parametrize("module", ["_wire.py", "retry.py", "ratelimit/window.py"])
def test_the_pure_modules_import_nothing_that_does_or_waits(module: str) -> None:
    assert not imported(SOURCES / module) & {"aiohttp", "asyncio", "time", "socket", "logging", "os"}
