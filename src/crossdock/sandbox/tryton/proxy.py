"""The door in front of Tryton: passes its RPC on, keeps the write log, and misbehaves where the fault plan says so.

The write log and `/_documents` (read from Tryton's own tables) are the outside evidence that tests judge us by.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any, Final

import aiohttp
import asyncpg
import msgspec
from aiohttp import web

from crossdock.sandbox.faults import Fate, FaultPlan, Faults
from crossdock.sandbox.storage import LOG_PAGE, Storage

BODY_BYTES_MAX: Final = 64 * 1024 * 1024
PAGE: Final = 5000
# The last word of an RPC method that only reads.
READS: Final = frozenset({
    "read", "search", "search_read", "search_count", "fields_get", "default_get", "get_preferences", "listMethods",
    "login", "logout", "version", "list", "get", "fields_view_get", "autocomplete", "on_change_with",
})  # fmt: skip
_PASSED_ON: Final = ("authorization", "content-type")


Answer = Callable[[web.Request], Awaitable[web.Response]]


class Rpc(msgspec.Struct):
    """The envelope of Tryton's JSON-RPC."""

    method: str = ""
    params: msgspec.Raw = msgspec.Raw(b"[]")


class Outcome(msgspec.Struct):
    result: Any = None
    error: Any = None


def queries() -> Mapping[str, str]:
    text = files("crossdock.sandbox.tryton").joinpath("documents.sql").read_text(encoding="utf-8")
    parts = (part.split("\n", 1) for part in text.split("-- name: ")[1:])
    return {name.strip(): body.strip() for name, body in parts}


class Proxy:
    """One Tryton behind one public port."""

    def __init__(self, url: str, client: aiohttp.ClientSession, storage: Storage, pool: asyncpg.Pool[Any]) -> None:
        self._url = url
        self._client = client
        self._storage = storage
        self._pool = pool
        self._queries = queries()
        self.faults = Faults()

    def application(self) -> web.Application:
        application = web.Application(client_max_size=BODY_BYTES_MAX)
        application.router.add_get("/healthz", _control(self._health))
        application.router.add_get("/_log", _control(self._log))
        application.router.add_get("/_documents", _control(self._documents))
        application.router.add_get("/_faults", _control(self._read_faults))
        application.router.add_put("/_faults", _control(self._place_faults))
        application.router.add_post("/{tail:.*}", self._pass)
        return application

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        method = _method(body)
        writes = bool(method) and method.rsplit(".", 1)[-1] not in READS
        fate = self.faults.draw("POST" if writes else "GET", f"{request.path}{method}")
        if fate.delay_seconds and not fate.delay_after_commit:
            await asyncio.sleep(fate.delay_seconds)
        early = _early_end(request, fate)
        if early is not None:
            return early
        # Shielded: Tryton goes on and the log is kept although the caller may be gone.
        status, answer = await asyncio.shield(self._forward(request, body, method, writes))
        if fate.twice:
            second = await asyncio.shield(self._forward(request, body, method, writes))
            status, answer = second if fate.second_answer else (status, answer)
        if fate.delay_seconds and fate.delay_after_commit:
            await asyncio.sleep(fate.delay_seconds)
        if fate.after == "drop":
            return _cut(request)
        if fate.after == "500":
            return web.Response(status=500, text="the sandbox was told to fail after the work")
        if fate.after == "truncate":
            answer = answer[: len(answer) // 2]
        kind = "application/json" if status == 200 else "text/plain"
        if fate.after == "wrong type":
            kind = "text/html"
        if fate.after == "break off":
            begun = web.StreamResponse(status=status, headers={"content-length": str(len(answer))})
            await begun.prepare(request)
            await begun.write(answer[: len(answer) // 2])
            return _cut(request)
        return web.Response(body=answer, status=status, content_type=kind)

    async def _forward(self, request: web.Request, body: bytes, method: str, writes: bool) -> tuple[int, bytes]:
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        try:
            async with self._client.post(f"{self._url}{request.path}", data=body, headers=headers) as answer:
                content = await answer.read()
                status = answer.status
        except (aiohttp.ClientError, OSError):
            return 502, b"the ERP does not answer"
        if writes and status == 200:
            self._keep(method, body, content)
        return status, content

    def _keep(self, method: str, body: bytes, content: bytes) -> None:
        """Log what was committed; an error means that Tryton rolled back."""
        try:
            outcome = msgspec.json.decode(content, type=Outcome)
            sent = msgspec.json.decode(body, type=Rpc)
        except msgspec.DecodeError:
            return
        if outcome.error is None:
            with self._storage.transaction():
                self._storage.append_log(method, "", {"arguments": sent.params, "result": outcome.result})

    async def _health(self, request: web.Request) -> web.Response:
        body = {"id": 1, "method": "common.server.version", "params": []}
        try:
            async with self._client.post(f"{self._url}/rpc/", json=body) as answer:
                well = answer.status == 200
        except (aiohttp.ClientError, OSError):
            well = False
        return _json({"status": "ok" if well else "down", "name": "tryton"}, 200 if well else 503)

    async def _log(self, request: web.Request) -> web.Response:
        after = int(request.query.get("after") or 0)
        limit = min(int(request.query.get("limit") or LOG_PAGE), LOG_PAGE)
        return _json(self._storage.read_log(after, limit))

    async def _documents(self, request: web.Request) -> web.Response:
        """`?kind=sales&after=0`; without a kind, the first page of each."""
        wanted = request.query.get("kind", "")
        kinds = [wanted] if wanted in self._queries else list(self._queries)
        after = int(request.query.get("after") or 0)
        found: dict[str, list[dict[str, Any]]] = {}
        async with self._pool.acquire() as connection:
            for kind in kinds:
                rows = await connection.fetch(self._queries[kind], after, PAGE)
                found[kind] = [_document(dict(row)) for row in rows]
        return _json(found)

    async def _read_faults(self, request: web.Request) -> web.Response:
        return _json(self.faults.plan)

    async def _place_faults(self, request: web.Request) -> web.Response:
        try:
            self.faults.follow(msgspec.json.decode(await request.read(), type=FaultPlan))
        except msgspec.DecodeError as error:
            return _json({"error": str(error)}, 400)
        return _json(self.faults.plan)


def _control(answer: Answer) -> Answer:
    async def guarded(request: web.Request) -> web.Response:
        if "origin" in request.headers:
            return _json({"error": "controls are not for web pages"}, 403)
        return await answer(request)

    return guarded


def _method(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=Rpc).method
    except (msgspec.DecodeError, UnicodeError):
        return ""


def _document(row: dict[str, Any]) -> dict[str, Any]:
    return {name: json.loads(value) if name in ("lines", "moves") else value for name, value in row.items()}


def _early_end(request: web.Request, fate: Fate) -> web.Response | None:
    if fate.before == "reset":
        return _cut(request)
    if fate.before == "429":
        wait = {} if fate.retry_after is None else {"retry-after": str(max(1, round(fate.retry_after)))}
        return web.Response(status=429, headers=wait)
    if fate.before in ("500", "503"):
        return web.Response(status=int(fate.before))
    return None


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")
