"""Access tokens: OAuth 2.1 client credentials, opaque, one hour, kept as hashes; and who calls with one.

A token that was found is remembered for a few seconds, so that the hot path does not ask the database; a client that is
taken away is therefore refused within `REMEMBERED_SECONDS`.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from collections import deque
from collections.abc import Mapping
from datetime import timedelta
from typing import Final
from urllib.parse import parse_qsl, unquote_plus

import msgspec
import structlog

from crossdock.api.answers import Answer, ApiProblem, json_answer
from crossdock.api.endpoint import Call
from crossdock.api.reading import QUERY_FIELDS_MAX
from crossdock.api.services import ApiServices
from crossdock.ledger.clients import (
    ApiClient,
    TokenHolder,
    find_client,
    find_holder,
    place_token,
    record_failure,
    secret_hash,
    wait_seconds,
)

_LOG: Final = structlog.get_logger("crossdock.api")
TOKEN_LIFETIME: Final = timedelta(hours=1)
REMEMBERED_SECONDS: Final = 20.0
REMEMBERED_MAX: Final = 10_000
GUESSING_WINDOW: Final = timedelta(minutes=15)
GUESSES_PER_CLIENT_AND_PLACE: Final = 50
GUESSES_PER_PLACE: Final = 200
BAD_TOKENS_MAX: Final = 50
BAD_TOKENS_SECONDS: Final = 300.0
_PLACES_MAX: Final = 1_000


class TokenGrant(msgspec.Struct, frozen=True):
    """The answer of the token endpoint (RFC 6749, 5.1)."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str


class TokenRefusal(msgspec.Struct, frozen=True):
    """The error of the token endpoint (RFC 6749, 5.2)."""

    error: str
    error_description: str


class TokenGate:
    """Tells who calls. One per process; remembers tokens, and places that tried too many wrong ones."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services
        self._remembered: dict[bytes, tuple[TokenHolder, float]] = {}
        self._bad: dict[str, deque[float]] = {}

    async def admit(self, headers: Mapping[str, str], address: str, scope: str) -> TokenHolder:
        """The holder of the request's token if it has the scope. Raises ApiProblem 401, 403 or 429."""
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise ApiProblem(
                401, "token_missing", "Send an access token as Authorization: Bearer.",
                next_action="Get one from POST /oauth/token.", headers={"WWW-Authenticate": 'Bearer realm="crossdock"'},
            )  # fmt: skip
        holder = await self._find(token, address)
        if scope not in holder.scopes:
            challenge = f'Bearer realm="crossdock", error="insufficient_scope", scope="{scope}"'
            raise ApiProblem(
                403, "scope_missing", f"This needs the scope {scope}.", headers={"WWW-Authenticate": challenge}
            )
        return holder

    async def _find(self, token: str, address: str) -> TokenHolder:
        digest = secret_hash(token)
        clock = time.monotonic()
        remembered = self._remembered.get(digest)
        if remembered is not None and clock < remembered[1]:
            return remembered[0]
        now = self._services.clock()
        holder = await find_holder(self._services.pool, digest, now) if len(token) <= 200 else None
        if holder is None:
            self._remembered.pop(digest, None)
            raise self._refuse(address, clock)
        if len(self._remembered) >= REMEMBERED_MAX:
            self._remembered.clear()
        left = (holder.expires_at - now).total_seconds()
        self._remembered[digest] = (holder, clock + min(REMEMBERED_SECONDS, left))
        return holder

    def _refuse(self, address: str, clock: float) -> ApiProblem:
        """Known tokens pass whatever others at the same address try; only wrong ones are counted."""
        if len(self._bad) >= _PLACES_MAX:
            self._bad.clear()
        tries = self._bad.setdefault(address, deque(maxlen=BAD_TOKENS_MAX))
        crowded = len(tries) == BAD_TOKENS_MAX and clock - tries[0] < BAD_TOKENS_SECONDS
        _LOG.warning("api_token_refused", address=address, limited=crowded)
        if crowded:
            wait = max(1, round(BAD_TOKENS_SECONDS - (clock - tries[0])))
            return ApiProblem(429, "guessing", "Too many wrong tokens.", headers={"Retry-After": str(wait)})
        tries.append(clock)
        challenge = 'Bearer realm="crossdock", error="invalid_token"'
        return ApiProblem(
            401, "token_invalid", "The access token is unknown or has ended.",
            next_action="Get a new one from POST /oauth/token.", headers={"WWW-Authenticate": challenge},
        )  # fmt: skip


