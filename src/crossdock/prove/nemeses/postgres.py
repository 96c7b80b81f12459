"""What befalls PostgreSQL: an immediate stop, no room for a connection, a full disk, a power cut."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import asyncpg

from crossdock.ledger import real_proof
from crossdock.ledger.embedded import EmbeddedPostgres
from crossdock.ledger.migrate import migrate
from crossdock.prove.nemeses.diary import MENDED, Diary
from crossdock.prove.nemeses.volume import Volume

DOWN_SECONDS: Final = 30.0
CONNECTIONS_MAX: Final = 500
REST: Final = (5.0, 40.0)


class ProvedServer:
    """A PostgreSQL for one run, on a volume of its own where there is one. `turn`: one trouble after the other."""

    def __init__(self, directory: Path, volume: Volume | None, *, durable: bool = True) -> None:
        self.volume = volume
        self.turn = asyncio.Lock()
        self.directory = (volume.place if volume is not None else directory) / "postgres"
        self._server = EmbeddedPostgres(self.directory, durable=durable)

    def start(self) -> str:
        if self.volume is not None and not self.volume.image.exists():
            self.volume.create()
        return self._server.start()

    def stop(self) -> None:
        """However it is left: a server that does not answer any more is killed."""
        if self.volume is not None:
            self.volume.relieve()
        self._server.stop()
        found = self.postmaster()
        for process in _freeze(found) if found is not None else ():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        if self.volume is not None:
            self.volume.unmount()

    @property
    def dsn(self) -> str:
        return self._server.dsn()

    @property
    def port(self) -> int:
        return int((self.directory / "server.port").read_text(encoding="utf-8"))

    def postmaster(self) -> int | None:
        file = self.directory / "postmaster.pid"
        found = int(file.read_text(encoding="utf-8").split()[0]) if file.exists() else None
        return found if found is not None and Path(f"/proc/{found}").exists() else None

    async def stop_at_once(self) -> None:
        """As if it had been killed: no checkpoint, recovery at the next start."""
        found = self.postmaster()
        if found is None:
            return
        os.kill(found, signal.SIGQUIT)
        await self._until_gone(found)

    async def cut_power(self) -> None:
        """All processes of the server stand still while the disk is copied: the image is of one moment. Then they are
        killed, and the disk is what the copy says: what was not written through to it never happened."""
        volume, found = self.volume, self.postmaster()
        if volume is None or found is None:
            return
        frozen = _freeze(found)
        copy = await asyncio.to_thread(volume.copy_image)
        for process in frozen:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for process in frozen:
            await self._until_gone(process)
        await asyncio.to_thread(volume.go_back_to, copy)
        (self.directory / "postmaster.pid").unlink(missing_ok=True)

    async def restart(self) -> None:
        await asyncio.to_thread(self._server.start)

    async def _until_gone(self, process: int) -> None:
        async with asyncio.timeout(DOWN_SECONDS):
            while _lives(process):  # noqa: ASYNC110 - somebody else's process tells nobody that it ends
                await asyncio.sleep(0.02)

    async def migrate(self) -> None:
        await migrate(self.dsn)


def _freeze(postmaster: int) -> list[int]:
    """Stop the postmaster first, so that it starts no more; then all that it has started."""
    frozen = [postmaster]
    os.kill(postmaster, signal.SIGSTOP)
    for process in _children(postmaster):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGSTOP)
            frozen.append(process)
    return frozen


def _children(parent: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name in brackets may hold anything; the parent is the second field after it.
            if int(status.read_text(encoding="utf-8").rpartition(")")[2].split()[1]) == parent:
                found.append(int(status.parent.name))
    return found


def _lives(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


class Stopper:
    """Stops PostgreSQL as if it were killed, and starts it again a little later."""

    name = "postgres"

    def __init__(self, server: ProvedServer, diary: Diary, rest_seconds: tuple[float, float] = REST) -> None:
        self._server, self._diary = server, diary
        self.rest_seconds = rest_seconds

    async def strike(self, chance: random.Random) -> None:
        async with self._server.turn:
            self._diary.note(self.name, "postgres_stop")
            try:
                await self._server.stop_at_once()
                await asyncio.sleep(chance.uniform(0, 3))
            finally:
                await asyncio.shield(self._server.restart())
                self._diary.note(self.name, MENDED)


class PowerCut:
    """The machine of the database loses its power, and comes back with what was on its disk."""

    name = "power"

    def __init__(self, server: ProvedServer, diary: Diary, rest_seconds: tuple[float, float] = REST) -> None:
        self._server, self._diary = server, diary
        self.rest_seconds = rest_seconds

    async def strike(self, chance: random.Random) -> None:
        async with self._server.turn:
            self._diary.note(self.name, "power_cut")
            try:
                await asyncio.shield(self._server.cut_power())
            finally:
                await asyncio.shield(self._server.restart())
                self._diary.note(self.name, MENDED)


class FullDisk:
    """Somebody else's file takes all the room of PostgreSQL's disk for a while."""

    name = "disk"

    def __init__(self, server: ProvedServer, diary: Diary, rest_seconds: tuple[float, float] = REST) -> None:
        self._server, self._diary = server, diary
        self.rest_seconds = rest_seconds

    async def strike(self, chance: random.Random) -> None:
        volume = self._server.volume
        if volume is None:
            return
        async with self._server.turn:
            seconds = round(chance.uniform(2, 8), 2)
            taken = await asyncio.to_thread(volume.fill)
            self._diary.note(self.name, "full_disk", detail=f"{taken // 1024} kB taken for {seconds} s")
            try:
                await asyncio.sleep(seconds)
            finally:
                volume.relieve()
                # It may have ended by itself, as it does when it cannot write its log.
                await asyncio.shield(self._server.restart())
                self._diary.note(self.name, MENDED)


class Crowd:
    """Foreign clients take every connection that PostgreSQL has; ours are ended and find no room."""

    name = "connections"

    def __init__(self, server: ProvedServer, diary: Diary, rest_seconds: tuple[float, float] = REST) -> None:
        self._server, self._diary = server, diary
        self.rest_seconds = rest_seconds

    async def strike(self, chance: random.Random) -> None:
        async with self._server.turn:
            held: list[asyncpg.Connection[Any]] = []
            try:
                await self._take_all(held)
                self._diary.note(self.name, "connections_taken", detail=f"{len(held)} connections")
                await asyncio.sleep(chance.uniform(1, 6))
            finally:
                for connection in held:
                    connection.terminate()
                self._diary.note(self.name, MENDED)

    async def _take_all(self, held: list[asyncpg.Connection[Any]]) -> None:
        """First what is free, then what ours had: they are ended, and we are there before they come back."""
        await self._take_free(held)
        if held:
            await real_proof.end_others_but(held[0], [connection.get_server_pid() for connection in held])
            await self._take_free(held)

    async def _take_free(self, held: list[asyncpg.Connection[Any]]) -> None:
        with suppress(asyncpg.PostgresError, OSError):
            while len(held) < CONNECTIONS_MAX:
                connection = await asyncpg.connect(self._server.dsn)
                held.append(connection)
