"""Two batches under way at once: what both took is seen, and nothing is taken twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from crossdock.engine.intake import Acceptor, FiguresMovedError, Intake, Placed
from crossdock.engine.ports import system_clock
from crossdock.ledger.reference import ReferenceCache
from tests.integration.engine.bench_world import make_arrival, make_placed, make_policy, open_world, seed


async def test_the_same_orders_sent_to_two_doors_in_opposite_order_are_taken_once(database_url: str) -> None:
    """Each door may hold a number that the other waits for; neither sender is sent away."""
    arrivals = [make_arrival(make_placed(f"T-{number}", lines=1)) for number in range(40)]
    async with open_world(database_url) as world:
        acceptor = Acceptor(make_policy(), world.plans, ReferenceCache(), system_clock)
        other = Intake(world.pool, acceptor, system_clock)
        async with other:
            answers = await asyncio.gather(
                *(world.intake.place(arrival) for arrival in arrivals),
                *(other.place(arrival) for arrival in reversed(arrivals)),
            )
        assert Counter(answer.status for answer in answers) == {"new": 40, "repeated": 40}
        assert await world.pool.fetchval("SELECT count(*) FROM orders") == 40


async def test_the_last_units_are_promised_once_while_two_batches_are_decided(database_url: str) -> None:
    async with open_world(database_url, skus=1) as world:
        await seed(world.pool, skus=1, on_hand=10)
        arrivals = [make_arrival(make_placed(f"L-{number}", lines=1, quantity=1)) for number in range(60)]
        half = asyncio.gather(*(world.intake.place(arrival) for arrival in arrivals[:30]))
        await asyncio.sleep(0)
        answers = [*await asyncio.gather(*(world.intake.place(arrival) for arrival in arrivals[30:])), *await half]
        assert all(answer.status == "new" for answer in answers)
        held = await world.pool.fetchval("SELECT sum(quantity) FROM reservations WHERE location <> ''")
        there = await world.pool.fetchrow("SELECT sum(on_hand) AS on_hand, sum(reserved) AS reserved FROM stock")
        assert there is not None
        assert held == there["reserved"] <= there["on_hand"]


@pytest.mark.parametrize(("on_hand", "owed", "fits"), [(6, 0, True), (5, 0, False), (6, 1000, False)])
async def test_what_others_took_since_it_was_looked_at_is_never_promised_again(
    database_url: str, on_hand: int, owed: int, fits: bool
) -> None:
    """vendurehq/vendure#3508, check and allocation in different transactions: what was seen counts only if it still
    holds when it is taken. Three orders of two lines of two units are decided while stock or credit goes: all of them
    or none."""
    async with open_world(database_url, skus=2) as world:
        acceptor = Acceptor(make_policy(), world.plans, ReferenceCache(), system_clock)
        arrivals = [
            make_arrival(make_placed(f"M-{number}", lines=2, customer="C1", method="terms")) for number in range(3)
        ]
        placed = [Placed(arrival.channel, arrival.placed, "", arrival) for arrival in arrivals]
        async with world.pool.acquire() as connection:
            seen = await acceptor.look(connection, arrivals, placed)
            await connection.execute("UPDATE stock SET on_hand = $1", on_hand)
            await connection.execute("UPDATE accounts SET open_orders = $1", owed)
            if fits:
                await acceptor.accept_unlocked(connection, placed, seen)
            else:
                with pytest.raises(FiguresMovedError):
                    await acceptor.accept_unlocked(connection, placed, seen)
        assert await _written(world.pool) == ([3, 3, 3, 6, 12] if fits else [0, 0, 0, 0, 0])


async def test_an_account_beyond_its_limit_is_no_reason_to_decide_again_where_nobody_looks(database_url: str) -> None:
    async with open_world(database_url, skus=1, credit_check=False) as world:
        acceptor = Acceptor(make_policy(credit_check=False), world.plans, ReferenceCache(), system_clock)
        arrival = make_arrival(make_placed("U-1", lines=1, customer="C1", method="terms"))
        placed = [Placed(arrival.channel, arrival.placed, "", arrival)]
        await world.pool.execute("UPDATE accounts SET open_orders = 1000")
        async with world.pool.acquire() as connection:
            seen = await acceptor.look(connection, [arrival], placed)
            (accepted,) = await acceptor.accept_unlocked(connection, placed, seen)
        assert accepted.acceptance.acknowledgment.state == "accepted"
        assert await world.pool.fetchval("SELECT max(open_orders) FROM accounts") > 1000


async def test_stock_is_not_held_while_orders_are_written(database_url: str) -> None:
    """Another's transaction has the order's key: who waits for it keeps nobody from credit and stock."""
    async with open_world(database_url, skus=1) as world:
        acceptor = Acceptor(make_policy(), world.plans, ReferenceCache(), system_clock)
        arrival = make_arrival(make_placed("S-1", lines=1, customer="C1", method="terms"))
        placed = [Placed(arrival.channel, arrival.placed, "", arrival)]
        async with world.pool.acquire() as other, world.pool.acquire() as connection:
            taking = other.transaction()
            await taking.start()
            await other.execute(
                "INSERT INTO facts (connection, kind, business_key, version, subject, state, idempotency_key, body,"
                " received_at, due_at) VALUES ($1, 'x', 'x', 'x', 'x', 'applied', $2, '{}', now(), now())",
                arrival.channel, arrival.idempotency_key,
            )  # fmt: skip
            seen = await acceptor.look(connection, [arrival], placed)
            writing = asyncio.create_task(acceptor.accept_unlocked(connection, placed, seen))
            while not await world.pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                assert not writing.done()
            await world.pool.fetch("SELECT FROM accounts FOR UPDATE NOWAIT")
            await world.pool.fetch("SELECT FROM stock FOR UPDATE NOWAIT")
            await taking.rollback()
            await writing
        assert await _written(world.pool) == [1, 1, 1, 1, 2]


async def _written(pool: Any) -> list[int]:
    """Facts, orders, events, reservations, and units that are not there any more."""
    tables = ("facts", "orders", "events", "reservations")
    counts = [await pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables]
    return [*counts, int(await pool.fetchval("SELECT sum(reserved) FROM stock"))]