async def grant_token(call: Call) -> Answer:
    """`POST /oauth/token`: the client credentials grant and no other."""
    try:
        fields = _read_form(call.raw)
        client_id, secret, by_header = _read_credentials(call.headers, fields)
    except _Refusal as refusal:
        return refusal.answer()
    services = call.services
    now = services.clock()
    limits = {
        f"api:{client_id[:100]}@{call.address}": GUESSES_PER_CLIENT_AND_PLACE, f"api@{call.address}": GUESSES_PER_PLACE,
    }  # fmt: skip
    wait = await wait_seconds(services.pool, limits, GUESSING_WINDOW, now)
    if wait is not None:
        _LOG.warning("api_sign_in_limited", client=client_id[:100], address=call.address, retry_after_seconds=wait)
        raise ApiProblem(429, "guessing", "Too many failed attempts.", headers={"Retry-After": str(wait)})
    client = await find_client(services.pool, client_id, secret)
    if client is None:
        await record_failure(services.pool, list(limits), now)
        _LOG.warning("api_sign_in_failed", client=client_id[:100], address=call.address)
        return _Refusal("invalid_client", "Unknown client or wrong secret.", 401, challenge=by_header).answer()
    try:
        scopes = _choose_scopes(client, fields.get("scope", ""))
    except _Refusal as refusal:
        return refusal.answer()
    token = secrets.token_urlsafe(32)
    await place_token(services.pool, token, client.client_id, scopes, now + TOKEN_LIFETIME, now)
    return json_answer(TokenGrant(token, "Bearer", int(TOKEN_LIFETIME.total_seconds()), " ".join(scopes)))


class _Refusal(Exception):
    def __init__(self, error: str, description: str, status: int = 400, *, challenge: bool = False) -> None:
        super().__init__(description)
        self.refusal = TokenRefusal(error, description)
        self.status = status
        self.challenge = challenge

    def answer(self) -> Answer:
        headers = {"WWW-Authenticate": 'Basic realm="crossdock"'} if self.status == 401 else {}
        return json_answer(self.refusal, self.status, headers)


def _read_form(raw: bytes) -> dict[str, str]:
    """The form's fields. Raises _Refusal for a repeated field, an unreadable form and every grant but ours."""
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS_MAX)
    except ValueError:
        raise _Refusal("invalid_request", "The form cannot be read.") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _Refusal("invalid_request", "A field is there twice.")
    if any("\x00" in value for value in fields.values()):
        raise _Refusal("invalid_request", "A field holds a control character.")
    grant = fields.get("grant_type", "")
    if not grant:
        raise _Refusal("invalid_request", "The field grant_type is missing.")
    if grant != "client_credentials":
        raise _Refusal("unsupported_grant_type", "Only client_credentials is granted here.")
    return fields


def _read_credentials(headers: Mapping[str, str], fields: Mapping[str, str]) -> tuple[str, str, bool]:
    given = headers.get("authorization", "")
    if not given:
        client_id, secret = fields.get("client_id", ""), fields.get("client_secret", "")
        if not client_id or not secret:
            raise _Refusal("invalid_client", "The client does not say who it is.", 401)
        return client_id, secret, False
    if "client_secret" in fields:
        raise _Refusal("invalid_request", "Send the client's secret in one place only.")
    kind, _, encoded = given.partition(" ")
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode() if kind.lower() == "basic" else ""
    except (binascii.Error, ValueError):
        text = ""
    client_id, colon, secret = text.partition(":")
    client_id, secret = unquote_plus(client_id), unquote_plus(secret)
    if not colon or not client_id or not secret or "\x00" in client_id:
        raise _Refusal("invalid_client", "The client does not say who it is.", 401)
    return client_id, secret, True


def _choose_scopes(client: ApiClient, asked: str) -> tuple[str, ...]:
    if not asked.strip():
        return client.scopes
    wanted = tuple(dict.fromkeys(asked.split()))
    if not set(wanted) <= set(client.scopes):
        raise _Refusal("invalid_scope", "The client may not have one of these scopes.")
    return wanted
