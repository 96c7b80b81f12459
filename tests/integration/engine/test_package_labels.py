"""A shipment whose packages carry labels that are no SSCC is applied, and a person is told."""

from __future__ import annotations

import msgspec

from crossdock.engine.ports import system_clock
from crossdock.insight.orders import OrderFilter, search_orders
from crossdock.insight.overview import read_overview
from crossdock.model.facts import Fact
from crossdock.model.fulfilment import Package, Shipment, ShipmentPart
from tests.integration.engine.bench_world import open_world
from tests.integration.engine.test_order_path import (
    Working,
    eventually,
    facts_are_decided,
    place,
    progress_of,
    shipment_fact,
    steps_are_done,
)

RIGHT, WRONG, NONE = "340123450000000017", "340123450000000018", "PALLET-7"


def labelled(fact: Fact, *labels: str) -> Fact:
    shipment = msgspec.json.decode(fact.body, type=Shipment)
    packages = tuple(Package(label, f"TRK-{number}") for number, label in enumerate(labels))
    raw = msgspec.json.encode(msgspec.structs.replace(shipment, packages=packages))
    return msgspec.structs.replace(fact, body=raw, raw=raw)


async def test_goods_that_left_with_a_wrong_sscc_are_booked_and_nobody_is_told_the_wrong_code_as_one(
    database_url: str,
) -> None:
    async with open_world(database_url) as world, Working(world):
        order_id = await place(world, "S-1", lines=1, quantity=3)
        await eventually(lambda: steps_are_done(world))
        await world.intake.record([labelled(shipment_fact(order_id, "SH-1", {"SKU-0": 3}), RIGHT, WRONG, NONE, "")])
        await eventually(lambda: facts_are_decided(world))
        await eventually(lambda: steps_are_done(world))
        assert (await progress_of(world, order_id)).state == "completed"
        payloads = await world.pool.fetch("SELECT payload FROM steps WHERE name LIKE '%:SH-1'")
        assert len(payloads) == 3, "ERP, payment and channel are told of the shipment"
        for row in payloads:
            packages = msgspec.json.decode(row[0], type=ShipmentPart).packages
            assert [package.sscc for package in packages] == [RIGHT, "", "", ""]
            assert [package.label for package in packages] == ["", WRONG, NONE, ""]
        event = await world.pool.fetchval("SELECT body FROM events WHERE type = 'PackageLabelsWrong'")
        assert msgspec.json.decode(event)["labels"] == f"{WRONG}, {NONE}"
        told = (await read_overview(world.pool, system_clock())).wrong_labels
        assert [(row.connection, row.warehouse, row.packages) for row in told] == [("wms", "HAM", 2)]
        for label in (RIGHT, WRONG, NONE):
            found = await search_orders(world.pool, OrderFilter(text=label))
            assert [row.number for row in found.items] == [f"CD{order_id:08d}"], label
