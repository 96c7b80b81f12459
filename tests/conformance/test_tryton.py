"""The Tryton connector against a real Tryton 8, judged by what Tryton's own tables hold.

Runs where an environment with Tryton is named (CROSSDOCK_TEST_TRYTON_VENV, made from requirements/tryton.txt), or a
running sandbox of the ERP (CROSSDOCK_TEST_TRYTON_URL and its password in CROSSDOCK_TEST_TRYTON_PASSWORD).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from crossdock.connectors.tryton.declaration import CONNECTOR
from crossdock.kit.connector import Call, Done
from crossdock.kit.samples import SAMPLE_AT, make_call, make_order
from crossdock.kit.settings import decode_settings
from crossdock.model.documents import Component, Customer, Pack, Product
from crossdock.model.errors import CrossdockError, InDoubt, Invalid, Misconfigured, Refused, Unavailable
from crossdock.model.fulfilment import PartLine, ShipmentPart
from crossdock.model.orders import Allocation, Order
from crossdock.model.values import Money, Quantity
from crossdock.sandbox.world import make_world
from tests.conformance.partners import RunningPartner
from tests.erp_process import START_SECONDS_MAX, VENV, Erp

URL = os.environ.get("CROSSDOCK_TEST_TRYTON_URL", "")
PASSWORD = os.environ.get("CROSSDOCK_TEST_TRYTON_PASSWORD", "")
pytestmark = [
    pytest.mark.process, pytest.mark.slow,
    pytest.mark.skipif(not (VENV or URL), reason="CROSSDOCK_TEST_TRYTON_VENV names no Tryton"),
]  # fmt: skip
# A sandbox that runs already keeps the orders of earlier tests.
NUMBERS = itertools.count(time.time_ns() // 10_000_000 % 90_000_000)
TAXES = {"tax.quote": {"taxes": {
    "1": {"code": "EU-STD", "rate": "0.19", "amount": "4.56"},
    "2": {"code": "EU-STD", "rate": "0.19", "amount": "0.86"},
}}}  # fmt: skip
CANCEL: dict[str, object] = {"reason": "The buyer changed his mind.", "undoes": "erp.place_order"}
Documents = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def tryton(request: pytest.FixtureRequest) -> Iterator[RunningPartner]:
    if URL:
        with subprocess.Popen([sys.executable, "-c", ""], text=True) as nothing:
            yield RunningPartner("tryton", nothing, URL, PASSWORD)
        return
    erp: Erp = request.getfixturevalue("erp")
    if not erp.is_running:
        erp.start(START_SECONDS_MAX)
    assert erp.process is not None
    yield RunningPartner("tryton", erp.process, erp.url, (erp.home / "crossdock.password").read_text("ascii"))


@pytest.fixture
async def client(tryton: RunningPartner) -> AsyncIterator[Any]:
    await tryton.misbehave({})
    async with CONNECTOR.open(settings_for(tryton)) as opened:
        yield opened


def settings_for(tryton: RunningPartner, payment_method: str = "Card payments") -> Any:
    written = {"url": tryton.url, "password": tryton.key, "payment_method": payment_method}
    return decode_settings(CONNECTOR, "erp", written)


def order_over(*warehouses: str) -> Order:
    """24 pieces and 3 metres, promised from the warehouses."""
    order = make_order("X-1")
    number = next(NUMBERS)
    lines = tuple(
        msgspec.structs.replace(line, allocations=tuple(Allocation(name, Decimal(1)) for name in warehouses))
        for line in order.lines
    )
    return msgspec.structs.replace(order, order_id=number, number=f"CD{number:08d}", lines=lines)


def part_of(order: Order, name: str, warehouse: str, *lines: tuple[int, str, str, str]) -> ShipmentPart:
    """Each line: its place, quantity, net, tax."""
    parts = []
    for place, quantity, net_text, tax_text in lines:
        line = order.lines[place]
        count = Quantity(Decimal(quantity), line.quantity.unit)
        parts.append(PartLine(line.line, line.sku, count, Decimal(net_text), Decimal(tax_text), "EU-STD"))
    net, tax = sum((line.net for line in parts), Decimal(0)), sum((line.tax for line in parts), Decimal(0))
    return ShipmentPart(
        f"SH-{order.number}-{name}", warehouse, SAMPLE_AT, tuple(parts), Money(net, "EUR"), Money(tax, "EUR")
    )


async def perform(client: Any, call: Call) -> Done | CrossdockError:
    operation = CONNECTOR.operation(call.operation)
    try:
        if operation.perform_many is not None:
            return (await operation.perform_many(client, [call]))[0]
        assert operation.perform is not None
        return await operation.perform(client, call)
    except CrossdockError as error:
        return error


async def probe(client: Any, call: Call) -> Done | None:
    declared = CONNECTOR.operation(call.operation).probe
    assert declared is not None
    return await declared(client, call)


async def placed(client: Any, order: Order) -> None:
    found = await perform(client, make_call(order, "erp.place_order", {}, dict(TAXES)))
    assert isinstance(found, Done), found


async def shipped(client: Any, order: Order, part: ShipmentPart) -> None:
    found = await perform(client, make_call(order, f"erp.ship:{part.shipment}", part))
    assert isinstance(found, Done), found


async def documents(tryton: RunningPartner, order: Order) -> Documents:
    """What Tryton holds of an order."""
    found: Documents = await tryton.control("GET", "/_documents")
    return {
        kind: [row for row in rows if order.number in (row["reference"] or "")] for kind, rows in found.items()
    }


async def test_order_is_placed_once_with_our_total(tryton: RunningPartner, client: Any) -> None:
    order = order_over("HAM")
    call = make_call(order, "erp.place_order", {}, dict(TAXES))
    assert await probe(client, call) is None
    first = await perform(client, call)
    assert isinstance(first, Done)
    assert await perform(client, call) == first == await probe(client, call)
    sales = (await documents(tryton, order))["sales"]
    assert [(sale["state"], sale["untaxed"], sale["tax"], sale["total"]) for sale in sales] == [
        ("processing", "28.50", "5.42", "33.92")
    ]


async def test_the_sale_carries_the_tax_engines_cents(tryton: RunningPartner, client: Any) -> None:
    """Tryton would reckon 5.42."""
    order = order_over("HAM")
    taxes = {"tax.quote": {"taxes": {
        "1": {"code": "EU-STD", "rate": "0.19", "amount": "4.56"},
        "2": {"code": "EU-STD", "rate": "0.19", "amount": "0.85"},
    }}}  # fmt: skip
    call = make_call(order, "erp.place_order", {}, dict(taxes))
    found = await perform(client, call)
    assert isinstance(found, Done)
    assert found == await perform(client, call) == await probe(client, call)
    assert msgspec.json.decode(found.result)["tax"] == "5.41"
    sales = (await documents(tryton, order))["sales"]
    assert [(row["untaxed"], row["tax"], row["total"]) for row in sales] == [("28.50", "5.41", "33.91")]


async def test_a_worker_that_dies_between_the_sale_and_its_tax_leaves_no_cent_behind(
    tryton: RunningPartner, client: Any
) -> None:
    """Tryton has confirmed and reckoned 5.42, and nobody was there to write 5.41: who looks for the order does."""
    order = order_over("HAM")
    taxes = {"tax.quote": {"taxes": {
        "1": {"code": "EU-STD", "rate": "0.19", "amount": "4.56"},
        "2": {"code": "EU-STD", "rate": "0.19", "amount": "0.85"},
    }}}  # fmt: skip
    call = make_call(order, "erp.place_order", {}, dict(taxes))
    await tryton.misbehave({"commit_then_drop": 1, "paths": "sale.sale.confirm"})
    assert isinstance(await perform(client, call), InDoubt)
    sales = (await documents(tryton, order))["sales"]
    assert [(row["state"], row["tax"]) for row in sales] == [("processing", "5.42")]
    await tryton.misbehave({})
    found = await probe(client, call)
    assert isinstance(found, Done)
    assert msgspec.json.decode(found.result)["tax"] == "5.41"
    sales = (await documents(tryton, order))["sales"]
    assert [(row["untaxed"], row["tax"], row["total"]) for row in sales] == [("28.50", "5.41", "33.91")]


@pytest.mark.parametrize("fault", [{"commit_then_drop": 1}, {"reset": 1}, {"commit_then_500": 1}])
async def test_lost_answers_leave_one_order(tryton: RunningPartner, client: Any, fault: dict[str, Any]) -> None:
    """Every write loses its answer; the order is driven on from where it stands."""
    order = order_over("HAM")
    call = make_call(order, "erp.place_order", {}, dict(TAXES))
    await tryton.misbehave({**fault, "methods": ["POST"]})
    assert isinstance(await perform(client, call), InDoubt)
    await tryton.misbehave({})
    assert await probe(client, call) is None
    assert isinstance(await perform(client, call), Done)
    assert len((await documents(tryton, order))["sales"]) == 1


async def test_request_delivered_twice_leaves_one_order(tryton: RunningPartner, client: Any) -> None:
    order = order_over("HAM")
    await tryton.misbehave({"duplicate": 1, "paths": "sale.sale.create"})
    await placed(client, order)
    assert len((await documents(tryton, order))["sales"]) == 1


async def test_two_warehouses_partial_shipments_and_exact_invoices(tryton: RunningPartner, client: Any) -> None:
    """The cents of tax are ours, not what Tryton would round each part to."""
    order = order_over("HAM", "BHX")
    await placed(client, order)
    parts = (
        part_of(order, "1", "HAM", (0, "7", "7.00", "1.34")),
        part_of(order, "2", "BHX", (0, "5", "5.00", "0.94"), (1, "1", "1.50", "0.29")),
        part_of(order, "3", "HAM", (0, "12", "12.00", "2.28"), (1, "2", "3.00", "0.57")),
    )
    for part in parts:
        await shipped(client, order, part)
        await shipped(client, order, part)
    found = await documents(tryton, order)
    invoices = [(row["reference"], row["state"], row["untaxed"], row["tax"]) for row in found["invoices"]]
    assert invoices == [(part.shipment, "posted", str(part.net.amount), str(part.tax.amount)) for part in parts]
    goods = [(row["reference"], row["warehouse"], row["state"], [move["quantity"] for move in row["moves"]])
             for row in found["shipments"]]  # fmt: skip
    assert sorted(goods) == [
        (parts[0].shipment, "HAM", "done", [7]), (parts[1].shipment, "BHX", "done", [5, 1]),
        (parts[2].shipment, "HAM", "done", [12, 2]),
    ]  # fmt: skip
    assert sum(Decimal(row["tax"]) for row in found["invoices"]) == Decimal("5.42")


async def test_a_reverse_charge_bears_its_code_and_no_tax(tryton: RunningPartner, client: Any) -> None:
    """The invoice says why nothing is charged, and shows the customer's number."""
    order = msgspec.structs.replace(order_over("HAM"), customer="C0001")
    untaxed = {"code": "REVERSE", "rate": "0", "amount": "0.00"}
    taxes: dict[str, object] = {"tax.quote": {"taxes": {"1": untaxed, "2": untaxed}}}
    assert isinstance(await perform(client, make_call(order, "erp.place_order", {}, taxes)), Done)
    part = part_of(order, "1", "HAM", (0, "24", "24.00", "0.00"), (1, "3", "4.50", "0.00"))
    lines = tuple(msgspec.structs.replace(line, tax_code="REVERSE") for line in part.lines)
    await shipped(client, order, msgspec.structs.replace(part, lines=lines))
    found = await documents(tryton, order)
    assert [(row["untaxed"], row["tax"], row["total"]) for row in found["sales"]] == [("28.50", "0.00", "28.50")]
    invoices = [(row["state"], row["untaxed"], Decimal(row["tax"])) for row in found["invoices"]]
    assert invoices == [("posted", "28.50", Decimal(0))]
    fields = ["tax.name", "base", "amount", "invoice.party_tax_identifier.code"]
    told = await client.rows(None, "account.invoice.tax", [["invoice", "=", found["invoices"][0]["id"]]], fields)
    assert [(row["tax."]["name"], row["base"], row["amount"]) for row in told] == [
        ("REVERSE", Decimal("28.50"), Decimal("0.00"))
    ]
    number = told[0]["invoice."]["party_tax_identifier."]["code"]
    assert number == next(row.tax_identifier for row in make_world().customers if row.code == "C0001")


