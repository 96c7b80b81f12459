"""The HTTP session against a real server that misbehaves in every way the failure table knows."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web

from crossdock.kit.connector import Call
from crossdock.kit.failures import BROKEN, STATUSES, meaning_of_status, retry_after_seconds
from crossdock.kit.http import HttpSession, path
from crossdock.model.errors import Conflict, CrossdockError, InDoubt, Invalid, Misconfigured, Refused, Unavailable

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
ORDER: Any = None  # the session never looks at it


def call() -> Call:
    return Call(
        key="CD00000001/tax.quote", number="CD00000001", name="tax.quote", operation="tax.quote", order=ORDER,
        payload=b"{}", results={}, traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )  # fmt: skip


async def misbehave(  # noqa: C901
    request: web.Request,
) -> web.StreamResponse:
    how = request.match_info["how"]
    if how.isdigit():
        found = request.query.get("after", "")
        return web.json_response({"error": "no"}, status=int(how), headers={"retry-after": found} if found else {})
    assert request.transport is not None
    match how:
        case "echo":
            return web.json_response({"headers": dict(request.headers), "body": (await request.read()).decode()})
        case "empty":
            return web.Response(status=200)
        case "hang":
            await asyncio.Event().wait()
        case "reset":
            request.transport.abort()
        case "close":
            request.transport.close()
        case "short":
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n"
            request.transport.write(head + b'{"a"')
            request.transport.close()
        case "garbage":
            request.transport.write(b"this is not HTTP at all\r\n\r\n")
            request.transport.close()
        case "html":
            return web.Response(text="<html>gateway</html>", content_type="text/html")
        case "cut":
            return web.Response(body=b'{"a": [1,', content_type="application/json")
        case "large":
            return web.Response(body=b'"' + b"x" * 200_000 + b'"', content_type="application/json")
        case "redirect":
            raise web.HTTPFound("/echo")
    return web.Response()


@pytest.fixture
async def address() -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_route("*", "/{how}", misbehave)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def session(address: str) -> AsyncIterator[HttpSession]:
    async with HttpSession.open(address, bearer="key-of-ours", timeout_seconds=60, body_bytes_max=100_000) as opened:
        yield opened


# how it ends, error for a read, error for a write, code
ENDS: list[tuple[str, type[CrossdockError], type[CrossdockError], str]] = [
    ("reset", Unavailable, InDoubt, "partner_disconnected"),
    ("close", Unavailable, InDoubt, "partner_disconnected"),
    ("short", Unavailable, InDoubt, "partner_disconnected"),
    ("garbage", Unavailable, InDoubt, "partner_answer_unreadable"),
    ("html", Unavailable, InDoubt, "partner_answer_unreadable"),
    ("cut", Unavailable, InDoubt, "partner_answer_unreadable"),
    ("large", Unavailable, InDoubt, "partner_answer_too_large"),
    ("redirect", Misconfigured, Misconfigured, "partner_redirects"),
    ("204", Unavailable, InDoubt, "partner_answer_unexpected"),
    ("400", Invalid, Invalid, "partner_finds_invalid"),
    ("401", Misconfigured, Misconfigured, "partner_denies_key"),
    ("402", Refused, Refused, "partner_payment_refused"),
    ("403", Misconfigured, Misconfigured, "partner_forbids"),
    ("404", Invalid, Invalid, "partner_not_found"),
    ("408", Unavailable, InDoubt, "partner_timeout"),
    ("409", Conflict, Conflict, "partner_conflict"),
    ("413", Invalid, Invalid, "partner_rejects"),
    ("422", Refused, Refused, "partner_refused"),
    ("425", Unavailable, Unavailable, "partner_too_early"),
    ("429", Unavailable, Unavailable, "partner_rate_limit"),
    ("500", Unavailable, InDoubt, "partner_failed"),
    ("501", Misconfigured, Misconfigured, "partner_cannot"),
    ("502", Unavailable, InDoubt, "partner_failed"),
    ("503", Unavailable, InDoubt, "partner_unavailable"),
    ("503?after=7", Unavailable, Unavailable, "partner_unavailable"),
    ("504", Unavailable, InDoubt, "partner_failed"),
    ("599", Unavailable, InDoubt, "partner_failed"),
]


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
@pytest.mark.parametrize(("how", "for_read", "for_write", "code"), ENDS, ids=[end[0] for end in ENDS])
async def test_every_end_has_its_class(
    session: HttpSession, how: str, for_read: type[CrossdockError], for_write: type[CrossdockError], code: str,
    write: bool,
) -> None:  # fmt: skip
    method = "POST" if write else "GET"
    one = call()
    with pytest.raises(CrossdockError) as caught:
        await session.request(one, method, f"/{how}", json={"a": 1} if write else None, write=write)
    assert type(caught.value) is (for_write if write else for_read)
    assert caught.value.code == code
    assert caught.value.message.endswith(".")
    assert one.exchanges[0].error == code


def test_the_whole_table_is_tested() -> None:
    reached = {code for *_, code in ENDS} | {"partner_unreachable", "partner_name_unknown", "partner_tls"}
    assert {meaning.code for meaning in (*BROKEN.values(), *STATUSES.values())} == reached


@pytest.mark.parametrize(("write", "expected"), [(False, Unavailable), (True, InDoubt)])
async def test_an_answer_that_does_not_come_is_a_timeout(
    address: str, write: bool, expected: type[CrossdockError]
) -> None:
    async with HttpSession.open(address, timeout_seconds=0.2) as session:
        with pytest.raises(expected) as caught:
            await session.request(None, "POST", "/hang", write=write)
    assert caught.value.code == "partner_timeout"


@pytest.mark.parametrize(
    ("scheme_and_host", "code"),
    [("http://127.0.0.1", "partner_unreachable"), ("http://no-such-host.invalid", "partner_name_unknown")],
)
async def test_a_write_that_never_left_is_not_in_doubt(scheme_and_host: str, code: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refuses
        async with HttpSession.open(f"{scheme_and_host}:{taken.getsockname()[1]}") as session:
            with pytest.raises(Unavailable) as caught:
                await session.request(None, "POST", "/x", json={}, write=True)
    assert caught.value.code == code


async def test_a_write_to_a_partner_without_tls_is_not_in_doubt(address: str) -> None:
    async with HttpSession.open(address.replace("http:", "https:")) as session:
        with pytest.raises(Unavailable) as caught:
            await session.request(None, "POST", "/echo", json={}, write=True)
    assert caught.value.code == "partner_tls"


async def test_retry_after_is_handed_on(session: HttpSession) -> None:
    with pytest.raises(Unavailable) as caught:
        await session.request(None, "GET", "/429?after=7", write=False)
    assert caught.value.retry_after_seconds == 7
    with pytest.raises(Unavailable) as without:
        await session.request(None, "GET", "/429", write=False)
    assert without.value.retry_after_seconds is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7), ("0", 0), (" 12 ", 12), ("9" * 400, 86_400), ("-3", None), ("soon", None), ("", None), ("٣", None),
     (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90), (format_datetime(NOW - timedelta(hours=1)), 0)],
)  # fmt: skip
def test_retry_after_is_read_in_both_forms(value: str, seconds: float | None) -> None:
    assert retry_after_seconds(value, NOW) == seconds


async def test_what_is_sent(session: HttpSession) -> None:
    answer = await session.request(call(), "POST", "/echo", json={"a": 1}, idempotency_key="k/1", write=True)
    echo = answer.decode(dict[str, Any])
    sent = {name.lower(): value for name, value in echo["headers"].items()}
    assert echo["body"] == '{"a":1}'
    assert sent["authorization"] == "Bearer key-of-ours"
    assert sent["idempotency-key"] == "k/1"
    assert sent["traceparent"] == call().traceparent
    assert sent["content-type"] == "application/json"


async def test_exchanges_are_kept_masked(session: HttpSession) -> None:
    one, two = call(), call()
    sent = {"name": "Ada", "sku": "A", "url": "key-of-ours"}
    await session.request([one, two], "POST", "/echo", json=sent, write=True)
    assert one.exchanges == two.exchanges
    (kept,) = one.exchanges
    assert (kept.method, kept.status, kept.error) == ("POST", 200, "")
    assert '"sku":"A"' in kept.request
    assert "Ada" not in kept.request + kept.response
    assert "key-of-ours" not in kept.request + kept.response


async def test_an_expected_status_is_an_answer(session: HttpSession) -> None:
    assert (await session.request(None, "GET", "/404", write=False, expected=(200, 404))).status == 404
    assert (await session.request(None, "POST", "/empty", write=True)).body == b""


async def test_an_answer_of_another_shape_is_in_doubt_after_a_write(session: HttpSession) -> None:
    answer = await session.request(None, "POST", "/echo", write=True)
    with pytest.raises(InDoubt):
        answer.decode(list[int])


@pytest.mark.parametrize(
    "base_url", ["", "partner.example", "ftp://a", "http://", "http://u:p@host", "http://host?x=1", "http://[bad"]
)
async def test_an_address_that_is_none_is_refused(base_url: str) -> None:
    with pytest.raises(Misconfigured):
        async with HttpSession.open(base_url):
            pass


def test_parts_of_a_path_cannot_leave_their_place() -> None:
    assert path("/orders/{}/lines/{}", "../../admin?x=1", "a b") == "/orders/..%2F..%2Fadmin%3Fx%3D1/lines/a%20b"


def test_statuses_outside_of_http_count_as_failures() -> None:
    assert meaning_of_status(999, has_retry_after=False).write is InDoubt
