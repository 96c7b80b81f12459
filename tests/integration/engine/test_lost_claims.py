"""A database that is killed just as it answers a claim: the worker holds steps that it never heard of.

They stood until their leases ended, twice the partner's time limit and fifteen seconds, though nobody had sent them.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import asyncpg

from crossdock.engine.ports import system_clock
from crossdock.ledger import steps as ledger
from tests.integration.engine.bench_world import World, make_arrival, make_placed, open_world


class LosingPool:
    """A pool whose connection is lost after statements that hold `text` took effect, so many times."""

    def __init__(self, pool: Any, text: str, times: int) -> None:
        self._pool = pool
        self.text = text
        self.times = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def acquire(self) -> _Acquired:
        return _Acquired(self._pool.acquire(), self)


class _Acquired:
    def __init__(self, acquired: Any, losing: LosingPool) -> None:
        self._acquired = acquired
        self._losing = losing

    async def __aenter__(self) -> _Connection:
        return _Connection(await self._acquired.__aenter__(), self._losing)

    async def __aexit__(self, *raised: object) -> None:
        await self._acquired.__aexit__(*raised)


class _Connection:
    def __init__(self, connection: Any, losing: LosingPool) -> None:
        self._connection = connection
        self._losing = losing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def fetch(self, query: str, *arguments: Any) -> Any:
        rows = await self._connection.fetch(query, *arguments)
        if rows and self._losing.times and self._losing.text in query:
            self._losing.times -= 1
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        return rows


async def do_all_steps(world: World) -> None:
    """Run a worker until nothing is left to be done, for less time than any lease lasts (55 seconds)."""
    worker = asyncio.create_task(world.make_worker("worker-1").run())
    try:
        async with asyncio.timeout(45):
            while await world.pool.fetchval("SELECT count(*) FROM steps WHERE state <> 'done'"):
                assert not worker.done(), worker.exception()
                await asyncio.sleep(0.05)
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


async def test_steps_of_a_claim_whose_answer_was_lost_go_on_at_once_and_undoubted(database_url: str) -> None:
    for text in ("FOR UPDATE SKIP LOCKED\n    ) s", "state = 'done' AND result IS NOT NULL ORDER BY done_at"):
        async with open_world(database_url, batch=True) as world:
            before = await world.pool.fetchval("SELECT count(*) FROM order_progress")
            for number in range(3):
                await world.intake.place(make_arrival(make_placed(f"S-{before + number}")))
            losing: Any = LosingPool(world.pool, text, 2)
            await do_all_steps(dataclasses.replace(world, pool=losing))
            assert losing.times == 0
            for partner in world.partners.values():
                assert len(partner.log) == len(set(partner.log))
            assert await world.pool.fetchval("SELECT count(*) FROM step_attempts WHERE outcome = 'lost'") == 0


async def test_what_a_worker_has_in_hand_is_not_given_back(database_url: str) -> None:
    """Nor what another holds; a step in doubt stays so; a lane that was let through lets through again."""
    async with open_world(database_url) as world:
        for number in range(3):
            await world.intake.place(make_arrival(make_placed(f"S-{number}")))
        now = system_clock()
        async with world.pool.acquire() as connection:
            steps = await ledger.claim_steps(connection, "worker-1", now, now, [("tax", "tax.quote", 2, False)])
            others = await ledger.claim_steps(connection, "worker-2", now, now, [("tax", "tax.quote", 1, False)])
            assert (len(steps), len(others)) == (2, 1)
            await connection.execute("UPDATE steps SET doubt = true WHERE order_id = $1", steps[1].order_id)
            await connection.execute("UPDATE lanes SET state = 'half_open', retry_at = 'infinity'")
            in_hand = {ledger.attempt_of(steps[0])}
            assert await ledger.give_back_claims(connection, "worker-1", in_hand, now) == 1
            assert await ledger.give_back_claims(connection, "worker-1", in_hand, now) == 0
        states = await world.pool.fetch(
            "SELECT order_id, state FROM steps WHERE operation = 'tax.quote' ORDER BY order_id"
        )
        assert dict(states) == {
            steps[0].order_id: "sending", steps[1].order_id: "in_doubt", others[0].order_id: "sending",
        }  # fmt: skip
        retry_at = await world.pool.fetchval("SELECT retry_at FROM lanes WHERE operation = 'tax.quote'")
        assert retry_at == now
