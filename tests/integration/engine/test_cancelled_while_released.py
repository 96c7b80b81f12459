"""A buyer cancels at the very moment in which a worker takes up the release to the warehouse.

Found by the proof with misbehaving partners: the release was seen as not begun, the order counted as cancelled at once
and its payment was given back, while the warehouse shipped.
"""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from crossdock.engine.ports import system_clock
from crossdock.model.facts import CancellationRequested
from tests.integration.engine.bench_world import NOW, World, open_world
from tests.integration.engine.test_order_path import (
    Working,
    channel_fact,
    eventually,
    facts_are_decided,
    place,
    progress_of,
    shipment_fact,
    steps_are_done,
)

_CLAIM = """
UPDATE steps SET state = 'sending', attempt = attempt + 1, leased_by = 'other', leased_until = now() + interval '1 hour'
WHERE order_id = $1 AND operation = 'wms.release' AND state = 'ready'
"""
_WAITING = """
SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


async def until_only_the_release_is_left(world: World) -> None:
    """Everything before it is done, and the warehouse is away."""
    async def is_so() -> bool:
        states = await world.pool.fetch("SELECT operation, state FROM steps WHERE state <> 'done'")
        return [tuple(row) for row in states] == [("wms.release", "ready")]

    await eventually(is_so)


@pytest.mark.parametrize("door", ["buyer", "operator"])
async def test_goods_that_were_just_being_released_are_not_given_away(database_url: str, door: str) -> None:
    async with open_world(database_url) as world:
        world.partners["wms"].down = True
        async with Working(world):
            order_id = await place(world, "S-1", lines=1, quantity=3)
            await until_only_the_release_is_left(world)
        # Where the worker was stopped in the middle of a try.
        await world.pool.execute("UPDATE steps SET state = 'ready', leased_by = NULL WHERE operation = 'wms.release'")
        await world.intake.record(
            [channel_fact("order.cancellation_requested", CancellationRequested("S-1", NOW, "changed my mind"))]
        )
        async with world.pool.acquire() as other:
            claim = other.transaction()
            await claim.start()
            assert await other.execute(_CLAIM, order_id) == "UPDATE 1"
            cancelling = asyncio.create_task(_cancel(world, order_id, door))
            await eventually(lambda: world.pool.fetchval(_WAITING))
            await claim.commit()
        await cancelling
        progress = await progress_of(world, order_id)
        assert (progress.state, "cancellation_requested" in progress.milestones) == ("accepted", True)
        assert await world.pool.fetchval("SELECT count(*) FROM steps WHERE operation = 'payment.void'") == 0

        # It had arrived and the goods had left; the worker that sent it is gone, so the next one asks the warehouse.
        world.partners["wms"].down = False
        world.partners["wms"].result = msgspec.json.encode({"cancelled": {}})
        await world.pool.execute("UPDATE steps SET leased_until = now() - interval '1 second' WHERE state = 'sending'")
        async with Working(world):
            await world.intake.record([shipment_fact(order_id, "SH-1", {"SKU-0": 3})])
            await eventually(lambda: facts_are_decided(world))
            await eventually(lambda: steps_are_done(world))
        assert (await progress_of(world, order_id)).state == "completed"
        assert await world.pool.fetchval("SELECT count(*) FROM facts WHERE state = 'quarantined'") == 0
        payments = [operation for operation, _ in world.partners["payment"].log]
        assert payments == ["payment.authorise", "payment.capture"]


async def _cancel(world: World, order_id: int, door: str) -> None:
    if door == "buyer":
        await world.decider.decide_orders()
    else:
        await world.pool.execute("UPDATE facts SET state = 'ignored' WHERE state = 'waiting'")
        await world.control.cancel_order(system_clock(), "ops", order_id, "The buyer called.")
