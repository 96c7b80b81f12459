"""A call that ended while its lease was lost. Found by the proof with real processes: PostgreSQL had been stopped."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest

from crossdock.engine.ports import system_clock
from crossdock.engine.recorder import Ended, Recorder
from crossdock.kit.connector import Done, Operation
from crossdock.ledger import steps as ledger
from crossdock.ledger.steps import ClaimedStep
from crossdock.model.errors import InDoubt
from tests.integration.engine.bench_world import FAST_RETRY, TRUSTING, World, make_arrival, make_placed, open_world

WORKER = "worker-1"


async def claim(world: World) -> ClaimedStep:
    now = system_clock()
    async with world.pool.acquire() as connection:
        found = await ledger.claim_steps(
            connection, WORKER, now, now + timedelta(seconds=60), [("tax", "tax.quote", 1, False)]
        )
    assert len(found) == 1
    return found[0]


def make_end(step: ClaimedStep, answer: Any) -> Ended:
    return Ended(step, Operation("tax.quote"), answer, (), system_clock(), system_clock())


async def tell(world: World, ended: list[Ended]) -> tuple[int, list[str]]:
    """Record; return how many steps the order counts as open, and its events."""
    recorder = Recorder(world.pool, world.plans, FAST_RETRY, TRUSTING, system_clock, random.Random(7).random)
    await recorder.record(WORKER, ended)
    opened: int = await world.pool.fetchval("SELECT steps_open FROM order_progress")
    return opened, [row[0] for row in await world.pool.fetch("SELECT type FROM events ORDER BY sequence")]


async def test_two_ends_of_one_step_in_a_batch_count_once(database_url: str) -> None:
    """The first end waits while the database is away; its lease is lost, the same worker claims it again, and asks."""
    async with open_world(database_url) as world:
        await world.intake.place(make_arrival(make_placed("S-1")))
        before: int = await world.pool.fetchval("SELECT steps_open FROM order_progress")
        first = await claim(world)
        async with world.pool.acquire() as connection:
            assert await ledger.expire_leases(connection, system_clock() + timedelta(seconds=120)) == 1
        await world.pool.execute("UPDATE steps SET due_at = $1 WHERE state = 'in_doubt'", system_clock())
        second = await claim(world)
        assert (first.name, second.attempt) == (second.name, first.attempt + 1)
        done = Done(b'{"taxes": {}}', "T1")
        opened, events = await tell(world, [make_end(first, done), make_end(second, done)])
        assert opened == before - 1
        assert events.count("TaxQuoted") == 1


async def test_a_late_doubt_does_not_undo_what_the_next_attempt_found(database_url: str) -> None:
    async with open_world(database_url) as world:
        await world.intake.place(make_arrival(make_placed("S-1")))
        first = await claim(world)
        async with world.pool.acquire() as connection:
            await ledger.expire_leases(connection, system_clock() + timedelta(seconds=120))
        await world.pool.execute("UPDATE steps SET due_at = $1 WHERE state = 'in_doubt'", system_clock())
        second = await claim(world)
        late = InDoubt("call_timeout", "The partner did not answer in time.")
        _, events = await tell(world, [make_end(second, Done(b'{"taxes": {}}', "T1")), make_end(first, late)])
        assert events.count("TaxQuoted") == 1
        assert await world.pool.fetchval("SELECT state FROM steps WHERE name = 'tax.quote'") == "done"


async def test_the_timeline_never_goes_back_when_the_clocks_of_two_hosts_differ(database_url: str) -> None:
    async with open_world(database_url) as world:
        await world.intake.place(make_arrival(make_placed("S-1")))
        step = await claim(world)
        behind = Recorder(
            world.pool, world.plans, FAST_RETRY, TRUSTING, lambda: system_clock() - timedelta(minutes=5),
            random.Random(7).random,
        )  # fmt: skip
        await behind.record(WORKER, [make_end(step, Done(b'{"taxes": {}}', "T1"))])
        rows = await world.pool.fetch("SELECT at FROM events ORDER BY version")
        times = [row[0] for row in rows]
        assert len(times) > 1
        assert times == sorted(times)


@pytest.mark.parametrize(("lasted", "waits"), [(0.0, 1.4), (2.0, 3.4), (60.0, 7.4), (-30.0, 1.4)])
async def test_a_request_that_may_have_left_at_the_end_of_its_call_is_given_as_long_to_settle(
    database_url: str, lasted: float, waits: float
) -> None:
    """Proof, seed 3153: a worker stood still before it sent, and gave up; a card was charged twice. Who stood still for
    more than six seconds counts as dead; a clock that was set back meanwhile says nothing."""
    async with open_world(database_url) as world:
        await world.intake.place(make_arrival(make_placed("S-1")))
        step = await claim(world)
        ended_at = system_clock()
        doubt = InDoubt("call_timeout", "The partner did not answer in time.")
        began_at = ended_at - timedelta(seconds=lasted)
        recorder = Recorder(world.pool, world.plans, FAST_RETRY, TRUSTING, lambda: ended_at, random.Random(7).random)
        await recorder.record(WORKER, [Ended(step, Operation("tax.quote"), doubt, (), began_at, ended_at)])
        due_at = await world.pool.fetchval("SELECT due_at FROM steps WHERE state = 'in_doubt'")
        assert due_at - ended_at == timedelta(seconds=waits)
