"""Signing in and out, roles, forged forms, guessing, headers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from litestar import Litestar

from crossdock.console.rendering import ConsoleServices
from crossdock.console.users import place_user
from tests.integration.console.conftest import NOW, House, Visitor, browser
from tests.integration.console.console_server import application_of, console_of

PAGES = (
    "/console",
    "/console/orders",
    "/console/orders/CD00000061",
    "/console/connections",
    "/console/holds",
    "/console/holds/orders?cause=credit_limit",
    "/console/quarantine/facts",
    "/console/quarantine/steps",
)
ACTIONS = (
    "/console/orders/CD00000005/cancel",
    "/console/orders/CD00000013/replay",
    "/console/orders/CD00000013/settle",
    "/console/holds/release",
    "/console/holds/refuse",
    "/console/quarantine/steps/replay",
    "/console/quarantine/facts/replay",
    "/console/connections/erp/pause",
    "/console/connections/erp/resume",
    "/console/connections/erp/breaker",
)


def routes_of(services: ConsoleServices) -> set[tuple[str, str]]:
    application: Litestar = application_of(services)
    return {
        (method, route.path)
        for route in application.routes
        for method in getattr(route, "methods", ())
        if method in ("GET", "POST")
    }


async def test_no_page_and_no_action_without_signing_in(house: House, visitor: Visitor) -> None:
    open_to_all = {"/console/sign-in", "/console/static/{name:path}"}
    checked = 0
    for method, path in sorted(routes_of(house.services)):
        if path in open_to_all:
            continue
        concrete = path.replace("{number:str}", "CD00000061").replace("{name:str}", "erp").replace("{fact_id:int}", "1")
        answer = await (visitor.get(concrete) if method == "GET" else visitor.post(concrete))
        assert answer.status_code == (401 if path.endswith("/live") else 303), path
        assert "sign-in" in answer.headers.get("location", "sign-in")
        checked += 1
    assert checked >= 18


async def test_sign_in_leads_back_and_sign_out_ends_the_session(house: House, visitor: Visitor) -> None:
    sent_away = await visitor.get("/console/orders?q=CD00000061")
    assert sent_away.headers["location"] == "/console/sign-in?next=%2Fconsole%2Forders%3Fq%3DCD00000061"
    answer = await visitor.post(
        "/console/sign-in", name="olive", password="correct horse battery", next="/console/holds"
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/holds")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie
    assert (await visitor.get("/console")).status_code == 200
    await visitor.sign_in("olive")
    assert (await visitor.act("/console/sign-out")).status_code == 303
    assert (await visitor.get("/console")).status_code == 303
    kept = await house.pool.fetchval("SELECT count(*) FROM console_sessions WHERE session_hash IS NULL")
    assert kept == 0


async def test_over_tls_the_cookie_is_bound_to_the_host(house: House) -> None:
    services = console_of(house.pool, lambda: NOW, secure=True)
    async with browser(services, "https://console.test") as http:
        answer = await Visitor(http).post("/console/sign-in", name="olive", password="correct horse battery")
    assert answer.headers["set-cookie"].startswith("__Host-crossdock_session=")
    assert "secure" in answer.headers["set-cookie"].lower()
    assert "max-age" in answer.headers["strict-transport-security"]


async def test_over_tls_signing_out_takes_the_cookie_away(house: House) -> None:
    services = console_of(house.pool, lambda: NOW, secure=True)
    async with browser(services, "https://console.test") as http:
        visitor = Visitor(http)
        await visitor.sign_in("olive")
        left = (await visitor.act("/console/sign-out")).headers["set-cookie"]
        assert left.startswith("__Host-crossdock_session=")
        assert "Max-Age=0" in left
        assert "Secure" in left
        assert (await visitor.get("/console")).status_code == 303


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/console\\@evil",
        "javascript:alert(1)",
        "/v1/orders",
        "/consolexyz",
    ],
)
async def test_after_signing_in_nobody_is_led_outside(visitor: Visitor, target: str) -> None:
    answer = await visitor.post("/console/sign-in", name="olive", password="correct horse battery", next=target)
    assert answer.headers["location"] == "/console"


async def test_guessing_is_slowed_down_and_tells_nothing(visitor: Visitor) -> None:
    wrong = await visitor.sign_in("olive", "wrong")
    unknown = await visitor.sign_in("nobody", "wrong")
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.text.replace("olive", "") == unknown.text.replace("nobody", "")
    for _ in range(9):
        await visitor.sign_in("olive", "wrong")
    refused = await visitor.sign_in("olive")
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 900


async def test_fifty_failures_from_one_place_are_too_many(house: House, visitor: Visitor) -> None:
    await house.pool.execute(
        "INSERT INTO sign_in_failures (subject, at) SELECT 'console@127.0.0.1', $1 FROM generate_series(1, 50)", NOW
    )
    assert (await visitor.sign_in("somebody", "x")).status_code == 429
    await house.pool.execute("UPDATE sign_in_failures SET at = $1", NOW - timedelta(minutes=16))
    assert (await visitor.sign_in("olive")).status_code == 303


async def test_a_viewer_may_look_but_not_act(house: House, visitor: Visitor) -> None:
    await visitor.sign_in("vic")
    for page in PAGES:
        answer = await visitor.get(page)
        assert answer.status_code == 200, page
        assert "<form" not in answer.text.replace('<form class="find"', "").replace('<form class="who"', "").replace(
            '<form class="filters"', ""
        ) or page.startswith(("/console/holds/orders", "/console/quarantine")), page
        assert 'type="checkbox"' not in answer.text
        assert "Musterfrau" not in answer.text
    for action in ACTIONS:
        assert (await visitor.act(action, order_id="5", operation="erp.ship", override="open")).status_code == 403, (
            action
        )
    assert await house.pool.fetchval("SELECT count(*) FROM audit") == 0


@pytest.mark.parametrize("action", ACTIONS)
async def test_a_form_without_our_token_or_from_elsewhere_does_nothing(
    house: House, operator: Visitor, action: str
) -> None:
    fields: dict[str, Any] = {"order_id": "5", "operation": "erp.ship", "override": "open"}
    assert (await operator.post(action, **fields)).status_code == 403
    assert (await operator.post(action, form_token="x" * 32, **fields)).status_code == 403
    elsewhere = {"Origin": "https://evil.example"}
    token = operator.form_token
    assert (await operator.post(action, headers=elsewhere, form_token=token, **fields)).status_code == 403
    cross_site = {"Sec-Fetch-Site": "cross-site"}
    assert (await operator.post(action, headers=cross_site, form_token=token, **fields)).status_code == 403
    assert await house.pool.fetchval("SELECT count(*) FROM audit") == 0


async def test_sessions_end_with_time_role_and_password(house: House, operator: Visitor) -> None:
    await house.pool.execute("UPDATE console_sessions SET expires_at = $1", NOW)
    assert (await operator.get("/console")).status_code == 303
    await operator.sign_in("olive")
    await place_user(house.pool, "olive", "another password", "viewer")
    assert (await operator.get("/console")).status_code == 303


async def test_every_answer_carries_the_headers(operator: Visitor) -> None:
    for path in (
        *PAGES,
        "/console/sign-in",
        "/console/orders/CD99999999",
        "/console/static/console.css",
    ):
        headers = (await operator.get(path)).headers
        policy = headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert ("immutable" if "static" in path else "no-store") in headers["cache-control"], path


async def test_live_events_are_for_our_own_pages_only(operator: Visitor) -> None:
    assert (await operator.get("/console/live", Origin="https://evil.example")).status_code == 403
    assert (await operator.get("/console/live", **{"Sec-Fetch-Site": "cross-site"})).status_code == 403
