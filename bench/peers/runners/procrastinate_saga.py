"""The saga on procrastinate: an order's row and five jobs, deferred as a batch in one transaction; a job delivers and
sets its bit in the order's row. Jobs of a dead worker are found by heartbeat and tried again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from procrastinate import App, PsycopgConnector, RetryStrategy
from psycopg_pool import AsyncConnectionPool

from bench.peers.runners.order_rows import COUNT_COMPLETED, SCHEMA
from bench.peers.saga import STEPS, Acknowledged, PartnerLog, arguments, serve

BATCH = 200
WORKERS = 6
CONCURRENCY = 10
POOL = 30
HEARTBEAT_SECONDS = 1.0
STALLED_SECONDS = 5.0


class ProcrastinateSaga:
    batch = BATCH
    lanes = 1
    waits = False

    def __init__(self, address: str, log: PartnerLog, body: str) -> None:
        self._log = log
        self._body = body
        self._pool = AsyncConnectionPool(address, min_size=2, max_size=POOL, open=False)
        self._app = App(connector=PsycopgConnector(conninfo=address, min_size=4, max_size=POOL))
        self._deliver = self._app.task(name="deliver", retry=RetryStrategy(max_attempts=100, wait=1))(self.deliver)
        self._tasks: list[asyncio.Task[Any]] = []

    async def open(self) -> None:
        await self._pool.open(wait=True)
        await self._app.open_async()
        async with self._pool.connection() as connection:
            await connection.execute(SCHEMA)
            found = await connection.execute("SELECT to_regclass('procrastinate_jobs') IS NULL AS missing")
            row = await found.fetchone()
        if row and row[0]:
            await self._app.schema_manager.apply_schema_async()
        self._tasks = [asyncio.create_task(self._work()) for _ in range(WORKERS)]
        self._tasks.append(asyncio.create_task(self._try_stalled_again()))

    async def deliver(self, number: int, place: int) -> None:
        """A job."""
        self._log.write([(number, place)])
        async with self._pool.connection() as connection:
            await connection.execute("UPDATE saga_orders SET made = made | %s WHERE number = %s", (1 << place, number))

    async def accept(self, numbers: Sequence[int]) -> None:
        async with self._pool.connection() as connection, connection.transaction():
            found = await connection.execute(
                "INSERT INTO saga_orders (number, body) SELECT unnest(%s::bigint[]), %s::json ON CONFLICT DO NOTHING "
                "RETURNING number", (list(numbers), self._body),
            )  # fmt: skip
            jobs = [{"number": row[0], "place": place} for row in await found.fetchall() for place in range(STEPS)]
            if jobs:
                await self._deliver.configure(connection=connection).batch_defer_async(*jobs)

    async def finish(self, number: int) -> None:
        raise NotImplementedError

    async def completed(self) -> int:
        async with self._pool.connection() as connection:
            row = await (await connection.execute(COUNT_COMPLETED)).fetchone()
        return int(row[0]) if row else 0

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._app.close_async()
        await self._pool.close()

    async def _work(self) -> None:
        while True:
            try:
                await self._app.run_worker_async(
                    concurrency=CONCURRENCY, install_signal_handlers=False, fetch_job_polling_interval=1.0,
                    update_heartbeat_interval=HEARTBEAT_SECONDS, stalled_worker_timeout=STALLED_SECONDS,
                )  # fmt: skip
            except Exception:  # a supervisor would start it again
                logging.getLogger(__name__).exception("the worker ended")
            await asyncio.sleep(1)

    async def _try_stalled_again(self) -> None:
        while True:
            await asyncio.sleep(1)
            try:
                for job in await self._app.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_SECONDS):
                    await self._app.job_manager.retry_job(job)
            except Exception:
                logging.getLogger(__name__).exception("stalled jobs were not tried again")


async def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    address, directory, body = arguments()
    log = PartnerLog(directory)
    await serve(ProcrastinateSaga(address, log, body), log, Acknowledged(directory))


if __name__ == "__main__":
    asyncio.run(main())
