"""Forward-only migrations: each file of `ledger/migrations` is applied once, in order, in its own transaction."""

from __future__ import annotations

from importlib import resources
from typing import Final

import asyncpg

from crossdock.ledger.database import Queries
from crossdock.model.errors import Misconfigured

# One migrator at a time, whoever starts first: an advisory lock of this number.
_LOCK: Final = 8700


def list_migrations() -> list[tuple[str, str]]:
    """Every migration as (name without .sql, text), in order."""
    folder = resources.files("crossdock.ledger").joinpath("migrations")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [(file.name.removesuffix(".sql"), file.read_text(encoding="utf-8")) for file in files]


async def migrate(dsn: str) -> list[str]:
    """Apply what is missing; return the names applied. Raises Misconfigured if the database is newer."""
    queries = Queries.load("migrations")
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(queries["lock"], _LOCK)
        await connection.execute(queries["create_table"])
        done = {row["name"] for row in await connection.fetch(queries["read_applied"])}
        migrations = list_migrations()
        unknown = done - {name for name, _ in migrations}
        if unknown:
            message = f"The database was migrated by a newer release ({max(unknown)})."
            raise Misconfigured("database_newer", message, next_action="Install that release or restore a backup.")
        applied = []
        for name, text in migrations:
            if name not in done:
                async with connection.transaction():
                    await connection.execute(text)
                    await connection.execute(queries["record_applied"], name)
                applied.append(name)
        return applied
    finally:
        await connection.close()
