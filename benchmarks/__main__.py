"""Every question in turn, each in a process of its own, so that none inherits another's heap."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import ROOT

DRAWN = ("requests", "throughput", "paging", "memory", "startup", "ratelimit", "mirror", "hidden")
QUESTIONS = ("conversion", *DRAWN)


def ask(name: str, answer: Path, pictures: Path | None, others: list[str]) -> None:
    print(f"== {name}", flush=True)
    began = time.perf_counter()
    command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(answer)]
    picture = ["--picture", str(pictures.resolve() / f"{name}.svg")] if pictures and name in DRAWN else []
    subprocess.run([*command, *picture, *others], check=True, cwd=ROOT)  # noqa: S603 - our own modules
    print(f"== {name}: {time.perf_counter() - began:.0f} s\n", flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, epilog="Any other option goes to the questions."
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="draw them there (SVG)")
    parser.add_argument("--only", choices=QUESTIONS, action="append", metavar="NAME", help=", ".join(QUESTIONS))
    options, others = parser.parse_known_args(arguments)
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        answers = {name: Path(directory, f"{name}.json") for name in options.only or QUESTIONS}
        for name, answer in answers.items():
            ask(name, answer, options.pictures, others)
        if options.json:
            read = {name: json.loads(answer.read_text()) for name, answer in answers.items()}
            options.json.write_text(json.dumps(read, indent=1))


if __name__ == "__main__":
    main()