async def test_a_kit_is_sold_at_its_price_and_leaves_as_its_components(tryton: RunningPartner, client: Any) -> None:
    """Two kits at 113.09 and 3 metres of cable; one kit leaves, then the rest."""
    order = kit_order()
    taxes = {"tax.quote": {"taxes": {
        "1": {"code": "EU-STD", "rate": "0.19", "amount": "42.97"},
        "2": {"code": "EU-STD", "rate": "0.19", "amount": "0.86"},
    }}}  # fmt: skip
    found = await perform(client, make_call(order, "erp.place_order", {}, dict(taxes)))
    assert isinstance(found, Done), found
    before = await on_hand(client, order)
    parts = (
        part_of(order, "1", "HAM", (0, "1", "113.09", "21.48")),
        part_of(order, "2", "HAM", (0, "1", "113.09", "21.49"), (1, "3", "4.50", "0.86")),
    )
    for part in parts:
        await shipped(client, order, part)
    documents_ = await documents(tryton, order)
    assert [(row["untaxed"], row["total"]) for row in documents_["sales"]] == [("230.68", "274.51")]
    invoices = [(row["reference"], row["state"], row["untaxed"], row["tax"]) for row in documents_["invoices"]]
    assert invoices == [(part.shipment, "posted", str(part.net.amount), str(part.tax.amount)) for part in parts]
    goods = {row["reference"]: sorted(move["quantity"] for move in row["moves"]) for row in documents_["shipments"]}
    assert goods == {parts[0].shipment: [1, 2, 4], parts[1].shipment: [1, 2, 3, 4]}
    after = await on_hand(client, order)
    assert {sku: before[sku] - count for sku, count in after.items()} == {
        **{part.sku: part.quantity * 2 for part in order.lines[0].components}, "ND-0002": 3,
    }  # fmt: skip
    assert order.lines[0].sku not in after, "a kit stands on no shelf"


