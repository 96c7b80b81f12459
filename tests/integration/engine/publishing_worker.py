"""A worker that does nothing but publish, as a process of its own that a test can kill.

`python -m tests.integration.engine.publishing_worker NAME DSN channel=url ...`
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack

from crossdock.engine.ports import OpenConnection, system_clock
from crossdock.engine.publisher import Publisher
from crossdock.kit.settings import decode_settings
from crossdock.ledger import steps as steps_ledger
from crossdock.ledger.database import open_pool
from crossdock.policy.stock import ChannelStock
from tests.conformance.partners import KEY
from tests.integration.engine.publishing import CONNECTORS, make_policy


async def main(name: str, dsn: str, urls: dict[str, str]) -> None:
    pool = await open_pool(dsn, size=6)
    async with AsyncExitStack() as stack:
        connections = []
        for channel, url in urls.items():
            settings = decode_settings(CONNECTORS[channel], channel, {"url": url, "key": KEY})
            client = await stack.enter_async_context(CONNECTORS[channel].open(settings))
            connections.append(OpenConnection(channel, CONNECTORS[channel], client))
        policy = make_policy(dict.fromkeys(urls, ChannelStock(compare_calls_per_minute=0)))
        publisher = asyncio.create_task(Publisher(pool, connections, policy, name, system_clock).run())
        while not publisher.done():
            async with pool.acquire() as connection:
                await steps_ledger.beat(connection, name, "worker", system_clock())
            await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], dict(pair.split("=", 1) for pair in sys.argv[3:])))
