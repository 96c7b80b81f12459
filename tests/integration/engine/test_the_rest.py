"""A part of an order has left, the other part is cancelled: its partners let go of that one.

A sale stayed open for ever, with its goods set aside in the ERP, and the card stayed charged with what never came.
Judged by what the partners were asked.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from crossdock.engine.ports import system_clock
from crossdock.model.facts import CancellationRequested, Fact, FulfilmentShorted
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


async def settled(world: World) -> None:
    await eventually(lambda: facts_are_decided(world))
    await eventually(lambda: steps_are_done(world))


async def three_of_five_left(world: World) -> int:
    """The warehouse came two short; everything that follows the three is done."""
    order_id = await place(world, "S-1", lines=1, quantity=5)
    await settled(world)
    raw = msgspec.json.encode(FulfilmentShorted(f"CD{order_id:08d}-HAM", "HAM", "SKU-0", "2", NOW))
    await world.intake.record([Fact("wms", "fulfilment.shorted", "short-1", raw, raw, subject=f"CD{order_id:08d}-HAM")])
    await world.intake.record([shipment_fact(order_id, "SH-1", {"SKU-0": 3})])
    await settled(world)
    assert (await progress_of(world, order_id)).state == "shipping"
    return order_id


def asked(world: World, partner: str) -> list[str]:
    return [operation for operation, _ in world.partners[partner].log]


@pytest.mark.parametrize("door", ["buyer", "operator"])
async def test_the_sale_is_closed_and_the_card_let_go_when_the_rest_is_cancelled(database_url: str, door: str) -> None:
    async with open_world(database_url) as world, Working(world):
        order_id = await three_of_five_left(world)
        if door == "buyer":
            body = CancellationRequested("S-1", NOW, "no need any more")
            await world.intake.record([channel_fact("order.cancellation_requested", body)])
        else:
            await world.control.cancel_order(system_clock(), "ops", order_id, "The buyer called.")
        await settled(world)
        progress = await progress_of(world, order_id)
        line = progress.lines["1"]
        assert [line.shipped, line.backordered, line.open, line.cancelled] == [Decimal(n) for n in (3, 0, 0, 2)]
        assert progress.state == "completed", "nothing is left to wait for"
        assert asked(world, "erp") == ["erp.place_order", "erp.ship", "erp.cancel_order"]
        assert asked(world, "payment") == ["payment.authorise", "payment.capture", "payment.void"]
        assert "channel.cancel" not in asked(world, "shop"), "a part of it is delivered"


async def test_what_a_warehouse_calls_back_is_let_go_after_the_last_part(database_url: str) -> None:
    async with open_world(database_url) as world, Working(world):
        order_id = await place(world, "S-1", lines=1, quantity=5)
        await settled(world)
        world.partners["wms"].result = msgspec.json.encode({"cancelled": {"1": "2"}})
        await world.control.cancel_order(system_clock(), "ops", order_id, "The buyer called.")
        await settled(world)
        assert (await progress_of(world, order_id)).lines["1"].cancelled == 2
        assert asked(world, "erp") == ["erp.place_order"], "three are still to come"
        await world.intake.record([shipment_fact(order_id, "SH-1", {"SKU-0": 3})])
        await settled(world)
        assert (await progress_of(world, order_id)).state == "completed"
        assert asked(world, "erp") == ["erp.place_order", "erp.ship", "erp.cancel_order"]
        assert asked(world, "payment") == ["payment.authorise", "payment.capture", "payment.void"]


async def test_an_order_that_left_whole_is_not_closed_by_hand(database_url: str) -> None:
    async with open_world(database_url) as world, Working(world):
        order_id = await place(world, "S-1", lines=1, quantity=5)
        await settled(world)
        await world.intake.record([shipment_fact(order_id, "SH-1", {"SKU-0": 5})])
        await settled(world)
        assert (await progress_of(world, order_id)).state == "completed"
        assert asked(world, "erp") == ["erp.place_order", "erp.ship"]
        assert asked(world, "payment") == ["payment.authorise", "payment.capture"]


async def test_what_came_short_after_the_order_was_called_off_is_not_owed(database_url: str) -> None:
    """Seed 609 with 200 orders: the warehouse called back what it had and told its short pick after that. It stayed
    owed to a buyer who had cancelled; called off again, the order stood still for ever with its card charged."""
    async with open_world(database_url) as world, Working(world):
        order_id = await place(world, "S-1", lines=1, quantity=5)
        await settled(world)
        world.partners["wms"].result = msgspec.json.encode({"cancelled": {"1": "3"}})
        request = CancellationRequested("S-1", NOW, "changed my mind")
        await world.intake.record([channel_fact("order.cancellation_requested", request)])
        await settled(world)
        raw = msgspec.json.encode(FulfilmentShorted(f"CD{order_id:08d}-HAM", "HAM", "SKU-0", "2", NOW))
        await world.intake.record([Fact("wms", "fulfilment.shorted", "s-1", raw, raw, subject=f"CD{order_id:08d}-HAM")])
        await settled(world)
        progress = await progress_of(world, order_id)
        assert (progress.state, progress.lines["1"].cancelled) == ("cancelled", Decimal(5))
        assert asked(world, "payment") == ["payment.authorise", "payment.void"]
        assert asked(world, "erp") == ["erp.place_order", "erp.cancel_order"]
        reserved = await world.pool.fetchval("SELECT sum(quantity - shipped - released) FROM reservations")
        assert reserved == 0


async def test_an_order_whose_warehouses_were_all_asked_ends_when_it_is_called_off_again(database_url: str) -> None:
    async with open_world(database_url) as world, Working(world):
        order_id = await place(world, "S-1", lines=1, quantity=5)
        await settled(world)
        world.partners["wms"].result = msgspec.json.encode({"cancelled": {}})
        await world.control.cancel_order(system_clock(), "ops", order_id, "The buyer called.")
        await settled(world)
        assert (await progress_of(world, order_id)).state == "accepted", "the warehouse ships it"
        raw = msgspec.json.encode(FulfilmentShorted(f"CD{order_id:08d}-HAM", "HAM", "SKU-0", "5", NOW))
        await world.intake.record([Fact("wms", "fulfilment.shorted", "s-1", raw, raw, subject=f"CD{order_id:08d}-HAM")])
        await settled(world)
        await world.control.cancel_order(system_clock(), "ops", order_id, "The buyer called.")
        await settled(world)
        assert (await progress_of(world, order_id)).state == "cancelled"
        assert asked(world, "payment") == ["payment.authorise", "payment.void"]
