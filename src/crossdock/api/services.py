"""What the API is given by the composition root. Nothing here is global."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import asyncpg

from crossdock.api.feed import ChangeFeed
from crossdock.engine.control import Control
from crossdock.engine.holds import Holds
from crossdock.engine.intake import Intake
from crossdock.engine.ports import Clock
from crossdock.insight.telemetry.metrics import Metrics
from crossdock.insight.telemetry.traces import Tracing
from crossdock.kit.connector import LiveAccount
from crossdock.kit.webhooks import WebhookSecrets
from crossdock.ledger.known_products import KnownProducts
from crossdock.ledger.reference import ReferenceCache
from crossdock.model.facts import Fact
from crossdock.policy.connections import AvailabilityPolicy
from crossdock.policy.policy import Policy

ReadWebhook = Callable[[Any, str, Mapping[str, str], bytes], Awaitable[Sequence[Fact]]]


@dataclass(frozen=True, slots=True)
class WebhookDoor:
    """A connection that may push to us: its keys, its connector's `webhook.read` and its opened client."""

    secrets: WebhookSecrets
    read: ReadWebhook
    client: Any


class AccountSource(Protocol):
    """Asks the ERP for an account; raises an error of `crossdock.model.errors` when it does not answer."""

    async def __call__(self, code: str) -> LiveAccount: ...


@dataclass(frozen=True, slots=True)
class ApiServices:
    """`documentation` is false in production: /docs and /openapi.json are not served there. `by_key` is a pool of
    which the plans are kept, for what is asked all the time."""

    pool: asyncpg.Pool[Any]
    intake: Intake
    holds: Holds
    changes: ChangeFeed
    control: Control
    policy: Policy
    reference: ReferenceCache
    clock: Clock
    webhooks: Mapping[str, WebhookDoor] = field(default_factory=dict)
    availability: AvailabilityPolicy = field(default_factory=AvailabilityPolicy)
    metrics: Metrics = field(default_factory=Metrics)
    tracing: Tracing = field(default_factory=Tracing)
    account_source: AccountSource | None = None
    documentation: bool = True
    known: KnownProducts = field(default_factory=KnownProducts)
    by_key: asyncpg.Pool[Any] | None = None
