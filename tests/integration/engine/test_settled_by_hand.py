"""A parked step that no replay can mend: a person has settled it at the partner, and says so."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest

from crossdock.engine.ports import system_clock
from crossdock.insight.timeline import read_timeline
from crossdock.model.errors import Conflict, CrossdockError, Invalid, Refused
from tests.integration.engine.bench_world import World, open_world
from tests.integration.engine.test_order_path import (
    Working,
    eventually,
    facts_are_decided,
    place,
    progress_of,
    shipment_fact,
    steps_are_done,
    stock_of,
)

PARKS = Invalid("address_unknown", "The address is unknown.")


async def park(world: World, partner: str, error: CrossdockError = PARKS) -> int:
    """An order of which this partner parks a step."""
    world.partners[partner].faults = [error]
    order_id = await place(world, "S-1", lines=1, quantity=3)
    await eventually(lambda: is_parked(world))
    return order_id


async def is_parked(world: World) -> bool:
    return bool(await world.pool.fetchval("SELECT count(*) FROM steps WHERE state = 'quarantined'"))


async def state_of(world: World, name: str) -> tuple[str, str | None]:
    (row,) = await world.pool.fetch("SELECT state, external_id FROM steps WHERE name = $1", name)
    return row["state"], row["external_id"]


async def test_an_order_that_was_keyed_into_the_erp_by_hand_goes_on(database_url: str) -> None:
    async with open_world(database_url) as world, Working(world):
        order_id = await park(world, "erp")
        assert (await state_of(world, "erp.place_order"))[0] == "quarantined"
        await world.control.settle_step(
            system_clock(), "ada", order_id, "erp.place_order", "done", "SO-4711", "Keyed in by the branch."
        )
        await eventually(lambda: steps_are_done(world))
        assert await state_of(world, "erp.place_order") == ("done", "SO-4711")
        assert (await progress_of(world, order_id)).numbers["erp.place_order"] == "SO-4711"
        assert world.partners["erp"].log == []
        assert (await state_of(world, "wms.release:HAM"))[0] == "done"
        await world.intake.record([shipment_fact(order_id, "SH-1", {"SKU-0": 3})])
        await eventually(lambda: facts_are_decided(world))
        await eventually(lambda: steps_are_done(world))
        assert (await progress_of(world, order_id)).state == "completed"
        assert Counter(key for _, key in world.partners["erp"].log) == {f"CD{order_id:08d}/erp.ship:SH-1": 1}
        told = [entry for entry in (await read_timeline(world.pool, order_id, system_clock())).entries
                if entry.title == "step.done"]  # fmt: skip
        assert [entry.system for entry in told] == ["ada"]
        assert {("reason", "Keyed in by the branch."), ("number", "SO-4711")} <= set(told[0].details)


async def test_an_order_whose_last_step_is_settled_by_hand_is_complete(database_url: str) -> None:
    async with open_world(database_url) as world, Working(world):
        order_id = await place(world, "S-1", lines=1, quantity=3)
        await eventually(lambda: steps_are_done(world))
        world.partners["erp"].faults = [Invalid("period_closed", "The period is closed.")]
        await world.intake.record([shipment_fact(order_id, "SH-1", {"SKU-0": 3})])
        await eventually(lambda: facts_are_decided(world))
        await eventually(lambda: steps_are_done(world))
        assert (await progress_of(world, order_id)).state == "shipped"
        await world.control.settle_step(
            system_clock(), "ada", order_id, "erp.ship:SH-1", "done", "INV-9", "Posted into the next period."
        )
        await eventually(lambda: steps_are_done(world))
        assert (await progress_of(world, order_id)).state == "completed"
        assert await world.pool.fetchval("SELECT array_agg(number) FROM invoices") == ["INV-9"]


async def test_a_step_that_will_never_be_done_undoes_its_order_as_its_plan_says(database_url: str) -> None:
    async with open_world(database_url) as world, Working(world):
        order_id = await park(world, "erp")
        assert await stock_of(world, "SKU-0") == (Decimal(1_000_000), Decimal(3))
        await world.control.settle_step(
            system_clock(), "ada", order_id, "erp.place_order", "refused", "", "The customer is insolvent."
        )
        await eventually(lambda: steps_are_done(world))
        progress = await progress_of(world, order_id)
        assert progress.state in ("held", "cancelled")
        assert await stock_of(world, "SKU-0") == (Decimal(1_000_000), Decimal(0))
        assert ("payment.void", f"CD{order_id:08d}/payment.void") in world.partners["payment"].log
        assert await state_of(world, "erp.place_order") == ("failed", None)


async def test_what_cannot_be_settled_says_why_and_changes_nothing(database_url: str) -> None:
    async with open_world(database_url) as world, Working(world):
        order_id = await park(world, "tax")

        async def settle(name: str, ended: str, of: int = order_id) -> str:
            with pytest.raises(Conflict) as raised:
                await world.control.settle_step(system_clock(), "ada", of, name, ended, "", "So.")  # type: ignore[arg-type]
            return raised.value.code

        assert await settle("tax.quote", "done") == "answer_needed"
        assert await settle("tax.quote", "refused") == "refusal_unplanned"
        assert await settle("erp.place_order", "done") == "step_not_parked"
        assert await settle("nothing", "done") == "step_not_parked"
        assert await settle("tax.quote", "done", order_id + 1) == "step_not_parked"
        assert await state_of(world, "tax.quote") == ("quarantined", None)
        assert await world.pool.fetchval("SELECT count(*) FROM audit WHERE action LIKE 'step.%'") == 0


async def test_two_people_settle_one_step_and_it_counts_once(database_url: str) -> None:
    async with open_world(database_url) as world, Working(world):
        order_id = await park(world, "shop", Refused("order_gone", "The shop has no such order."))
        name = await world.pool.fetchval("SELECT name FROM steps WHERE state = 'quarantined'")
        await world.control.settle_step(system_clock(), "ada", order_id, name, "done", "", "Told by mail.")
        with pytest.raises(Conflict):
            await world.control.settle_step(system_clock(), "bob", order_id, name, "done", "", "Told by phone.")
        left = await world.pool.fetchval(
            "SELECT steps_open - (SELECT count(*) FROM steps WHERE state NOT IN ('done', 'cancelled', 'failed')) "
            "FROM order_progress"
        )
        assert left == 0