async def test_a_kit_without_any_single_component_is_sold_at_its_price_too(
    tryton: RunningPartner, client: Any
) -> None:
    """70 kits of three and six at 10.00: a third of that has no end, and 3.3333 each would come to 699.99."""
    order = kit_order(70, Decimal("10.00"), (3, 6))
    taxes = {"tax.quote": {"taxes": {
        "1": {"code": "EU-STD", "rate": "0.19", "amount": "133.00"},
        "2": {"code": "EU-STD", "rate": "0.19", "amount": "0.86"},
    }}}  # fmt: skip
    found = await perform(client, make_call(order, "erp.place_order", {}, dict(taxes)))
    assert isinstance(found, Done), found
    before = await on_hand(client, order)
    parts = (
        part_of(order, "1", "HAM", (0, "51", "510.00", "96.90")),
        part_of(order, "2", "HAM", (0, "19", "190.00", "36.10"), (1, "3", "4.50", "0.86")),
    )
    for part in parts:
        await shipped(client, order, part)
    documents_ = await documents(tryton, order)
    assert [(row["untaxed"], row["total"]) for row in documents_["sales"]] == [("704.50", "838.36")]
    invoices = [(row["state"], row["untaxed"], row["tax"]) for row in documents_["invoices"]]
    assert invoices == [("posted", "510.00", "96.90"), ("posted", "194.50", "36.96")]
    after = await on_hand(client, order)
    assert {sku: before[sku] - count for sku, count in after.items()} == {
        order.lines[0].components[0].sku: 210, order.lines[0].components[1].sku: 420, "ND-0002": 3,
    }  # fmt: skip


def kit_order(kits: int = 2, list_price: Decimal | None = None, counts: tuple[int, ...] = ()) -> Order:
    order = order_over("HAM")
    kit = make_world().kits[0]
    price = Money(kit.list_price_eur if list_price is None else list_price, "EUR")
    amount = Money(price.amount * kits, "EUR")
    made_of = zip(kit.components, counts or [part.quantity for part in kit.components], strict=False)
    line = msgspec.structs.replace(
        order.lines[0], sku=kit.sku, name=kit.name, ordered=Quantity(Decimal(kits), "C62"),
        quantity=Quantity(Decimal(kits), "C62"), unit_price=price, amount=amount,
        components=tuple(Component(part.sku, Decimal(count)) for part, count in made_of),
    )  # fmt: skip
    net = Money(amount.amount + order.lines[1].amount.amount, "EUR")
    return msgspec.structs.replace(order, lines=(line, order.lines[1]), net=net)


async def on_hand(client: Any, order: Order) -> dict[str, Decimal]:
    skus = [order.lines[0].sku, "ND-0002", *(part.sku for part in order.lines[0].components)]
    assert CONNECTOR.read_balances is not None
    return {row.sku: row.on_hand.value for row in await CONNECTOR.read_balances(client, "HAM", skus)}


async def test_lost_answers_leave_one_shipment_and_one_invoice(tryton: RunningPartner, client: Any) -> None:
    """Each of Tryton's writes in turn loses its answer."""
    order = order_over("HAM")
    await placed(client, order)
    part = part_of(order, "1", "HAM", (0, "7", "7.00", "1.33"))
    call = make_call(order, f"erp.ship:{part.shipment}", part)
    lost = 0
    for method in ("out.write", "out.assign_force", "out.pack", "out.do", "invoice.post"):
        await tryton.misbehave({"commit_then_drop": 1, "paths": method})
        lost += isinstance(await perform(client, call), InDoubt)
    await tryton.misbehave({})
    assert lost >= 4
    assert isinstance(await perform(client, call), Done)
    assert await probe(client, call) is not None
    found = await documents(tryton, order)
    assert [row["state"] for row in found["shipments"]] == ["done"]
    assert [row["state"] for row in found["invoices"]] == ["posted"]


