"""One run, watched: metrics move, traces hang together, and what it leaves behind holds no secret and no person."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from crossdock.prove.canaries import CARD_NUMBER, Left, Person, find_canaries
from crossdock.prove.real_world import make_basket
from crossdock.sandbox.portal import traceparent_of
from tests.e2e.canaries import files_left, secrets_of
from tests.e2e.proof_world import World, free_port, open_world, read_logs, seen_requests

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(600)]
SHOP_ORDERS: Final = 6
PORTAL_ORDERS: Final = 3
STEPS: Final = {
    "tax.quote", "payment.authorise", "channel.acknowledge", "wms.release", "payment.capture", "tax.commit",
    "channel.ship", "carrier.track",
}  # fmt: skip
FAULTS: Final[Mapping[str, Any]] = {
    "seed": 5, "paths": "^/(api|v1)", "commit_then_drop": 0.15, "status_503": 0.05, "truncate": 0.05,
    "wrong_content_type": 0.05, "duplicate": 0.1, "duplicate_paths": "^/v1", "page_repeat": 0.5,
}  # fmt: skip
CONSOLE_PAGES: Final = (
    "/console", "/console/orders", "/console/connections", "/console/holds", "/console/quarantine/facts",
    "/console/quarantine/steps", "/console/orders/nobody", "/console/sign-in",
)  # fmt: skip
COMMANDS: Final = (
    ("status", "--json"), ("status",), ("replay", "list", "--json"), ("replay", "list"), ("connections", "list"),
    ("config", "check"), ("orders", "list", "--json"),
)  # fmt: skip


class Readings:
    """What a /metrics page says."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]  # fmt: skip

    def sum(self, name: str, **labels: str) -> float:
        return sum(
            sample.value for sample in self._samples
            if sample.name == f"crossdock_{name}" and labels.items() <= sample.labels.items()
        )  # fmt: skip


async def read_metrics(url: str) -> Readings:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as answer:
        assert answer.status == 200
        return Readings(await answer.text())


async def answer_to(world: World, number: str) -> tuple[int, str]:
    """What the portal was told about its order."""
    async with asyncio.timeout(180):
        while True:
            for row in await world.partners["portal"].log():
                if row["kind"] == "answer" and row["business_key"] == number:
                    return row["document"]["status"], str(row["document"]["answer"])
            await asyncio.sleep(0.1)


