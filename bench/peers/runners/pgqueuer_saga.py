"""The saga on pgqueuer: an order's row and five jobs, enqueued as a batch in one transaction; a job delivers and sets
its bit in the order's row. Tables are those of its mode `durable`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from bench.peers.runners.order_rows import COUNT_COMPLETED, SCHEMA
from bench.peers.saga import STEPS, Acknowledged, PartnerLog, arguments, serve

BATCH = 200
DEQUEUE = 100
POOL = 10
HEARTBEAT_TIMEOUT = timedelta(seconds=5)


class PgqueuerSaga:
    batch = BATCH
    lanes = 1
    waits = False

    def __init__(self, address: str, log: PartnerLog, body: str) -> None:
        self._address, self._log, self._body = address, log, body
        self._pool: Any = None
        self._worker: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._pool = await asyncpg.create_pool(self._address, min_size=2, max_size=POOL)
        await self._pool.execute(SCHEMA)
        queries = Queries(AsyncpgPoolDriver(self._pool))
        if await self._pool.fetchval("SELECT to_regclass('pgqueuer') IS NULL"):
            await queries.install()
        self._worker = asyncio.create_task(self._work())

    async def deliver(self, job: Job) -> None:
        """A job; its payload is the order's number and the place."""
        assert job.payload is not None
        number, place = (int(part) for part in job.payload.split())
        self._log.write([(number, place)])
        await self._pool.execute("UPDATE saga_orders SET made = made | $1 WHERE number = $2", 1 << place, number)

    async def accept(self, numbers: Sequence[int]) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(
                "INSERT INTO saga_orders (number, body) SELECT unnest($1::bigint[]), $2::json ON CONFLICT DO NOTHING "
                "RETURNING number", list(numbers), self._body,
            )  # fmt: skip
            payloads = [f"{row[0]} {place}".encode() for row in rows for place in range(STEPS)]
            if payloads:
                queries = Queries(AsyncpgDriver(connection))
                await queries.enqueue(["deliver"] * len(payloads), payloads, [0] * len(payloads))

    async def finish(self, number: int) -> None:
        raise NotImplementedError

    async def completed(self) -> int:
        return int(await self._pool.fetchval(COUNT_COMPLETED))

    async def close(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        self._pool.terminate()

    async def _work(self) -> None:
        while True:
            try:
                queue = PgQueuer.from_asyncpg_pool(self._pool)
                queue.entrypoint("deliver")(self.deliver)
                await queue.run(
                    dequeue_timeout=timedelta(seconds=1), batch_size=DEQUEUE, heartbeat_timeout=HEARTBEAT_TIMEOUT
                )
            except Exception:  # a supervisor would start it again
                logging.getLogger(__name__).exception("the worker ended")
            await asyncio.sleep(1)


async def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    address, directory, body = arguments()
    log = PartnerLog(directory)
    await serve(PgqueuerSaga(address, log, body), log, Acknowledged(directory))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
