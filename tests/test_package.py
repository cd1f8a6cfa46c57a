"""What is published: the contents of wheel and sdist, and the wheel installed into an environment of its own."""

import importlib.util
import os
import sys
import tarfile
import venv
import zipfile
from asyncio import create_subprocess_exec, subprocess
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from lofty_async import __version__

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lofty_async"


async def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    process = await create_subprocess_exec(
        *command, cwd=cwd, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_the_package_holds_what_it_should_and_works_alone(tmp_path: Path) -> None:
    """One test, as the build takes longer than the rest of it."""
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    await run(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, ROOT, cwd=tmp_path)
    wheel = tmp_path / f"lofty_async-{__version__}-py3-none-any.whl"
    check_wheel(wheel)
    check_sdist(tmp_path / f"lofty_async-{__version__}.tar.gz")
    clean = await installed(wheel, tmp_path / "clean")
    place = await run(
        clean / "python", "-c", "import lofty_async; print(lofty_async.__file__)", cwd=tmp_path, PYTHONPATH=""
    )
    assert place.startswith(str(tmp_path / "clean"))
    report = await run(clean / "lofty-async", "sync", "--sandbox", "--db", "tasks.sqlite", cwd=tmp_path, PYTHONPATH="")
    assert "200 leads" in report


def check_wheel(path: Path) -> None:
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        about = message_from_bytes(wheel.read(metadata))
        (scripts,) = (wheel.read(name).decode() for name in names if name.endswith("/entry_points.txt"))
    own = {file.relative_to(ROOT).as_posix() for file in PACKAGE.rglob("*") if file.suffix in {".py", ".typed"}}
    assert {name for name in names if ".dist-info/" not in name} == own
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert "lofty-async = lofty_async.cli:main" in scripts
    check_metadata(about)


def check_metadata(about: Message) -> None:
    urls = dict(value.split(", ", 1) for value in about.get_all("Project-URL", []))
    assert urls.keys() >= {"Documentation", "Source", "Changelog", "Issues"}
    assert all(url.startswith("https://") for url in urls.values())
    assert set(about.get_all("Provides-Extra", [])) >= {"cli", "orjson", "redis"}
    needed = {one.split(">")[0] for one in about.get_all("Requires-Dist", []) if "extra ==" not in one}
    assert needed == {"aiohttp", "attrs", "backoff", "cattrs"}
    readme = str(about.get_payload())
    assert "](docs/" not in readme, "a relative link of the README leads nowhere on PyPI"
    assert all(target.startswith(("https://", "#")) for target in link_targets(readme))


def link_targets(text: str) -> list[str]:
    return [part.partition(")")[0] for part in text.split("](")[1:]]


def check_sdist(path: Path) -> None:
    with tarfile.open(path) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    wanted = ("README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", "Makefile", "tests/conftest.py", "docs/conf.py")
    assert names >= {*wanted, "examples/fastapi_app.py", "benchmarks/ratelimit.py", "lofty_async/py.typed"}
    unwanted = ("_build/", "__pycache__", ".venv", ".sqlite", ".git/")
    assert [name for name in names if any(part in name for part in unwanted)] == []


async def installed(wheel: Path, place: Path) -> Path:
    """The programs of a new environment with the wheel in it, and with the dependencies of this one."""
    venv.create(place)
    python = place / "bin" / "python"
    pip = ("-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps", str(wheel))
    await run(sys.executable, *pip, cwd=place, PYTHONPATH="")
    (site,) = place.glob("lib/python*/site-packages")
    found = (importlib.util.find_spec(name) for name in ("aiohttp", "attrs", "cattrs", "backoff", "click", "rich"))
    folders = {str(Path(spec.origin).parents[1]) for spec in found if spec and spec.origin}
    # Paths alone: the editable install of this environment is not followed.
    (site / "dependencies.pth").write_text("\n".join(sorted(folders)), encoding="utf-8")
    return python.parent
