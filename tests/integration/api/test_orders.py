"""Orders through the API's door: placed, repeated, refused, read, cancelled; never seen by another channel."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from tests.integration.api.api_world import Api, order_body, portal_body


async def test_an_order_is_accepted_and_can_be_read(api: Api) -> None:
    answer = await api.place("S-1")
    assert answer.status_code == 201, answer.text
    number = answer.json()["number"]
    assert answer.headers["location"] == f"/v1/orders/{number}"
    found = (await api.ask("shop-1", "GET", f"/v1/orders/{number}")).json()
    assert found["order"]["channel_number"] == "S-1"
    assert found["progress"]["state"] == "accepted"
    assert "token" not in found["order"]["payment"]
    timeline = (await api.ask("shop-1", "GET", f"/v1/orders/{number}/timeline")).json()
    assert "OrderAccepted" in {entry["title"] for entry in timeline["entries"]}
    assert {step["connection"] for step in timeline["next"]} >= {"tax", "erp"}


async def test_the_same_order_again_gets_the_stored_answer(api: Api) -> None:
    first = await api.place("S-1")
    again = await api.place("S-1")
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    assert again.content == first.content
    assert await api.pool.fetchval("SELECT count(*) FROM orders") == 1


async def test_the_same_key_with_another_body_is_refused(api: Api) -> None:
    await api.place("S-1", key="k")
    answer = await api.place("S-2", key="k")
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert await api.pool.fetchval("SELECT count(*) FROM orders") == 1


async def test_the_same_number_with_another_content_is_a_conflict(api: Api) -> None:
    await api.place("S-1", key="k1")
    answer = await api.place("S-1", key="k2", quantity=3)
    assert (answer.status_code, answer.json()["code"]) == (409, "channel_number_taken")


async def test_fifty_at_once_with_one_key_have_one_effect(api: Api) -> None:
    await api.token("shop-1")
    answers = await asyncio.gather(*(api.place("S-1") for _ in range(50)))
    assert sorted({answer.status_code for answer in answers}) == [200, 201]
    assert len([answer for answer in answers if answer.status_code == 201]) == 1
    assert len({answer.json()["number"] for answer in answers}) == 1
    assert await api.pool.fetchval("SELECT count(*) FROM orders") == 1


async def test_another_channels_same_key_is_its_own(api: Api) -> None:
    first = await api.place("N-1", key="k")
    second = await api.place("N-1", client="portal-1", key="k", body=portal_body("N-1"))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["number"] != second.json()["number"]


async def test_a_refusal_names_every_reason_by_line(api: Api) -> None:
    body = msgspec.json.decode(order_body("S-1", lines=3))
    body["lines"][0]["sku"] = "NO-SUCH"
    body["lines"][2]["quantity"]["unit"] = "KGM"
    answer = await api.place("S-1", body=msgspec.json.encode(body))
    assert answer.status_code == 422
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["code"] == "order_refused"
    assert {(error["line"], error["code"]) for error in problem["errors"]} == {
        ("1", "sku_unknown"), ("3", "unit_impossible"),
    }  # fmt: skip
    assert all(error["next_action"] for error in problem["errors"])


async def test_an_order_over_the_credit_limit_is_held_and_can_be_released(api: Api) -> None:
    held = await api.place("P-1", client="portal-1", body=portal_body("P-1", quantity=900))
    assert held.status_code == 202, held.text
    number = held.json()["number"]
    holds = (await api.ask("operator-1", "GET", "/v1/holds?cause=credit")).json()
    assert [item["number"] for item in holds["items"]] == [number]
    answer = await api.ask("operator-1", "POST", "/v1/holds:release", json={"orders": [number]})
    assert answer.json() == {"asked": 1, "decided": 1, "problems": []}, answer.text
    found = (await api.ask("portal-1", "GET", f"/v1/orders/{number}")).json()
    assert found["progress"]["state"] == "accepted"
    again = await api.ask("operator-1", "POST", "/v1/holds:release", json={"orders": [number]})
    assert again.status_code == 409


async def test_all_holds_of_a_cause_are_refused_at_once(api: Api) -> None:
    for index in range(3):
        await api.place(f"P-{index}", client="portal-1", body=portal_body(f"P-{index}", f"C{index}", 900))
    answer = await api.ask("operator-1", "POST", "/v1/holds:refuse", json={"cause": "credit", "reason": "not paid"})
    assert answer.json()["decided"] == 3, answer.text
    orders = (await api.ask("portal-1", "GET", "/v1/orders?state=cancelled")).json()
    assert len(orders["items"]) == 3


async def test_an_order_is_cancelled_and_its_stock_is_free_again(api: Api) -> None:
    free = (await api.ask("shop-1", "GET", "/v1/availability?sku=SKU-0")).json()["items"][0]["available"]
    number = (await api.place("S-1")).json()["number"]
    less = (await api.ask("shop-1", "GET", "/v1/availability?sku=SKU-0")).json()["items"][0]["available"]
    assert int(free) - int(less) == 2
    answer = await api.ask("shop-1", "POST", f"/v1/orders/{number}:cancel", json={"reason": "ordered twice"})
    assert answer.status_code == 202, answer.text
    again = (await api.ask("shop-1", "GET", "/v1/availability?sku=SKU-0")).json()["items"][0]["available"]
    assert again == free


def _wish(line: str, value: str, unit: str = "C62") -> dict[str, Any]:
    return {"line": line, "quantity": {"value": value, "unit": unit}}


async def test_a_line_is_lowered_and_its_goods_are_free_again(api: Api) -> None:
    """A customer wants one piece less: his order had to be cancelled whole and placed anew."""
    async def free() -> int:
        answer = await api.ask("shop-1", "GET", "/v1/availability?sku=SKU-0")
        return int(answer.json()["items"][0]["available"])

    before = await free()
    number = (await api.place("S-1")).json()["number"]
    body = {"lines": [_wish("1", "1")], "reason": "one will do"}
    answer = await api.ask("shop-1", "POST", f"/v1/orders/{number}:change", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["lines"][0] == {"line": "1", "ordered": "2", "wanted": "1", "cancelled": "1"}
    assert before - await free() == 1
    again = await api.ask("shop-1", "POST", f"/v1/orders/{number}:change", json=body)
    assert again.json() == answer.json(), "what is wanted in all: told twice it is the same"
    audit = await api.pool.fetch("SELECT actor, detail FROM audit WHERE action = 'order.change'")
    assert [(row["actor"], msgspec.json.decode(row["detail"])["reason"]) for row in audit] == [
        ("api:shop-1", "one will do")
    ]


async def test_a_change_that_cannot_be_is_told_with_what_to_do(api: Api) -> None:
    number = (await api.place("S-1")).json()["number"]
    for wishes, status, code in (
        ([_wish("1", "5")], 409, "change_more"), ([_wish("9", "1")], 422, "line_unknown"),
        ([_wish("1", "1", "MTR")], 422, "change_unit"), ([_wish("1", "0.5")], 422, "quantity_fraction"),
        ([_wish("1", "-1")], 422, "quantity_negative"), ([_wish("1", "1"), _wish("1", "0")], 422, "line_twice"),
    ):  # fmt: skip
        body = {"lines": wishes, "reason": "x"}
        answer = await api.ask("shop-1", "POST", f"/v1/orders/{number}:change", json=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    await api.pool.execute("UPDATE steps SET state = 'done' WHERE operation = 'wms.release'")
    body = {"lines": [_wish("1", "1")], "reason": "x"}
    late = (await api.ask("shop-1", "POST", f"/v1/orders/{number}:change", json=body)).json()
    assert (late["code"], late["status"]) == ("change_too_late", 409)
    assert "cancel the order" in late["next_action"]
    progress = (await api.ask("shop-1", "GET", f"/v1/orders/{number}")).json()["progress"]
    assert all("cancelled" not in line for line in progress["lines"].values())


async def test_lists_are_paged_to_the_end_without_repeating(api: Api) -> None:
    for index in range(7):
        await api.place(f"S-{index}", lines=1)
    await api.place("P-0", client="portal-1", body=portal_body("P-0"))
    found: list[str] = []
    cursor = ""
    for _ in range(5):
        page = (await api.ask("shop-1", "GET", "/v1/orders", params={"limit": 3, "cursor": cursor})).json()
        found += [item["channel_number"] for item in page["items"]]
        cursor = page["cursor"]
        if not cursor:
            break
    assert found == [f"S-{index}" for index in reversed(range(7))]


async def test_headers_are_checked(api: Api) -> None:
    wrong: list[tuple[dict[str, str], tuple[int, str]]] = [
        ({}, (400, "idempotency_key")),
        ({"Idempotency-Key": "a b"}, (400, "idempotency_key")),
        ({"Idempotency-Key": "k", "Crossdock-Channel": "portal"}, (403, "channel_not_yours")),
        ({"Idempotency-Key": "k", "Content-Encoding": "gzip"}, (415, "body_compressed")),
        ({"Idempotency-Key": "k", "Content-Type": "text/plain"}, (415, "media_type")),
    ]
    for headers, expected in wrong:
        given = {"Content-Type": "application/json", **headers}
        answer = await api.ask("shop-1", "POST", "/v1/orders", content=order_body("S-1"), headers=given)
        assert (answer.status_code, answer.json()["code"]) == expected, headers


async def test_a_client_of_several_channels_says_which(api: Api) -> None:
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    without = await api.ask("operator-1", "POST", "/v1/orders", content=order_body("S-1"), headers=headers)
    assert (without.status_code, without.json()["code"]) == (400, "channel_missing")
    headers["Crossdock-Channel"] = "shop"
    answer = await api.ask("operator-1", "POST", "/v1/orders", content=order_body("S-1"), headers=headers)
    assert answer.status_code == 201


async def test_prices_tell_where_they_come_from_and_what_is_wrong(api: Api) -> None:
    lines: list[dict[str, Any]] = [
        {"line": "1", "sku": "SKU-1", "quantity": {"value": "10", "unit": "XBX"}},
        {"line": "2", "sku": "NO-SUCH", "quantity": {"value": "1", "unit": "C62"}},
        {"line": "3", "sku": "SKU-2", "quantity": {"value": "1", "unit": "C62"},
         "unit_price": {"amount": "1.00", "currency": "EUR"}},
    ]  # fmt: skip
    body = {"customer": "C1", "currency": "EUR", "lines": lines}
    answer = await api.ask("portal-1", "POST", "/v1/prices:quote", json=body)
    quote = answer.json()
    first, second, third = quote["lines"]
    assert first["price"]["source"] == "contract"
    assert (first["quantity"]["value"], first["unit_price"]["amount"]) == ("120", "2.40")
    assert [reason["code"] for reason in second["reasons"]] == ["sku_unknown"]
    assert [reason["code"] for reason in third["reasons"]] == ["price_beyond"]
    assert quote["as_of"]


async def test_an_account_says_what_is_left_and_how_old_that_is(api: Api) -> None:
    await api.place("P-1", client="portal-1", body=portal_body("P-1"))
    path = "/v1/accounts/C1:validate"
    found = (await api.ask("portal-1", "POST", path, json={"amount": {"amount": "5000.00", "currency": "EUR"}})).json()
    assert found["status"] == "active"
    assert not found["may_order"]
    assert float(found["available_credit"]) + float(found["exposure"]) == float(found["credit_limit"])
    assert float(found["open_orders"]) > 0
    assert found["as_of"]
    live = (await api.ask("portal-1", "POST", path, json={"live": True})).json()
    assert (live["source"], bool(live["fallback"])) == ("ledger", True)
    assert (await api.ask("portal-1", "POST", path)).status_code == 200
    assert (await api.ask("portal-1", "POST", "/v1/accounts/C999:validate")).status_code == 404


async def test_availability_takes_a_thousand_skus_and_no_more(api: Api) -> None:
    query = "&".join(f"sku=SKU-{index}" for index in range(1000))
    answer = await api.ask("shop-1", "GET", f"/v1/availability?{query}")
    found = answer.json()
    assert (len(found["items"]), len(found["unknown"])) == (25, 975)
    assert found["items"][0]["locations"][0]["as_of"]
    assert (await api.ask("shop-1", "GET", f"/v1/availability?{query}&sku=X")).status_code == 422


async def test_connections_are_paused_and_resumed_by_name_and_it_is_audited(api: Api) -> None:
    answer = await api.ask("operator-1", "POST", "/v1/connections/erp:pause")
    assert answer.json()["paused"], answer.text
    assert not (await api.ask("operator-1", "POST", "/v1/connections/erp:resume")).json()["paused"]
    assert (await api.ask("operator-1", "POST", "/v1/connections/nowhere:pause")).status_code == 404
    audit = await api.pool.fetch("SELECT actor, action FROM audit ORDER BY audit_id")
    assert [tuple(row) for row in audit] == [
        ("api:operator-1", "connection.pause"), ("api:operator-1", "connection.resume"),
    ]  # fmt: skip


async def test_parked_facts_are_listed_and_replayed(api: Api) -> None:
    await api.pool.execute(
        "INSERT INTO facts (connection, kind, business_key, version, subject, state, body, raw, received_at, due_at,"
        " cause) VALUES ('shop','order.placed','X-1','1','X-1','quarantined','{}','{}', now(), now(), 'sku_unknown')"
    )
    page = (await api.ask("operator-1", "GET", "/v1/quarantine?what=facts&connection=shop")).json()
    assert [item["business_key"] for item in page["facts"]] == ["X-1"]
    answer = await api.ask("operator-1", "POST", "/v1/quarantine:replay", json={"cause": "sku_unknown"})
    assert answer.json() == {"facts": 1, "steps": 0}, answer.text
    assert (await api.ask("operator-1", "POST", "/v1/quarantine:replay", json={})).status_code == 422


async def park(api: Api, body: bytes) -> int:
    fact_id: int = await api.pool.fetchval(
        "INSERT INTO facts (connection, kind, business_key, version, subject, state, body, raw, received_at, due_at,"
        " cause) VALUES ('shop','order.paid','P-1','1','X-1','quarantined',$1,'{}', now(), now(), 'order_missing')"
        " RETURNING fact_id", body,
    )  # fmt: skip
    return fact_id


async def test_a_parked_fact_is_read_corrected_and_closed_over_http(api: Api) -> None:
    sent = b'{"channel_number":"X-1","reference":"P-1","paid_at":"2026-03-02T09:30:00Z"}'
    fact_id = await park(api, sent)
    here = f"/v1/quarantine/facts/{fact_id}"
    shown = await api.ask("operator-1", "GET", here)
    assert shown.json()["body"]["channel_number"] == "X-1", shown.text
    unread = await api.ask("operator-1", "POST", f"{here}:correct", json={"body": {"payment": 4}, "reason": "A slip."})
    assert (unread.status_code, unread.json()["code"]) == (422, "correction_form")
    corrected = {**shown.json()["body"], "channel_number": "X-2"}
    answer = await api.ask("operator-1", "POST", f"{here}:correct", json={"body": corrected, "reason": "A slip."})
    assert answer.json() == {"facts": 1, "steps": 0}, answer.text
    row = await api.pool.fetchrow("SELECT state, body FROM facts WHERE fact_id = $1", fact_id)
    assert row is not None
    assert (row["state"], b"X-2" in row["body"]) == ("waiting", True)
    assert (await api.ask("operator-1", "GET", here)).status_code == 404
    assert (await api.ask("operator-1", "GET", "/v1/quarantine/facts/none")).status_code == 404
    await api.pool.execute("UPDATE facts SET state = 'quarantined', cause = 'order_missing'")
    both = await api.ask(
        "operator-1", "POST", "/v1/quarantine:dismiss", json={"facts": [fact_id], "cause": "x", "reason": "Paid twice."}
    )
    assert both.status_code == 422
    closed = await api.ask(
        "operator-1", "POST", "/v1/quarantine:dismiss", json={"facts": [fact_id], "reason": "Paid twice."}
    )
    assert closed.json() == {"facts": 1}
    actors = await api.pool.fetch("SELECT DISTINCT actor FROM audit")
    assert [row["actor"] for row in actors] == ["api:operator-1"]


async def test_a_parked_step_is_settled_over_http(api: Api) -> None:
    number = (await api.place("P-1")).json()["number"]
    await api.pool.execute("UPDATE steps SET state = 'quarantined' WHERE operation = 'erp.place_order'")
    wish = {"order": number, "step": "erp.place_order", "ended": "done", "number": "SO-9", "reason": "Keyed in."}
    answer = await api.ask("operator-1", "POST", "/v1/quarantine:settle", json=wish)
    assert answer.json() == {"order": number, "step": "erp.place_order", "ended": "done"}, answer.text
    again = await api.ask("operator-1", "POST", "/v1/quarantine:settle", json=wish)
    assert (again.status_code, again.json()["code"]) == (409, "step_not_parked")
    order = (await api.ask("operator-1", "GET", f"/v1/orders/{number}")).json()
    assert "SO-9" in str(order)
