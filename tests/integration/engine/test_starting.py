"""A worker that starts while others are at work, and one that is told to stop. Found by the long proof: its start ended
in a deadlock; and by a run of this test that never ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from crossdock.engine.poller import Poller
from crossdock.engine.ports import OpenConnection, system_clock
from crossdock.engine.worker import make_known
from crossdock.kit.connector import Connector, Feed, Page
from crossdock.ledger.database import open_pool

NAMES = ("alpha", "beta", "gamma")


@asynccontextmanager
async def _nothing(settings: Any) -> AsyncIterator[None]:
    yield None


async def _read(client: Any, connection: str, cursor: str) -> Page:
    return Page((), str(int(cursor or "0") + 1))


def connections() -> list[OpenConnection]:
    feeds = tuple(Feed(name, read=_read, interval_seconds=0.001) for name in ("orders", "stock"))
    return [
        OpenConnection(name, Connector(name, name, settings=dict, open=_nothing, feeds=feeds), None) for name in NAMES
    ]


async def test_a_worker_starts_while_others_read_their_feeds(database_url: str) -> None:
    pool = await open_pool(database_url, size=12)
    try:
        await make_known(pool, connections())
        reading = [
            asyncio.create_task(Poller(pool, connections(), f"worker-{number}", system_clock).run())
            for number in range(3)
        ]
        for _ in range(60):
            await asyncio.gather(*(make_known(pool, connections()) for _ in range(3)))
        assert not any(task.done() for task in reading)
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
    finally:
        pool.terminate()


async def test_a_worker_that_is_told_to_stop_as_a_page_arrives_stops(database_url: str) -> None:
    pages = 0

    async def read(client: Any, connection: str, cursor: str) -> Page:
        nonlocal pages
        pages += 1
        if pages == 1:
            polling.cancel()
        return Page((), str(pages))

    feed = Feed("orders", read=read, interval_seconds=0.001)
    alpha = OpenConnection("alpha", Connector("alpha", "alpha", settings=dict, open=_nothing, feeds=(feed,)), None)
    pool = await open_pool(database_url, size=4)
    try:
        await make_known(pool, [alpha])
        polling = asyncio.create_task(Poller(pool, [alpha], "worker-1", system_clock).run())
        await asyncio.wait({polling}, timeout=20)
        assert polling.cancelled()
        assert pages == 1
    finally:
        pool.terminate()
