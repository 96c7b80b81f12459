"""One order that comes by API and in the inbox at the same instant is one order, whichever of both is first."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal

import asyncpg
import pytest

from crossdock.engine.batching import DATABASE_LOST
from crossdock.model.facts import Fact
from crossdock.model.orders import OrderPlaced
from tests.integration.engine.bench_world import World, make_arrival, make_placed, open_world
from tests.integration.engine.test_order_path import Working, channel_fact, eventually, facts_are_decided, stock_of

NUMBERS = [f"S-{n}" for n in range(40)]


def as_fact(placed: OrderPlaced) -> Fact:
    return channel_fact("order.placed", placed)


async def waiting_for_a_lock(world: World) -> int:
    count: int = await world.pool.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return count


async def is_there_once(world: World, numbers: list[str], pieces: int) -> None:
    rows = await world.pool.fetch("SELECT channel_number FROM orders")
    assert Counter(row["channel_number"] for row in rows) == dict.fromkeys(numbers, 1)
    assert await stock_of(world, "SKU-0") == (Decimal(1_000_000), Decimal(pieces))
    states = await world.pool.fetch("SELECT DISTINCT state FROM facts")
    assert {row["state"] for row in states} <= {"applied", "ignored"}


@pytest.mark.parametrize("lines", [1, 3])
async def test_numbers_that_come_by_both_doors_at_once_are_one_order_each(database_url: str, lines: int) -> None:
    async with open_world(database_url) as world, Working(world):
        wishes = [make_placed(number, lines=lines) for number in NUMBERS]

        async def by_inbox(wish: OrderPlaced) -> None:
            await world.intake.record([as_fact(wish)])

        doors = [door for wish in wishes for door in (world.intake.place(make_arrival(wish)), by_inbox(wish))]
        answers = [answer for answer in await asyncio.gather(*doors) if answer is not None]
        await eventually(lambda: facts_are_decided(world))
        assert {answer.status for answer in answers} <= {"new", "repeated", "conflict"}
        assert all(answer.order_id is not None for answer in answers)
        await is_there_once(world, NUMBERS, 2 * len(NUMBERS))


async def test_both_doors_in_each_others_way_lose_a_second_and_no_order(database_url: str) -> None:
    """The inbox holds the stock and waits for the number, the API holds the number and waits for the stock: PostgreSQL
    ends one of both, and that one looks again."""
    async with open_world(database_url) as world:
        wish = make_placed("S-1", lines=1)
        await world.intake.record([as_fact(wish)])
        async with world.pool.acquire() as other:
            transaction = other.transaction()
            await transaction.start()
            await other.execute("SELECT FROM stock WHERE sku = 'SKU-0' FOR UPDATE")
            deciding = asyncio.create_task(world.decider.decide_orders())
            await eventually(lambda: _count_is(world, 1))
            placing = asyncio.create_task(world.intake.place(make_arrival(wish)))
            await eventually(lambda: _count_is(world, 2))
            await transaction.rollback()
        decided, answer = await asyncio.gather(deciding, placing, return_exceptions=True)
        assert not isinstance(answer, BaseException)
        if isinstance(decided, BaseException):
            # What the worker does then: it waits for a moment and decides again.
            assert isinstance(decided, asyncpg.PostgresError)
            assert isinstance(decided, DATABASE_LOST)
            await world.decider.decide_orders()
        await is_there_once(world, ["S-1"], 2)


async def _count_is(world: World, count: int) -> bool:
    return await waiting_for_a_lock(world) == count
