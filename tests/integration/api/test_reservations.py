"""Carts hold stock: whole or not at all, once, until an order has it or time is over; the last unit is sold once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest

from crossdock.engine.holds import expire_holds
from crossdock.ledger import master_data
from crossdock.model.documents import Component, Pack, Product
from crossdock.model.values import Money
from tests.integration.api.api_world import Api, open_api
from tests.integration.engine.bench_world import make_placed

FREE = "SELECT coalesce(sum(on_hand - reserved), 0)::integer FROM stock WHERE sku = $1"


@pytest.fixture
async def scarce(database_url: str) -> AsyncIterator[Api]:
    """SKU-0: five in Hamburg, three in Birmingham. KIT: two of SKU-0 and one of SKU-1."""
    async with open_api(database_url) as api:
        await api.pool.execute(
            "UPDATE stock SET reported = n, on_hand = n FROM (VALUES ('HAM', 5), ('BHX', 3)) AS v (place, n)"
            " WHERE sku = 'SKU-0' AND location = place"
        )
        kit = Product(
            "KIT", "Kit", "C62", "standard", (Money(Decimal(9), "EUR"),), (Pack("C62", Decimal(1)),),
            components=(Component("SKU-0", Decimal(2)), Component("SKU-1", Decimal(1))),
        )  # fmt: skip
        async with api.pool.acquire() as connection:
            await master_data.place_products(connection, [("erp", kit)], datetime.now(UTC))
        yield api


async def hold(api: Api, key: str, *lines: tuple[str, int], client: str = "shop-1", **more: Any) -> httpx.Response:
    body = {"lines": [
        {"line": str(place), "sku": sku, "quantity": {"value": str(quantity), "unit": "C62"}}
        for place, (sku, quantity) in enumerate(lines, 1)
    ], **more}  # fmt: skip
    return await api.ask(client, "POST", "/v1/reservations", json=body, headers={"Idempotency-Key": key})


def order(number: str, sku: str, quantity: int, reservation: str = "") -> bytes:
    placed = make_placed(number, lines=1, quantity=quantity)
    line = msgspec.structs.replace(placed.lines[0], sku=sku)
    return msgspec.json.encode(msgspec.structs.replace(placed, lines=(line,), reservation=reservation))


async def free(api: Api, sku: str = "SKU-0") -> int:
    found: int = await api.pool.fetchval(FREE, sku)
    return found


async def state(api: Api, reservation: str) -> str:
    found: str = (await api.ask("shop-1", "GET", f"/v1/reservations/{reservation}")).json()["state"]
    return found


async def test_a_cart_holds_stock_and_gives_it_back(scarce: Api) -> None:
    answer = await hold(scarce, "cart-1", ("SKU-0", 6), ("SKU-1", 1))
    assert answer.status_code == 201, answer.text
    found = answer.json()
    assert (found["state"], found["lines"][0]["sources"]) == ("reserved", {"HAM": "5", "BHX": "1"})
    assert await free(scarce) == 2
    released = await scarce.ask("shop-1", "DELETE", f"/v1/reservations/{found['reservation']}")
    assert (released.status_code, released.json()["state"]) == (200, "released")
    assert await free(scarce) == 8
    again = await scarce.ask("shop-1", "DELETE", f"/v1/reservations/{found['reservation']}")
    assert (again.status_code, await free(scarce)) == (200, 8)


async def test_all_lines_or_nothing_with_every_shortage(scarce: Api) -> None:
    answer = await hold(scarce, "cart-1", ("SKU-1", 2), ("SKU-0", 9), ("KIT", 1))
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (409, "stock_short")
    assert [(error["line"], error["message"]) for error in problem["errors"]] == [
        ("2", "8 of 9 C62 of SKU-0 are there."), ("3", "0 of 1 C62 of KIT are there."),
    ]  # fmt: skip
    assert await free(scarce) == 8
    # Nothing is remembered of a refusal: with the same key it is looked at anew.
    assert (await hold(scarce, "cart-1", ("SKU-1", 2))).status_code == 201


async def test_the_same_key_holds_once(scarce: Api) -> None:
    first = await hold(scarce, "cart-1", ("SKU-0", 2))
    second = await hold(scarce, "cart-1", ("SKU-0", 2))
    assert (second.status_code, second.headers["idempotency-replayed"]) == (200, "true")
    assert second.json()["reservation"] == first.json()["reservation"]
    assert await free(scarce) == 6
    other = await hold(scarce, "cart-1", ("SKU-0", 3))
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_what_is_wrong_with_lines_is_said_by_line(scarce: Api) -> None:
    answer = await hold(scarce, "cart-1", ("NIX", 1), ("SKU-0", -1))
    assert (answer.status_code, answer.json()["code"]) == (422, "reservation_refused")
    assert [error["code"] for error in answer.json()["errors"]] == ["sku_unknown", "quantity_positive"]
    assert (await hold(scarce, "cart-2", ("SKU-0", 1), minutes=61)).json()["code"] == "reservation_long"
    assert (await hold(scarce, "cart-3", ("SKU-0", 1), country="US")).json()["code"] == "region_unserved"
    other = (await hold(scarce, "cart-4", ("SKU-0", 1), client="portal-1")).status_code
    assert other == 201


async def test_the_order_takes_over_what_its_cart_holds(scarce: Api) -> None:
    held = (await hold(scarce, "cart-1", ("SKU-0", 8))).json()["reservation"]
    assert (await scarce.place("S-1", body=order("S-1", "SKU-0", 1))).json()["lines"][0]["backordered"] == "1"
    answer = await scarce.place("S-2", body=order("S-2", "SKU-0", 8, held))
    assert (answer.status_code, answer.json()["lines"][0]["backordered"]) == (201, "0"), answer.text
    assert await free(scarce) == 0
    found = (await scarce.ask("shop-1", "GET", f"/v1/reservations/{held}")).json()
    assert (found["state"], found["order"]) == ("committed", answer.json()["number"])
    used = await scarce.place("S-3", body=order("S-3", "SKU-0", 8, held))
    assert used.json()["errors"][0]["code"] == "reservation_used"
    assert (await scarce.ask("shop-1", "DELETE", f"/v1/reservations/{held}")).status_code == 409


async def test_an_order_that_is_refused_leaves_the_hold_where_it_is(scarce: Api) -> None:
    held = (await hold(scarce, "cart-1", ("SKU-0", 8))).json()["reservation"]
    assert (await scarce.place("S-1", body=order("S-1", "NIX", 1, held))).status_code == 422
    assert (await state(scarce, held), await free(scarce)) == ("reserved", 0)
    unknown = await scarce.place("S-2", body=order("S-2", "SKU-0", 1, "RS99999999"))
    assert unknown.json()["errors"][0]["code"] == "reservation_unknown"
    theirs = (await hold(scarce, "cart-9", ("SKU-1", 1), client="portal-1")).json()["reservation"]
    assert (await scarce.place("S-3", body=order("S-3", "SKU-1", 1, theirs))).status_code == 422


async def test_a_hold_whose_time_is_over_is_free_again(scarce: Api) -> None:
    held = (await hold(scarce, "cart-1", ("KIT", 2), minutes=5)).json()["reservation"]
    assert await free(scarce) == 4
    now = datetime.now(UTC)
    assert await expire_holds(scarce.pool, now + timedelta(minutes=4)) == 0
    assert await expire_holds(scarce.pool, now + timedelta(minutes=6)) == 1
    assert (await state(scarce, held), await free(scarce)) == ("expired", 8)
    # An order that refers to it is decided as any other.
    assert (await scarce.place("S-1", body=order("S-1", "KIT", 2, held))).status_code == 201


async def test_a_held_order_keeps_its_carts_hold_and_takes_it_when_it_is_released(scarce: Api) -> None:
    held = (await hold(scarce, "cart-1", ("SKU-0", 8), client="portal-1")).json()["reservation"]
    placed = make_placed("P-1", lines=1, quantity=8, customer="C1", method="terms")
    dear = msgspec.structs.replace(placed.lines[0], unit_price=Money(Decimal("0.01"), "EUR"))
    body = msgspec.json.encode(msgspec.structs.replace(placed, lines=(dear,), reservation=held))
    answer = await scarce.place("P-1", client="portal-1", body=body)
    assert (answer.status_code, await free(scarce)) == (202, 0), answer.text
    released = await scarce.ask("operator-1", "POST", "/v1/holds:release", json={"orders": [answer.json()["number"]]})
    assert released.json()["decided"] == 1
    found = (await scarce.ask("portal-1", "GET", f"/v1/reservations/{held}")).json()
    assert (found["state"], await free(scarce)) == ("committed", 0)


async def test_a_reservation_of_another_channel_is_not_there(scarce: Api) -> None:
    held = (await hold(scarce, "cart-1", ("SKU-0", 1), client="portal-1")).json()["reservation"]
    assert (await scarce.ask("shop-1", "GET", f"/v1/reservations/{held}")).status_code == 404
    assert (await scarce.ask("shop-1", "DELETE", f"/v1/reservations/{held}")).status_code == 404


async def test_a_kit_holds_its_components_and_is_shown_as_it_was_asked_for(scarce: Api) -> None:
    found = (await hold(scarce, "cart-1", ("KIT", 3))).json()
    assert found["lines"][0]["sources"] == {"HAM": "2", "BHX": "1"}
    assert (await free(scarce), await free(scarce, "SKU-1")) == (2, 1_999_997)


async def test_a_request_may_span_locations(scarce: Api) -> None:
    """BCApps PR 7065: a request that spans locations is served from all of them, atomically."""
    answer = await scarce.place("S-1", body=order("S-1", "SKU-0", 8))
    places = {item["location"]: item["quantity"] for item in answer.json()["lines"][0]["allocations"]}
    assert (answer.status_code, places) == (201, {"HAM": "5", "BHX": "3"})


async def test_two_checkouts_take_the_last_unit(scarce: Api) -> None:
    """magento/magento2#6363, nopSolutions/nopCommerce#4184: one gets it, the other is told."""
    await scarce.pool.execute("UPDATE stock SET on_hand = 1 WHERE sku = 'SKU-0' AND location = 'HAM'")
    await scarce.pool.execute("UPDATE stock SET on_hand = 0 WHERE sku = 'SKU-0' AND location = 'BHX'")
    answers = await asyncio.gather(*(hold(scarce, f"cart-{index}", ("SKU-0", 1)) for index in range(2)))
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    assert await free(scarce) == 0


async def test_64_buyers_of_one_hot_sku_never_get_more_than_there_is(database_url: str) -> None:
    """Two processes, carts and orders at once: what is held and sold is what was there, to the unit."""
    async with open_api(database_url) as api, open_api(database_url, seeded=False) as other:
        await api.pool.execute("UPDATE stock SET reported = 20, on_hand = 20 WHERE sku = 'SKU-0'")

        async def buy(index: int) -> int:
            at = (api, other)[index % 2]
            if index % 4 < 2:
                answer = await hold(at, f"cart-{index}", ("SKU-0", 1))
                return int(answer.status_code == 201)
            answer = await at.place(f"S-{index}", body=order(f"S-{index}", "SKU-0", 1))
            return sum(int(item["quantity"]) for item in answer.json()["lines"][0].get("allocations", ()))

        got = sum(await asyncio.gather(*(buy(index) for index in range(64))))
        assert got == 40
        assert await free(api) == 0
        held = await api.pool.fetchval("SELECT sum(quantity) FROM reservations WHERE sku = 'SKU-0' AND location <> ''")
        assert held == 40
