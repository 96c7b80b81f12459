"""An environment of its own for each engine that is compared with, from locks with hashes, under `.crossdock/peers`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
LOCKS = ROOT / "requirements" / "peers"
HOME = Path(os.environ.get("CROSSDOCK_HOME") or ROOT / ".crossdock").absolute() / "peers"
MINUTES = 5


class NotInstalledError(Exception):
    """An engine could not be installed here; the text says why."""


def install_python(name: str) -> Path:
    """The interpreter of `name`'s environment, made at first or when its lock has changed."""
    lock = LOCKS / f"{name}.txt"
    interpreter = HOME / name / "bin" / "python"
    if _is_current(name, lock):
        return interpreter
    shutil.rmtree(HOME / name, ignore_errors=True)
    _run(sys.executable, "-m", "venv", "--without-pip", str(HOME / name))
    pip = (sys.executable, "-m", "pip", "--python", str(interpreter), "--disable-pip-version-check")
    _run(*pip, "install", "-qq", "--require-hashes", "--requirement", str(lock))
    _note(name, lock)
    return interpreter


def install_node(name: str) -> Path:
    """The folder that holds `name`'s packages of npm, made at first or when its lock has changed."""
    if shutil.which("npm") is None:
        raise NotInstalledError("needs Node.js and npm, and found none")
    lock = LOCKS / name / "package-lock.json"
    folder = HOME / name
    if _is_current(name, lock):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in ("package.json", "package-lock.json"):
        shutil.copy(LOCKS / name / file, folder)
    # Scripts of packages do not run: none is needed.
    _run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder))
    _note(name, lock)
    return folder


def _run(*command: str) -> None:
    try:
        ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60 * MINUTES)
    except subprocess.TimeoutExpired:
        raise NotInstalledError(f"{command[-1]} was not installed within {MINUTES} minutes") from None
    if ended.returncode != 0:
        lines = (ended.stderr or ended.stdout).strip().splitlines() or ["no reason given"]
        raise NotInstalledError(lines[-1][:200])


def _is_current(name: str, lock: Path) -> bool:
    marker = HOME / name / ".lock"
    return marker.exists() and marker.read_text(encoding="utf-8") == _digest(lock)


def _note(name: str, lock: Path) -> None:
    (HOME / name / ".lock").write_text(_digest(lock), encoding="utf-8")


def _digest(lock: Path) -> str:
    return sha256(lock.read_bytes()).hexdigest()
