"""What protects a partner: one rate for all workers, the wait that it asks for, a breaker that people can overrule."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from crossdock.engine.clock import APART_SECONDS_MAX
from crossdock.engine.poller import Poller
from crossdock.engine.ports import system_clock
from crossdock.engine.recorder import Ended, Recorder
from crossdock.engine.runner import Runner
from crossdock.engine.worker import Worker
from crossdock.kit.connector import Call, Done, Operation
from crossdock.model.errors import CrossdockError, InDoubt, Unavailable
from crossdock.policy.resilience import BreakerPolicy
from tests.integration.engine.bench_world import FAST_RETRY, World, open_world
from tests.integration.engine.test_late_ends import claim
from tests.integration.engine.test_order_path import Working, eventually, place, steps_are_done

OPENS = BreakerPolicy(failures_to_open=3, open_seconds=0.6, growth=1)
CALLS_AT_ONCE = 16
AWAY = Unavailable("away", "The ERP does not answer.")


class Door:
    """The ERP's door: when it was knocked at, and what it says instead of an answer. While it is away and `seen` is not
    set, only those who came first are told so."""

    def __init__(self, world: World) -> None:
        self.knocks: list[float] = []
        self.answers: list[CrossdockError] = []
        self.away = False
        self.seen = asyncio.Event()
        self.seen.set()
        self._partner = world.partners["erp"]
        index = next(index for index, opened in enumerate(world.connections) if opened.name == "erp")
        opened = world.connections[index]
        operations = tuple(dataclasses.replace(one, perform=self._perform) for one in opened.connector.operations)
        connector = dataclasses.replace(opened.connector, operations=operations)
        world.connections[index] = dataclasses.replace(opened, connector=connector)

    async def _perform(self, client: Any, call: Call) -> Done:
        self.knocks.append(time.monotonic())
        if self.answers:
            raise self.answers.pop(0)
        if self.away:
            if len(self.knocks) > CALLS_AT_ONCE:
                await self.seen.wait()
            raise AWAY
        return await self._partner.perform(client, call)


@asynccontextmanager
async def working_with_breakers(world: World) -> AsyncIterator[None]:
    chance = random.Random(7).random
    recorder = Recorder(world.pool, world.plans, FAST_RETRY, OPENS, system_clock, chance)
    runner = Runner(world.pool, world.connections, recorder, "worker-1", system_clock, chance)
    poller = Poller(world.pool, world.connections, "worker-1", system_clock)
    task = asyncio.create_task(Worker(world.pool, world.decider, runner, poller, "worker-1", system_clock).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_two_workers_share_the_rate_of_a_connection(database_url: str) -> None:
    async with open_world(database_url) as world:
        door = Door(world)
        limited = "UPDATE connections SET calls_per_second = 20, burst = 2, tokens = 2 WHERE connection = 'erp'"
        await world.pool.execute(limited)
        for number in range(30):
            await place(world, f"S-{number}", lines=1)
        async with Working(world, "worker-1"), Working(world, "worker-2"):
            await eventually(lambda: steps_are_done(world))
        assert len(door.knocks) == 30
        # 30 calls at 20 a second; each of the two may once take a burst of two. With a rate of their own they would
        # need half of the time.
        assert door.knocks[-1] - door.knocks[0] >= (30 - 2 * 2) / 20 * 0.95


async def test_while_a_partner_asks_for_a_wait_no_worker_calls_it(database_url: str) -> None:
    async with open_world(database_url) as world:
        door = Door(world)
        door.answers = [Unavailable("rate_limited", "Too many requests.", retry_after_seconds=1.5)]
        await place(world, "S-0", lines=1)
        began = system_clock()
        async with Working(world, "worker-1"), Working(world, "worker-2"):
            await eventually(lambda: _came(door, 1))
            await eventually(lambda: _was_blocked(world, began))
            # New orders come meanwhile; their other partners are called, the ERP is not.
            for number in range(1, 6):
                await place(world, f"S-{number}", lines=1)
            await eventually(lambda: steps_are_done(world))
        assert len(door.knocks) == 7
        assert door.knocks[1] - door.knocks[0] >= 1.5
        assert len(world.partners["erp"].log) == 6


@pytest.mark.parametrize("answer", [
    Unavailable("rate_limited", "Too many requests.", retry_after_seconds=5), InDoubt("reset", "The line broke."),
])  # fmt: skip
async def test_a_wait_for_a_partners_sake_is_long_enough_for_a_worker_whose_clock_is_ahead(
    database_url: str, answer: CrossdockError
) -> None:
    """The database's clock had jumped; another worker, a quarter of a second ahead, came before the wait was over."""
    async with open_world(database_url) as world:
        await place(world, "S-1", lines=1)
        step = await claim(world)
        ended_at = system_clock()
        operation = Operation("tax.quote", settle_seconds=5)
        recorder = Recorder(world.pool, world.plans, FAST_RETRY, OPENS, lambda: ended_at, random.Random(7).random)
        await recorder.record("worker-1", [Ended(step, operation, answer, (), ended_at, ended_at)])
        due_at = await world.pool.fetchval("SELECT due_at FROM steps WHERE name = 'tax.quote'")
        assert due_at >= ended_at + timedelta(seconds=5 + APART_SECONDS_MAX)
        if isinstance(answer, Unavailable):
            blocked_until = await world.pool.fetchval("SELECT blocked_until FROM connections WHERE connection = 'tax'")
            assert blocked_until >= ended_at + timedelta(seconds=5 + APART_SECONDS_MAX)


