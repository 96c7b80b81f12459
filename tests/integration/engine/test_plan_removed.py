"""A plan is renamed in the configuration while orders follow it: the worker ended at every report of theirs."""

from __future__ import annotations

from dataclasses import replace

from crossdock.engine.decider import Decider
from crossdock.engine.ports import system_clock
from crossdock.model.errors import Refused
from tests.integration.engine.bench_world import World, open_world
from tests.integration.engine.test_order_path import (
    Working,
    eventually,
    facts_are_decided,
    place,
    progress_of,
    shipment_fact,
    steps_are_done,
)


def without_plans(world: World) -> World:
    """The same house after a restart with a configuration that knows none of its orders' plans."""
    plans = replace(world.plans, plans={})
    decider = Decider(world.pool, world.decider._acceptor, plans, system_clock)
    return replace(world, plans=plans, decider=decider)


async def test_a_shipment_of_an_order_whose_plan_is_gone_waits_and_others_go_on(database_url: str) -> None:
    async with open_world(database_url) as world:
        async with Working(world):
            first = await place(world, "S-1", lines=1, quantity=3)
            await eventually(lambda: steps_are_done(world))
        await world.intake.record([shipment_fact(first, "SH-1", {"SKU-0": 3})])
        await world.intake.record([shipment_fact(first, "SH-2", {"SKU-1": 1})])
        async with Working(without_plans(world)) as working:
            await eventually(lambda: facts_are_decided(world))
            assert not working.done()
        parked = await world.pool.fetch("SELECT cause, next_action FROM facts WHERE state = 'quarantined'")
        assert {row["cause"] for row in parked} == {"plan_unknown"}
        assert parked[0]["next_action"] == "Put the plan back until its orders are complete, then replay."
        async with Working(world):
            await world.control.replay_facts(system_clock(), "ada", cause="plan_unknown")
            await eventually(lambda: facts_are_decided(world))
            await eventually(lambda: steps_are_done(world))
        assert (await progress_of(world, first)).state == "completed"


async def test_a_refusal_under_a_plan_that_is_gone_is_parked(database_url: str) -> None:
    async with open_world(database_url) as world:
        await place(world, "S-1", lines=1, quantity=3)
        world.partners["payment"].faults = [Refused("card_declined", "The card was declined.")]

        async def is_parked() -> bool:
            return bool(await world.pool.fetchval("SELECT count(*) FROM steps WHERE state = 'quarantined'"))

        async with Working(without_plans(world)) as working:
            await eventually(is_parked)
            assert not working.done()
        code = await world.pool.fetchval("SELECT error_code FROM steps WHERE state = 'quarantined'")
        assert code == "plan_unknown"
