"""The door of every sandbox partner: HTTP in, one transaction per request, faults on the way.

A partner is a table of routes to plain functions over its storage. This module gives each of them the key check,
the rate limit, the fault plan, the write log and a clean end. Paths that begin with `/_` are the laboratory's own
controls: they need no key, listen on loopback only like everything here, and refuse requests sent by a web page.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import itertools
import math
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

import msgspec
from aiohttp import web

from crossdock.sandbox.disorder import PageMemory
from crossdock.sandbox.faults import Fate, FaultPlan, Faults
from crossdock.sandbox.storage import LOG_PAGE, Storage
from crossdock.sandbox.webhooks import WebhookSender

Shape = TypeVar("Shape")
BODY_BYTES_MAX: Final = 64 * 1024 * 1024
REQUESTS_KEPT: Final = 100_000
CALLBACK_SECONDS_MAX: Final = 5.0


class Refusal(Exception):
    """The partner says no; the transaction is rolled back."""

    def __init__(
        self, status: int, code: str, message: str, document: object = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.status = status
        self.code = code
        self.message = message
        self.document = document


@dataclass(frozen=True, slots=True)
class Call:
    """One request as a route's function sees it."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    raw: bytes

    def read(self, shape: type[Shape]) -> Shape:
        try:
            return msgspec.json.decode(self.raw, type=shape)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Refusal(400, "malformed_request", str(error)) from None

    def number(self, name: str, default: int) -> int:
        text = self.query.get(name) or str(default)
        if not text.isdigit():
            raise Refusal(400, "malformed_request", f"{name} must be a whole number")
        return int(text)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the partner says."""

    body: object
    status: int = 200


@dataclass(frozen=True, slots=True)
class Route:
    """A path and the function that answers it inside one transaction.

    `sequel` is what the partner does later of its own accord because of it; the fault plan may have it done, and its
    webhooks delivered, before the answer.
    """

    method: str
    path: str
    operation: Callable[[Call], Answer]
    sequel: Callable[[Call], object] | None = None


class Partner(Protocol):
    """A simulated system: its routes and what it does by itself in the meantime."""

    def routes(self) -> Sequence[Route]: ...

    async def live(self) -> None: ...


@dataclass(slots=True)
class RateLimit:
    """A token bucket: `per_second` on average, `burst` at once; 0 means no limit."""

    per_second: float
    burst: float
    _tokens: float = field(init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        self._tokens = self.burst
        self._at = time.monotonic()

    def seconds_to_wait(self) -> float:
        if self.per_second <= 0:
            return 0.0
        now = time.monotonic()
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.per_second)
        self._at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self.per_second


class Seen(msgspec.Struct, frozen=True):
    """One request that came, and what became of it. A duplicate of the network is seen twice."""

    sequence: int
    method: str
    path: str
    traceparent: str
    fate: Fate
    again: bool = False


@dataclass(slots=True)
class Laboratory:
    """Everything around one partner."""

    name: str
    storage: Storage
    faults: Faults
    api_key: str
    rate_limit: RateLimit
    sender: WebhookSender | None
    started: float = field(default_factory=time.monotonic)
    pages: PageMemory = field(default_factory=PageMemory)
    requests: deque[Seen] = field(default_factory=lambda: deque(maxlen=REQUESTS_KEPT))
    seen: int = 0

    def note(self, request: web.Request, fate: Fate, *, again: bool = False) -> None:
        self.seen += 1
        traceparent = request.headers.get("traceparent", "")
        self.requests.append(Seen(self.seen, request.method, request.path, traceparent, fate, again))


def make_application(laboratory: Laboratory, partner: Partner) -> web.Application:
    application = web.Application(client_max_size=BODY_BYTES_MAX)
    for route in (*partner.routes(), *_controls(laboratory)):
        application.router.add_route(route.method, route.path, _endpoint(laboratory, route))
    return application


async def serve(laboratory: Laboratory, partner: Partner, port: int, ready: Callable[[int], None]) -> None:
    """Listen on loopback until told to stop by SIGTERM or SIGINT; `ready` is told the port."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(make_application(laboratory, partner), access_log=None, shutdown_timeout=3.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, backlog=512)
    await site.start()
    tasks: list[asyncio.Task[None]] = [asyncio.create_task(partner.live())]
    if laboratory.sender is not None:
        tasks.append(asyncio.create_task(laboratory.sender.run()))
    ready(runner.addresses[0][1])
    tasks.append(asyncio.create_task(_until(stop)))
    done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await runner.cleanup()
    laboratory.storage.close()
    for task in done:
        task.result()


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()


