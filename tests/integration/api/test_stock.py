"""Reporting stock by HTTP: kept before it is acknowledged, once, by who may speak for the system."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from crossdock.engine.ports import system_clock
from crossdock.engine.stock_facts import StockDesk
from crossdock.rules.ownership import compile_ownership
from tests.integration.api.api_world import Api

HEADERS = {"Idempotency-Key": "count-1", "Crossdock-Source": "wms"}


def balances(on_hand: str, unit: str = "C62", sku: str = "SKU-0") -> dict[str, Any]:
    row = {
        "sku": sku, "location": "HAM", "on_hand": {"value": on_hand, "unit": unit},
        "as_of": system_clock().isoformat(),
    }  # fmt: skip
    return {"balances": [row]}


async def decide(api: Api) -> None:
    policy = api.services.policy
    desk = StockDesk(api.pool, policy, compile_ownership(policy.stock), api.services.reference, system_clock)
    while await desk.decide_waiting():
        pass


async def test_a_balance_reported_in_boxes_is_taken_in_pieces(api: Api) -> None:
    answer = await api.ask("operator-1", "POST", "/v1/balances", json=balances("3", "XBX"), headers=HEADERS)
    assert (answer.status_code, answer.json()["rows"], answer.json()["repeated"]) == (202, 1, False), answer.text
    await decide(api)
    on_hand = await api.pool.fetchval("SELECT on_hand FROM stock WHERE sku = 'SKU-0' AND location = 'HAM'")
    assert on_hand == Decimal(36)


async def test_the_same_movement_sent_five_times_counts_once(api: Api) -> None:
    before = await api.pool.fetchval("SELECT on_hand FROM stock WHERE sku = 'SKU-0' AND location = 'HAM'")
    move = {
        "key": "R-1", "sku": "SKU-0", "location": "HAM", "quantity": {"value": "7", "unit": "C62"},
        "at": system_clock().isoformat(), "kind": "receipt",
    }  # fmt: skip
    for number in range(5):
        headers = {**HEADERS, "Idempotency-Key": f"move-{number % 2}"}
        answer = await api.ask("operator-1", "POST", "/v1/movements", json={"movements": [move]}, headers=headers)
        assert answer.status_code == 202, answer.text
    await decide(api)
    assert await api.pool.fetchval("SELECT on_hand FROM stock WHERE sku = 'SKU-0' AND location = 'HAM'") == before + 7


async def test_inbound_supply_is_kept_by_order_and_line(api: Api) -> None:
    row = {
        "purchase_order": "PO-1", "line": "1", "sku": "SKU-0", "location": "HAM",
        "quantity": {"value": "2", "unit": "XBX"}, "expected_on": "2026-12-24",
    }  # fmt: skip
    body = {"supplies": [row], "as_of": system_clock().isoformat()}
    answer = await api.ask("operator-1", "POST", "/v1/inbound", json=body, headers=HEADERS)
    assert answer.status_code == 202, answer.text
    await decide(api)
    assert await api.pool.fetchval("SELECT quantity FROM inbound_supply WHERE purchase_order = 'PO-1'") == Decimal(24)


async def test_who_does_not_speak_for_a_system_may_not_report_as_it(api: Api) -> None:
    for source, status in (("nobody", 403), ("", 400)):
        headers = {"Idempotency-Key": "count-2", **({"Crossdock-Source": source} if source else {})}
        answer = await api.ask("operator-1", "POST", "/v1/balances", json=balances("3"), headers=headers)
        assert answer.status_code == status, answer.text
    answer = await api.ask("shop-1", "POST", "/v1/balances", json=balances("3"), headers=HEADERS)
    assert answer.status_code == 403


async def test_a_row_that_cannot_be_taken_is_in_the_quarantine_with_reason_and_fix(api: Api) -> None:
    body = {"balances": [*balances("5")["balances"], *balances("5", sku="NUT")["balances"]]}
    await api.ask("operator-1", "POST", "/v1/balances", json=body, headers=HEADERS)
    await decide(api)
    assert await api.pool.fetchval("SELECT on_hand FROM stock WHERE sku = 'SKU-0' AND location = 'HAM'") == Decimal(5)
    page = (await api.ask("operator-1", "GET", "/v1/quarantine")).json()
    assert [(fact["cause"], fact["connection"]) for fact in page["facts"]] == [("sku_unknown", "wms")]
    assert "line 2: There is no product NUT." in page["facts"][0]["message"]
    assert "Publish the product" in page["facts"][0]["next_action"]
