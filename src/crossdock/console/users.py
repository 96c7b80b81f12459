"""Who may use the console: passwords are kept as scrypt hashes, roles are viewer and operator."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
from typing import Any, Final, Literal

import asyncpg

from crossdock.ledger.database import Queries

Role = Literal["viewer", "operator"]
ROLES: Final[tuple[Role, ...]] = ("viewer", "operator")

_SQL: Final = Queries.load("console_users")
# OWASP's second choice for scrypt: 32 MiB and three rounds, about a quarter of a second.
_COST, _BLOCK, _PARALLEL = 2**15, 8, 3
_MEMORY_MAX: Final = 64 * 1024 * 1024
PASSWORD_LENGTH_MAX: Final = 200
# Each hash takes 32 MiB: no more than two at a time, however many sign in.
_HASHING: Final = asyncio.Semaphore(2)


async def place_user(pool: asyncpg.Pool[Any], name: str, password: str, role: Role) -> None:
    """Create the user, or replace its password and role; its sessions end."""
    kept = await hash_password(password)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(_SQL["place_user"], name, kept, role)
        await connection.execute(_SQL["end_sessions_of"], name)


async def hash_password(password: str) -> str:
    """The text kept instead of the password: scheme, parameters, salt and hash."""
    salt = secrets.token_bytes(16)
    derived = await _derive(password, salt, _COST, _BLOCK, _PARALLEL)
    return f"scrypt${_COST}${_BLOCK}${_PARALLEL}${_text(salt)}${_text(derived)}"


async def password_matches(password: str, kept: str | None) -> bool:
    """Whether the password is the one kept. Without a user it takes as long and says no."""
    if len(password) > PASSWORD_LENGTH_MAX:
        return False
    if kept is None:
        await _derive(password, b"\x00" * 16, _COST, _BLOCK, _PARALLEL)
        return False
    _, cost, block, parallel, salt, expected = kept.split("$")
    derived = await _derive(password, base64.b64decode(salt), int(cost), int(block), int(parallel))
    return hmac.compare_digest(derived, base64.b64decode(expected))


async def _derive(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    def derive() -> bytes:
        return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=block, p=parallel, maxmem=_MEMORY_MAX, dklen=32)

    async with _HASHING:
        return await asyncio.to_thread(derive)


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