async def test_the_answer_says_by_when_the_goods_issue_was_in_the_books(tryton: RunningPartner, client: Any) -> None:
    """The invoice takes three seconds more; a balance that was counted meanwhile has the goods issue in it."""
    order = order_over("HAM")
    await placed(client, order)
    part = part_of(order, "1", "HAM", (0, "7", "7.00", "1.33"))
    call = make_call(order, f"erp.ship:{part.shipment}", part)
    await tryton.misbehave({"delay_ms": (3000, 3000), "paths": "invoice.post"})
    began = datetime.now(UTC)
    done = await perform(client, call)
    ended = datetime.now(UTC)
    assert isinstance(done, Done), done
    assert done.booked_at is not None
    assert began < done.booked_at < ended - timedelta(seconds=3)
    await tryton.misbehave({})
    assert await probe(client, call) == done, "who asks later hears the same time"
    # It is asked what there is, the waiting shipment is cut down, assigned, packed and done, the invoice is found, gets
    # our number and tax, is posted and read.
    assert len(call.exchanges) - 2 == 9, [exchange.request[:60] for exchange in call.exchanges]


async def test_what_leaves_whole_only_gets_its_number(tryton: RunningPartner, client: Any) -> None:
    """Moves that stay as they are are not sent: Tryton would check each of them again."""
    for count, changed in (("24", ["reference"]), ("23", ["moves", "reference"])):
        order = order_over("HAM")
        await placed(client, order)
        part = part_of(order, "1", "HAM", (0, count, f"{count}.00", "4.56"), (1, "3", "4.50", "0.86"))
        await shipped(client, order, part)
        (write,) = [
            entry for entry in await tryton.log()
            if entry["kind"] == "model.stock.shipment.out.write" and part.shipment in str(entry["document"])
        ]  # fmt: skip
        assert sorted(write["document"]["arguments"][1]) == changed
        goods = (await documents(tryton, order))["shipments"]
        done = [[move["quantity"] for move in row["moves"]] for row in goods if row["state"] == "done"]
        assert done == [[int(count), 3]]


async def perform_all(client: Any, calls: list[Call]) -> list[Done | CrossdockError]:
    declared = CONNECTOR.operation(calls[0].operation).perform_many
    assert declared is not None
    return list(await declared(client, calls))


async def test_one_bad_order_in_a_batch_stops_only_itself(tryton: RunningPartner, client: Any) -> None:
    orders = [order_over("HAM") for _ in range(4)]
    orders[1] = msgspec.structs.replace(orders[1], currency="CHF")
    orders[2] = msgspec.structs.replace(orders[2], net=Money(Decimal("99.00"), "EUR"))
    strange = {"code": "ZZ-STD", "rate": "0.19", "amount": "4.56"}
    taxes: list[dict[str, object]] = [dict(TAXES), dict(TAXES), dict(TAXES), {"tax.quote": {"taxes": {"1": strange}}}]
    calls = [make_call(order, "erp.place_order", {}, tax) for order, tax in zip(orders, taxes, strict=True)]
    answers = await perform_all(client, calls)
    assert [type(answer) for answer in answers] == [Done, Refused, Refused, Misconfigured]
    assert [len((await documents(tryton, order))["sales"]) for order in orders] == [1, 0, 1, 0]


async def test_batch_of_parts_two_of_one_order_and_a_bad_one(tryton: RunningPartner, client: Any) -> None:
    """Each part has its own shipment and its own invoice, the same again changes nothing, the bad one stops alone."""
    orders = [order_over("HAM") for _ in range(4)]
    for order in orders[:3]:
        await placed(client, order)
    parts = [
        part_of(orders[0], "1", "HAM", (0, "7", "7.00", "1.33")),
        part_of(orders[1], "1", "HAM", (0, "24", "24.00", "4.56"), (1, "3", "4.50", "0.86")),
        part_of(orders[0], "2", "BHX", (0, "17", "17.00", "3.23"), (1, "3", "4.50", "0.86")),
        part_of(orders[2], "1", "HAM", (0, "25", "25.00", "4.75")),
        part_of(orders[3], "1", "HAM", (0, "1", "1.00", "0.19")),
    ]
    owners = [orders[0], orders[1], orders[0], orders[2], orders[3]]
    calls = [
        make_call(order, f"erp.ship:{part.shipment}", part) for order, part in zip(owners, parts, strict=True)
    ]  # fmt: skip
    answers = await perform_all(client, calls)
    assert [getattr(answer, "code", "done") for answer in answers] == [
        "done", "done", "done", "erp_nothing_waiting", "erp_sale_missing"
    ]  # fmt: skip
    again = await perform_all(client, calls)
    assert again[:3] == answers[:3]
    for order, shipments in ((orders[0], [parts[0], parts[2]]), (orders[1], [parts[1]])):
        found = await documents(tryton, order)
        assert [(row["reference"], row["state"]) for row in found["shipments"]] == [
            (part.shipment, "done") for part in shipments
        ]
        assert [(row["reference"], row["state"], row["untaxed"], row["tax"]) for row in found["invoices"]] == [
            (part.shipment, "posted", str(part.net.amount), str(part.tax.amount)) for part in shipments
        ]
    assert (await documents(tryton, orders[2]))["invoices"] == []


async def test_part_waits_while_another_of_its_order_is_being_booked(tryton: RunningPartner, client: Any) -> None:
    """Both done at once would be on one invoice; the first is begun again and ends, then the second goes."""
    order = order_over("HAM")
    await placed(client, order)
    parts = [part_of(order, name, "HAM", (0, "7", "7.00", "1.33")) for name in ("1", "2")]
    first, second = (make_call(order, f"erp.ship:{part.shipment}", part) for part in parts)
    await tryton.misbehave({"reset": 1, "paths": "out.do"})
    assert isinstance(await perform(client, first), InDoubt)
    await tryton.misbehave({})
    waits = await perform(client, second)
    assert isinstance(waits, Unavailable)
    assert waits.code == "erp_shipment_taken"
    assert isinstance(await perform(client, first), Done)
    assert isinstance(await perform(client, second), Done)
    found = await documents(tryton, order)
    assert [(row["reference"], row["untaxed"]) for row in found["invoices"]] == [
        (part.shipment, "7.00") for part in parts
    ]


