"""A step is never dropped in silence: what would lay one of a name that is taken is parked with its cause."""

from __future__ import annotations

import pytest

from crossdock.ledger.decisions import insert_steps
from crossdock.model.errors import Defect
from crossdock.model.facts import StepDraft
from tests.integration.engine.bench_world import NOW, World, open_world
from tests.integration.engine.test_order_path import place, shipment_fact


async def decide_all(world: World) -> None:
    for _ in range(20):
        if not await world.decider.decide_waiting():
            return


async def test_a_shipment_whose_step_name_is_taken_is_parked_with_its_cause_and_its_neighbours_go_on(
    database_url: str,
) -> None:
    async with open_world(database_url) as world:
        clashing, good = await place(world, "S-1", lines=1), await place(world, "S-2", lines=1)
        async with world.pool.acquire() as connection:
            await insert_steps(connection, [(clashing, (StepDraft("erp.ship:SH-1", "erp", "erp.ship"),))], NOW)
        before = await world.pool.fetchval("SELECT steps_open FROM order_progress WHERE order_id = $1", clashing)
        facts = [shipment_fact(clashing, "SH-1", {"SKU-0": 2}), shipment_fact(good, "SH-2", {"SKU-0": 2})]
        await world.intake.record(facts)
        await decide_all(world)

        rows = {
            row["business_key"]: row for row in await world.pool.fetch("SELECT * FROM facts WHERE kind LIKE 'ship%'")
        }
        assert rows["SH-2"]["state"] == "applied"
        assert (rows["SH-1"]["state"], rows["SH-1"]["cause"]) == ("quarantined", "step_name_taken")
        assert rows["SH-1"]["message"]
        assert rows["SH-1"]["next_action"]
        after = await world.pool.fetchval("SELECT steps_open FROM order_progress WHERE order_id = $1", clashing)
        assert after == before, "nothing of the decision may be left"

        # The same shipments once more, as a partner repeats them, change nothing.
        steps = await world.pool.fetchval("SELECT count(*) FROM steps")
        assert await world.intake.record(facts) == 0
        await decide_all(world)
        assert await world.pool.fetchval("SELECT count(*) FROM steps") == steps


async def test_laying_a_step_twice_is_an_error_not_a_shrug(database_url: str) -> None:
    async with open_world(database_url) as world, world.pool.acquire() as connection:
        step = StepDraft("channel.status", "shop", "channel.status")
        await insert_steps(connection, [(1, (step,))], NOW)
        with pytest.raises(Defect) as caught:
            await insert_steps(connection, [(1, (step,)), (2, (step,))], NOW)
        assert caught.value.code == "step_name_taken"


async def test_an_order_whose_steps_cannot_be_laid_is_told_so_and_nothing_of_it_is_kept(database_url: str) -> None:
    async with open_world(database_url) as world:
        await world.pool.execute("ALTER SEQUENCE order_numbers RESTART WITH 50")
        async with world.pool.acquire() as connection:
            await insert_steps(connection, [(50, (StepDraft("tax.quote", "tax", "tax.quote"),))], NOW)
        with pytest.raises(Defect):
            await place(world, "S-1")
        assert await world.pool.fetchval("SELECT count(*) FROM orders") == 0
        assert await place(world, "S-2") > 50
