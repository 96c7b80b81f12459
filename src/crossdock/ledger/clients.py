"""Who may call the API: clients with hashed secrets, opaque tokens kept as hashes, failures counted."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg

from crossdock.ledger.database import Queries

_SQL: Final = Queries.load("api_clients")
EVERY_CHANNEL: Final = "*"


@dataclass(frozen=True, slots=True)
class ApiClient:
    """`channels` are those whose orders it may see and place; `EVERY_CHANNEL` stands for all."""

    client_id: str
    scopes: tuple[str, ...]
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TokenHolder:
    """The client that a token was granted to, with the token's scopes."""

    client_id: str
    scopes: frozenset[str]
    channels: tuple[str, ...]
    expires_at: datetime


def secret_hash(secret: str) -> bytes:
    """Client secrets and tokens are long and random, so a plain hash keeps them."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


async def place_client(pool: asyncpg.Pool[Any], client: ApiClient, secret: str, now: datetime) -> None:
    await pool.execute(
        _SQL["place_client"], client.client_id, secret_hash(secret), list(client.scopes), list(client.channels), now
    )


async def find_client(pool: asyncpg.Pool[Any], client_id: str, secret: str) -> ApiClient | None:
    """The client if this is its secret; the comparison is the same for unknown clients."""
    row = await pool.fetchrow(_SQL["find_client"], client_id) if "\0" not in client_id else None
    kept = row["secret_hash"] if row is not None else secret_hash("")
    matches = hmac.compare_digest(kept, secret_hash(secret))
    if row is None or not matches or not secret:
        return None
    return ApiClient(row["client_id"], tuple(row["scopes"]), tuple(row["channels"]))


async def place_token(
    pool: asyncpg.Pool[Any], token: str, client_id: str, scopes: Sequence[str], expires_at: datetime, now: datetime
) -> None:
    await pool.execute(_SQL["place_token"], secret_hash(token), client_id, list(scopes), expires_at, now)


async def find_holder(pool: asyncpg.Pool[Any], token_hash: bytes, now: datetime) -> TokenHolder | None:
    row = await pool.fetchrow(_SQL["find_holder"], token_hash, now)
    if row is None:
        return None
    return TokenHolder(row["client_id"], frozenset(row["scopes"]), tuple(row["channels"]), row["expires_at"])


async def record_failure(pool: asyncpg.Pool[Any], subjects: Sequence[str], now: datetime) -> None:
    await pool.execute(_SQL["record_failure"], list(subjects), now)


async def wait_seconds(
    pool: asyncpg.Pool[Any], limits: Mapping[str, int], window: timedelta, now: datetime
) -> int | None:
    """How long to wait when a subject has failed as often as its limit within `window`; None: go on."""
    rows = await pool.fetch(_SQL["read_failures"], list(limits), now - window)
    waits = [
        max(1, round((row["oldest_at"] + window - now).total_seconds()))
        for row in rows
        if row["count"] >= limits[row["subject"]]
    ]
    return max(waits, default=None)


async def deactivate_client(pool: asyncpg.Pool[Any], client_id: str) -> None:
    """It gets no token any more, and those that it has end."""
    await pool.execute(_SQL["deactivate_client"], client_id)


async def visible_orders(
    pool: asyncpg.Pool[Any], order_ids: Sequence[int], channels: tuple[str, ...] | None
) -> set[int]:
    """Those of the orders that a caller with these channels may touch (None: all that exist)."""
    rows = await pool.fetch(_SQL["visible_orders"], list(order_ids), None if channels is None else list(channels))
    return {row[0] for row in rows}


async def find_obstacle(pool: asyncpg.Pool[Any]) -> str:
    """Why no order can be accepted now; "" when one can. Raises what the database raises when it does not answer."""
    row = await pool.fetchrow(_SQL["can_accept_orders"])
    if row is None or not row["writable"]:
        return "The database does not take writes."
    return "" if row["products_there"] else "There is no product data yet."
