"""The console as its own application on a free port, for tests and for looking at it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from granian.constants import Interfaces
from granian.server.embed import Server
from litestar import Litestar

from crossdock.console.rendering import ConsoleServices, open_console
from crossdock.console.routes import console_routes
from crossdock.engine.control import Control
from crossdock.engine.intake import Acceptor
from crossdock.engine.ports import PlanBook
from crossdock.ledger.reference import ReferenceCache
from crossdock.policy.policy import Policy
from tests.integration.engine.bench_world import make_policy


def console_of(
    pool: Any, clock: Callable[[], datetime], *, secure: bool = False, policy: Policy | None = None
) -> ConsoleServices:
    """The console over a ledger without plans: enough for all that does not decide a held order anew."""
    plans = PlanBook({}, _empty(), _empty())
    control = Control(pool, Acceptor(policy or make_policy(), plans, ReferenceCache(), clock), plans)
    return open_console(pool, clock, control, secure=secure, policy=policy)


def _empty() -> Mapping[str, str]:
    return {}


def application_of(services: ConsoleServices) -> Litestar:
    return Litestar(console_routes(services), openapi_config=None, on_shutdown=[services.live.close])


@asynccontextmanager
async def serve(services: ConsoleServices, port: int) -> AsyncIterator[str]:
    """Serve until the block ends."""
    server = Server(application_of(services), address="127.0.0.1", port=port, interface=Interfaces.ASGI)
    task = asyncio.create_task(server.serve())
    try:
        await _answering(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        await services.live.close()
        server.stop()  # type: ignore[no-untyped-call]
        await task


async def _answering(port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return
