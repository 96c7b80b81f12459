"""Lanes and feeds that one worker at a time has, and probes that the partner refuses."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from crossdock.engine.ports import system_clock
from crossdock.kit.connector import Call, Done
from crossdock.ledger import steps as ledger
from crossdock.model.errors import InDoubt, Refused
from tests.integration.engine.bench_world import Partner, World, open_world
from tests.integration.engine.test_order_path import Working, eventually, place, steps_are_done


def let_one_worker(world: World, perform: Any) -> None:
    """The ERP takes orders one by one, of one worker at a time."""
    place = next(index for index, opened in enumerate(world.connections) if opened.name == "erp")
    connector = world.connections[place].connector
    operations = tuple(
        dataclasses.replace(one, perform=perform, concurrency=1, one_worker=True) for one in connector.operations
    )
    replaced = dataclasses.replace(connector, operations=operations)
    world.connections[place] = dataclasses.replace(world.connections[place], connector=replaced)


class Counting:
    """How many calls are under way at once."""

    def __init__(self, partner: Partner) -> None:
        self._partner = partner
        self.now = self.most = 0
        self.order: list[int] = []

    async def perform(self, client: Any, call: Call) -> Done:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            # The other worker has its turn in the loop while this call is under way.
            for _ in range(20):
                await asyncio.sleep(0)
            self.order.append(call.order.order_id)
            return await self._partner.perform(client, call)
        finally:
            self.now -= 1


async def test_two_workers_do_not_get_in_each_others_way_at_an_erp_that_bears_one(database_url: str) -> None:
    async with open_world(database_url) as world:
        counting = Counting(world.partners["erp"])
        let_one_worker(world, counting.perform)
        for number in range(30):
            await place(world, f"S-{number}", lines=1)
        async with Working(world, "worker-1"), Working(world, "worker-2"):
            await eventually(lambda: steps_are_done(world))
        assert len(counting.order) == 30
        assert counting.most == 1


async def test_the_other_worker_takes_over_when_the_one_that_has_the_erp_dies(database_url: str) -> None:
    async with open_world(database_url) as world:
        let_one_worker(world, world.partners["erp"].perform)
        await place(world, "S-1", lines=1)
        dead = "INSERT INTO processes VALUES ('worker-dead', 'worker', now(), now() - $1::interval)"
        await world.pool.execute(dead, timedelta(seconds=60))
        await world.pool.execute("UPDATE lanes SET held_by = 'worker-dead' WHERE connection = 'erp'")
        async with Working(world, "worker-2"):
            await eventually(lambda: steps_are_done(world))
        assert await holders(world) == ["worker-2"]


async def holders(world: World) -> Sequence[str]:
    rows = await world.pool.fetch("SELECT DISTINCT held_by FROM lanes WHERE held_by IS NOT NULL ORDER BY 1")
    return [row[0] for row in rows]


PLACE_ORDER = ("erp", "erp.place_order")
STOOD_STILL = ledger.SILENT_FOR + timedelta(seconds=1)
MOMENT = timedelta(milliseconds=50)


async def test_a_worker_that_stood_still_and_asks_for_its_lane_again_does_not_share_it(database_url: str) -> None:
    """It went on with a lane that was its own, and its last sign of life was old: the other took the lane at once, and
    for up to a second both called the ERP."""
    async with open_world(database_url) as world, world.pool.acquire() as connection:
        begun = system_clock()
        for worker in ("worker-1", "worker-2"):
            await ledger.beat(connection, worker, "worker", begun)
        assert await ledger.hold_lanes(connection, "worker-1", [PLACE_ORDER], begun)
        later = begun + STOOD_STILL
        assert await ledger.hold_lanes(connection, "worker-1", [PLACE_ORDER], later)
        assert not await ledger.hold_lanes(connection, "worker-2", [PLACE_ORDER], later + MOMENT)


async def test_a_worker_that_stood_still_claims_nothing_from_a_lane_that_another_has_taken(database_url: str) -> None:
    """It had looked whether the lane was its own just before it stood still, and claimed without another look."""
    async with open_world(database_url) as world:
        let_one_worker(world, world.partners["erp"].perform)
        order_id = await place(world, "S-1", lines=1)
        await world.pool.execute("UPDATE steps SET state = 'ready' WHERE operation = 'erp.place_order'")
        async with world.pool.acquire() as connection:
            begun = system_clock()
            await ledger.beat(connection, "worker-1", "worker", begun)
            assert await ledger.hold_lanes(connection, "worker-1", [PLACE_ORDER], begun)
            later = begun + STOOD_STILL
            assert await ledger.hold_lanes(connection, "worker-2", [PLACE_ORDER], later)
            claims = [
                await ledger.claim_steps(connection, worker, later, later + STOOD_STILL, [(*PLACE_ORDER, 1, True)])
                for worker in ("worker-1", "worker-2")
            ]
        assert [[step.order_id for step in claimed] for claimed in claims] == [[], [order_id]]


async def test_a_worker_that_claims_a_feed_right_after_it_stood_still_has_it_alone(database_url: str) -> None:
    """Its last sign of life was old, so the other took the feed in the same moment and read the same page."""
    async with open_world(database_url) as world, world.pool.acquire() as connection:
        await ledger.place_connection(connection, "erp", "erp", None, 10, [], [("orders", 1)])
        begun = system_clock()
        for worker in ("worker-1", "worker-2"):
            await ledger.beat(connection, worker, "worker", begun)
        later = begun + STOOD_STILL
        until = later + timedelta(seconds=90)
        assert await ledger.claim_feed(connection, "worker-1", later, until, ["erp"]) is not None
        assert await ledger.claim_feed(connection, "worker-2", later + MOMENT, until, ["erp"]) is None


async def test_a_step_whose_probe_is_refused_is_parked_and_neither_asked_for_ever_nor_compensated(
    database_url: str,
) -> None:
    async with open_world(database_url) as world:
        world.partners["erp"].faults = [InDoubt("reset", "The connection was reset.")]

        async def refuse(client: Any, call: Call) -> Done | None:
            raise Refused("closed", "The period is closed.")

        index = next(place for place, opened in enumerate(world.connections) if opened.name == "erp")
        connector = world.connections[index].connector
        operations = tuple(dataclasses.replace(one, probe=refuse) for one in connector.operations)
        replaced = dataclasses.replace(connector, operations=operations)
        world.connections[index] = dataclasses.replace(world.connections[index], connector=replaced)
        order_id = await place(world, "S-1", lines=1)

        async def is_parked() -> bool:
            return bool(await world.pool.fetchval("SELECT count(*) FROM steps WHERE state = 'quarantined'") == 1)

        async with Working(world):
            await eventually(is_parked)
        step = await world.pool.fetchrow(
            "SELECT state, doubt, error_code, next_action FROM steps WHERE name = 'erp.place_order'"
        )
        assert step is not None
        assert (step["state"], step["doubt"], step["error_code"]) == ("quarantined", True, "closed")
        assert "Look it up" in step["next_action"]
        assert [operation for operation, _ in world.partners["payment"].log] == ["payment.authorise"]
        assert await world.pool.fetchval("SELECT state FROM order_progress WHERE order_id = $1", order_id) == "accepted"
