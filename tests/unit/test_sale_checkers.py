"""Each checker of the flash sale finds what is planted, and nothing in a sale that went well."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from crossdock.prove.flash_sale import judge
from crossdock.prove.sale_checkers import Refused, read_existing, read_sold
from crossdock.prove.sale_world import Sale

ORDERS: dict[str, dict[str, Any]] = {
    "shop": {"lines": [{"sku": "A", "quantity": "2"}]},
    "bazaar": {"items": [{"sku": "A", "quantity": "1"}]},
    "agora": {"lines": [{"gtin": "4012345", "packs": "1"}]},
    "portal": {"lines": [{"sku": "A", "quantity": {"value": "1", "unit": "C62"}}]},
}


def entry(kind: str, key: str, document: object) -> dict[str, Any]:
    return {"kind": kind, "business_key": key, "document": document}


def channel_log(channel: str, *more: dict[str, Any], confirmed: bool = True) -> list[dict[str, Any]]:
    found = [entry("order", f"{channel}-1", ORDERS[channel])]
    if confirmed and channel == "portal":
        found.append(entry("answer", "portal-1", {"status": 201, "answer": {"state": "accepted"}}))
    elif confirmed:
        found.append(entry("acknowledgment", f"{channel}-1", {}))
    return [*found, *more]


def warehouse_log(on_hand: int = 5, shipped: int = 5) -> list[dict[str, Any]]:
    return [
        entry("count", "HAM/A", {"sku": "A", "on_hand": str(on_hand)}),
        entry("shipment", "SH-1", {"lines": [{"sku": "A", "quantity": str(shipped)}]}),
    ]


def found(
    warehouse: list[dict[str, Any]], refused: list[Refused] | None = None, policy: str = "divided",
    **logs: list[dict[str, Any]],
) -> set[str]:  # fmt: skip
    """The checkers that complain."""
    sold = [
        order for channel in ORDERS
        for order in read_sold(channel, logs.get(channel, channel_log(channel)), {"4012345": "A"})
    ]  # fmt: skip
    violations = judge(Sale(1, policy=policy), sold, read_existing(warehouse, ["A"]), warehouse, refused or [])
    return {checker for checker, lines in violations.items() if lines}


def test_nothing_is_found_where_all_was_served() -> None:
    assert found(warehouse_log()) == set()


def test_a_unit_that_two_channels_sold_is_found() -> None:
    assert found(warehouse_log(on_hand=4)) == {"sold", "confirmed"}


def test_a_unit_sold_twice_and_promised_once_is_no_broken_promise() -> None:
    held = channel_log("shop", confirmed=False)
    assert found(warehouse_log(on_hand=3, shipped=3), shop=held) == {"sold", "served"}
    assert found(warehouse_log(on_hand=3, shipped=3), policy="shared", shop=held) == set()


def test_a_cancelled_order_takes_nothing() -> None:
    cancelled = channel_log("shop", entry("cancellation", "shop-1/ref", {}))
    assert found(warehouse_log(on_hand=3, shipped=3), shop=cancelled) == set()


def test_an_order_that_nobody_confirmed_is_found() -> None:
    held = [entry("order", "portal-1", ORDERS["portal"])]
    held.append(entry("answer", "portal-1", {"status": 202, "answer": {"state": "held"}}))
    assert found(warehouse_log(shipped=4), portal=held) == {"served"}


def test_the_portal_is_told_later_what_became_of_an_order_that_was_held() -> None:
    held = [entry("order", "portal-1", ORDERS["portal"])]
    held.append(entry("answer", "portal-1", {"status": 202, "answer": {"state": "held"}}))
    accepted = [*held, entry("status", "portal-1/CD00000001/channel.acknowledge", {"status": "accepted"})]
    assert found(warehouse_log(), portal=accepted) == set()
    cancelled = [*accepted, entry("status", "portal-1/CD00000001/channel.cancel", {"status": "cancelled"})]
    assert found(warehouse_log(on_hand=4, shipped=4), portal=cancelled) == set()


def test_goods_that_left_twice_or_not_at_all_are_found() -> None:
    assert found(warehouse_log(shipped=6)) == {"shipped"}
    assert found(warehouse_log(shipped=4)) == {"shipped"}


def test_a_shelf_that_was_empty_is_found() -> None:
    short = entry("short", "SP-1", {"sku": "A", "quantity": "1"})
    assert found([*warehouse_log(), short]) == {"shipped"}


def test_a_buyer_sent_away_from_what_is_there_is_found() -> None:
    assert found(warehouse_log(), refused=[Refused("shop", "A", Decimal(2))]) == {"refused"}
