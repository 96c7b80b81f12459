"""Tokens: one grant, kept as hashes, guessing slowed down, a client that is taken away is out within seconds."""

from __future__ import annotations

from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from crossdock.engine.ports import system_clock
from crossdock.ledger.clients import deactivate_client, place_token
from tests.integration.api.api_world import SECRET, Api


async def test_a_token_lasts_an_hour_and_carries_what_was_asked(api: Api) -> None:
    form = {"grant_type": "client_credentials", "scope": "orders:read", "client_id": "shop-1", "client_secret": SECRET}
    answer = await api.http.post("/oauth/token", data=form)
    found = answer.json()
    assert (found["token_type"], found["expires_in"], found["scope"]) == ("Bearer", 3600, "orders:read")
    assert answer.headers["cache-control"] == "no-store"
    headers = {"Authorization": f"Bearer {found['access_token']}"}
    assert (await api.http.get("/v1/orders", headers=headers)).status_code == 200
    assert (await api.http.get("/v1/shipments", headers=headers)).status_code == 403


_GRANT = {"grant_type": "client_credentials"}
NO_GRANTS: tuple[tuple[dict[str, str], tuple[int, str]], ...] = (
    ({}, (400, "invalid_request")),
    ({"grant_type": "password", "username": "a", "password": "b"}, (400, "unsupported_grant_type")),
    ({"grant_type": "implicit"}, (400, "unsupported_grant_type")),
    ({"grant_type": "authorization_code", "code": "x"}, (400, "unsupported_grant_type")),
    (_GRANT, (401, "invalid_client")),
    ({**_GRANT, "client_id": "shop-1", "client_secret": ""}, (401, "invalid_client")),
    ({**_GRANT, "client_id": "shop-1", "client_secret": "x"}, (401, "invalid_client")),
    ({**_GRANT, "client_id": "no", "client_secret": SECRET}, (401, "invalid_client")),
    ({**_GRANT, "client_id": "shop-1", "client_secret": SECRET, "scope": "holds:write"}, (400, "invalid_scope")),
    ({**_GRANT, "client_id": "shop\x00-1", "client_secret": SECRET}, (400, "invalid_request")),
)


async def test_no_other_grant(api: Api) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    for form, expected in NO_GRANTS:
        answer = await api.http.post("/oauth/token", data=form, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == expected, form
        assert SECRET not in answer.text


async def test_secrets_in_the_address_are_refused(api: Api) -> None:
    query = {"grant_type": "client_credentials", "client_id": "shop-1", "client_secret": SECRET}
    answer = await api.http.post("/oauth/token", params=query, data=query)
    assert answer.status_code == 400
    token = await api.token("shop-1")
    answer = await api.ask("shop-1", "GET", "/v1/orders", params={"access_token": token})
    assert (answer.status_code, answer.json()["code"]) == (400, "parameter_unknown")


async def test_fifty_wrong_secrets_then_wait(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    form = {"grant_type": "client_credentials"}
    with capture_logs() as logs:
        for _ in range(50):
            assert (await api.http.post("/oauth/token", data=form, auth=("shop-1", "guess"))).status_code == 401
    assert [(log["event"], log["client"]) for log in logs] == [("api_sign_in_failed", "shop-1")] * 50
    for secret in ("guess", SECRET):
        answer = await api.http.post("/oauth/token", data=form, auth=("shop-1", secret))
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
    # Another client at the same address is not kept out.
    assert (await api.http.post("/oauth/token", data=form, auth=("portal-1", SECRET))).status_code == 200
    assert "guess" not in caplog.text.replace("guessing", "")
    assert SECRET not in caplog.text


async def test_fifty_wrong_tokens_then_wait_but_good_ones_pass(api: Api) -> None:
    good = await api.token("shop-1")
    with capture_logs() as logs:
        for index in range(50):
            answer = await api.http.get("/v1/orders", headers={"Authorization": f"Bearer wrong-{index}"})
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
    assert [log["event"] for log in logs] == ["api_token_refused"] * 50
    assert "wrong-" not in str(logs)
    limited = await api.http.get("/v1/orders", headers={"Authorization": "Bearer wrong"})
    assert limited.status_code == 429
    assert int(limited.headers["retry-after"]) > 0
    assert (await api.http.get("/v1/orders", headers={"Authorization": f"Bearer {good}"})).status_code == 200


async def test_neither_tokens_nor_secrets_are_stored(api: Api) -> None:
    token = await api.token("shop-1")
    for table in ("api_clients", "api_tokens", "sign_in_failures"):
        text = str(await api.pool.fetchval(f"SELECT coalesce(json_agg(t)::text, '') FROM {table} t"))
        assert token not in text
        assert SECRET not in text


async def test_an_ended_token_and_a_taken_away_client_are_refused(api: Api) -> None:
    now = system_clock()
    await place_token(api.pool, "ended-token", "shop-1", ("orders:read",), now - timedelta(seconds=1), now)
    assert (await api.http.get("/v1/orders", headers={"Authorization": "Bearer ended-token"})).status_code == 401
    token = await api.token("portal-1")
    await deactivate_client(api.pool, "portal-1")
    assert (await api.http.get("/v1/orders", headers={"Authorization": f"Bearer {token}"})).status_code == 401
    form = {"grant_type": "client_credentials"}
    assert (await api.http.post("/oauth/token", data=form, auth=("portal-1", SECRET))).status_code == 401
