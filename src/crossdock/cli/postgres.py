"""The embedded PostgreSQL under the supervisor: started, started again should it die, put to rest even without us."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import asyncpg

from crossdock.cli.children import PAUSE_SECONDS_FIRST
from crossdock.cli.home import Home
from crossdock.ledger.database import Queries
from crossdock.ledger.embedded import EmbeddedPostgres
from crossdock.model.errors import CrossdockError

LOOK_SECONDS: Final = 0.5
_SQL: Final = Queries.load("databases")


class PostgresWatch:
    """Owns the embedded server of a home while the supervisor runs."""

    def __init__(self, home: Home, say: Callable[[str], None]) -> None:
        self._home = home
        self._say = say
        self._server = EmbeddedPostgres(home.postgres)
        self._task: asyncio.Task[None] | None = None
        self._watchdog: asyncio.subprocess.Process | None = None

    async def start(self) -> str:
        """Start the server and return its address."""
        self._watchdog = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "crossdock.cli.watchdog", str(self._home.directory),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        address = await asyncio.to_thread(self._server.start)
        self._task = asyncio.create_task(self._keep_running(), name="postgres")
        return address

    async def ensure_database(self) -> str:
        """Create Crossdock's database if it is not there; return its address."""
        connection = await asyncpg.connect(self._server.dsn())
        try:
            if not await connection.fetchval(_SQL["exists"], "crossdock"):
                await connection.execute(_SQL["create"])
        finally:
            await connection.close()
        return self._server.dsn("crossdock")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.to_thread(self._server.stop)
        if self._watchdog is not None:
            # The database is at rest: there is nothing left to watch. It takes no lesser signal.
            self._watchdog.kill()
            await self._watchdog.wait()

    async def _keep_running(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._is_alive():
                continue
            self._say("PostgreSQL has ended; starting it again")
            try:
                await asyncio.to_thread(self._server.start)
                self._say("PostgreSQL is up again")
            except CrossdockError as error:
                self._say(f"PostgreSQL does not start yet: {error.message}")
                await asyncio.sleep(PAUSE_SECONDS_FIRST)

    def _is_alive(self) -> bool:
        """Whether the postmaster's process is there; cheaper than asking the server itself twice a second."""
        with suppress(OSError, ValueError, IndexError):
            pid = int((self._home.postgres / "postmaster.pid").read_text(encoding="utf-8").split("\n")[0])
            return _state_of(pid) not in ("", "Z")
        return False


def _state_of(pid: int) -> str:
    """The kernel's letter for a process; "" when there is none."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
    return ""
