"""The HTTP session that connectors talk through: one deadline, one failure table, every exchange kept masked.

    async with HttpSession.open(settings.url, bearer=settings.key) as session:
        answer = await session.request(call, "POST", "/v1/quotes", json=quote, write=True)
        quote = answer.decode(QuoteAnswer)

`write=True` says that the request may change something at the partner: an ambiguous end is then `InDoubt`. Nothing is
ever sent a second time here, redirects are not followed, no cookie is kept and no proxy is taken from the environment.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec
from yarl import URL

from crossdock.kit.connector import Call, Exchange
from crossdock.kit.failures import BROKEN, error_from, meaning_of_status, retry_after_seconds
from crossdock.kit.masking import masked_body, masked_text, masked_url
from crossdock.model.decimals import read_json
from crossdock.model.errors import CrossdockError, Misconfigured

BODY_BYTES_MAX: Final = 8 * 1024 * 1024
CONNECT_SECONDS_MAX: Final = 5.0
EXCHANGES_MAX: Final = 50
_EXPECTED: Final = (200, 201)
_USER_AGENT: Final = "Crossdock"

# Requests that belong to no step: what completes a thin webhook is asked for under the webhook's own trace.
ARRIVING_TRACEPARENT: Final[ContextVar[str]] = ContextVar("ARRIVING_TRACEPARENT", default="")

Shape = TypeVar("Shape")
Recorder = Call | Sequence[Call] | None
"""Whose timeline an exchange belongs to: one call, every call of a batch, or nobody (feeds, checks)."""


@dataclass(frozen=True, slots=True)
class Response:
    """An expected answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    write: bool = False

    def decode(self, shape: type[Shape]) -> Shape:
        """The JSON body as `shape`; raises InDoubt (after a write) or Unavailable when it is anything else."""
        try:
            return read_json(self.body, shape)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise error_from(BROKEN["unreadable"], write=self.write, detail=masked_text(str(error))) from error


def path(template: str, *parts: str) -> str:
    """`path("/api/orders/{}", number)`: each part is quoted, so a number cannot leave its place in the address."""
    return template.format(*(quote(part, safe="") for part in parts))


def utc_now() -> datetime:
    return datetime.now(UTC)


