"""The servers that engines keep their state in: started on a fresh directory, killed with SIGKILL, started again."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import asyncpg

from bench.process_figures import find_postmaster, memory_of_postgres, usage_of, usage_of_postgres
from crossdock.ledger.embedded import EmbeddedPostgres
from crossdock.ledger.migrate import migrate

START_SECONDS = 60


@dataclass(frozen=True, slots=True)
class ServerUsage:
    """Processor seconds, bytes resident now, bytes of log written so far (0 where that is not told), bytes kept in the
    directory (without PostgreSQL's log, whose files are made in advance and used again)."""

    seconds: float
    resident: int
    logged: int
    kept: int


class Server(Protocol):
    def fresh(self) -> str:
        """Start it if need be, with nothing in it; the address of that."""
        ...

    def start(self) -> None:
        """Start it again after a kill, and wait until it answers."""
        ...

    def kill(self) -> None:
        """SIGKILL to all of it."""
        ...

    def stop(self) -> None: ...

    def usage(self) -> ServerUsage: ...

    def settle(self) -> None:
        """Write out what is kept in memory, where that can be asked for."""
        ...

    def version(self) -> str:
        """As it tells itself; "" where the engine's packages say it."""
        ...


class PostgresServer:
    """PostgreSQL with the settings of Crossdock's own: fsync and full_page_writes on, synchronous_commit on."""

    def __init__(self, directory: Path, *, migrated: bool = False) -> None:
        self._directory = directory
        # The same port again after a kill: those who were connected look for it there.
        self._server = EmbeddedPostgres(directory / "data", port=_free_port())
        self._migrated = migrated
        self._postmaster = 0
        self._databases = 0

    def fresh(self) -> str:
        """A database of its own for each part."""
        if not self._postmaster:
            self.start()
            asyncio.run(_ask(self._server.dsn(), "CREATE DATABASE pattern"))
            if self._migrated:
                asyncio.run(migrate(self._server.dsn("pattern")))
        self._databases += 1
        name = f"saga_{self._databases}"
        asyncio.run(_ask(self._server.dsn(), f"CREATE DATABASE {name} TEMPLATE pattern"))
        return self._server.dsn(name)

    def start(self) -> None:
        self._postmaster = asyncio.run(find_postmaster(self._server.start()))

    def kill(self) -> None:
        _kill_all([self._postmaster, *_children(self._postmaster)])
        # Where nobody collects ended processes at once, PostgreSQL takes a dead one for a running one.
        (self._directory / "data" / "postmaster.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        self._server.stop()

    def usage(self) -> ServerUsage:
        kept = _size(self._directory) - _size(self._directory / "data" / "pg_wal")
        return ServerUsage(
            usage_of_postgres(self._postmaster), memory_of_postgres(self._postmaster),
            int(asyncio.run(_ask(self._server.dsn(), "SELECT pg_current_wal_insert_lsn() - '0/0'"))), kept,
        )  # fmt: skip

    def settle(self) -> None:
        asyncio.run(_ask(self._server.dsn(), "CHECKPOINT"))

    def version(self) -> str:
        return str(asyncio.run(_ask(self._server.dsn(), "SHOW server_version")))


class ProcessServer:
    """A server that is one process. `command`, `environment` and `address` may hold `{port0}`, `{port1}` and so on, and
    `{directory}`; it is there when its ports answer."""

    def __init__(
        self, directory: Path, command: Sequence[str], address: str, ports: int, environment: Mapping[str, str]
    ) -> None:
        self._directory = directory
        self._ports = [_free_port() for _ in range(ports)]
        values = {"directory": str(directory)}
        values.update({f"port{place}": str(port) for place, port in enumerate(self._ports)})
        self._command = [part.format(**values) for part in command]
        self._environment = {name: text.format(**values) for name, text in environment.items()}
        self._address = address.format(**values)
        self._process: subprocess.Popen[bytes] | None = None

    def fresh(self) -> str:
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)
        self.start()
        return self._address

    def start(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory.parent / f"{self._directory.name}.log").open("ab") as output:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self._directory,
                env={**os.environ, **self._environment},
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        for port in self._ports:
            while not _answers(port):
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError(f"{self._command[0]} did not start within {START_SECONDS} s")
                time.sleep(0.05)

    def kill(self) -> None:
        if self._process is not None:
            _kill_all([self._process.pid, *_children(self._process.pid)])
            self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def usage(self) -> ServerUsage:
        if self._process is None:
            raise RuntimeError("the server was not started")
        pid = self._process.pid
        found = usage_of(pid)
        return ServerUsage(found.seconds, found.resident, 0, _size(self._directory))

    def settle(self) -> None:
        """It writes by itself."""

    def version(self) -> str:
        return ""


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _ask(dsn: str, question: str) -> Any:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                text = (entry / "stat").read_text(encoding="utf-8")
                if int(text.rpartition(")")[2].split()[1]) == parent:
                    found.append(int(entry.name))
    return found


def _kill_all(pids: Sequence[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(_is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _size(directory: Path) -> int:
    total = 0
    for folder, _, files in os.walk(directory):
        for file in files:
            with suppress(OSError):
                total += (Path(folder) / file).stat().st_size
    return total