async def _came(door: Door, count: int) -> bool:
    return len(door.knocks) >= count


async def _was_blocked(world: World, began: datetime) -> bool:
    since = "SELECT blocked_until > $1 FROM connections WHERE connection = 'erp'"
    return bool(await world.pool.fetchval(since, began))


async def test_a_breaker_opens_lets_one_through_and_closes_when_that_is_answered(database_url: str) -> None:
    async with open_world(database_url) as world:
        door = Door(world)
        door.away = True
        # However long the first failures take to be written down, as many again are under way, and no more.
        door.seen.clear()
        for number in range(60):
            await place(world, f"S-{number}", lines=1)
        async with working_with_breakers(world):
            await eventually(lambda: _is(world, "open"))
            door.seen.set()
            await eventually(lambda: _nothing_is_under_way(world))
            opened_after = len(door.knocks)
            # Not all were tried: from here on one call at a time is let through.
            assert opened_after < 60
            await eventually(lambda: _came(door, opened_after + 3))
            trials = door.knocks[-3:]
            assert min(later - one for one, later in itertools.pairwise(trials)) >= OPENS.open_seconds
            assert await world.pool.fetchval("SELECT count(*) FROM steps WHERE state = 'quarantined'") == 0
            door.away = False
            await eventually(lambda: steps_are_done(world))
            assert await _is(world, "closed")
        assert len(world.partners["erp"].log) == 60


async def _nothing_is_under_way(world: World) -> bool:
    sent = "SELECT count(*) FROM steps WHERE operation = 'erp.place_order' AND state = 'sending'"
    return bool(await world.pool.fetchval(sent) == 0)


async def _is(world: World, state: str) -> bool:
    found = "SELECT state FROM lanes WHERE connection = 'erp' AND operation = 'erp.place_order'"
    return bool(await world.pool.fetchval(found) == state)


async def test_a_breaker_that_a_person_holds_open_lets_nothing_through_and_closed_everything(database_url: str) -> None:
    async with open_world(database_url) as world:
        door = Door(world)
        await world.control.override_breaker(system_clock(), "ops", "erp", "erp.place_order", "open")
        await place(world, "S-1", lines=1)

        due = "SELECT count(*) FROM steps WHERE operation = 'erp.place_order' AND state = 'ready' AND due_at <= now()"

        async def is_due() -> bool:
            return bool(await world.pool.fetchval(due))

        async def both_are_paid() -> bool:
            return len(world.partners["payment"].log) == 2

        async with working_with_breakers(world):
            await eventually(is_due)
            # Steps are claimed for all lanes at once: when the second order goes on, the first was passed over.
            await place(world, "S-2", lines=1)
            await eventually(both_are_paid)
            assert door.knocks == []
            door.away = True
            await world.control.override_breaker(system_clock(), "ops", "erp", "erp.place_order", "closed")
            # Held closed it is called again and again, at the pace of the retries alone.
            await eventually(lambda: _came(door, OPENS.failures_to_open + 5))
            door.away = False
            await eventually(lambda: steps_are_done(world))
        audit = await world.pool.fetchval("SELECT count(*) FROM audit WHERE actor = 'ops'")
        assert audit == 2
