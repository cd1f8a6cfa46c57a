"""How long does a program wait for the SDK's import, and a terminal for its help?

Each run is a process of its own, its bytecode cached whatever the environment says. Seconds from its start to its end.
"""

import argparse
import os
import subprocess
import sys
import time
from importlib.util import find_spec

from benchmarks.harness import ROOT, Table, in_turn, publish, read_options

LIBRARIES = "import aiohttp, attrs, backoff, cattrs"
CLICK = "python + click"


ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, cwd=ROOT, env=ENVIRONMENT)  # noqa: S603 - our own commands
    return time.perf_counter() - began


def measure(question: str, commands: dict[str, list[str]], rounds: int) -> Table:
    for command in commands.values():
        seconds(command)
    table = Table(question, "s", next(iter(commands)), {name: [] for name in commands})
    for name, command in in_turn(commands, rounds):
        table.add(name, seconds(command))
    return table


def imports() -> dict[str, list[str]]:
    client = "from lofty_async import LoftyClient"
    # What is made at first use, such as the readers of records, is not in it.
    in_use = "from lofty_async import ApiKey, LoftyClient; LoftyClient(ApiKey('key')).tasks"
    codes = (LIBRARIES, "import lofty_async", client, in_use)
    return {code: ["-c", code] for code in codes} | {"python alone": ["-c", ""]}


def helps() -> dict[str, list[str]]:
    return {CLICK: ["-c", "import click"], "lofty-async --help": ["-m", "lofty_async.cli", "--help"]}


def ask(options: argparse.Namespace) -> list[Table]:
    tables = [measure("import", imports(), options.rounds)]
    print(tables[0])
    if find_spec("click"):
        tables.append(measure("help", helps(), options.rounds))
        print(tables[1])
    return tables


def main(arguments: list[str] | None = None) -> None:
    options = read_options(__doc__, arguments, rounds=40)
    publish(ask(options), options)


if __name__ == "__main__":
    main()
