"""An endpoint as the table declares it, and a call as its function gets it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from crossdock.api.answers import Answer, ApiProblem
from crossdock.api.services import ApiServices
from crossdock.ledger.clients import EVERY_CHANNEL, TokenHolder

SCOPES: Final[Mapping[str, str]] = {
    "availability:read": "Read what a channel may promise",
    "prices:quote": "Ask for contract prices",
    "accounts:validate": "Ask whether an account may buy",
    "orders:write": "Place and cancel orders",
    "orders:read": "Read orders and their timelines",
    "shipments:read": "Read shipments",
    "stock:read": "Read how well stock goes, and differences",
    "stock:write": "Report balances, movements and inbound supply",
    "holds:read": "Read held orders",
    "holds:write": "Release and refuse held orders",
    "connections:read": "Read the state of connections",
    "connections:write": "Pause and resume connections",
    "quarantine:read": "Read what is parked",
    "quarantine:write": "Replay, correct, settle and close what is parked",
}


@dataclass(slots=True)
class Call:
    """One request: who asks, for what. `query` and `body` are decoded to the endpoint's types."""

    services: ApiServices
    headers: Mapping[str, str]
    address: str
    path: Mapping[str, str]
    query: Any
    body: Any
    raw: bytes
    traceparent: str
    holder: TokenHolder | None = None

    @property
    def caller(self) -> TokenHolder:
        """Who calls. Raises ApiProblem 401: an endpoint without scope has no caller."""
        if self.holder is None:
            raise ApiProblem(401, "token_missing", "Send an access token.")
        return self.holder

    @property
    def actor(self) -> str:
        """As whom the caller stands in the audit."""
        return f"api:{self.caller.client_id}"

    @property
    def channels(self) -> tuple[str, ...] | None:
        """Which channels' orders the caller may see; None: all."""
        channels = self.caller.channels
        return None if EVERY_CHANNEL in channels else channels


Perform = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that an endpoint gives, for the documentation. `type` None: no JSON body."""

    status: int
    description: str
    type: Any = None
    media_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row of the table. `scope` "" means that no token is asked for.

    `body_form` keeps the body raw: it is no JSON of ours (a form, a partner's webhook).
    """

    method: str
    path: str
    perform: Perform
    summary: str
    tag: str
    replies: tuple[Reply, ...]
    scope: str = ""
    query: Any = None
    body: Any = None
    body_media_type: str = ""
    body_optional: bool = False
    headers: Mapping[str, tuple[bool, str]] = field(default_factory=dict)
    problems: tuple[int, ...] = ()
    description: str = ""
