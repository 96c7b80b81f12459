"""This repository keeps the house style: run on every committed file and every file about to be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.style_rules import Violation, check_migrations, check_source, check_text

ROOT = Path(__file__).resolve().parents[2]
BYTES_MAX = 2_000_000


def _listed_files() -> list[str]:
    """What git tracks or would track; in an unpacked archive without git, everything outside hidden folders."""
    if (ROOT / ".git").exists():
        listing = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
        ).stdout  # fmt: skip
        names = [name for name in listing.split("\0") if name]
    else:
        names = [
            path.relative_to(ROOT).as_posix()
            for path in ROOT.rglob("*")
            if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
        ]
    return sorted(name for name in names if (ROOT / name).is_file())


FILES = _listed_files()
SOURCES = [name for name in FILES if name.startswith("src/") and name.endswith(".py")]


def _told(violations: list[Violation]) -> str:
    return "\n".join(["", *map(str, violations)])


def test_there_is_something_to_check() -> None:
    assert len(SOURCES) > 10


def test_the_source_keeps_the_style() -> None:
    violations = [found for name in SOURCES for found in check_source(name, (ROOT / name).read_text("utf-8"))]
    assert not violations, _told(violations)


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    violations: list[Violation] = []
    for name in FILES:
        content = (ROOT / name).read_bytes()
        if len(content) <= BYTES_MAX and b"\0" not in content:
            violations += check_text(name, content.decode("utf-8", errors="replace"))
    assert not violations, _told(violations)


def test_no_large_file_is_committed() -> None:
    assert [name for name in FILES if (ROOT / name).stat().st_size > BYTES_MAX] == []


def test_migrations_have_one_history() -> None:
    folder = ROOT / "src/crossdock/ledger/migrations"
    violations = check_migrations(sorted(path.name for path in folder.glob("*.sql")))
    assert not violations, _told(violations)


def test_every_module_says_what_it_is_for() -> None:
    silent = [name for name in SOURCES if not (ROOT / name).read_text("utf-8").lstrip().startswith(('"""', 'r"""'))]
    assert silent == []


def test_every_package_is_declared() -> None:
    """A folder of Python files without __init__.py would be missing from the wheel."""
    folders = {str(Path(name).parent) for name in SOURCES}
    assert [folder for folder in sorted(folders) if not (ROOT / folder / "__init__.py").exists()] == []


@pytest.mark.parametrize("name", ["runtime", "dev", "bench"])
def test_every_requirement_is_locked_with_hashes(name: str) -> None:
    lock = (ROOT / f"requirements/{name}.txt").read_text("utf-8")
    direct = [
        line.split("~=")[0].strip().lower().replace("_", "-")
        for line in (ROOT / f"requirements/{name}.in").read_text("utf-8").splitlines()
        if line.strip() and not line.startswith(("#", "-"))
    ]
    pinned = [line.split("==")[0] for line in lock.splitlines() if "==" in line and not line.startswith((" ", "#"))]
    assert set(direct) <= set(pinned)
    for entry in lock.replace("\\\n", " ").splitlines():
        if "==" in entry and not entry.startswith((" ", "#")):
            assert "--hash=sha256:" in entry, entry


def test_importing_has_no_side_effects() -> None:
    """No socket, thread, process or written file while modules are imported: only `main` starts anything."""
    modules = sorted(
        Path(name).relative_to("src").with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        for name in SOURCES
        if not name.endswith("__main__.py")
    )
    run = subprocess.run(
        [sys.executable, "-B", str(ROOT / "tests/architecture/import_watch.py"), *modules],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
