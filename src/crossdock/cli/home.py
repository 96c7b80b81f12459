"""The home of a Crossdock on this machine (CROSSDOCK_HOME): its database, logs, generated credentials and lock."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from crossdock.ledger.embedded import EmbeddedPostgres
from crossdock.model.errors import Misconfigured

PORT_DEFAULT: Final = 8700
_WATCHDOG: Final = "watchdog"
_LOCK_WAIT_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Home:
    """Where everything of one Crossdock lies, and its first port."""

    directory: Path
    port: int = PORT_DEFAULT

    @property
    def postgres(self) -> Path:
        return self.directory / "postgres"

    @property
    def partners(self) -> Path:
        return self.directory / "partners"

    @property
    def tryton(self) -> Path:
        return self.directory / "tryton"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def metrics(self) -> Path:
        return self.directory / "metrics"

    @property
    def lock(self) -> Path:
        return self.directory / "lock"

    @property
    def demo(self) -> Path:
        return self.directory / "demo.json"

    @property
    def state(self) -> Path:
        return self.directory / "run.json"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class RunState(msgspec.Struct, frozen=True):
    """What a running supervisor looks after; kept in `run.json` for `crossdock status`."""

    supervisor: int
    started_at: str
    ready: bool
    processes: dict[str, int]
    port: int = PORT_DEFAULT


def find_home(environment: Mapping[str, str]) -> Home:
    """The home that the environment names; `./.crossdock` by default. Its port is that of what runs there, if any."""
    directory = Path(environment.get("CROSSDOCK_HOME") or ".crossdock").absolute()
    text = environment.get("CROSSDOCK_PORT") or str(_running_port(Home(directory)))
    if not text.isascii() or not text.isdigit() or not 1024 <= int(text) <= 65_000:
        raise Misconfigured(
            "port_form", f"CROSSDOCK_PORT is {text!r}, which is no port.", field="CROSSDOCK_PORT",
            next_action="Set it to a number between 1024 and 65000; the ports after it are used for the partners.",
        )  # fmt: skip
    return Home(directory, int(text))


def _running_port(home: Home) -> int:
    state = read_run_state(home)
    return state.port if state is not None and Path(f"/proc/{state.supervisor}").exists() else PORT_DEFAULT


def database_address(home: Home, environment: Mapping[str, str]) -> str:
    """The address of Crossdock's database: CROSSDOCK_DATABASE_URL, or the embedded server's."""
    given = environment.get("CROSSDOCK_DATABASE_URL")
    if given:
        return given
    if not (home.postgres / "server.port").exists():
        raise Misconfigured(
            "database_missing", f"There is no database yet in {home.directory}.",
            next_action="Start Crossdock with `crossdock run --demo`, or set CROSSDOCK_DATABASE_URL.",
        )  # fmt: skip
    return EmbeddedPostgres(home.postgres).dsn("crossdock")


def read_run_state(home: Home) -> RunState | None:
    """What the supervisor last wrote; None when none has run, or its file is broken."""
    try:
        return msgspec.json.decode(home.state.read_bytes(), type=RunState)
    except (OSError, msgspec.DecodeError):
        return None


def write_private(path: Path, content: bytes) -> None:
    """Replace a file whole, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


@contextmanager
def locked(home: Home, owner: str, *, after: str = "") -> Iterator[None]:
    """Own the home while the block runs. Raises Misconfigured when another run does.

    The lock is the kernel's, so it ends with its process, however that ended. A watchdog that is still putting an
    orphaned database to rest is waited for, and so is the holder `after`, of whom the caller knows that it is ending.
    """
    home.directory.mkdir(parents=True, exist_ok=True)
    with home.lock.open("a+", encoding="utf-8") as file:
        deadline = time.monotonic() + _LOCK_WAIT_SECONDS
        while not _try_lock(file):
            file.seek(0)
            holder = file.read().strip()
            ending = holder.startswith(_WATCHDOG) or holder == after
            if not ending or time.monotonic() > deadline:
                raise Misconfigured(
                    "already_running", f"Crossdock is already running in {home.directory} (process {holder or '?'}).",
                    next_action="Stop it with Ctrl-C there, or set another CROSSDOCK_HOME and CROSSDOCK_PORT.",
                )  # fmt: skip
            time.sleep(0.05)
        file.truncate(0)
        file.write(f"{owner} {os.getpid()}" if owner == _WATCHDOG else str(os.getpid()))
        file.flush()
        yield


def _try_lock(file: Any) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
