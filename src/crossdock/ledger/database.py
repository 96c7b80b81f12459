"""The pool, the named queries, and how many rows are handed over at once.

`json` columns come and go as bytes: the model's own encoder and decoder are faster than a second round through
text, and what was written is what is read. Rows go to a statement as one JSON document (`as_rows`), which it takes
apart with `json_to_recordset`: an array for each column costs the driver several times as much for each value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

import asyncpg
import msgspec

_ROWS: Final = msgspec.json.Encoder()
_NAME: Final = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)

Connection = Any
"""An asyncpg connection, or a pool's proxy of one."""


async def _prepare(connection: Connection) -> None:
    await connection.set_type_codec(
        "json", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary",
    )  # fmt: skip


async def _give_back(connection: Connection) -> None:
    """Nothing to reset: no statement of ours leaves session state. (An open transaction is rolled back before this.)"""


_SESSION: Final = {
    "synchronous_commit": "on", "application_name": "crossdock", "jit": "off",
    # A plan that was made while a table was small would be kept and be slow when it has grown.
    "plan_cache_mode": "force_custom_plan",
}  # fmt: skip
# After so many statements a connection is opened anew.
_NEVER: Final = 2**62
_BY_KEY: Final = {
    **_SESSION, "plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "enable_mergejoin": "off",
}  # fmt: skip


async def open_connection(dsn: str, **settings: str) -> asyncpg.Connection[Any]:
    """Open a single connection, set up like those of a pool, but for `settings`. It sets no timers of its own."""
    connection: asyncpg.Connection[Any] = await asyncpg.connect(
        dsn, server_settings={**_SESSION, **settings}, statement_cache_size=500, max_cached_statement_lifetime=0
    )
    await _prepare(connection)
    return connection


async def open_pool(dsn: str, *, size: int = 10, by_key: bool = False) -> asyncpg.Pool[Any]:
    """Open a pool of at most `size` connections. Every commit waits for the disk (law 1).

    `by_key`: for hot statements that are written so that each row is found by its key, however large tables are. Their
    plans are kept: planning took half of PostgreSQL's time for an order alone. Its connections are all open from the
    start and stay: who comes while one is opened waits for a tenth of a second.
    """
    pool: asyncpg.Pool[Any]
    if by_key:
        pool = await asyncpg.create_pool(
            dsn, min_size=size, max_size=size, init=_prepare, reset=_give_back, command_timeout=60,
            server_settings=_BY_KEY, max_inactive_connection_lifetime=0, max_queries=_NEVER,
        )  # fmt: skip
    else:
        pool = await asyncpg.create_pool(
            dsn, min_size=min(2, size), max_size=size, init=_prepare, reset=_give_back, command_timeout=60,
            server_settings=_SESSION,
        )  # fmt: skip
    return pool


def as_rows(rows: Sequence[msgspec.Struct]) -> bytes:
    """Rows as the document that a statement takes apart."""
    return _ROWS.encode(rows)


class Queries:
    """The named statements of one file in `ledger/queries`: each begins with `-- name: x` and a comment."""

    @staticmethod
    def load(name: str) -> Mapping[str, str]:
        text = resources.files("crossdock.ledger").joinpath("queries", f"{name}.sql").read_text(encoding="utf-8")
        parts = _NAME.split(text)[1:]
        return MappingProxyType(dict(zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True)))