async def refused_requests(world: World, token: str, person: Person, placed: str) -> list[Left]:
    """Whatever can be wrong with a request that names a person and holds secrets."""
    log = await world.partners["portal"].log()
    order = next(row["document"] for row in log if row["kind"] == "order" and row["business_key"] == placed)
    assert order["ship_to"]["phone"] == person.phone
    good = {"authorization": f"Bearer {token}", "idempotency-key": "k", "crossdock-channel": "portal"}
    line = {**order["lines"][0], "sku": "NO-SUCH"}
    address = {**order["ship_to"], "country": person.email}
    bodies: Sequence[tuple[str, bytes, dict[str, str]]] = (
        ("unknown article", msgspec.json.encode({**order, "channel_number": "D-8", "lines": [line]}), good),
        ("country is none", msgspec.json.encode({**order, "channel_number": "D-9", "ship_to": address}), good),
        ("card number", msgspec.json.encode({**order, "channel_number": "D-7", "note": CARD_NUMBER}), good),
        ("cut off", msgspec.json.encode(order)[:-2], good),
        ("unknown field", msgspec.json.encode({**order, "card_number": CARD_NUMBER}), good),
        ("wrong shape", msgspec.json.encode({**order, "lines": person.note}), good),
        ("wrong token", msgspec.json.encode(order), {**good, "authorization": f"Bearer {person.card_token}"}),
        ("other content", msgspec.json.encode({**order, "note": "x"}), {**good, "idempotency-key": placed}),
    )  # fmt: skip
    left = []
    async with aiohttp.ClientSession() as session:
        for what, body, headers in bodies:
            sent = {**headers, "content-type": "application/json"}
            async with session.post(f"{world.url}/v1/orders", data=body, headers=sent) as answer:
                assert answer.status >= 400, what
                left.append(Left(f"answer to an order with {what}", await answer.text()))
        form = {"grant_type": "client_credentials", "client_id": "portal-1"}
        form["client_secret"] = world.secrets.console_password
        async with session.post(f"{world.url}/oauth/token", data=form) as answer:
            left.append(Left("answer to a wrong secret", await answer.text()))
        unsigned = {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": world.secrets.webhook_secret}
        async with session.post(f"{world.url}/hooks/shop", json=order, headers=unsigned) as answer:
            left.append(Left("answer to an unsigned webhook", await answer.text()))
        wrong = {"name": person.email, "password": world.secrets.client_secret}
        async with session.post(f"{world.url}/console/sign-in", data=wrong) as answer:
            left.append(Left("answer to a wrong password", await answer.text(), may_name=True))
    return left


async def what_operators_see(world: World, token: str, numbers: Sequence[str]) -> tuple[list[Left], str]:
    """Every page of API and console, and the session's cookie."""
    left = []
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        bearer = {"authorization": f"Bearer {token}"}
        paths = [f"/v1/{what}" for what in ("orders", "shipments", "holds", "connections", "quarantine")]
        paths += ["/openapi.json", "/docs"]
        paths += [f"/v1/orders/{number}/timeline" for number in numbers]
        for path in (*paths, *(f"/v1/orders/{number}" for number in numbers)):
            async with session.get(f"{world.url}{path}", headers=bearer) as answer:
                assert answer.status == 200, path
                # The order itself: who may read orders of this channel may know where they go.
                may_name = path.startswith("/v1/orders/") and not path.endswith("/timeline")
                left.append(Left(path, await answer.text(), may_name))
        signing = {"name": "operator", "password": world.secrets.console_password}
        async with session.post(f"{world.url}/console/sign-in", data=signing) as answer:
            assert answer.status == 200
            assert "Sign out" in await answer.text()
        for path in (*CONSOLE_PAGES, *(f"/console/orders/{number}" for number in numbers)):
            async with session.get(f"{world.url}{path}") as answer:
                left.append(Left(path, await answer.text(), path.startswith("/console/orders/CD")))
        async with session.get(f"{world.url}/console/quarantine/facts") as answer:
            page = await answer.text()
        for fact in sorted(set(re.findall(r"quarantine/facts/(\d+)/payload", page))):
            async with session.get(f"{world.url}/console/quarantine/facts/{fact}/payload") as answer:
                assert answer.status == 200
                left.append(Left(f"payload of fact {fact}", await answer.text()))
        assert len(left) > len(paths) + len(CONSOLE_PAGES) + len(numbers), "parked payloads were looked at"
        cookie = next(iter(jar)).value
    return left, cookie


def read_spans(world: World) -> list[dict[str, Any]]:
    spans = []
    for path in world.traces.iterdir():
        for line in path.read_bytes().splitlines():
            document = msgspec.json.decode(line)
            for resource in document["resourceSpans"]:
                spans += [span for scope in resource["scopeSpans"] for span in scope["spans"]]
    return spans


async def test_a_run_can_be_watched_and_tells_no_secret(database_url: str, tmp_path: Path) -> None:
    chance, person = random.Random(5), Person()
    async with open_world(database_url, tmp_path) as world:
        for partner in world.partners.values():
            await partner.misbehave(FAULTS)
        await world.partners["wms"].misbehave({"reset": 1, "paths": "instructions", "methods": ["POST"]})
        # What the shop pushes is known before anybody can poll it.
        await world.partners["shop"].misbehave({"status_503": 1, "paths": "^/api/orders", "methods": ["GET"]})
        pace = {"on": True, "interval": 0.5, "partial": 0.3, "short": 0}
        await world.partners["wms"].control("POST", "/_control/auto", pace)
        metrics_port = free_port()
        world.start_api()
        world.start_worker(metrics_port)
        await world.until_answering()
        async with aiohttp.ClientSession() as session:
            token = await world.token(session)

        channels = [*["portal"] * PORTAL_ORDERS, *["shop"] * SHOP_ORDERS]
        baskets = [make_basket(chance, **person.basket) for _ in channels]
        numbers = [
            await world.partners[channel].place_order(basket)
            for channel, basket in zip(channels, baskets, strict=True)
        ]  # fmt: skip
        status, answered = await answer_to(world, numbers[0])
        assert status == 201, answered
        left = await refused_requests(world, token, person, numbers[0])
        left.append(Left("answer to a good order", answered))
        await park_something(world, chance, person)

        await until_pushed(database_url)
        await world.partners["shop"].misbehave(FAULTS)
        await until_waiting_at_the_warehouse(world)
        await world.partners["wms"].misbehave(FAULTS)
        await world.until_completed(SHOP_ORDERS + PORTAL_ORDERS, 300)
        counted = await read_checked(world, f"http://127.0.0.1:{metrics_port}")

        orders = await our_orders(database_url)
        seen, cookie = await what_operators_see(world, token, [order["number"] for order in orders])
        left += seen
        for command in COMMANDS:
            ran = await asyncio.to_thread(world.command, *command)
            left += [Left(" ".join(command), ran.stdout), Left(f"errors of {' '.join(command)}", ran.stderr)]
        left += [Left("metrics of the API", counted[0].text), Left("metrics of the worker", counted[1].text)]
        await asyncio.to_thread(world.stop_own)
        left += files_left(world)
        hidden = secrets_of(world, person, token=token, cookie=cookie)
        told = msgspec.json.encode(await read_logs(world.partners), enc_hook=str).decode()
        found = find_canaries(left, hidden, person.personal)
        spans = read_spans(world)
        await check_traces(world, spans, orders, numbers[0])
    assert not found
    planted = find_canaries([Left("the partners' own logs", told)], {"card token": person.card_token}, person.personal)
    assert len(planted) == 1 + len(person.personal), "what was looked for went through the whole run"
    assert len([item for item in left if item.text]) > 30, "enough was looked at"


async def park_something(world: World, chance: random.Random, person: Person) -> None:
    """A webhook that nobody can read, an order whose shape is none, and one that the tax engine refuses for good."""
    address = {"full_name": person.name, "street": person.street, "city": person.city}
    order = {"number": "S-BAD", "email": person.email, "shipping_address": address, "note": person.note}
    raw = {"type": "order.created", "data": {**order, "payment": {"token": person.card_token, "state": 7}}}
    await world.partners["shop"].control("POST", "/_control/webhook", raw)
    await world.partners["wms"].control("POST", "/_control/webhook", {"type": "shipment.shipped", "data": order})
    await world.partners["shop"].place_order(make_basket(chance, **person.basket, country="AT"))


async def until_pushed(dsn: str) -> None:
    """The shop's orders are ours, without one having been read from it."""
    connection = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(180):
            count = "SELECT count(*) FROM orders WHERE channel = 'shop'"
            while await connection.fetchval(count) < SHOP_ORDERS:  # noqa: ASYNC110 - other processes tell nothing
                await asyncio.sleep(0.1)
    finally:
        await connection.close()


async def read_checked(world: World, worker: str) -> tuple[Readings, Readings]:
    """The readings of API and worker. What happened last is counted a moment after it can be seen elsewhere."""
    ends = asyncio.get_running_loop().time() + 60
    while True:
        counted = await read_metrics(world.url), await read_metrics(worker)
        try:
            check_metrics(*counted)
        except AssertionError:
            if asyncio.get_running_loop().time() > ends:
                raise
            await asyncio.sleep(0.2)
        else:
            return counted


async def until_waiting_at_the_warehouse(world: World) -> None:
    """The warehouse is down: what waits for it is counted, and grows old."""
    readings = await read_metrics(world.url)
    try:
        async with asyncio.timeout(240):
            while readings.sum("steps_open", connection="wms") < 3 or not readings.sum("oldest_waiting_step_seconds"):
                world.check_running()
                await asyncio.sleep(0.2)
                readings = await read_metrics(world.url)
    except TimeoutError:
        raise AssertionError(readings.text) from None


def check_metrics(api: Readings, worker: Readings) -> None:
    """Each reading that an operator relies on has moved where the thing happened."""
    assert api.sum("orders_total", channel="portal", answer="accepted") == PORTAL_ORDERS
    assert worker.sum("orders_total", channel="shop", answer="accepted") == SHOP_ORDERS + 1
    assert api.sum("order_answer_seconds_count", channel="portal") >= PORTAL_ORDERS
    assert api.sum("facts_total", connection="portal") >= PORTAL_ORDERS
    assert api.sum("facts_total", connection="shop") + worker.sum("facts_total", connection="shop") >= 2 * SHOP_ORDERS
    assert api.sum("facts_total", connection="wms") + worker.sum("facts_total", connection="wms") > 0
    for operation in STEPS:
        assert worker.sum("step_attempts_total", operation=operation, outcome="done") > 0, operation
        assert worker.sum("step_attempt_seconds_count", operation=operation) > 0, operation
    for outcome in ("unavailable", "in_doubt"):
        assert worker.sum("step_attempts_total", outcome=outcome) > 0, outcome
    assert worker.sum("step_attempts_total", connection="wms", outcome="in_doubt") >= 3
    assert api.sum("orders_in_state", state="completed") == SHOP_ORDERS + PORTAL_ORDERS
    assert api.sum("steps_open", connection="tax", state="quarantined") == 1
    assert api.sum("facts_in_state", state="quarantined") >= 1


async def our_orders(dsn: str) -> list[dict[str, str]]:
    """Each order with the trace that it arrived under."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("SELECT number, channel_number, traceparent FROM orders ORDER BY 1")
    finally:
        await connection.close()
    return [{**dict(row), "trace": row["traceparent"].split("-")[1]} for row in rows]


async def check_traces(
    world: World, spans: Sequence[Mapping[str, Any]], orders: Sequence[Mapping[str, str]], sent_by_portal: str
) -> None:
    """From the arrival to every partner: one trace an order, and the partners were told it."""
    by_id = {span["spanId"]: span for span in spans}
    trace_of = {order["number"]: order["trace"] for order in orders}
    assert len(set(trace_of.values())) == len(orders), "no two orders share a trace"
    arrivals = {"order.place", "webhook.receive", "feed.receive"}
    steps_of: dict[str, set[str]] = {}
    for span in spans:
        attributes = {item["key"]: item["value"] for item in span["attributes"]}
        if "crossdock.order" not in attributes:
            continue
        number = attributes["crossdock.order"]["stringValue"]
        assert span["traceId"] == trace_of[number], f"{span['name']} of {number} is in its order's trace"
        assert by_id[span["parentSpanId"]]["name"] in arrivals, f"{span['name']} follows from the arrival"
        steps_of.setdefault(number, set()).add(span["name"].split(" ")[0].split(":")[0])
    assert sum(steps == STEPS for steps in steps_of.values()) == SHOP_ORDERS + PORTAL_ORDERS

    pushed = [span for span in spans if span["name"] == "webhook.receive"]
    assert all(span["parentSpanId"] == span["traceId"][:16] for span in pushed), "the sender's trace is taken over"
    assert {span["traceId"] for span in pushed} & set(trace_of.values()), "a pushed order keeps the trace of its push"
    trace, parent = traceparent_of(sent_by_portal).split("-")[1:3]
    placed = [span for span in spans if span["name"] == "order.place" and span["traceId"] == trace]
    assert {span["parentSpanId"] for span in placed} == {parent}
    partners: set[str] = set()
    for kind, partner in world.partners.items():
        told = [row["traceparent"].split("-") for row in await seen_requests(partner) if trace in row["traceparent"]]
        partners.update(kind for _ in told)
        assert all(by_id[parts[2]]["traceId"] == trace for parts in told), f"{kind} was told the span of its own call"
    assert partners == {"tax", "payment", "wms", "portal", "carrier"}