async def test_invoice_that_a_dead_workers_request_posts_meanwhile_is_no_refusal(
    tryton: RunningPartner, client: Any
) -> None:
    """"You can not call post": the request of a killed worker was still on its way when the next one looked."""
    order = order_over("HAM")
    await placed(client, order)
    part = part_of(order, "1", "HAM", (0, "7", "7.00", "1.33"))
    call = make_call(order, f"erp.ship:{part.shipment}", part)
    await tryton.misbehave({"reset": 1, "paths": "invoice.post"})
    assert isinstance(await perform(client, call), InDoubt)
    await tryton.misbehave({"delay_ms": (3000, 3000), "paths": "invoice.post"})
    async with CONNECTOR.open(settings_for(tryton)) as other:
        answers = await asyncio.gather(perform(client, call), perform(other, call))
    assert all(isinstance(answer, Done) for answer in answers), answers
    assert [row["state"] for row in (await documents(tryton, order))["invoices"]] == ["posted"]


def captured(order: Order, part: ShipmentPart, amount: str = "", capture: str = "cap_1") -> Call:
    """The call that books what the payment provider reported as captured, all of the part if no amount is given.

    It is given what all steps of the order answered, and by operation the newest: that of another shipment."""
    shipment = part.shipment
    results: dict[str, object] = {
        "payment.capture:SH-OTHER": {"capture": "cap_9", "amount": "9.99"},
        "payment.capture": {"capture": "cap_9", "amount": "9.99"},
        f"payment.capture:{shipment}": {"capture": capture, "amount": amount or str(part.gross.amount)},
        f"erp.ship:{shipment}": {"invoice": "of no matter"},
    }
    return make_call(order, f"erp.payment:{shipment}", part, results)


async def invoiced(client: Any, warehouse: str = "HAM") -> tuple[Order, ShipmentPart]:
    """An order that has left whole, with its invoice posted."""
    order = order_over(warehouse)
    await placed(client, order)
    part = part_of(order, "1", warehouse, (0, "24", "24.00", "4.56"), (1, "3", "4.50", "0.86"))
    await shipped(client, order, part)
    return order, part


async def invoice_of(client: Any, part: ShipmentPart) -> dict[str, Any]:
    """As Tryton reckons it."""
    fields = ["state", "amount_to_pay", "amount_to_pay_today", "reconciled", "sales.state", "sales.invoice_state"]
    domain = [["reference", "=", part.shipment], ["state", "!=", "cancelled"]]
    (row,) = await client.rows(None, "account.invoice", domain, fields)
    found: dict[str, Any] = row
    return found


async def pay_by_hand(client: Any, part: ShipmentPart, amount: str) -> None:
    """As an accountant does with the button at the invoice."""
    fields = ["party", "currency", "company", "account"]
    (row,) = await client.rows(None, "account.invoice", [["reference", "=", part.shipment]], fields)
    (method,) = await client.rows(None, "account.invoice.payment.method", [["name", "=", "Card payments"]], ["name"])
    context = {"active_model": "account.invoice", "active_id": row["id"], "active_ids": [row["id"]]}
    wizard = "wizard.account.invoice.pay"
    session, *_ = await client.call(None, f"{wizard}.create", context=context)
    start = {
        "payee": row["party"], "amount": Decimal(amount), "currency": row["currency"], "company": row["company"],
        "invoice_account": row["account"], "payment_method": method["id"], "date": datetime.now(UTC).date(),
    }  # fmt: skip
    asked = await client.call(None, f"{wizard}.execute", session, {"start": start}, "choice", context=context)
    if asked:
        ask = {name: value for name, value in asked["view"]["defaults"].items() if not name.endswith(".")}
        ask["type"] = "partial"
        await client.call(None, f"{wizard}.execute", session, {"start": start, "ask": ask}, "pay", context=context)
    await client.call(None, f"{wizard}.delete", session, context=context)


async def test_an_invoice_is_paid_by_what_was_captured_and_the_sale_ends(tryton: RunningPartner, client: Any) -> None:
    """Two parts of one order: paid as Tryton says it, each once, also when both are booked again."""
    order = order_over("HAM")
    await placed(client, order)
    parts = (
        part_of(order, "1", "HAM", (0, "7", "7.00", "1.34")),
        part_of(order, "2", "HAM", (0, "17", "17.00", "3.22"), (1, "3", "4.50", "0.86")),
    )
    for part in parts:
        await shipped(client, order, part)
    assert [(await invoice_of(client, part))["amount_to_pay"] for part in parts] == [Decimal("8.34"), Decimal("25.58")]
    calls = [captured(order, part, capture=f"cap_{place}") for place, part in enumerate(parts)]
    assert [await probe(client, call) for call in calls] == [None, None]
    answers = await perform_all(client, calls)
    assert all(isinstance(answer, Done) for answer in answers), answers
    # They are looked for, the period is, both are drafted, read, posted and reconciled, and the invoices are read.
    assert len(calls[0].exchanges) - 1 == 7, [exchange.request[:60] for exchange in calls[0].exchanges]
    for _ in range(2):
        assert await perform_all(client, calls) == answers == [await probe(client, call) for call in calls]
    found = await documents(tryton, order)
    payments = [
        (row["reference"], row["description"], row["amount"], row["currency"], row["state"], row["reconciled"])
        for row in found["payments"]
    ]
    assert payments == [
        (parts[0].shipment, f"cap_0 {parts[0].shipment}", "8.34", "EUR", "posted", True),
        (parts[1].shipment, f"cap_1 {parts[1].shipment}", "25.58", "EUR", "posted", True),
    ]
    assert [msgspec.json.decode(answer.result)["payment"] for answer in answers if isinstance(answer, Done)] == [
        row["number"] for row in found["payments"]
    ]
    for part in parts:
        invoice = await invoice_of(client, part)
        assert (invoice["state"], invoice["amount_to_pay"], invoice["amount_to_pay_today"]) == ("paid", 0, 0)
    assert [(row["state"], row["shipment_state"], row["invoice_state"]) for row in found["sales"]] == [
        ("done", "sent", "paid")
    ]


