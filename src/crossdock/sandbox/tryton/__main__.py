"""`python -m crossdock.sandbox.tryton`: starts Tryton, seeds it once, and stands in front of it until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import aiohttp
import asyncpg
from aiohttp import web

from crossdock.sandbox.storage import Storage
from crossdock.sandbox.tryton.child import (
    DATABASE,
    Place,
    ensure_database,
    free_port,
    kept_secret,
    start_tryton,
    stop_tryton,
    write_configuration,
)
from crossdock.sandbox.tryton.proxy import Proxy
from crossdock.sandbox.tryton.rpc import Rpc
from crossdock.sandbox.tryton.seed import seed
from crossdock.sandbox.world import make_world

_SIGN_IN_TRIES = 50
# What an ERP that was seeded before may lack; every part of the seeding looks first whether it is there.
_SEEDED = "4 with purchase orders, the places of others, card payments"


def main() -> None:
    parser = argparse.ArgumentParser(prog="crossdock.sandbox.tryton", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--venv", type=Path)
    given = parser.parse_args()
    home = given.home.resolve()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    environment = given.venv.resolve() if given.venv else home.parent / "tryton-venv"
    place = Place(environment, home, given.database_url, free_port())
    password = os.environ.get("CROSSDOCK_SANDBOX_TRYTON_PASSWORD") or kept_secret(home / "crossdock.password")
    sys.exit(asyncio.run(_run(place, given.port, password)))


async def _run(place: Place, port: int, password: str) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running = asyncio.create_task(_serve(place, port, password))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    # Told to stop, also while it initialises or seeds: Tryton is ended on the way out.
    if not running.done():
        running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        return await running
    return 0


async def _serve(place: Place, port: int, password: str) -> int:
    write_configuration(place)
    await ensure_database(place, say)
    process = await start_tryton(place)
    try:
        timeout = aiohttp.ClientTimeout(total=300)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=64)) as client:
            await _ensure_seeded(place, client, password)
            return await _stand_in_front(place, client, port, process)
    finally:
        await stop_tryton(process)


async def _stand_in_front(
    place: Place, client: aiohttp.ClientSession, port: int, process: asyncio.subprocess.Process
) -> int:
    storage = Storage(place.home / "tryton.sqlite")
    async with asyncpg.create_pool(place.dsn(), min_size=0, max_size=2) as pool:
        proxy = Proxy(place.url, client, storage, pool)
        runner = web.AppRunner(proxy.application(), access_log=None, shutdown_timeout=3)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port, backlog=512).start()
            say(f"tryton listens on http://127.0.0.1:{runner.addresses[0][1]}")
            await process.wait()
            say("tryton ended by itself")
            return 1
        finally:
            await runner.cleanup()
            storage.close()


async def _ensure_seeded(place: Place, client: aiohttp.ClientSession, password: str) -> None:
    marker = place.home / "seeded"
    if marker.exists() and marker.read_text(encoding="ascii") == _SEEDED:
        return
    rpc = Rpc(client, place.url, DATABASE)
    await rpc.login("admin", kept_secret(place.home / "admin.password"))
    await seed(rpc, make_world(), password, say)
    marker.write_text(_SEEDED, encoding="ascii")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
