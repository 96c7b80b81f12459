"""The one way into the API: finds the endpoint, admits the caller, reads the message, answers; every answer is bounded,
carries the security headers and is a document or a problem.

It is a plain ASGI application over the table of endpoints: nothing runs on the hot path that is not written here.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import msgspec
import structlog

from crossdock.api.answers import PROBLEM_JSON, Answer, ApiProblem, new_trace_id, problem_answer, problem_of
from crossdock.api.endpoint import Call, Endpoint
from crossdock.api.reading import QueryReader, check_media_type, decode_body, read_body, read_headers
from crossdock.api.services import ApiServices
from crossdock.api.tokens import TokenGate
from crossdock.insight.telemetry.traces import is_traceparent
from crossdock.model.errors import CrossdockError

_LOG: Final = structlog.get_logger("crossdock.api")
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
PATH_MAX: Final = 500
JSON_POLICY: Final = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
PAGE_POLICY: Final = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": JSON_POLICY,
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_FIXED: Final = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
_FIXED_FOR_PAGES: Final = [
    (name, PAGE_POLICY.encode() if name == b"content-security-policy" else value) for name, value in _FIXED
]
_DATABASE: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class _Route:
    """An endpoint with what is needed to read its messages."""

    endpoint: Endpoint
    query: QueryReader | None
    decoder: msgspec.json.Decoder[Any] | None


class Router:
    """Paths to endpoints, by method. `{code}` stands for one segment, or for what comes before a `:verb`."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._fixed: dict[str, dict[str, _Route]] = {}
        self._patterns: dict[str, tuple[re.Pattern[str], dict[str, _Route]]] = {}
        for endpoint in endpoints:
            route = _Route(
                endpoint,
                QueryReader(endpoint.query) if endpoint.query else None,
                msgspec.json.Decoder(endpoint.body) if endpoint.body else None,
            )
            if "{" in endpoint.path:
                methods = self._patterns.setdefault(endpoint.path, (_pattern(endpoint.path), {}))[1]
            else:
                methods = self._fixed.setdefault(endpoint.path, {})
            methods[endpoint.method] = route

    def find(self, method: str, path: str) -> tuple[_Route, Mapping[str, str]]:
        """Raises ApiProblem 404 and 405."""
        methods = self._fixed.get(path)
        values: Mapping[str, str] = {}
        if methods is None:
            methods, values = self._search(path)
        route = methods.get(method)
        if route is None:
            allowed = ", ".join(sorted(methods))
            raise ApiProblem(405, "method", f"This address takes {allowed}.", headers={"Allow": allowed})
        return route, values

    def _search(self, path: str) -> tuple[dict[str, _Route], Mapping[str, str]]:
        if len(path) <= PATH_MAX and not _CONTROL.search(path):
            for pattern, methods in self._patterns.values():
                found = pattern.match(path)
                if found:
                    return methods, found.groupdict()
        raise ApiProblem(404, "not_found", "There is nothing at this address.")


def _pattern(path: str) -> re.Pattern[str]:
    text = ""
    end = 0
    for found in _PARAMETER.finditer(path):
        segment = "[^/]+" if path[found.end() : found.end() + 1] == ":" else "[^/:]+"
        text += re.escape(path[end : found.start()]) + f"(?P<{found.group(1)}>{segment})"
        end = found.end()
    return re.compile(text + re.escape(path[end:]) + r"\Z")


