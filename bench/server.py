"""A PostgreSQL of the benchmark's own (or CROSSDOCK_BENCH_DATABASE_URL), and a fresh database for each run."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from bench.statements import load_statements
from crossdock.ledger.embedded import EmbeddedPostgres
from crossdock.ledger.migrate import migrate
from tests.conftest import address_of, execute

_numbers = itertools.count(1)
# A gigabyte: what the embedded PostgreSQL keeps (`min_wal_size`).
LOG_FILES = 64


@contextmanager
def open_server() -> Iterator[str]:
    external = os.environ.get("CROSSDOCK_BENCH_DATABASE_URL")
    if external:
        yield external
        return
    with tempfile.TemporaryDirectory(prefix="crossdock-bench-") as directory:
        server = EmbeddedPostgres(Path(directory) / "data")
        dsn = server.start()
        try:
            yield dsn
        finally:
            server.stop()


async def settle(server: str) -> None:
    """As a server that has run for a while: its log's files are there (a new one stops all commits while it is made),
    and what was filled is written."""
    statements = load_statements("settle")
    connection = await asyncpg.connect(server)
    try:
        for _ in range(LOG_FILES):
            await connection.execute(statements["mark"])
            await connection.execute(statements["switch"])
        await connection.execute(statements["checkpoint"], timeout=300)
    finally:
        await connection.close()


async def fresh_database(server: str, *, migrated: bool = True) -> str:
    name = f"bench_{os.getpid()}_{next(_numbers)}"
    await execute(server, f"CREATE DATABASE {name}")
    dsn = address_of(server, name)
    if migrated:
        await migrate(dsn)
    return dsn