async def test_a_payment_in_pounds_is_booked_in_pounds(tryton: RunningPartner, client: Any) -> None:
    """The capture was settled by hand, so that nobody says the provider's number of it."""
    order = order_over("BHX")
    lines = tuple(
        msgspec.structs.replace(
            line, unit_price=Money(line.unit_price.amount, "GBP"), amount=Money(line.amount.amount, "GBP")
        ) for line in order.lines
    )  # fmt: skip
    order = msgspec.structs.replace(
        order, region="UK", currency="GBP", lines=lines, net=Money(order.net.amount, "GBP")
    )
    taxes: dict[str, object] = {"tax.quote": {"taxes": {
        "1": {"code": "UK-STD", "rate": "0.20", "amount": "4.80"},
        "2": {"code": "UK-STD", "rate": "0.20", "amount": "0.90"},
    }}}  # fmt: skip
    assert isinstance(await perform(client, make_call(order, "erp.place_order", {}, taxes)), Done)
    part = part_of(order, "1", "BHX", (0, "24", "24.00", "4.80"), (1, "3", "4.50", "0.90"))
    part = msgspec.structs.replace(
        part, net=Money(part.net.amount, "GBP"), tax=Money(part.tax.amount, "GBP"),
        lines=tuple(msgspec.structs.replace(line, tax_code="UK-STD") for line in part.lines),
    )  # fmt: skip
    await shipped(client, order, part)
    call = msgspec.structs.replace(captured(order, part), results={})
    assert isinstance(await perform(client, call), Done)
    assert (await invoice_of(client, part))["state"] == "paid"
    payments = (await documents(tryton, order))["payments"]
    assert [
        (row["description"], row["amount"], row["currency"], row["state"], row["reconciled"]) for row in payments
    ] == [(part.shipment, "34.20", "GBP", "posted", True)]


async def test_lost_answers_book_a_payment_once(tryton: RunningPartner, client: Any) -> None:
    """Each of Tryton's writes in turn is lost, then its answer is."""
    order, part = await invoiced(client)
    call = captured(order, part)
    for method in ("move.create", "move.post", "reconciliation.create"):
        for fault in ("reset", "commit_then_drop"):
            assert await probe(client, call) is None
            await tryton.misbehave({fault: 1, "paths": f"account.{'move.' if 'rec' in method else ''}{method}"})
            assert isinstance(await perform(client, call), InDoubt), (method, fault)
            await tryton.misbehave({})
    assert isinstance(await probe(client, call), Done), "only the answer to the last was lost"
    assert isinstance(await perform(client, call), Done)
    payments = (await documents(tryton, order))["payments"]
    assert [(row["amount"], row["state"], row["reconciled"]) for row in payments] == [("33.92", "posted", True)]
    assert (await invoice_of(client, part))["state"] == "paid"


async def test_a_payment_that_the_network_delivers_twice_is_booked_once(tryton: RunningPartner, client: Any) -> None:
    """Each of Tryton's writes; the second draft is gone, not only unposted."""
    order, part = await invoiced(client)
    await tryton.misbehave({"duplicate": 1, "paths": "account.move"})
    assert isinstance(await perform(client, captured(order, part)), Done)
    await tryton.misbehave({})
    payments = (await documents(tryton, order))["payments"]
    assert [(row["amount"], row["state"], row["reconciled"]) for row in payments] == [("33.92", "posted", True)]


async def test_two_workers_that_book_the_same_payment_at_once_book_it_once(
    tryton: RunningPartner, client: Any
) -> None:
    """The request of a killed worker was still on its way when the next one looked."""
    order, part = await invoiced(client)
    await tryton.misbehave({"delay_ms": (2000, 2000), "paths": "account.move.create"})
    async with CONNECTOR.open(settings_for(tryton)) as other:
        answers = await asyncio.gather(*(perform(each, captured(order, part)) for each in (client, other)))
    assert all(isinstance(answer, Done) for answer in answers), answers
    assert [row["amount"] for row in (await documents(tryton, order))["payments"]] == ["33.92"]


async def test_tryton_killed_between_the_payment_and_the_invoices_state_leaves_nothing_open(client: Any) -> None:
    """It reconciles in one transaction, calls the invoice paid in a second one and ends the sale in a third."""
    order, part = await invoiced(client)
    call = captured(order, part)
    assert isinstance(await perform(client, call), Done)
    paid = await invoice_of(client, part)
    sale = paid["sales."][0]["id"]
    for state, look in itertools.product(("posted", "paid"), (probe, perform)):
        await client.call(None, "model.account.invoice.write", [paid["id"]], {"state": state})
        await client.call(None, "model.sale.sale.write", [sale], {"state": "processing", "invoice_state": "pending"})
        found = await look(client, call)
        assert isinstance(found, Done), found
        invoice = await invoice_of(client, part)
        assert invoice["state"] == "paid"
        assert [(row["state"], row["invoice_state"]) for row in invoice["sales."]] == [("done", "paid")]


async def test_what_somebody_booked_by_hand_is_done_if_it_is_all(tryton: RunningPartner, client: Any) -> None:
    """It was parked, as the connection named a payment method that Tryton does not have."""
    order, part = await invoiced(client)
    call = captured(order, part)
    async with CONNECTOR.open(settings_for(tryton, "Cards")) as other:
        found = await perform(other, call)
    assert isinstance(found, Misconfigured), found
    assert found.message == "Tryton has no payment method 'Cards'."
    assert (await documents(tryton, order))["payments"] == []
    await pay_by_hand(client, part, "33.92")
    found = await perform(client, call)
    assert isinstance(found, Done), found
    held = await documents(tryton, order)
    (payment,), (invoice,) = held["payments"], held["invoices"]
    assert msgspec.json.decode(found.result) == {
        "payment": payment["number"], "invoice": invoice["number"], "amount": "33.92"
    }  # fmt: skip
    assert payment["description"] is None


