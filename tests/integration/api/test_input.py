"""Whatever comes in gets a clear answer: too large, too deep, packed, no number, no text, no address."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from crossdock.api.reading import BODY_BYTES_MAX
from tests.integration.api.api_world import Api, order_body

INJECTIONS = ("' OR 1=1 --", "'; DROP TABLE orders; --", "%' UNION SELECT 1 --", "\\", "$1", "\u202e", "%00", "a" * 100)


def _with(path: list[Any], value: str) -> bytes:
    """A good order with one value replaced by a piece of raw JSON."""
    body = msgspec.json.decode(order_body("S-1", lines=2))
    body["lines"][0]["unit_price"] = {"amount": "2.50", "currency": "EUR"}
    place = body
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = "@here@"
    return msgspec.json.encode(body).replace(b'"@here@"', value.encode())


async def test_a_note_of_ten_megabytes_is_told_so(api: Api) -> None:
    answer = await api.place("S-1", body=_with(["note"], '"' + "x" * BODY_BYTES_MAX + '"'))
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert "10 MB" in answer.json()["detail"]
    answer = await api.place("S-1", body=_with(["note"], '"' + "x" * (BODY_BYTES_MAX - 5000) + '"'))
    assert (answer.status_code, answer.json()["code"]) == (422, "order_refused")
    assert [error["code"] for error in answer.json()["errors"]] == ["text_too_long"]
    assert (await api.place("S-2")).status_code == 201


async def test_a_body_without_announced_length_is_bounded_too(api: Api) -> None:
    async def chunks() -> Any:
        for _ in range(12):
            yield b" " * (1024 * 1024)

    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    answer = await api.ask("shop-1", "POST", "/v1/orders", content=chunks(), headers=headers)
    assert answer.status_code == 413


NO_JSON = (
    b"", b"{", b"[" * 10_000, b'{"a":' * 10_000, b"\xff\xfe", b'{"note":"\xff"}', b'{"note":"\\ud800"}', b"NaN",
    b"\xef\xbb\xbf{}",
)  # fmt: skip


async def test_what_is_no_json_is_told_so(api: Api) -> None:
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    for body in NO_JSON:
        answer = await api.ask("shop-1", "POST", "/v1/orders", content=body, headers=headers)
        assert answer.status_code in (400, 422), (body[:20], answer.text)
        assert answer.json()["code"] in ("body_unreadable", "body_form")
        assert "Traceback" not in answer.text


async def test_nesting_where_a_value_is_expected_is_refused(api: Api) -> None:
    answer = await api.place("S-1", body=_with(["note"], "[" * 10_000 + "]" * 10_000))
    assert answer.status_code in (400, 422)


NO_NUMBERS = (
    '"NaN"', '"sNaN"', '"Infinity"', '"-Infinity"', "NaN", "1e400", '"1e400"', '"-1"', '"-0"', '"1e30"',
    '"1e999999999"', '"1.0123456789"', '"ten"', "true", '""', '"0x10"', "[]",
)  # fmt: skip


@pytest.mark.parametrize("place", [["lines", 0, "quantity", "value"], ["lines", 0, "unit_price", "amount"]])
async def test_a_number_that_is_none_is_refused(api: Api, place: list[Any]) -> None:
    for value in NO_NUMBERS:
        answer = await api.place("S-1", key=f"k{len(value)}", body=_with(place, value))
        assert answer.status_code in (400, 422), (value, answer.text)
    assert await api.pool.fetchval("SELECT count(*) FROM orders") == 0


NOT_PLAIN = (
    '"1_0"', '" 10"', '"1e3"', "1e3", '"NaN"', '"Infinity"', '"１２"', '"+1"', '".5"', '"1."', '"\\u0031_0"', '"10\\n"',
)  # fmt: skip


@pytest.mark.parametrize("place", [["lines", 0, "quantity", "value"], ["lines", 0, "unit_price", "amount"]])
async def test_a_number_that_is_not_written_plainly_is_refused_with_its_field(api: Api, place: list[Any]) -> None:
    for value in NOT_PLAIN:
        answer = await api.place("S-1", body=_with(place, value))
        assert (answer.status_code, answer.json()["code"]) == (422, "body_form"), (value, answer.text)
        assert answer.json()["field"] == f"lines[0].{place[2]}.{place[3]}"
        assert "plain decimal" in answer.json()["detail"]


async def test_wrong_decimals_of_the_currency_are_refused(api: Api) -> None:
    answer = await api.place("S-1", body=_with(["lines", 0, "unit_price", "amount"], '"2.50001"'))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] == "amount_decimals"


async def test_text_that_cannot_be_kept_is_refused(api: Api) -> None:
    places: list[list[Any]] = [["channel_number"], ["note"], ["lines", 0, "sku"], ["ship_to", "name"]]
    for place in places:
        answer = await api.place("S-1", body=_with(place, '"a\\u0000b"'))
        assert (answer.status_code, answer.json()["code"]) == (422, "text_characters"), place
    # A backslash and "u0000" are six harmless characters.
    assert (await api.place("S-1", body=_with(["note"], '"a\\\\u0000b"'))).status_code == 201


async def test_a_time_of_another_age_is_refused(api: Api) -> None:
    for at in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1969-01-01T00:00:00Z"):
        answer = await api.place("S-1", body=_with(["placed_at"], f'"{at}"'))
        assert answer.status_code == 422, answer.text


async def test_no_parameter_is_taken_for_a_statement(api: Api) -> None:
    """Every parameter of every address, from the document: never a 500, and the tables stay."""
    document = (await api.http.get("/openapi.json")).json()
    headers = {"Authorization": f"Bearer {await api.token('operator-1')}"}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if not operation["security"] or method != "get":
                continue
            for parameter in operation["parameters"]:
                for text in INJECTIONS:
                    given: dict[str, Any] = {"params": {parameter["name"]: text}} if parameter["in"] == "query" else {}
                    address = path.replace("{number}", "x'%20OR%201=1--") if "{" in path else path
                    # One of them is a stream that goes on: only its beginning is looked at.
                    async with api.http.stream(method.upper(), address, headers=headers, **given) as answer:
                        assert answer.status_code in (200, 400, 403, 404, 422), (path, parameter["name"], text)
    for text in INJECTIONS:
        for body in ({"cause": text}, {"orders": [text]}):
            for path in ("/v1/holds:release", "/v1/quarantine:replay"):
                answer = await api.ask("operator-1", "POST", path, json=body)
                assert answer.status_code in (200, 404, 422), (path, text, answer.text)
    assert (await api.place("S-1")).status_code == 201


NO_QUERIES = (
    "limit=0", "limit=201", "limit=x", "limit=1&limit=2", "state=lost", "cursor=rubbish", "cursor=WzFlNDAwXQ",
    "placed_since=yesterday", "placed_since=2026-01-01T00:00:00", "placed_since=0001-01-01T00:00:00%2B14:00",
    "nonsense=1", "text=%00",
    "text=%ff", "text=" + "a" * 101, "cursor=Wzk5OTk5OTk5OTk5OTk5OTk5OTk5XQ",
)  # fmt: skip


async def test_a_query_that_means_nothing_is_refused(api: Api) -> None:
    for query in NO_QUERIES:
        answer = await api.ask("shop-1", "GET", f"/v1/orders?{query}")
        assert answer.status_code in (400, 422), (query, answer.text)
        assert answer.json()["trace_id"]


async def test_a_problem_carries_the_callers_trace(api: Api) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    answer = await api.ask("shop-1", "GET", "/v1/orders/CD99999999", headers=headers)
    assert (answer.status_code, answer.json()["trace_id"]) == (404, trace)
