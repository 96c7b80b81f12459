"""The OpenAPI document is what is served; the permission matrix is what is enforced. Both are kept in the repository.

After a wanted change: CROSSDOCK_WRITE_GOLDEN=1 pytest tests/integration/api/test_contract.py
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crossdock.api.endpoint import SCOPES
from crossdock.api.openapi import permission_matrix
from crossdock.api.table import ENDPOINTS
from crossdock.engine.ports import system_clock
from crossdock.ledger.clients import ApiClient, place_client
from tests.integration.api.api_world import SECRET, Api, portal_body

# What an address names that belongs to one channel, and what belongs to the cell: scopes alone guard the latter.
OF_A_CHANNEL = {"number", "reservation"}
OF_THE_CELL = {"code", "connection", "fact", "name"}
GOLDEN = Path(__file__).resolve().parents[2] / "golden"
VERSION = re.compile(r'"version": "[^"]*"')


def _compare(name: str, found: str) -> None:
    path = GOLDEN / name
    if os.environ.get("CROSSDOCK_WRITE_GOLDEN"):
        path.write_text(found, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == found, f"{name} has changed; see this module's docstring"


def _operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]  # fmt: skip


def _filled(path: str, values: dict[str, str] | None = None) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: (values or {}).get(found.group(1), "x"), path)


async def test_the_document_is_kept(api: Api) -> None:
    document = (await api.http.get("/openapi.json")).json()
    text = msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n"
    _compare("openapi.json", VERSION.sub('"version": "0"', text))


def test_the_permission_matrix_is_kept() -> None:
    _compare("permissions.txt", permission_matrix(ENDPOINTS))


async def test_every_reference_in_the_document_leads_somewhere(api: Api) -> None:
    text = (await api.http.get("/openapi.json")).text
    names = set(re.findall(r'"\$ref":\s*"#/components/schemas/([^"]+)"', text))
    assert names <= set(msgspec.json.decode(text)["components"]["schemas"])


async def test_what_is_documented_is_served_and_nothing_else(api: Api) -> None:
    document = (await api.http.get("/openapi.json")).json()
    documented = {(method, path) for method, path, _ in _operations(document)}
    assert len({operation["operationId"] for _, _, operation in _operations(document)}) == len(documented)
    for method, path in documented:
        answer = await api.http.request(method, _filled(path))
        assert answer.status_code not in (404, 405) or path.startswith("/hooks"), (method, path, answer.status_code)
        for other in {"GET", "POST", "PUT", "PATCH", "DELETE"} - {m for m, p in documented if p == path}:
            wrong = await api.http.request(other, _filled(path))
            assert wrong.status_code == 405, (other, path, wrong.status_code)
    nothing = ("/", "/v1", "/v1/nothing", "/v2/orders", "/v1x/orders", "/schema", "/hooks", "/v1/orders/x:y:cancel/z")
    for path in nothing:
        assert (await api.http.get(path)).status_code == 404, path


async def test_each_scope_opens_its_addresses_and_no_other(api: Api) -> None:
    """The matrix: a token of one scope against every address."""
    document = (await api.http.get("/openapi.json")).json()
    guarded = [
        (method, path, operation["security"][0]["client"][0])
        for method, path, operation in _operations(document)
        if operation["security"]
    ]
    assert {scope for _, _, scope in guarded} == set(SCOPES)
    await place_client(api.pool, ApiClient("all-1", tuple(SCOPES), ("shop",)), SECRET, system_clock())
    for scope in SCOPES:
        token = await api.token("all-1", scope)
        for method, path, needed in guarded:
            headers = {"Authorization": f"Bearer {token}"}
            # One of them is a stream that goes on: only its beginning is looked at.
            async with api.http.stream(method, _filled(path), headers=headers) as answer:
                assert (answer.status_code == 403) == (needed != scope), (scope, method, path, answer.status_code)
                if needed != scope:
                    assert msgspec.json.decode(await answer.aread())["code"] == "scope_missing"


async def test_no_guarded_address_answers_without_a_good_token(api: Api) -> None:
    document = (await api.http.get("/openapi.json")).json()
    token = await api.token("operator-1")
    for method, path, operation in _operations(document):
        if not operation["security"]:
            continue
        for authorization in ("", "Basic eDp5", "Bearer", "Bearer wrong", f"Bearer {token[:-1]}", f"Token {token}"):
            answer = await api.http.request(method, _filled(path), headers={"Authorization": authorization})
            assert answer.status_code in (401, 429), (method, path, authorization, answer.status_code)
    with_query = await api.http.get("/v1/orders", params={"access_token": token})
    assert with_query.status_code in (401, 429)


async def test_no_address_with_an_order_or_cart_shows_or_changes_another_channels(api: Api) -> None:
    """API1: generated from the document, so that no address is missed."""
    placed = await api.place("P-1", client="portal-1", body=portal_body("P-1", quantity=900))
    number = placed.json()["number"]
    line = {"line": "1", "sku": "SKU-1", "quantity": {"value": "1", "unit": "C62"}}
    cart = {"json": {"lines": [line]}, "headers": {"Idempotency-Key": "cart-1"}}
    held = await api.ask("portal-1", "POST", "/v1/reservations", **cart)
    theirs = {"number": number, "reservation": held.json()["reservation"]}
    nobodys = {"number": "CD99999999", "reservation": "RS99999999"}
    await place_client(api.pool, ApiClient("rival-1", tuple(SCOPES), ("shop",)), SECRET, system_clock())
    before = await api.pool.fetchrow("SELECT * FROM order_progress")
    document = (await api.http.get("/openapi.json")).json()
    named = {name for _, path, _ in _operations(document) for name in re.findall(r"\{(\w+)\}", path)}
    assert named == OF_A_CHANNEL | OF_THE_CELL, "an address with a new name: say whose it is"
    bodies: dict[str, Any] = {
        "/v1/orders/{number}:cancel": {"reason": "x"},
        "/v1/orders/{number}:change": {
            "lines": [{"line": "1", "quantity": {"value": "1", "unit": "C62"}}], "reason": "x",
        },
        "/v1/holds:release": {"orders": [number]},
        "/v1/holds:refuse": {"orders": [number], "reason": "x"},
        "/v1/quarantine:replay": {"orders": [number]},
        "/v1/quarantine:settle": {"order": number, "step": "erp.place_order", "ended": "done", "reason": "x"},
    }
    tried = 0
    for method, path, operation in _operations(document):
        with_name = any("{" + name + "}" in path for name in OF_A_CHANNEL)
        if with_name or path in bodies:
            body = bodies.get(path)
            given = {"json": body} if body is not None else {}
            answer = await api.ask("rival-1", method, _filled(path, theirs), **given)
            assert answer.status_code == 404, (method, path, answer.text)
            unknown = await api.ask("rival-1", method, _filled(path, nobodys), **given)
            if with_name:
                assert unknown.json()["detail"] == answer.json()["detail"], operation
            tried += 1
    assert tried == 10
    kept = (await api.ask("portal-1", "GET", f"/v1/reservations/{theirs['reservation']}")).json()
    assert kept["state"] == "reserved"
    lists = ("orders", f"orders?text={number}", "holds", f"shipments?order={number}", "orders?channel=portal")
    for path in (f"/v1/{name}" for name in lists):
        assert (await api.ask("rival-1", "GET", path)).json()["items"] == [], path
    assert (await api.ask("rival-1", "GET", "/v1/holds")).json()["groups"] == []
    by_cause = await api.ask("rival-1", "POST", "/v1/holds:release", json={"cause": "credit"})
    assert by_cause.json() == {"asked": 0, "decided": 0, "problems": []}
    assert await api.pool.fetchrow("SELECT * FROM order_progress") == before


@pytest.mark.parametrize("extra", ["tenant_id", "price_override"])
async def test_no_body_takes_a_field_that_is_not_its_own(api: Api, extra: str) -> None:
    document = (await api.http.get("/openapi.json")).json()
    for method, path, operation in _operations(document):
        content = operation.get("requestBody", {}).get("content", {})
        if "application/json" not in content or not operation["security"]:
            continue
        name = content["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
        schema = document["components"]["schemas"][name]
        assert schema["additionalProperties"] is False, name
        headers = {"Idempotency-Key": "k", "Crossdock-Channel": "shop"}
        answer = await api.ask("operator-1", method, _filled(path), json={extra: "x"}, headers=headers)
        assert answer.status_code == 422, (path, answer.text)
    body = msgspec.json.decode(portal_body("P-1"))
    for place in (body, body["lines"][0]):
        place[extra] = "x"
        answer = await api.place("P-1", client="portal-1", body=msgspec.json.encode(body))
        assert (answer.status_code, answer.json()["code"]) == (422, "body_form"), answer.text
        del place[extra]