async def test_what_does_not_fit_the_invoice_is_refused_and_stops_only_itself(
    tryton: RunningPartner, client: Any
) -> None:
    """A part paid by hand, more captured than invoiced, another currency, no invoice; and one that is good."""
    begun, open_ = await invoiced(client), await invoiced(client)
    await pay_by_hand(client, begun[1], "10.00")
    pounds = msgspec.structs.replace(
        open_[1], net=Money(open_[1].net.amount, "GBP"), tax=Money(open_[1].tax.amount, "GBP")
    )
    stranger = order_over("HAM")
    nothing = part_of(stranger, "1", "HAM", (0, "1", "1.00", "0.19"))
    calls = [
        captured(*begun), captured(*open_, amount="33.93"), captured(open_[0], pounds), captured(stranger, nothing),
        captured(*open_),
    ]  # fmt: skip
    answers = await perform_all(client, calls)
    assert [getattr(answer, "code", "done") for answer in answers] == [
        "erp_payment_differs", "erp_payment_differs", "erp_payment_differs", "erp_invoice_missing", "done"
    ]  # fmt: skip
    assert all(answer.next_action for answer in answers if isinstance(answer, Refused))
    number = (await documents(tryton, begun[0]))["invoices"][0]["number"]
    assert getattr(answers[0], "message", "") == (
        f"33.92 EUR was captured, but Tryton's invoice {number} has 23.92 EUR left to pay."
    )
    payments = [[row["amount"] for row in (await documents(tryton, order))["payments"]] for order, _ in (begun, open_)]
    assert payments == [["10.00"], ["33.92"]]
    await pay_by_hand(client, begun[1], "23.92")
    assert isinstance(await perform(client, calls[0]), Done), "settled by hand, as the next action says"


async def test_cancelled_before_and_after_a_shipment(tryton: RunningPartner, client: Any) -> None:
    for ships in (False, True):
        order = order_over("HAM")
        await placed(client, order)
        if ships:
            await shipped(client, order, part_of(order, "1", "HAM", (0, "7", "7.00", "1.33")))
        call = make_call(order, "erp.cancel_order", CANCEL)
        assert isinstance(await perform(client, call), Done)
        assert isinstance(await perform(client, call), Done)
        assert await probe(client, call) is not None
        found = await documents(tryton, order)
        assert len(found["invoices"]) == int(ships)
        assert {row["shipment_state"] for row in found["sales"]} <= {"sent", "none"}, found["sales"]


async def test_refused_and_unavailable(tryton: RunningPartner, client: Any) -> None:
    stranger = msgspec.structs.replace(order_over("HAM"), customer="C9999")
    assert isinstance(await perform(client, make_call(stranger, "erp.place_order", {}, dict(TAXES))), Refused)
    order = order_over("HAM")
    wrong = msgspec.structs.replace(order, net=Money(Decimal("99.00"), "EUR"))
    assert isinstance(await perform(client, make_call(wrong, "erp.place_order", {}, dict(TAXES))), Refused)
    await tryton.misbehave({"status_429": 1, "retry_after": 7})
    found = await perform(client, make_call(order_over("HAM"), "erp.place_order", {}, dict(TAXES)))
    assert isinstance(found, Unavailable)
    assert found.retry_after_seconds == 7


async def refusal(client: Any, order: Order, taxes: dict[str, object] | None = None) -> Refused:
    found = await perform(client, make_call(order, "erp.place_order", {}, taxes or dict(TAXES)))
    assert isinstance(found, Refused), found
    return found


async def test_what_the_credit_check_refuses_is_said_with_its_figures(tryton: RunningPartner, client: Any) -> None:
    order = order_over("HAM")
    line = msgspec.structs.replace(
        order.lines[0], unit_price=Money(Decimal("2000.00"), "EUR"), amount=Money(Decimal("48000.00"), "EUR")
    )
    dear = msgspec.structs.replace(
        order, customer="C0001", lines=(line, order.lines[1]), net=Money(Decimal("48004.50"), "EUR")
    )
    taxes: dict[str, object] = {"tax.quote": {"taxes": {
        "1": {"code": "EU-STD", "rate": "0.19", "amount": "9120.00"},
        "2": {"code": "EU-STD", "rate": "0.19", "amount": "0.86"},
    }}}  # fmt: skip
    found = await refusal(client, dear, taxes)
    assert found.code == "erp_credit_limit"
    said = r"In Tryton C0001 has used \d+\.\d\d of 25000\.00 EUR of credit; this order takes 48004\.50 more\."
    assert re.fullmatch(said, found.message)
    assert found.next_action == "Raise the limit in Tryton or wait for a payment, then release the order."
    assert [row["state"] for row in (await documents(tryton, order))["sales"]] == ["quotation"]


async def test_what_tryton_does_not_sell_and_whom_it_does_not_sell_to_is_said_by_name(client: Any) -> None:
    """It says which field of which record is "not valid according to its domain", or sells what was archived before."""
    code = f"T-{next(NUMBERS)}"
    (metre,) = await client.rows(None, "product.uom", [["symbol", "=", "m"]], ["symbol"])
    (category,) = await client.rows(None, "product.category", [["name", "=", "standard"]], ["name"])
    (template,) = await client.call(None, "model.product.template.create", [{
        "name": "Short of life", "code": code, "type": "goods", "default_uom": metre["id"], "sale_uom": metre["id"],
        "salable": True, "list_price": Decimal("1.50"), "account_category": category["id"],
        "products": [["create", [{"suffix_code": "", "cost_price": Decimal(1)}]]],
    }])  # fmt: skip
    (party,) = await client.call(None, "model.party.party.create", [{
        "name": "Short of life", "code": code, "addresses": [["create", [{"street": "Quay 1"}]]],
    }])  # fmt: skip
    await client.ensure_references(again=True)

    async def asked(sku: str = "ND-0002") -> tuple[str, str]:
        order = order_over("HAM")
        lines = (order.lines[0], msgspec.structs.replace(order.lines[1], sku=sku))
        found = await refusal(client, msgspec.structs.replace(order, customer=code, lines=lines))
        return found.code, found.message

    await client.call(None, "model.product.template.write", [template], {"salable": False})
    assert await asked(code) == ("erp_product_unsold", f"In Tryton the product {code} is not for sale.")
    await client.call(None, "model.product.template.write", [template], {"active": False, "salable": True})
    assert await asked(code) == ("erp_product_archived", f"In Tryton the product {code} is archived.")
    await placed(client, msgspec.structs.replace(order_over("HAM"), customer=code))
    await client.call(None, "model.party.party.write", [party], {"active": False})
    await client.ensure_references(again=True)
    assert await asked() == ("erp_customer_archived", f"In Tryton the customer {code} is archived.")


