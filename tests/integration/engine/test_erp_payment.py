"""Finance saw invoices of orders that were paid by card stay open for ever: nobody told the ERP of the money."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import msgspec

from crossdock.engine.ports import system_clock
from crossdock.insight.timeline import read_timeline
from crossdock.model.errors import Refused
from tests.integration.engine.bench_world import NOW, PAID, World, open_world
from tests.integration.engine.test_order_path import (
    Working,
    eventually,
    facts_are_decided,
    place,
    progress_of,
    shipment_fact,
    steps_are_done,
)


async def ship(world: World, order_id: int, number: str, pieces: int) -> None:
    await world.intake.record([shipment_fact(order_id, number, {"SKU-0": pieces})])
    await eventually(lambda: facts_are_decided(world))
    await eventually(lambda: steps_are_done(world))


def booked(world: World) -> list[str]:
    return [key.partition("/")[2] for operation, key in world.partners["erp"].log if operation == "erp.payment"]


async def test_what_was_captured_for_each_shipment_is_booked_once_after_its_invoice(database_url: str) -> None:
    """The money of the second part is captured, but its invoice takes until the ERP is there again."""
    async with open_world(database_url, plan=PAID) as world, Working(world):
        order_id = await place(world, "S-1", lines=1, quantity=3)
        await eventually(lambda: steps_are_done(world))
        assert booked(world) == [], "nothing has left, so nothing was captured"
        await ship(world, order_id, "SH-1", 1)
        assert booked(world) == ["erp.payment:SH-1"]
        erp = world.partners["erp"]
        erp.down = True
        await world.intake.record([shipment_fact(order_id, "SH-2", {"SKU-0": 2})])
        await eventually(lambda: is_captured(world, "SH-2"))
        assert (await progress_of(world, order_id)).state == "shipped"
        erp.down, erp.lose_answers = False, 3
        await eventually(lambda: steps_are_done(world))
        assert booked(world) == ["erp.payment:SH-1", "erp.payment:SH-2"]
        assert set(Counter(key for _, key in erp.log).values()) == {1}
        progress = await progress_of(world, order_id)
        assert progress.state == "completed"
        assert progress.numbers["erp.payment:SH-2"] == "M-erp.payment:SH-2"
        for shipment in ("SH-1", "SH-2"):
            heard = erp.effects[f"CD{order_id:08d}/erp.payment:{shipment}"].result
            assert {f"erp.ship:{shipment}", f"payment.capture:{shipment}"} <= set(msgspec.json.decode(heard)["upon"])
        timeline = await read_timeline(world.pool, order_id, NOW + timedelta(days=1))
        assert [entry.details for entry in timeline.entries if entry.title == "InvoicePaid"] == [
            (("step", "erp.payment:SH-1"), ("number", "M-erp.payment:SH-1")),
            (("step", "erp.payment:SH-2"), ("number", "M-erp.payment:SH-2")),
        ]


async def is_captured(world: World, shipment: str) -> bool:
    found = await world.pool.fetchval("SELECT state FROM steps WHERE name = $1", f"payment.capture:{shipment}")
    return bool(found == "done")


async def test_a_payment_that_the_erp_refuses_waits_for_a_person_and_stops_nothing_else(database_url: str) -> None:
    async with open_world(database_url, plan=PAID) as world, Working(world):
        order_id = await place(world, "S-1", lines=1, quantity=3)
        await eventually(lambda: steps_are_done(world))
        world.partners["erp"].refuses = {
            "erp.payment": Refused(
                "erp_payment_differs", "7.50 was captured, 7.00 is left to pay.", next_action="Settle it by hand."
            )
        }  # fmt: skip
        await ship(world, order_id, "SH-1", 3)
        parked = await world.pool.fetch(
            "SELECT name, error_kind, error_code, error_message, next_action FROM steps WHERE state <> 'done'"
        )
        assert [tuple(row) for row in parked] == [
            ("erp.payment:SH-1", "refused", "erp_payment_differs", "7.50 was captured, 7.00 is left to pay.",
             "Settle it by hand."),
        ]  # fmt: skip
        assert (await progress_of(world, order_id)).state == "shipped"
        assert "payment.void" not in {operation for operation, _ in world.partners["payment"].log}

        world.partners["erp"].refuses = {}
        replayed = await world.control.replay_steps(system_clock(), "ops", operation="erp.payment")
        assert replayed == 1
        await eventually(lambda: steps_are_done(world))
        assert booked(world) == ["erp.payment:SH-1"]
        assert (await progress_of(world, order_id)).state == "completed"