class Gateway:
    """The ASGI application of the API."""

    def __init__(self, services: ApiServices, endpoints: Sequence[Endpoint]) -> None:
        self._services = services
        self._router = Router(endpoints)
        self._gate = TokenGate(services)

    async def __call__(
        self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        headers = read_headers(scope)
        given = headers.get("traceparent", "")
        traceparent = given if given and is_traceparent(given) else ""
        answer = await self._answer(scope, receive, headers, traceparent)
        if answer.stream is not None:
            await _send_stream(answer, answer.stream, receive, send)
            return
        fixed = _FIXED if answer.media_type.endswith("json") else _FIXED_FOR_PAGES
        lines = [
            (b"content-type", answer.media_type.encode()), (b"content-length", str(len(answer.body)).encode()), *fixed,
        ]  # fmt: skip
        lines += [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in answer.headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": lines})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(
        self, scope: Any, receive: Callable[[], Awaitable[Any]], headers: Mapping[str, str], traceparent: str
    ) -> Answer:
        try:
            return await self._perform(scope, receive, headers, traceparent)
        except ApiProblem as given:
            return problem_answer(given, _trace_id(traceparent))
        except CrossdockError as error:
            if error.kind in ("defect", "misconfigured"):
                _LOG.error("api_error", code=error.code, path=_route_of(scope))
            return problem_answer(problem_of(error), _trace_id(traceparent))
        except asyncpg.DataError:
            problem = ApiProblem(422, "value_unkeepable", "A value is outside of what can be kept or compared.")
            return problem_answer(problem, _trace_id(traceparent))
        except _DATABASE as error:
            trace_id = _trace_id(traceparent)
            _LOG.warning("api_database_unavailable", error=type(error).__name__, trace_id=trace_id)
            problem = ApiProblem(
                503, "database_unavailable", "The database does not answer.", next_action="Send the request again.",
                headers={"Retry-After": "1"},
            )  # fmt: skip
            return problem_answer(problem, trace_id)
        except Exception as error:  # noqa: BLE001 the caller gets an answer whatever we did wrong
            trace_id = _trace_id(traceparent)
            name = type(error).__name__
            _LOG.error("api_defect", error=name, path=_route_of(scope), trace_id=trace_id, exc_info=True)
            problem = ApiProblem(500, "defect", "Something went wrong on our side.")
            return problem_answer(problem, trace_id)

    async def _perform(
        self, scope: Any, receive: Callable[[], Awaitable[Any]], headers: Mapping[str, str], traceparent: str
    ) -> Answer:
        route, path = self._router.find(scope["method"], _path_of(scope))
        endpoint = route.endpoint
        client = scope.get("client")
        address = client[0] if client else "unknown"
        holder = await self._gate.admit(headers, address, endpoint.scope) if endpoint.scope else None
        query_string = scope.get("query_string", b"")
        query = None
        if route.query is not None:
            query = route.query.read(query_string)
        elif query_string:
            raise ApiProblem(400, "parameter_unknown", "This address takes no parameters.")
        raw = b""
        body = None
        if endpoint.method == "POST":
            raw = await read_body(receive, headers)
            if raw or not endpoint.body_optional:
                if endpoint.body_media_type:
                    check_media_type(headers, endpoint.body_media_type)
                if route.decoder is not None:
                    body = decode_body(route.decoder, raw)
        call = Call(self._services, headers, address, path, query, body, raw, traceparent, holder)
        return await endpoint.perform(call)


async def _send_stream(
    answer: Answer, stream: AsyncGenerator[bytes], receive: Callable[[], Awaitable[Any]],
    send: Callable[[Any], Awaitable[None]],
) -> None:  # fmt: skip
    """A part at a time, each when the last one has been taken; until the stream ends or the listener leaves."""
    leaving = asyncio.ensure_future(_until_gone(receive))
    coming = asyncio.ensure_future(anext(stream, None))
    try:
        lines = [(b"content-type", answer.media_type.encode()), *_FIXED]
        await send({"type": "http.response.start", "status": answer.status, "headers": lines})
        while True:
            await asyncio.wait({coming, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                return
            part = coming.result()
            if part is None:
                break
            await send({"type": "http.response.body", "body": part, "more_body": True})
            coming = asyncio.ensure_future(anext(stream, None))
        await send({"type": "http.response.body", "body": b""})
    finally:
        leaving.cancel()
        coming.cancel()
        await asyncio.gather(leaving, coming, return_exceptions=True)
        await stream.aclose()


async def _until_gone(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _path_of(scope: Any) -> str:
    """The path; one slash at its end is forgiven."""
    path: str = scope["path"]
    return path[:-1] if len(path) > 1 and path.endswith("/") else path


def _route_of(scope: Any) -> str:
    return str(scope["path"])[:100]


def _trace_id(traceparent: str) -> str:
    return traceparent[3:35] if traceparent else new_trace_id()


__all__ = ["PROBLEM_JSON", "Gateway", "Router"]