def _endpoint(laboratory: Laboratory, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    control = route.path.startswith("/_") or route.path == "/healthz"

    async def endpoint(request: web.Request) -> web.StreamResponse:
        if control:
            if "origin" in request.headers:
                return _refused(403, "no_browsers", "controls are not for web pages")
            return _perform(laboratory, route, await _call(request))
        if not _knows_key(request, laboratory.api_key):
            return _refused(401, "unauthorised", "a valid bearer key is required")
        wait = laboratory.rate_limit.seconds_to_wait()
        if wait > 0:
            return _too_many(wait)
        fate = laboratory.faults.draw(request.method, request.path)
        laboratory.note(request, fate)
        return await _perform_with_fate(laboratory, route, request, fate)

    return endpoint


async def _perform_with_fate(
    laboratory: Laboratory, route: Route, request: web.Request, fate: Fate
) -> web.StreamResponse:
    if fate.delay_seconds and not fate.delay_after_commit:
        await asyncio.sleep(fate.delay_seconds)
    if fate.before == "reset":
        return _cut(request)
    if fate.before == "429":
        return _too_many(fate.retry_after)
    if fate.before in ("500", "503"):
        return _refused(int(fate.before), "unavailable", "the sandbox was told to fail")
    call = await _call(request)
    # From here on the partner works although the caller may be gone: that is what a real one does.
    answer = _perform(laboratory, route, call)
    if fate.twice:
        laboratory.note(request, fate, again=True)
        second = _perform(laboratory, route, call)
        answer = second if fate.second_answer else answer
    if fate.callback_first:
        await _call_back(laboratory, route, call)
    if fate.delay_seconds and fate.delay_after_commit:
        await asyncio.sleep(fate.delay_seconds)
    if request.method == "GET" and answer.status == 200 and isinstance(answer.body, bytes):
        chance = laboratory.faults.chance
        body = laboratory.pages.disordered(request.path, str(request.rel_url), answer.body, fate.page, chance)
        answer = web.Response(body=body, status=200, content_type="application/json")
    return await _tell(request, answer, fate)


async def _call_back(laboratory: Laboratory, route: Route, call: Call) -> None:
    """What would come after the answer comes before it."""
    if route.sequel is not None:
        with laboratory.storage.transaction():
            route.sequel(call)
    if laboratory.sender is not None:
        await laboratory.sender.until_told(CALLBACK_SECONDS_MAX)


async def _tell(request: web.Request, answer: web.Response, fate: Fate) -> web.StreamResponse:
    """The answer, or what is left of it on its way."""
    body = answer.body if isinstance(answer.body, bytes) else b""
    match fate.after:
        case "drop":
            return _cut(request)
        case "500":
            return _refused(500, "unavailable", "the sandbox was told to fail after the work")
        case "truncate":
            half = body[: max(1, len(body) // 2)]
            return web.Response(body=half, status=answer.status, content_type="application/json")
        case "break off":
            headers = {"content-type": "application/json", "content-length": str(len(body))}
            begun = web.StreamResponse(status=answer.status, headers=headers)
            await begun.prepare(request)
            await begun.write(body[: len(body) // 2])
            return _cut(request)
        case "wrong type":
            return web.Response(body=body, status=answer.status, content_type="text/html")
        case "answer":
            return answer


async def _call(request: web.Request) -> Call:
    return Call(dict(request.match_info), dict(request.query), request.headers, await request.read())


def _perform(laboratory: Laboratory, route: Route, call: Call) -> web.Response:
    try:
        with laboratory.storage.transaction():
            answer = route.operation(call)
    except Refusal as refusal:
        if refusal.status == 429:
            return _too_many(refusal.retry_after)
        return _refused(refusal.status, refusal.code, refusal.message, refusal.document)
    if laboratory.sender is not None:
        laboratory.sender.announce()
    return web.Response(
        body=msgspec.json.encode(answer.body), status=answer.status, content_type="application/json"
    )


def _knows_key(request: web.Request, api_key: str) -> bool:
    given = request.headers.get("authorization", "").encode("utf-8", "surrogateescape")
    return hmac.compare_digest(given, f"Bearer {api_key}".encode())


def _refused(status: int, code: str, message: str, document: object = None) -> web.Response:
    body: dict[str, Any] = {"error": {"code": code, "message": message}}
    if document is not None:
        body["existing"] = document
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")


def _too_many(seconds: float | None) -> web.Response:
    response = _refused(429, "too_many_requests", "slow down")
    if seconds is not None:
        response.headers["retry-after"] = str(max(1, math.ceil(seconds)))
    return response


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def _controls(laboratory: Laboratory) -> Sequence[Route]:
    storage, faults = laboratory.storage, laboratory.faults

    def read_log(call: Call) -> Answer:
        limit = min(call.number("limit", LOG_PAGE), LOG_PAGE)
        return Answer(storage.read_log(call.number("after", 0), limit))

    def read_requests(call: Call) -> Answer:
        after = call.number("after", 0)
        return Answer(list(itertools.islice((seen for seen in laboratory.requests if seen.sequence > after), LOG_PAGE)))

    def read_faults(call: Call) -> Answer:
        return Answer(faults.plan)

    def place_faults(call: Call) -> Answer:
        faults.follow(call.read(FaultPlan))
        return Answer(faults.plan)

    def read_health(call: Call) -> Answer:
        up_seconds = round(time.monotonic() - laboratory.started, 1)
        return Answer(
            {"status": "ok", "name": laboratory.name, "up_seconds": up_seconds, "webhooks": storage.count_messages()}
        )

    def queue_raw_webhook(call: Call) -> Answer:
        """Sign and send any bytes whatever: the poison of the tests."""
        storage.queue_message("raw", call.raw)
        return Answer({"queued": True}, 202)

    return (
        Route("GET", "/_log", read_log),
        Route("GET", "/_requests", read_requests),
        Route("GET", "/_faults", read_faults),
        Route("PUT", "/_faults", place_faults),
        Route("GET", "/healthz", read_health),
        Route("POST", "/_control/webhook", queue_raw_webhook),
    )


async def wait_for_ever() -> None:
    """The life of a partner that does nothing by itself."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
