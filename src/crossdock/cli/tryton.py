"""Installs the real ERP into a virtual environment of its own: it is under the GPL and never imported by us."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from crossdock.cli.children import Program, spawn
from crossdock.cli.home import Home
from crossdock.model.errors import Misconfigured

_COLLECTED: Final = re.compile(r"^Collecting (\S+)", re.MULTILINE)
_LOOK_SECONDS: Final = 3.0


def find_requirements() -> Path:
    """The locked list of what Tryton needs; it lies beside the sources."""
    found = Path(__file__).resolve().parents[3] / "requirements" / "tryton.txt"
    if not found.exists():
        raise Misconfigured(
            "tryton_requirements", "The list of what Tryton needs (requirements/tryton.txt) is missing.",
            next_action="Run Crossdock from a complete checkout.",
        )  # fmt: skip
    return found


async def ensure_tryton(home: Home, say: Callable[[str], None]) -> Path:
    """Return the environment that holds Tryton; made at the first start and when its list has changed."""
    requirements = find_requirements()
    directory = home.directory / "tryton-venv"
    stamp = directory / ".installed"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.exists() and stamp.read_text(encoding="ascii") == wanted:
        return directory
    say("installing the ERP (Tryton) into an environment of its own; this happens once")
    shutil.rmtree(directory, ignore_errors=True)
    log = home.logs / "tryton-install.log"
    await _run(Program("venv", (sys.executable, "-m", "venv", str(directory)), log, again=False), say)
    pip = (
        str(directory / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input",
        "--require-hashes", "--no-deps", "--requirement", str(requirements),
    )  # fmt: skip
    await _run(Program("pip", pip, log, again=False), say, total=requirements.read_text(encoding="utf-8").count("=="))
    stamp.write_text(wanted, encoding="ascii")
    return directory


async def _run(program: Program, say: Callable[[str], None], total: int = 0) -> None:
    begin = program.log.stat().st_size if program.log.exists() else 0
    running = await spawn(program)
    shown = 0
    while running.returncode is None:
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await running.wait()
        except TimeoutError:
            count = len(_COLLECTED.findall(program.log.read_text(encoding="utf-8", errors="replace")[begin:]))
            if count != shown:
                shown = count
                say(f"installing the ERP: {count} of {total} packages fetched")
        except asyncio.CancelledError:
            running.kill()
            raise
    if running.returncode != 0:
        raise Misconfigured(
            "tryton_install", "Tryton could not be installed.",
            detail=program.log.read_text(encoding="utf-8", errors="replace")[-1500:],
            next_action=f"Read {program.log}; pip needs to reach a package index the first time.",
        )  # fmt: skip
