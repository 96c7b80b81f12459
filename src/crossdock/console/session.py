"""Signing in and out: sessions in the database, a cookie that scripts cannot read, a form token against forgery,
and a brake on guessing. Nothing here tells whether a user name exists.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg
import structlog

from crossdock.console.users import Role, password_matches
from crossdock.ledger.database import Queries

_SQL: Final = Queries.load("console_users")
_LOG: Final = structlog.get_logger("crossdock.console")

SESSION_LENGTH: Final = timedelta(hours=12)
GUESSING_WINDOW: Final = timedelta(minutes=15)
# By what is counted, with the number of failures that are let through within the window.
GUESSES_PER_PERSON_AND_PLACE: Final = 10
GUESSES_PER_PERSON: Final = 40
GUESSES_PER_PLACE: Final = 40


@dataclass(frozen=True, slots=True)
class Session:
    """Who is asking. `form_token` must come back with every form."""

    name: str
    role: Role
    form_token: str

    @property
    def may_operate(self) -> bool:
        return self.role == "operator"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """`cookie` is the session's secret; only its hash is kept."""

    cookie: str


@dataclass(frozen=True, slots=True)
class SignInRefused:
    """`retry_after_seconds` is set when too many attempts failed."""

    retry_after_seconds: int | None = None


def cookie_name(secure: bool) -> str:
    """The `__Host-` prefix makes browsers refuse the cookie from anywhere but this host over TLS."""
    return "__Host-crossdock_session" if secure else "crossdock_session"


async def sign_in(
    pool: asyncpg.Pool[Any], name: str, password: str, address: str, now: datetime
) -> SignedIn | SignInRefused:
    """Open a session, or say why not. Every failure is counted and logged."""
    limits = {
        f"console:{name[:64]}@{address}": GUESSES_PER_PERSON_AND_PLACE,
        f"console:{name[:64]}": GUESSES_PER_PERSON,
        f"console@{address}": GUESSES_PER_PLACE,
    }
    wait = await _wait_seconds(pool, limits, now)
    if wait is not None:
        _LOG.warning("console_sign_in_limited", address=address, retry_after_seconds=wait)
        return SignInRefused(wait)
    user = await pool.fetchrow(_SQL["read_user"], name)
    if not await password_matches(password, user["password_hash"] if user else None) or user is None:
        await pool.execute(_SQL["record_failure"], list(limits), now)
        _LOG.warning("console_sign_in_failed", address=address, user=name[:64])
        return SignInRefused()
    cookie = secrets.token_urlsafe(32)
    await pool.execute(
        _SQL["open_session"], _hash(cookie), user["name"], secrets.token_urlsafe(24), now, now + SESSION_LENGTH
    )
    _LOG.info("console_signed_in", user=user["name"], address=address)
    return SignedIn(cookie)


async def read_session(pool: asyncpg.Pool[Any], cookie: str | None, now: datetime) -> Session | None:
    if not cookie or len(cookie) > 200:
        return None
    row = await pool.fetchrow(_SQL["read_session"], _hash(cookie), now)
    return Session(row["name"], row["role"], row["form_token"]) if row else None


async def sign_out(pool: asyncpg.Pool[Any], cookie: str) -> None:
    await pool.execute(_SQL["close_session"], _hash(cookie))


def form_token_matches(session: Session, given: str) -> bool:
    return hmac.compare_digest(session.form_token.encode(), given.encode())


async def _wait_seconds(pool: asyncpg.Pool[Any], limits: Mapping[str, int], now: datetime) -> int | None:
    rows = await pool.fetch(_SQL["failures"], list(limits), now - GUESSING_WINDOW)
    over = [row["oldest_at"] for row in rows if row["count"] >= limits[row["subject"]]]
    if not over:
        return None
    return max(1, int((max(over) + GUESSING_WINDOW - now).total_seconds()))


def _hash(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode()).digest()
