"""The saga on absurd: a task with an idempotency key and five steps; several workers, each on its own connection."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import psycopg
from absurd_sdk import AsyncAbsurd
from absurdctl import BUNDLED_SCHEMA_SQL

from bench.peers.saga import STEPS, Acknowledged, PartnerLog, arguments, serve

QUEUE = "saga"
WORKERS = 10
CONCURRENCY = 5
SPAWNERS = 4
CLAIM_SECONDS = 5
POLL_SECONDS = 0.05


class AbsurdSaga:
    batch = 1
    lanes = SPAWNERS
    waits = False

    def __init__(self, address: str, log: PartnerLog, body: str) -> None:
        self._address, self._log, self._body = address, log, body
        self._spawners: asyncio.Queue[AsyncAbsurd] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        async with await psycopg.AsyncConnection.connect(self._address, autocommit=True) as connection:
            found = await connection.execute("SELECT to_regnamespace('absurd') IS NULL")
            row = await found.fetchone()
            if row and row[0]:
                await connection.execute(BUNDLED_SCHEMA_SQL.encode())
                await AsyncAbsurd(connection, queue_name=QUEUE).create_queue()
        for _ in range(SPAWNERS):
            self._spawners.put_nowait(AsyncAbsurd(self._address, queue_name=QUEUE))
        self._tasks = [asyncio.create_task(self._work(f"worker-{place}")) for place in range(WORKERS)]

    async def accept(self, numbers: Sequence[int]) -> None:
        spawner = await self._spawners.get()
        try:
            for number in numbers:
                await spawner.spawn(
                    "saga", {"number": number, "body": self._body}, queue=QUEUE, idempotency_key=str(number)
                )
        except Exception:
            spawner = AsyncAbsurd(self._address, queue_name=QUEUE)
            raise
        finally:
            self._spawners.put_nowait(spawner)

    async def finish(self, number: int) -> None:
        raise NotImplementedError

    async def completed(self) -> int:
        async with await psycopg.AsyncConnection.connect(self._address, autocommit=True) as connection:
            found = await connection.execute(f"SELECT count(*) FROM absurd.t_{QUEUE} WHERE state = 'completed'")
            row = await found.fetchone()
        return int(row[0]) if row else 0

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, order: Any, context: Any) -> str:
        for place in range(STEPS):
            await context.step(f"deliver {place}", _Delivery(self._log, order["number"], place))
        return "completed"

    async def _work(self, name: str) -> None:
        while True:
            app = AsyncAbsurd(self._address, queue_name=QUEUE)
            app.register_task("saga", queue=QUEUE)(self._run)
            try:
                await app.start_worker(
                    worker_id=name, claim_timeout=CLAIM_SECONDS, concurrency=CONCURRENCY, poll_interval=POLL_SECONDS
                )
            except Exception as error:  # noqa: BLE001 - a supervisor would start it again
                sys.stderr.write(f"the worker ended: {error!r}\n")
            await asyncio.sleep(1)


class _Delivery:
    def __init__(self, log: PartnerLog, number: int, place: int) -> None:
        self._log, self._number, self._place = log, number, place

    async def __call__(self) -> dict[str, Any]:
        self._log.write([(self._number, self._place)])
        return {}


async def main() -> None:
    address, directory, body = arguments()
    log = PartnerLog(directory)
    await serve(AbsurdSaga(address, log, body), log, Acknowledged(directory))


if __name__ == "__main__":
    asyncio.run(main())
