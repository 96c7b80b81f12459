"""Inbound webhooks: the signature is verified over the raw body, the facts are committed, then it is acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from crossdock.api.answers import Answer, ApiProblem, json_answer
from crossdock.api.endpoint import Call
from crossdock.api.services import WebhookDoor
from crossdock.kit.arrivals import WEBHOOK, cause_of, untranslated
from crossdock.kit.http import ARRIVING_TRACEPARENT
from crossdock.kit.webhooks import verify
from crossdock.model.errors import Invalid, Unavailable
from crossdock.model.facts import UNTRANSLATED, Fact

_LOG: Final = structlog.get_logger("crossdock.api")
READ_SECONDS_MAX: Final = 15.0


class Received(msgspec.Struct, frozen=True):
    """How many facts were new; a webhook that came before has none. `parked`: kept, but not understood yet; a person
    looks at it, and it need not be sent again."""

    facts: int
    parked: bool = False


async def _read(door: WebhookDoor, name: str, call: Call) -> Sequence[Fact]:
    """What the webhook says; a thin one is completed at the partner, for which there is a limit.

    It is the partner's, signed: what cannot be translated is kept and parked. Only what must be read at the partner and
    cannot be read now is left to the partner's next try.
    """
    try:
        async with asyncio.timeout(READ_SECONDS_MAX):
            return await door.read(door.client, name, call.headers, call.raw)
    except TimeoutError:
        raise Unavailable("partner_silent", "What the webhook names could not be read in time.") from None
    except Unavailable:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a connector raises, the payload must not be lost
        _LOG.warning("webhook_parked", connection=name, code=cause_of(error).code)
        return [untranslated(name, WEBHOOK, call.raw, error, call.headers.get("webhook-id", ""), call.headers)]


async def receive_webhook(call: Call) -> Answer:
    """Keep what a partner reports. The same webhook twice has one effect."""
    name = call.path["connection"]
    services = call.services
    door = services.webhooks.get(name)
    if door is None:
        raise ApiProblem(404, "connection_unknown", "No webhooks are taken here.", field="connection")
    try:
        verify(door.secrets, call.headers, call.raw, services.clock())
    except Invalid as error:
        _LOG.warning("webhook_refused", connection=name, code=error.code, address=call.address)
        raise ApiProblem(401, error.code, error.message, field=error.field) from None
    span = services.tracing.start("webhook.receive", call.traceparent, attributes={"connection": name})
    traceparent = span.traceparent if span is not None else call.traceparent
    try:
        ARRIVING_TRACEPARENT.set(traceparent)
        facts = await _read(door, name, call)
        if traceparent:
            facts = [msgspec.structs.replace(fact, traceparent=fact.traceparent or traceparent) for fact in facts]
        count = await services.intake.record(facts)
    finally:
        if span is not None:
            span.end()
    services.metrics.count_facts(name, count)
    parked = any(fact.kind == UNTRANSLATED for fact in facts)
    return json_answer(Received(count, parked), 202 if parked else 200)