class HttpSession:
    """A pool of connections to one partner. Open it with `HttpSession.open`."""

    def __init__(
        self, client: aiohttp.ClientSession, base_url: str, *, timeout_seconds: float, body_bytes_max: int,
        secrets: Sequence[str], now: Callable[[], datetime],
    ) -> None:  # fmt: skip
        self._client = client
        self._base_url = base_url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._body_bytes_max = body_bytes_max
        self._secrets = tuple(secrets)
        self._now = now

    @classmethod
    @asynccontextmanager
    async def open(
        cls, base_url: str, *, bearer: str = "", headers: Mapping[str, str] | None = None, secrets: Sequence[str] = (),
        timeout_seconds: float = 20.0, connections_max: int = 16, body_bytes_max: int = BODY_BYTES_MAX,
        now: Callable[[], datetime] = utc_now,
    ) -> AsyncIterator[HttpSession]:  # fmt: skip
        """Open a pool. `bearer` and all `secrets` are masked wherever they turn up in what is kept."""
        check_base_url(base_url)
        sent = {"user-agent": _USER_AGENT, "accept": "application/json", **(headers or {})}
        if bearer:
            sent["authorization"] = f"Bearer {bearer}"
        # Shorter than any partner keeps an idle connection, so that a write seldom meets one that is just closing.
        connector = aiohttp.TCPConnector(limit=connections_max, limit_per_host=connections_max, keepalive_timeout=8)
        async with aiohttp.ClientSession(
            connector=connector, headers=sent, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False,
        ) as client:  # fmt: skip
            yield cls(
                client, base_url, timeout_seconds=timeout_seconds, body_bytes_max=body_bytes_max,
                secrets=[secret for secret in (bearer, *secrets) if secret], now=now,
            )  # fmt: skip

    async def request(
        self, recorder: Recorder, method: str, path: str, *, write: bool, json: object = None,
        body: bytes | None = None, content_type: str = "application/json",
        params: Mapping[str, str | int] | None = None, headers: Mapping[str, str] | None = None,
        idempotency_key: str = "", expected: Collection[int] = _EXPECTED, timeout_seconds: float | None = None,
        reads_json: bool = True,
    ) -> Response:  # fmt: skip
        """Send once and return the answer if its status is among `expected`; otherwise raise by the failure table.

        `json` is encoded (msgspec), `body` is sent as it is. An answer that is not empty must be JSON unless
        `reads_json` is false. `expected=(200, 404)` makes "not found" an answer instead of an error.
        """
        calls = (recorder,) if isinstance(recorder, Call) else tuple(recorder or ())
        payload = msgspec.json.encode(json) if json is not None else body
        sent = dict(headers or {})
        if payload is not None:
            sent["content-type"] = content_type
        if idempotency_key:
            sent["idempotency-key"] = idempotency_key
        traceparent = calls[0].traceparent if calls else ARRIVING_TRACEPARENT.get()
        if traceparent:
            sent["traceparent"] = traceparent
        # `encoded`: parts were quoted by `path`; quoting twice would change them.
        url = URL(self._base_url + path, encoded=True)
        if params:
            url = url.extend_query({key: str(value) for key, value in params.items()})
        clock = asyncio.get_running_loop().time
        started, response, error = clock(), None, None
        try:
            response = await self._exchange(method, url, payload, sent, write, timeout_seconds or self._timeout_seconds)
            self._check(response, expected, reads_json=reads_json)
        except CrossdockError as found:
            error = found
            raise
        finally:
            if calls:
                milliseconds = round((clock() - started) * 1000)
                exchange = self._exchange_kept(method, str(url), payload, response, error, milliseconds)
                for call in calls:
                    if len(call.exchanges) < EXCHANGES_MAX:
                        call.exchanges.append(exchange)
        return response

    async def _exchange(
        self, method: str, url: URL, payload: bytes | None, headers: Mapping[str, str], write: bool,
        timeout_seconds: float,
    ) -> Response:  # fmt: skip
        connect = min(CONNECT_SECONDS_MAX, timeout_seconds / 2)
        timeout = aiohttp.ClientTimeout(total=timeout_seconds, connect=connect, sock_connect=connect)
        try:
            async with self._client.request(
                method, url, data=payload, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                body = await self._read_body(answer, write)
                found = {name.lower(): value for name, value in answer.headers.items()}
                return Response(answer.status, found, body, write)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            detail = masked_text(f"{type(error).__name__}: {error}", self._secrets)
            raise error_from(BROKEN[_broken_by(error)], write=write, detail=detail) from error

    async def _read_body(self, answer: aiohttp.ClientResponse, write: bool) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in answer.content.iter_chunked(64 * 1024):
            size += len(part)
            if size > self._body_bytes_max:
                raise error_from(BROKEN["too_large"], write=write, detail=f"more than {self._body_bytes_max} bytes")
            parts.append(part)
        return b"".join(parts)

    def _check(self, response: Response, expected: Collection[int], *, reads_json: bool) -> None:
        if response.status not in expected:
            after = retry_after_seconds(response.headers.get("retry-after", ""), self._answered_at(response))
            meaning = meaning_of_status(response.status, has_retry_after=after is not None)
            detail = f"HTTP {response.status} {masked_body(response.body, self._secrets)}"
            raise error_from(meaning, write=response.write, detail=detail, retry_after_seconds=after)
        if reads_json and response.body and not _is_json(response):
            detail = f"HTTP {response.status} {response.headers.get('content-type', 'without content type')}"
            raise error_from(BROKEN["unreadable"], write=response.write, detail=detail)

    def _answered_at(self, response: Response) -> datetime:
        """The partner's own clock where it tells it: a Retry-After date is meant on that clock."""
        try:
            answered = parsedate_to_datetime(response.headers.get("date", ""))
        except (ValueError, TypeError, IndexError):
            return self._now()
        return answered if answered.tzinfo is not None else answered.replace(tzinfo=UTC)

    def _exchange_kept(
        self, method: str, url: str, payload: bytes | None, response: Response | None, error: CrossdockError | None,
        milliseconds: int,
    ) -> Exchange:  # fmt: skip
        return Exchange(
            method=method, url=masked_url(url, self._secrets), status=response.status if response else 0,
            request=masked_body(payload or b"", self._secrets),
            response=masked_body(response.body, self._secrets) if response else "",
            milliseconds=milliseconds, error=error.code if error else "",
        )  # fmt: skip


def check_base_url(base_url: str) -> None:
    """Raises Misconfigured unless it is an absolute http(s) address without user, password, query or fragment."""
    try:
        parts = urlsplit(base_url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good, parts = False, urlsplit("")
    if not good or "@" in parts.netloc or parts.query or parts.fragment:
        raise Misconfigured(
            "address_form", "The connection's address is not an http or https address.",
            field="url", next_action="Write it like https://partner.example/base, without user or password in it.",
        )  # fmt: skip


def _is_json(response: Response) -> bool:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        return False
    try:
        msgspec.json.decode(response.body, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


# The first row whose type fits; the order matters, as the library's types are related.
_BROKEN_BY: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (aiohttp.ClientConnectorCertificateError, "tls"),
    (aiohttp.ClientConnectorSSLError, "tls"),
    (aiohttp.ClientConnectorDNSError, "name"),
    (aiohttp.ClientConnectorError, "connect"),
    (aiohttp.ConnectionTimeoutError, "connect_timeout"),
    (TimeoutError, "timeout"),
    (aiohttp.ClientPayloadError, "disconnect"),
    (aiohttp.ServerDisconnectedError, "disconnect"),
    (aiohttp.ClientOSError, "disconnect"),
    (aiohttp.ClientResponseError, "unreadable"),
    (OSError, "disconnect"),
)


def _broken_by(error: BaseException) -> str:
    return next((row for kind, row in _BROKEN_BY if isinstance(error, kind)), "disconnect")

