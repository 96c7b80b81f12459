"""A buyer wants less than he ordered, before his goods went out; judged by what the partners were asked to do."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from crossdock.engine.ports import system_clock
from crossdock.model.errors import Refused
from crossdock.model.facts import Fact, LineChange, OrderChange
from crossdock.model.fulfilment import FulfilmentOrder, TakenOff
from crossdock.model.values import Quantity
from tests.integration.engine.bench_world import NOW, World, open_world
from tests.integration.engine.test_cancelled_while_released import _CLAIM, _WAITING, until_only_the_release_is_left
from tests.integration.engine.test_order_path import (
    Working,
    channel_fact,
    eventually,
    facts_are_decided,
    place,
    progress_of,
    shipment_fact,
    steps_are_done,
    stock_of,
)

SPARE = Decimal(1_000_000)


def wanted(line: str, value: int) -> LineChange:
    return LineChange(line, Quantity(Decimal(value), "C62"))


def change_fact(*lines: LineChange, number: str = "S-1") -> Fact:
    return channel_fact("order.change_requested", OrderChange(number, NOW, lines, "fewer"))


async def settled(world: World) -> None:
    await eventually(lambda: facts_are_decided(world))
    await eventually(lambda: steps_are_done(world))


def instructed(world: World) -> dict[str, Decimal]:
    asked = [
        msgspec.json.decode(body, type=FulfilmentOrder) for key, body in world.partners["wms"].asked.items()
        if "/wms.release" in key
    ]  # fmt: skip
    return {line.line: line.quantity.value for body in asked for line in body.lines}


async def test_the_warehouse_is_told_what_is_still_wanted_and_all_adds_up(database_url: str) -> None:
    async with open_world(database_url) as world:
        world.partners["erp"].down = True
        async with Working(world):
            order_id = await place(world, "S-1", lines=2, quantity=5)
            await world.intake.record([change_fact(wanted("1", 3), wanted("2", 0))])
            await eventually(lambda: facts_are_decided(world))
            assert await stock_of(world, "SKU-0") == (SPARE, Decimal(3))
            assert await stock_of(world, "SKU-1") == (SPARE, Decimal(0))
            world.partners["erp"].down = False
            await settled(world)
            assert instructed(world) == {"1": Decimal(3)}
            await world.intake.record([shipment_fact(order_id, "SH-1", {"SKU-0": 3})])
            await settled(world)
        progress = await progress_of(world, order_id)
        assert progress.state == "completed"
        counted = {name: [line.shipped, line.cancelled, line.open] for name, line in progress.lines.items()}
        assert counted == {"1": [Decimal(3), Decimal(2), Decimal(0)], "2": [Decimal(0), Decimal(5), Decimal(0)]}
        # 3 of 5 at 2.499: of 12.50 rounded once, 7.50; and its tax.
        captured = await world.pool.fetchval("SELECT sum(amount) FROM payments WHERE kind = 'capture'")
        invoiced = await world.pool.fetchrow("SELECT sum(net) AS net, sum(net + tax) AS gross FROM invoices")
        assert invoiced is not None
        assert (invoiced["net"], invoiced["gross"]) == (Decimal("7.50"), captured)
        assert [operation for operation, _ in world.partners["erp"].log][-1] == "erp.cancel_order", "its rest is closed"
        assert [operation for operation, _ in world.partners["payment"].log][-1] == "payment.void"
        told = [operation for operation, _ in world.partners["shop"].log]
        assert "channel.change" not in told, "it asked for it itself"


@pytest.mark.parametrize("door", ["buyer", "operator"])
async def test_goods_that_are_just_being_released_are_not_taken_off(database_url: str, door: str) -> None:
    """The change reads the release as not begun while a worker takes it up."""
    async with open_world(database_url) as world:
        world.partners["wms"].down = True
        async with Working(world):
            order_id = await place(world, "S-1", lines=1, quantity=3)
            await until_only_the_release_is_left(world)
        await world.pool.execute("UPDATE steps SET state = 'ready', leased_by = NULL WHERE operation = 'wms.release'")
        await world.intake.record([change_fact(wanted("1", 1))] if door == "buyer" else [])
        async with world.pool.acquire() as other:
            claim = other.transaction()
            await claim.start()
            assert await other.execute(_CLAIM, order_id) == "UPDATE 1"
            changing = asyncio.create_task(_change(world, order_id, door))
            await eventually(lambda: world.pool.fetchval(_WAITING))
            await claim.commit()
        refused = await changing
        if door == "buyer":
            row = await world.pool.fetchrow("SELECT state, cause FROM facts WHERE kind = 'order.change_requested'")
            assert row is not None
            assert tuple(row) == ("quarantined", "change_too_late")
        else:
            assert refused is not None
            assert refused.code == "change_too_late"
        assert (await progress_of(world, order_id)).lines["1"].cancelled == 0
        assert await stock_of(world, "SKU-0") == (SPARE, Decimal(3))


async def test_a_change_before_its_order_waits_for_it(database_url: str) -> None:
    async with open_world(database_url) as world:
        await world.intake.record([change_fact(wanted("1", 1))])
        await world.decider.decide_orders()
        order_id = await place(world, "S-1", lines=1, quantity=3)
        for _ in range(3):
            await world.decider.decide_orders()
        assert (await progress_of(world, order_id)).lines["1"].cancelled == 2


async def test_what_customer_service_takes_off_is_told_to_the_channel(database_url: str) -> None:
    async with open_world(database_url) as world:
        world.partners["erp"].down = True
        async with Working(world):
            order_id = await place(world, "S-1", lines=2, quantity=5)
            await world.control.change_order(system_clock(), "ops", order_id, [wanted("2", 1)], "The buyer called.")
            world.partners["erp"].down = False
            await settled(world)
        (body,) = [body for key, body in world.partners["shop"].asked.items() if "/channel.change" in key]
        told = msgspec.json.decode(body, type=TakenOff)
        assert (told.reason, [(line.line, line.quantity.value) for line in told.lines]) == (
            "The buyer called.", [("2", Decimal(4))]
        )
        assert instructed(world) == {"1": Decimal(5), "2": Decimal(1)}


async def test_taking_off_every_line_cancels_the_order_and_tells_the_channel(database_url: str) -> None:
    async with open_world(database_url) as world:
        world.partners["erp"].down = True
        async with Working(world):
            order_id = await place(world, "S-1", lines=1, quantity=5)
            await world.control.change_order(system_clock(), "ops", order_id, [wanted("1", 0)], "The buyer called.")
            world.partners["erp"].down = False
            await settled(world)
        assert (await progress_of(world, order_id)).state == "cancelled"
        told = [operation for operation, _ in world.partners["shop"].log]
        assert "channel.cancel" in told
        assert "channel.change" not in told
        assert instructed(world) == {}
        assert await stock_of(world, "SKU-0") == (SPARE, Decimal(0))


async def _change(world: World, order_id: int, door: str) -> Any:
    if door == "buyer":
        return await world.decider.decide_orders() and None
    try:
        await world.control.change_order(system_clock(), "ops", order_id, [wanted("1", 1)], "fewer")
    except Refused as refused:
        return refused
    return None