@pytest.mark.parametrize(("feed", "count"), [("products", 246), ("customers", 48), ("prices", 1000), ("stock", 3)])
async def test_feeds_tell_the_world(client: Any, feed: str, count: int) -> None:
    read: Callable[..., Any] = CONNECTOR.feed(feed).read
    cursor, keys = "", set()
    for _ in range(50):
        page = await read(client, "erp", cursor)
        keys |= {fact.business_key for fact in page.facts}
        cursor = page.cursor
        if not page.more:
            break
    assert len(keys) >= count if feed == "prices" else len(keys) == count, sorted(keys)[:5]


async def test_a_kit_tells_what_it_is_made_of(client: Any) -> None:
    told = {fact.business_key: fact.body for fact in (await CONNECTOR.feed("products").read(client, "erp", "")).facts}
    for kit in make_world().kits:
        product = msgspec.json.decode(told[kit.sku], type=Product)
        assert product.components == tuple(Component(part.sku, Decimal(part.quantity)) for part in kit.components)
        assert product.packs == (Pack("C62", Decimal(1), kit.packs[0].gtin),)


async def test_a_customers_number_for_value_added_tax_comes_with_it(client: Any) -> None:
    told = {row.business_key: row.body for row in (await CONNECTOR.feed("customers").read(client, "erp", "")).facts}
    for customer in make_world().customers:
        assert msgspec.json.decode(told[customer.code], type=Customer).tax_identifier == customer.tax_identifier


async def test_an_account_is_asked_for_as_the_feed_tells_it(client: Any) -> None:
    read, ask = CONNECTOR.feed("customers").read, CONNECTOR.read_account
    assert ask is not None
    told = {fact.business_key: msgspec.json.decode(fact.body) for fact in (await read(client, "erp", "")).facts}
    for code in ("C0001", "C0003", "C0024"):
        live = await ask(client, code)
        assert live.credit_limit == Decimal(told[code]["credit_limit"])
        assert live.receivable == Decimal(told[code].get("receivable", "0"))
        assert live.blocked == (told[code]["status"] == "blocked")
    with pytest.raises(Invalid):
        await ask(client, "C9999")


async def supplies_of(client: Any, cursor: str = "") -> tuple[dict[str, Any], str]:
    """(purchase order's number and SKU -> what it will bring, the cursor)."""
    page = await CONNECTOR.feed("supply").read(client, "erp", cursor)
    rows = [row for fact in page.facts for row in msgspec.json.decode(fact.body)["supplies"]]
    return {f"{row['purchase_order']} {row['sku']}": row for row in rows}, page.cursor


async def test_a_purchase_order_is_supply_with_its_date_until_its_goods_have_come(client: Any) -> None:
    """Announced by the supplier it is on its way; received it is in stock, and supply no more."""
    references = await client.ensure_references()
    product, unit = references.products["ND-0001"]
    ham = references.warehouses["HAM"]
    (supplier,) = await client.rows(None, "party.party", [["code", "=", "S001"]], ["addresses"])
    today = datetime.now(UTC).date()
    due = today + timedelta(days=12)
    (purchase,) = await client.call(None, "model.purchase.purchase.create", [{
        "party": supplier["id"], "invoice_address": supplier["addresses"][0], "purchase_date": today,
        "currency": references.currencies["EUR"], "warehouse": ham.id, "delivery_date": due, "invoice_method": "manual",
        "lines": [["create", [{
            "type": "line", "product": product, "unit": unit, "quantity": 40.0, "unit_price": Decimal("1.20"),
        }]]],
    }])  # fmt: skip
    for button in ("quote", "confirm"):
        await client.call(None, f"model.purchase.purchase.{button}", [purchase])
    (row,) = await client.rows(None, "purchase.purchase", [["id", "=", purchase]], ["number", "state"])
    assert row["state"] == "processing"
    key = f"{row['number']} ND-0001"
    supplies, cursor = await supplies_of(client)
    assert {name: supplies[key][name] for name in ("location", "quantity", "expected_on")} == {
        "location": "HAM", "quantity": {"value": "40", "unit": "C62"}, "expected_on": due.isoformat(),
    }  # fmt: skip
    before = (await balance_of(client, "ND-0001"))["in_transit"]
    moves = [
        move["id"] for move in
        await client.rows(None, "stock.move", [["origin.purchase", "=", purchase, "purchase.line"]], ["state"])
    ]  # fmt: skip
    (note,) = await client.call(None, "model.stock.shipment.in.create", [{
        "supplier": supplier["id"], "warehouse": ham.id, "warehouse_input": ham.input,
        "warehouse_storage": ham.storage, "reference": f"DN-{row['number']}", "incoming_moves": [["add", moves]],
    }])  # fmt: skip
    announced = await balance_of(client, "ND-0001")
    assert Decimal(announced["in_transit"]) == Decimal(before) + 40
    await client.call(None, "model.stock.move.write", moves, {"quantity": 30.0})
    await client.call(None, "model.stock.shipment.in.receive", [note])
    supplies, cursor = await supplies_of(client, cursor)
    assert supplies[key]["quantity"]["value"] == "10", "the rest is still owed"
    after = await balance_of(client, "ND-0001")
    assert Decimal(after["on_hand"]["value"]) == Decimal(announced["on_hand"]["value"]) + 30
    assert Decimal(after.get("in_transit", "0")) == Decimal(before)
    rest = await client.rows(
        None, "stock.move", [["origin.purchase", "=", purchase, "purchase.line"], ["state", "=", "draft"]], ["state"]
    )
    await client.call(None, "model.stock.move.cancel", [move["id"] for move in rest])
    supplies, cursor = await supplies_of(client, cursor)
    assert supplies[key]["quantity"]["value"] == "0", "said once more, with nothing"
    supplies, _ = await supplies_of(client, cursor)
    assert not supplies, "nothing is news"


async def balance_of(client: Any, sku: str) -> dict[str, Any]:
    found = {"in_transit": "0"}
    for cursor in ("BHX", "HAM"):
        page = await CONNECTOR.feed("stock").read(client, "erp", cursor)
        for fact in page.facts:
            if fact.subject == "HAM":
                found |= next(row for row in msgspec.json.decode(fact.body)["balances"] if row["sku"] == sku)
    return found
