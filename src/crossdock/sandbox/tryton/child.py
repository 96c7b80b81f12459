"""Tryton as a child process: its configuration, its first initialisation, and its end with ours.

Tryton is driven by its own commands only. It dies with its parent, however the parent ends.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import secrets
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import asyncpg

DATABASE: Final = "tryton"
MODULES: Final = ("sale", "sale_price_list", "sale_credit_limit", "account_invoice_stock", "purchase")
_DIE_WITH_PARENT: Final = 1
_START_SECONDS_MAX: Final = 90.0
_TELL_SECONDS: Final = 5.0
# A line of its log for each module that it is about to set up.
_SETTING_UP: Final = re.compile(rb" trytond\.modules (\w+) load$", re.MULTILINE)
# What comes with Tryton itself.
_INNER_MODULES: Final = 2


@dataclass(frozen=True, slots=True)
class Place:
    """Where Tryton lives: its environment, its home, its database server and its inner port."""

    environment: Path
    home: Path
    database_url: str
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def configuration(self) -> Path:
        return self.home / "trytond.conf"

    def dsn(self) -> str:
        """The same server, Tryton's own database."""
        return urlunsplit(urlsplit(self.database_url)._replace(path=f"/{DATABASE}"))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def kept_secret(path: Path) -> str:
    """A password made at the first start, readable by its owner only."""
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(24))
    return path.read_text(encoding="ascii").strip()


def write_configuration(place: Place) -> None:
    """No worker queue, no cron; sessions long enough for a batch system.

    More than the usual 5 retries of what PostgreSQL could not serialise: Tryton runs at REPEATABLE READ.
    """
    text = f"""[database]
uri = {place.database_url}
list = False
retry = 20
[web]
listen = 127.0.0.1:{place.port}
[session]
timeout = 86400
max_attempt = 1000
[cache]
transaction = 500
model = 500
record = 10000
field = 500
"""
    descriptor = os.open(place.configuration, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def read_statements(name: str) -> dict[str, str]:
    """The named statements of a file beside this module."""
    text = files("crossdock.sandbox.tryton").joinpath(name).read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)\s*$", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


async def ensure_database(place: Place, say: Callable[[str], None]) -> None:
    """Create and initialise Tryton's database unless that was finished before; one of fewer modules gets the others."""
    statements = read_statements("database.sql")
    marker = place.home / "initialised"
    connection = await asyncpg.connect(place.database_url)
    try:
        there = await connection.fetchval(statements["find_database"])
        if there and marker.exists():
            if set(MODULES) <= set(marker.read_text(encoding="ascii").split()):
                return
            say("tryton: adding modules (about half a minute)")
        else:
            if there:
                say("tryton: an unfinished database is made anew")
                await connection.execute(statements["drop_database"])
            await connection.execute(statements["create_database"])
            say("tryton: initialising the modules (about a minute)")
    finally:
        await connection.close()
    kept_secret(place.home / "admin.password")
    command = (
        str(place.environment / "bin" / "trytond-admin"), "-c", str(place.configuration), "-d", DATABASE,
        "-u", *MODULES, "--activate-dependencies", "--email", "admin@example.com", "-vv",
    )  # fmt: skip
    log = place.home / "trytond.log"
    before = log.stat().st_size if log.exists() else 0
    process = await _spawn(place, command, {"TRYTONPASSFILE": str(place.home / "admin.password")})
    telling = asyncio.create_task(_tell_modules(place, before, say))
    try:
        status = await process.wait()
    finally:
        telling.cancel()
        await stop_tryton(process)
    if status != 0:
        raise RuntimeError(f"trytond-admin failed; see {place.home / 'trytond.log'}")
    marker.write_text(" ".join(MODULES), encoding="ascii")


async def _tell_modules(place: Place, before: int, say: Callable[[str], None]) -> None:
    """How far it is, from what it has written into its log since `before`, until it is cancelled."""
    found = place.environment.glob("lib/python*/site-packages/trytond/modules/*/tryton.cfg")
    total, told = _INNER_MODULES + len(list(found)), 0
    while True:
        await asyncio.sleep(_TELL_SECONDS)
        with (place.home / "trytond.log").open("rb") as log:
            log.seek(before)
            count = len(set(_SETTING_UP.findall(log.read())))
        if count > told:
            told = count
            say(f"tryton: module {count} of {max(total, count)}")


async def start_tryton(place: Place) -> asyncio.subprocess.Process:
    """Start trytond and wait until it answers."""
    command = (str(place.environment / "bin" / "trytond"), "-c", str(place.configuration), "-d", DATABASE)
    process = await _spawn(place, command, {})
    try:
        await _await_answer(place, process)
    except BaseException:
        await stop_tryton(process)
        raise
    return process


async def _await_answer(place: Place, process: asyncio.subprocess.Process) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _START_SECONDS_MAX
    async with aiohttp.ClientSession() as client:
        while loop.time() < deadline:
            if process.returncode is not None:
                raise RuntimeError(f"trytond ended at its start; see {place.home / 'trytond.log'}")
            if await _answers(client, place):
                return
            await asyncio.sleep(0.2)
    raise RuntimeError("trytond did not answer in time")


async def stop_tryton(process: asyncio.subprocess.Process) -> None:
    """Tryton's server has no work of its own after an answer: what is committed is committed."""
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _answers(client: aiohttp.ClientSession, place: Place) -> bool:
    body = {"id": 1, "method": "common.server.version", "params": []}
    try:
        async with client.post(f"{place.url}/rpc/", json=body, timeout=aiohttp.ClientTimeout(total=5)) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


async def _spawn(place: Place, command: tuple[str, ...], extra: dict[str, str]) -> asyncio.subprocess.Process:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
    log = os.open(place.home / "trytond.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env={**kept, **extra},
            preexec_fn=_die_with_parent, start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(log)


_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    _LIBC.prctl(_DIE_WITH_PARENT, signal.SIGKILL)
