"""The saga on bare PostgreSQL: `bench/bare_saga.sql`, claimed and recorded in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import uvloop

from bench.bare_saga import ACCEPT_BATCH, CLAIM_BATCH
from bench.peers.saga import Acknowledged, PartnerLog, arguments, serve
from bench.statements import load_statements
from crossdock.ledger.database import open_pool


class BarePostgres:
    batch = ACCEPT_BATCH
    lanes = 1
    waits = False

    def __init__(self, address: str, log: PartnerLog, body: str) -> None:
        self._address, self._log, self._body = address, log, body.encode()
        self._sql = load_statements("bare_saga")
        self._pool: Any = None
        self._worker: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._pool = await open_pool(self._address, size=4)
        await self._pool.execute(self._sql["schema"])
        # The only worker: what stands as being sent was left by one that is gone.
        await self._pool.execute(self._sql["take_again"])
        self._worker = asyncio.create_task(self._work())

    async def accept(self, numbers: Sequence[int]) -> None:
        names = [f"SAGA-{number}" for number in numbers]
        await self._pool.execute(self._sql["accept"], list(numbers), names, [self._body] * len(names))

    async def finish(self, number: int) -> None:
        raise NotImplementedError

    async def completed(self) -> int:
        return int(await self._pool.fetchval(self._sql["count_completed"]))

    async def close(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        await self._pool.close()

    async def _work(self) -> None:
        doubt = False
        while True:
            try:
                if doubt:
                    await self._pool.execute(self._sql["take_again"])
                    doubt = False
                await self._deliver()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                doubt = True
                await asyncio.sleep(0.1)

    async def _deliver(self) -> None:
        claimed = await self._pool.fetch(self._sql["claim"], CLAIM_BATCH)
        if not claimed:
            await asyncio.sleep(0.001)
            return
        sent = [(row[0], row[1]) for row in claimed]
        self._log.write(sent)
        results = [b"{}"] * len(sent)
        await self._pool.fetch(self._sql["record"], [row[0] for row in sent], [row[1] for row in sent], results)


async def main() -> None:
    address, directory, body = arguments()
    log = PartnerLog(directory)
    await serve(BarePostgres(address, log, body), log, Acknowledged(directory))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
