"""Headers, health, metrics, documentation, webhooks: what stands around the services."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any

import httpx
import pytest

from crossdock.engine.ports import system_clock
from crossdock.kit.webhooks import sign
from tests.integration.api.api_world import NEW_KEY, OLD_KEY, Api, open_api, order_body, served

OTHER_KEY = "whsec_" + "b3RoZXIga2V5IG9mIDI0IGJ5dGVzLi4="


def _signed(body: bytes, key: str = NEW_KEY, webhook_id: str = "msg_1", age_seconds: int = 0) -> dict[str, str]:
    timestamp = int(system_clock().timestamp()) - age_seconds
    return {
        "webhook-id": webhook_id, "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(key, webhook_id, timestamp, body), "content-type": "application/json",
    }  # fmt: skip


async def test_every_answer_carries_the_security_headers(api: Api) -> None:
    places = ["/v1/orders", "/v1/nothing", "/nothing", "/healthz", "/metrics", "/docs", "/openapi.json", "/hooks/shop"]
    for path in places:
        answer = await api.http.get(path, headers={"Origin": "http://elsewhere.example"})
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert "max-age" in answer.headers["strict-transport-security"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json", path


async def test_head_says_what_get_would_say_without_its_body(api: Api) -> None:
    for path in ("/healthz", "/metrics", "/docs", "/openapi.json", "/v1/nothing"):
        told, got = await api.http.head(path), await api.http.get(path)
        assert told.status_code == got.status_code, path
        assert told.content == b""
        assert told.headers["content-type"] == got.headers["content-type"]
    assert (await api.ask("shop-1", "HEAD", "/v1/orders")).status_code == 200
    assert (await api.http.head("/v1/orders")).status_code == 401
    assert (await api.http.head("/oauth/token")).status_code == 405


async def test_another_origin_gets_no_permission(api: Api) -> None:
    headers = {"Origin": "http://elsewhere.example", "Access-Control-Request-Method": "POST"}
    answer = await api.http.request("OPTIONS", "/v1/orders", headers=headers)
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_health_is_given_only_when_orders_can_be_accepted(api: Api) -> None:
    assert (await api.http.get("/healthz")).json() == {"status": "accepting"}
    await api.pool.execute("DELETE FROM products")
    answer = await api.http.get("/healthz")
    assert (answer.status_code, answer.json()["code"]) == (503, "not_accepting")


async def test_without_products_there_is_no_health(database_url: str) -> None:
    async with open_api(database_url, seeded=False) as api:
        assert (await api.http.get("/healthz")).status_code == 503


async def test_without_a_database_everything_is_refused_for_now(api: Api) -> None:
    token = await api.token("shop-1")
    api.pool.terminate()
    assert (await api.http.get("/healthz")).status_code == 503
    for path in ("/v1/orders", "/metrics"):
        answer = await api.http.get(path, headers={"Authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert answer.headers["retry-after"] == "1"
    # Who cannot be asked for is not let in, and an order that cannot be kept is not acknowledged.
    form = {"grant_type": "client_credentials"}
    assert (await api.http.post("/oauth/token", data=form, auth=("shop-1", "x"))).status_code == 503
    assert (await api.http.get("/v1/orders", headers={"Authorization": "Bearer x"})).status_code == 503
    assert (await api.place("S-1")).status_code == 503
    body = order_body("W-1")
    assert (await api.http.post("/hooks/shop", content=body, headers=_signed(body))).status_code == 503


async def test_metrics_count_answers_and_name_nobody(api: Api) -> None:
    await api.place("S-1")
    text = (await api.http.get("/metrics")).text
    assert 'crossdock_orders_total{answer="accepted",channel="shop"} 1.0' in text
    assert 'crossdock_orders_in_state{state="accepted"} 1.0' in text
    assert "Ada Buyer" not in text
    assert "tok_ok" not in text


async def test_the_documentation_needs_nothing_from_elsewhere(api: Api) -> None:
    page = (await api.http.get("/docs")).text
    assert "/v1/orders" in page
    assert "<script" not in page
    assert "style=" not in page
    assert not re.findall(r'(?:src|href)="(?!/|#)', page)
    assert (await api.http.get("/docs.css")).headers["content-type"].startswith("text/css")


async def test_in_production_the_documentation_is_not_served(api: Api) -> None:
    async with served(replace(api.services, documentation=False)) as url, httpx.AsyncClient(base_url=url) as http:
        for path in ("/docs", "/docs.css", "/openapi.json", "/schema", "/v1/docs"):
            assert (await http.get(path)).status_code == 404, path
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/v1/orders")).status_code == 401


async def test_a_signed_webhook_is_kept_once(api: Api) -> None:
    body = order_body("W-1")
    answers = await asyncio.gather(
        *(api.http.post("/hooks/shop", content=body, headers=_signed(body)) for _ in range(5))
    )
    assert [answer.status_code for answer in answers] == [200] * 5
    assert sum(answer.json()["facts"] for answer in answers) == 1
    assert await api.pool.fetchval("SELECT count(*) FROM facts") == 1
    assert await api.pool.fetchval("SELECT coalesce(raw, body::text::bytea) FROM facts") == body


def _broken(body: bytes) -> list[tuple[str, bytes, dict[str, Any]]]:
    good = _signed(body)
    return [
        ("a byte changed", body.replace(b"W-1", b"W-2"), good),
        ("white space added", body + b" ", good),
        ("too old", body, _signed(body, age_seconds=301)),
        ("from the future", body, _signed(body, age_seconds=-301)),
        ("another key", body, _signed(body, key=OTHER_KEY)),
        ("another id", body, {**good, "webhook-id": "msg_2"}),
        ("no signature", body, {**good, "webhook-signature": ""}),
        ("not signed at all", body, {}),
        ("a huge time", body, {**good, "webhook-timestamp": "9" * 12}),
        ("a wrong time", body, {**good, "webhook-timestamp": "soon"}),
        ("no json, unsigned", b"{", good),
    ]


async def test_a_webhook_that_is_not_rightly_signed_is_refused(api: Api) -> None:
    body = order_body("W-1")
    for what, sent, headers in _broken(body):
        answer = await api.http.post("/hooks/shop", content=sent, headers=headers)
        assert answer.status_code == 401, (what, answer.text)
    assert await api.pool.fetchval("SELECT count(*) FROM facts") == 0


async def test_while_keys_rotate_both_are_taken(api: Api) -> None:
    for index, key in enumerate((OLD_KEY, NEW_KEY)):
        body = order_body(f"W-{index}")
        answer = await api.http.post("/hooks/shop", content=body, headers=_signed(body, key, f"msg_{index}"))
        assert answer.status_code == 200
    body = order_body("W-9")
    both = _signed(body, NEW_KEY, "msg_9")
    both["webhook-signature"] = f"v1,{'A' * 43}= {both['webhook-signature']}"
    assert (await api.http.post("/hooks/shop", content=body, headers=both)).status_code == 200


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"hello": 1}', b"\xff\x00"])
async def test_a_signed_webhook_that_cannot_be_translated_is_kept_and_shown_with_its_cause(
    api: Api, body: bytes
) -> None:
    for _ in range(2):  # the partner may repeat it; it is kept once
        answer = await api.http.post("/hooks/shop", content=body, headers=_signed(body))
        assert (answer.status_code, answer.json()["parked"]) == (202, True)
    page = (await api.ask("operator-1", "GET", "/v1/quarantine")).json()
    (parked,) = page["facts"]
    assert (parked["connection"], parked["cause"], parked["owner"]) == ("shop", "webhook_form", "sender")
    assert parked["message"]
    assert parked["next_action"]
    assert await api.pool.fetchval("SELECT raw FROM facts WHERE state = 'quarantined'") == body
    again = await api.ask("operator-1", "POST", "/v1/quarantine:replay", json={"facts": [parked["fact_id"]]})
    assert again.status_code == 200
    assert (await api.ask("operator-1", "GET", "/v1/quarantine")).json()["facts"] == []


async def test_no_one_else_may_push(api: Api) -> None:
    assert (await api.http.post("/hooks/erp", content=b"{}", headers=_signed(b"{}"))).status_code == 404


async def test_no_secret_or_person_in_what_is_refused(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """Canaries in every text of a refused order come back nowhere."""
    body = order_body("S-1").replace(b"Ada Buyer", b"CANARY-NAME").replace(b"tok_ok", b"tok_CANARYTOKEN")
    body = body.replace(b"SKU-0", b"NO-SUCH")
    answer = await api.place("S-1", body=body)
    assert answer.status_code == 422
    broken = await api.place("S-2", body=body[:-1])
    assert broken.status_code == 400
    for text in (answer.text, broken.text, caplog.text, (await api.http.get("/metrics")).text):
        assert "CANARY" not in text
