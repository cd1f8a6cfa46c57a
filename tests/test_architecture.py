"""The core stands alone: what may import what, over the whole package."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import lofty_async

ROOT = Path(lofty_async.__file__).parent
BATTERIES = {"webhooks", "mirror", "otel", "sandbox", "cli", "ical", "workers"}
THIRD_PARTY = {
    "backoff": {"retry"},
    "cattrs": {"_convert"},
    "croniter": {"queue"},
    "icalendar": {"ical"},
    "opentelemetry": {"otel"},
    "orjson": set[str](),
    "procrastinate": {"queue"},
    "psycopg": {"postgres"},
    "pydantic": {"_pydantic"},
    "pydantic_core": {"_enums", "_pydantic"},
}

# Private names that cross packages today; each is to become a public hook.
KNOWN_CROSSINGS: set[tuple[str, str]] = set()


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("lofty_async", *(part for part in parts if part != "__init__")))


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def package_of(module: str) -> str:
    is_package = MODULES[module].name == "__init__.py"
    return module if is_package else module.rpartition(".")[0]


@cache
def parsed(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def checked_only(tree: ast.Module) -> set[ast.AST]:
    """What stands under `if TYPE_CHECKING:` and never runs."""
    blocks = (node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    return {inner for block in blocks for statement in block.body for inner in ast.walk(statement)}


def imports(module: str, *, at_run_time: bool = True) -> Iterator[tuple[str, str]]:
    """Each module that one imports, and the name that it takes from there, `""` for the module itself."""
    tree = parsed(module)
    skipped = checked_only(tree) if at_run_time else set[ast.AST]()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = absolute(module, node)
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield (inner, "") if inner in MODULES else (source, alias.name)


def absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = package_of(module).split(".")
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def area(module: str) -> str:
    """The part of the package that a module belongs to: a subpackage's name, or its own."""
    return module.split(".")[1] if "." in module else ""


def in_package(module: str) -> dict[str, str]:
    return {source: name for source, name in imports(module) if source in MODULES}


def test_the_core_imports_no_battery() -> None:
    core = [module for module in MODULES if area(module) not in BATTERIES | {"", "__main__"}]
    assert len(core) > 20
    crossings = {(module, source) for module in core for source in in_package(module) if area(source) in BATTERIES}
    assert crossings == set()


def test_the_package_itself_names_but_two_batteries() -> None:
    batteries = {area(source) for source in in_package("lofty_async")} & BATTERIES
    assert batteries == {"webhooks", "sandbox"}


def test_no_battery_imports_the_sandbox_but_the_command_that_runs_it() -> None:
    importers = {area(module) for module in MODULES if "sandbox" in {area(source) for source in in_package(module)}}
    assert importers <= {"", "sandbox", "cli"}


def test_imports_have_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for module in MODULES:
        # A package is initialised by whoever imports one of its modules; its own modules do not wait for it.
        graph[module] = {source for source in in_package(module) if source not in {module, "lofty_async"}}
    TopologicalSorter(graph).prepare()


def test_no_private_name_crosses_packages() -> None:
    crossings = {
        (module, f"{source}.{name}".rstrip("."))
        for module in MODULES
        for source, name in imports(module, at_run_time=False)
        if source in MODULES and package_of(module) != package_of(source) and is_private(source, name)
    }
    assert crossings == KNOWN_CROSSINGS


def is_private(source: str, name: str) -> bool:
    """Whether a name, or a module within a subpackage, begins with an underscore; the root's modules are shared."""
    inner = source.split(".")[2:]
    return any(part.startswith("_") and not part.startswith("__") for part in [*inner, name])


@pytest.mark.parametrize("library", THIRD_PARTY)
def test_a_library_is_imported_in_one_module_or_by_name_alone(library: str) -> None:
    importers = {
        module.rpartition(".")[2]
        for module in MODULES
        if any(source.split(".")[0] == library for source, _ in imports(module, at_run_time=False))
    }
    assert importers == THIRD_PARTY[library]


def test_models_know_nothing_of_the_wire() -> None:
    assert set(in_package("lofty_async.models")) == {"lofty_async._enums", "lofty_async._value"}
    assert set(in_package("lofty_async._enums")) == set()
    sources = {source.split(".")[0] for source, _ in imports("lofty_async.models")}
    assert sources <= {"attrs", "collections", "datetime", "typing", "lofty_async"}
