"""One poisonous order among ten good ones: neighbours go on, each poison is answered or parked with its reason."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from crossdock.engine.ports import system_clock
from crossdock.ledger import master_data
from crossdock.model.documents import Product
from crossdock.model.facts import Fact, OrderPaid
from crossdock.model.stock import InventoryBalance
from crossdock.model.values import Money, Quantity
from tests.integration.engine.bench_world import NOW, World, make_arrival, make_placed, open_world
from tests.integration.engine.test_order_path import Working, eventually


def with_line(number: str, **changes: Any) -> bytes:
    placed = make_placed(number, lines=1)
    line = msgspec.structs.replace(placed.lines[0], **changes)
    return msgspec.json.encode(msgspec.structs.replace(placed, lines=(line,)))


# What is wrong -> the body as it arrives, and the code that a person reads.
POISONS: dict[str, tuple[bytes, str]] = {
    "unknown SKU": (with_line("P-1", sku="NO-SUCH"), "sku_unknown"),
    "impossible unit": (with_line("P-2", quantity=Quantity(Decimal(1), "XPX")), "unit_impossible"),
    "negative quantity": (with_line("P-3", quantity=Quantity(Decimal(-1), "C62")), "quantity_positive"),
    "fraction of a piece": (with_line("P-4", quantity=Quantity(Decimal("1.5"), "C62")), "quantity_fraction"),
    "wrong decimals": (with_line("P-5", unit_price=Money(Decimal("2.123456"), "EUR")), "amount_decimals"),
    "NUL in a note": (with_line("P-6", note="a\0b"), "text_characters"),
    "10 MB note": (with_line("P-7", note="x" * 10_000_000), "text_too_long"),
    "no order at all": (b'{"channel_number": 7}', "body_malformed"),
}


async def codes_of(world: World, key: str) -> str:
    """Everything that is said about one fact, in one text."""
    row = await world.pool.fetchrow("SELECT state, cause, message, answer FROM facts WHERE business_key = $1", key)
    assert row is not None, key
    assert row["state"] == "quarantined", (key, row["state"])
    return f"{row['cause']} {row['message']} {(row['answer'] or b'').decode()}"


async def test_poison_among_good_orders_in_the_inbox_stops_only_itself(database_url: str) -> None:
    async with open_world(database_url) as world:
        facts = []
        for index, (body, _) in enumerate(POISONS.values()):
            facts.append(Fact("shop", "order.placed", f"poison-{index}", body, body, subject=f"poison-{index}"))
            for good in range(10):
                raw = msgspec.json.encode(make_placed(f"G-{index}-{good}"))
                facts.append(Fact("shop", "order.placed", f"G-{index}-{good}", raw, raw))
        await world.intake.record(facts)
        for _ in range(200):
            if not await world.decider.decide_waiting():
                break
        assert await world.pool.fetchval("SELECT count(*) FROM facts WHERE state = 'waiting'") == 0
        accepted = await world.pool.fetchval("SELECT count(*) FROM order_progress WHERE state = 'accepted'")
        assert accepted == 10 * len(POISONS)
        for index, (name, (_, code)) in enumerate(POISONS.items()):
            assert code in await codes_of(world, f"poison-{index}"), name


async def test_a_refused_order_says_every_reason_by_line_and_leaves_nothing(database_url: str) -> None:
    async with open_world(database_url) as world:
        placed = make_placed("S-1", lines=3)
        lines = (
            msgspec.structs.replace(placed.lines[0], sku="NO-SUCH"),
            msgspec.structs.replace(placed.lines[1], quantity=Quantity(Decimal(-2), "C62")),
            placed.lines[2],
        )
        answer = await world.intake.place(make_arrival(msgspec.structs.replace(placed, lines=lines)))
        assert answer.acknowledgment is not None
        assert answer.acknowledgment.state == "refused"
        assert {reason.line for reason in answer.acknowledgment.reasons} == {"1", "2"}
        assert all(reason.message and reason.next_action and reason.owner for reason in answer.acknowledgment.reasons)
        assert await world.pool.fetchval("SELECT count(*) FROM orders") == 0
        assert await world.pool.fetchval("SELECT sum(reserved) FROM stock") == 0


async def test_a_paid_order_of_the_shop_for_goods_that_nobody_knows_is_parked_and_accepted_once_they_are_known(
    database_url: str,
) -> None:
    """The shop waits for no answer: an order that was refused was seen by nobody."""
    async with open_world(database_url) as world:
        placed = make_placed("S-1", lines=2)
        lines = (msgspec.structs.replace(placed.lines[0], sku="NEW-1"), placed.lines[1])
        raw = msgspec.json.encode(msgspec.structs.replace(placed, lines=lines))
        paid = msgspec.json.encode(OrderPaid("S-1", "P1", NOW))
        await world.intake.record([
            Fact("shop", "order.placed", "S-1", raw, raw), Fact("shop", "order.paid", "S-1", paid, paid, subject="S-1"),
        ])  # fmt: skip
        await world.decider.decide_waiting()
        parked = await world.pool.fetchrow("SELECT * FROM facts WHERE state = 'quarantined'")
        assert parked is not None
        assert parked["cause"] == "sku_unknown"
        assert (parked["owner"], parked["message"]) == ("sender", "Line 1: There is no product NEW-1.")
        assert parked["next_action"].endswith("Then replay, or cancel the order in its channel.")

        await publish_like(world, "SKU-0", "NEW-1")
        assert await world.control.replay_facts(system_clock(), "ops", cause="sku_unknown") == 1
        for _ in range(10):
            await world.decider.decide_waiting()
        assert await world.pool.fetchval("SELECT count(*) FROM facts WHERE state <> 'applied'") == 0
        progress = await world.pool.fetchrow("SELECT state, progress FROM order_progress")
        assert progress is not None
        assert progress["state"] == "accepted"
        assert b'"paid":true' in progress["progress"]


async def publish_like(world: World, known: str, sku: str) -> None:
    """A product as another one, with a price and stock."""
    found = await world.pool.fetchval("SELECT body FROM products WHERE sku = $1", known)
    product = msgspec.structs.replace(msgspec.json.decode(found, type=Product), sku=sku)
    balance = InventoryBalance(sku, "HAM", Quantity(Decimal(100), "C62"), NOW)
    async with world.pool.acquire() as connection, connection.transaction():
        await master_data.place_products(connection, [("erp", product)], NOW)
        await master_data.place_balances(connection, [("wms", balance)], NOW)


async def test_what_partners_answer_spoils_nothing_that_is_written_with_it(database_url: str) -> None:
    """An answer with a NUL is kept as it is; one that is no JSON leaves its own step in doubt."""
    async with open_world(database_url) as world:
        world.partners["erp"].result = b'{"note":"a\\u0000b \\\\ \\""}'
        world.partners["shop"].result = b'{"number":1},"state":"done"'
        for number in range(3):
            await world.intake.place(make_arrival(make_placed(f"S-{number}")))

        async def the_rest_is_done() -> bool:
            rest = "SELECT count(*) FROM steps WHERE state <> 'done' AND operation <> 'channel.acknowledge'"
            return bool(await world.pool.fetchval(rest) == 0)

        async with Working(world):
            await eventually(the_rest_is_done)
        rows = await world.pool.fetch("SELECT operation, error_code, doubt, result FROM steps ORDER BY order_id, name")
        erp = [row["result"] for row in rows if row["operation"] == "erp.place_order"]
        assert erp == [world.partners["erp"].result] * 3
        shop = [row for row in rows if row["operation"] == "channel.acknowledge"]
        assert [(row["error_code"], row["doubt"]) for row in shop] == [("result_malformed", True)] * 3
