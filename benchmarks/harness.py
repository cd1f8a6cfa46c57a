"""The parts that all benchmarks share: rounds in turn, tables against a baseline, instruction counts, pictures."""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from attrs import field, frozen

T = TypeVar("T")

ROOT = Path(__file__).parents[1]

INK = "#010203"  # stands for the colour of text until the picture is written
# Of the documentation's theme where the picture is part of a page, else by what the reader's system prefers.
INK_OF_PAGE = """
#figure_1 { --ink: #1f2328; color: var(--color-foreground-primary, var(--ink)); }
@media (prefers-color-scheme: dark) { #figure_1 { --ink: #e6edf3; } }
"""


def in_turn(candidates: Mapping[str, T], rounds: int) -> Iterator[tuple[str, T]]:
    """Each once a round, so that whatever else the machine does falls on all of them, and nobody always comes first."""
    dice, order = Random(0), list(candidates.items())
    for _ in range(rounds):
        dice.shuffle(order)
        yield from order


async def at_once(width: int, count: int, call: Callable[[], Awaitable[object]]) -> None:
    """`count` calls, `width` of them under way at any time."""
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            await call()

    async with asyncio.TaskGroup() as group:
        for _ in range(width):
            group.create_task(work())


@frozen
class Table:
    """The measurements of each candidate, round by round, and against which of them it is held."""

    question: str
    unit: str
    baseline: str
    measured: dict[str, list[float]] = field(factory=dict[str, list[float]])

    def add(self, name: str, value: float) -> None:
        self.measured.setdefault(name, []).append(value)

    @property
    def rows(self) -> dict[str, dict[str, float]]:
        """Minimum and median per candidate, and both as ratios to the baseline's."""
        base = self.measured[self.baseline]
        return {
            name: {
                "minimum": min(values),
                "median": statistics.median(values),
                "minimum_ratio": min(values) / min(base),
                "median_ratio": statistics.median(values) / statistics.median(base),
                "rounds": len(values),
            }
            for name, values in self.measured.items()
        }

    def __str__(self) -> str:
        lines = [f"{self.question} ({self.unit})", f"  {'':<36}{'min':>12}{'median':>12}{'ratio':>9}{'median':>9}"]
        for name, row in self.rows.items():
            numbers = f"{row['minimum']:12,.4g}{row['median']:12,.4g}" if row["median"] < 1e4 else _whole(row)
            lines.append(f"  {name:<36}{numbers}{row['minimum_ratio']:9.3f}{row['median_ratio']:9.3f}")
        return "\n".join([*lines, ""])


def _whole(row: dict[str, float]) -> str:
    return f"{row['minimum']:12,.0f}{row['median']:12,.0f}"


def read_options(question: str | None, arguments: list[str] | None, **values: float | str) -> argparse.Namespace:
    """The options of one question: each of `values` by its default, and where to write."""
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw them there (SVG)")
    parser.add_argument("--worker", nargs="*", help=argparse.SUPPRESS)
    for name, default in values.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default, help=f"{default}")
    return parser.parse_args(arguments)


Draw = Callable[[list[Table], Path], None]


def publish(tables: list[Table], options: argparse.Namespace, draw: Draw | None = None) -> None:
    """Write and draw what was asked for, by default as bars; the tables were printed as they came."""
    if options.json:
        answers = {f"{table.question} ({table.unit})": table.rows for table in tables}
        options.json.write_text(json.dumps(answers, indent=1))
    if options.picture and find_spec("matplotlib"):
        (draw or draw_bars)(tables, options.picture)


def page_plots(name: str) -> Any:
    """Matplotlib's pyplot for a picture of that name in the documentation: the same bytes for the same figures."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"})
    mpl.rcParams.update(dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), INK))
    mpl.rcParams.update(dict.fromkeys(("xtick.color", "ytick.color"), INK))
    from matplotlib import pyplot as plt

    return plt


def save_for_page(figure: Any, path: Path) -> None:
    """Write a figure of `page_plots` so that it reads on a light page and on a dark one."""
    from matplotlib import pyplot as plt

    figure.savefig(path, metadata={"Date": None}, transparent=True)
    plt.close(figure)
    drawn = path.read_text(encoding="utf-8").replace(INK, "currentColor")
    path.write_text(drawn.replace("</style>", f"{INK_OF_PAGE}</style>", 1), encoding="utf-8")


def draw_bars(tables: list[Table], path: Path) -> None:
    """Bars of the medians, one panel per table."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    heights = [len(table.rows) + 1 for table in tables]
    figure, axes = plt.subplots(
        len(tables), 1, figsize=(8, 0.32 * sum(heights)), height_ratios=heights, layout="constrained", squeeze=False
    )
    for axis, table in zip(axes[:, 0], tables, strict=True):
        names = list(table.rows)[::-1]
        bars = axis.barh(names, [table.rows[name]["median"] for name in names], color="#2a6f97")
        axis.bar_label(bars, [f"{table.rows[name]['median_ratio']:.2f} x" for name in names], padding=3, fontsize=8)
        axis.set_title(f"{table.question} ({table.unit})", fontsize=9, loc="left")
        axis.tick_params(labelsize=8)
        axis.margins(x=0.12)
    figure.savefig(path)
    plt.close(figure)


def worker(module: str, *arguments: object) -> list[str]:
    """The command that runs a module's work in a process of its own."""
    return [sys.executable, "-m", module, "--worker", *map(str, arguments)]


def told_by(command: list[str]) -> str:
    """Return the output of a process of its own."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout  # noqa: S603 - our own


def mark() -> None:
    """Under `count_instructions`, the end of one stretch and the beginning of the next."""
    # Callgrind can be told to write its counters whenever one C function is called; nothing else calls this one.
    os.getloadavg()


def count_instructions(command: list[str]) -> list[int]:
    """Instructions of each stretch between two marks of a process; none where valgrind is missing."""
    if not (valgrind := shutil.which("valgrind")):
        return []
    with tempfile.TemporaryDirectory() as directory:
        tool = [valgrind, "--tool=callgrind", "--dump-before=getloadavg", f"--callgrind-out-file={directory}/out"]
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        subprocess.run([*tool, *command], check=True, capture_output=True, cwd=ROOT, env=environment)  # noqa: S603 - same
        dumps = sorted(Path(directory).glob("out.*"), key=lambda dump: int(dump.suffix[1:]))
        return [_total(dump) for dump in dumps[1:]]


def _total(dump: Path) -> int:
    """The total of a dump, which stands in its last lines."""
    with dump.open("rb") as file:
        file.seek(-min(1000, dump.stat().st_size), os.SEEK_END)
        return int(file.read().rpartition(b"totals: ")[2].split()[0])
