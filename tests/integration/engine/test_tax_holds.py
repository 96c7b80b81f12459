"""An order that claims exemption waits for its customer's VAT identifier, and goes on when it is there, or taxed."""

from __future__ import annotations

import msgspec
import pytest

from crossdock.engine.intake import Answer
from crossdock.engine.ports import system_clock
from crossdock.ledger import master_data
from crossdock.model.documents import Customer
from crossdock.model.orders import Order, TaxDecision
from crossdock.policy.tax import TaxPolicy, TaxRule
from tests.integration.engine.bench_world import NOW, World, make_arrival, make_placed, open_world
from tests.integration.engine.test_order_path import Working, eventually, progress_of, steps_are_done

TAX = TaxPolicy((TaxRule("union-business", "reverse_charge", "exempt"), TaxRule("place-of-delivery", "taxed")))
EXEMPT = Customer("C1", "Customer 1", "EUR", "active", "G1", 30, tax_exempt=True)


async def publish(world: World, customer: Customer) -> None:
    async with world.pool.acquire() as connection, connection.transaction():
        await master_data.place_customers(connection, [("erp", customer)], NOW)


async def place(world: World) -> Answer:
    return await world.intake.place(make_arrival(make_placed("S-1", customer="C1")))


@pytest.mark.parametrize(("identifier", "wanted"), [
    ("NL004495445B01", TaxDecision("reverse_charge", "union-business", "NL004495445B01")),
    ("", TaxDecision("taxed")),
])  # fmt: skip
async def test_a_hold_for_tax_is_released_mended_or_taxed(
    database_url: str, identifier: str, wanted: TaxDecision
) -> None:
    async with open_world(database_url, tax=TAX) as world, Working(world):
        await publish(world, EXEMPT)
        answer = await place(world)
        assert answer.order_id is not None
        assert answer.acknowledgment is not None
        assert answer.acknowledgment.hold is not None
        assert (answer.acknowledgment.state, answer.acknowledgment.hold.cause) == ("held", "tax")
        assert world.partners["tax"].log == []
        await publish(world, msgspec.structs.replace(EXEMPT, tax_identifier=identifier))
        assert await world.control.release_holds(system_clock(), "ops", [answer.order_id]) == 1
        await eventually(lambda: steps_are_done(world))
        assert (await progress_of(world, answer.order_id)).state == "accepted"
        order = msgspec.json.decode(await world.pool.fetchval("SELECT body FROM orders"), type=Order)
        assert (order.tax, order.tax_exempt) == (wanted, wanted.treatment != "taxed")
        assert [operation for operation, _ in world.partners["tax"].log] == ["tax.quote"]
        assert [operation for operation, _ in world.partners["erp"].log] == ["erp.place_order"]
