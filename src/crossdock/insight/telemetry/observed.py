"""The engine, observed from outside: attempts counted, and a span around each call at a partner.

Both wrap what the engine is given, so the engine itself knows nothing of metrics or traces.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import asyncpg
import msgspec

from crossdock.engine.ports import Chance, Clock, PlanBook
from crossdock.engine.recorder import Ended, Recorder
from crossdock.insight.telemetry.metrics import Metrics
from crossdock.insight.telemetry.traces import ActiveSpan, Tracing
from crossdock.kit.connector import Call, Connector, Done, Feed, Operation, Page, PerformMany
from crossdock.model.errors import CrossdockError
from crossdock.model.facts import Fact
from crossdock.policy.resilience import BreakerPolicy, RetryTable

Answer = TypeVar("Answer", Done, Done | None)


class MeasuredRecorder(Recorder):
    """Counts each attempt once its outcome is recorded."""

    def __init__(
        self, pool: asyncpg.Pool[Any], plans: PlanBook, retry: RetryTable, breaker: BreakerPolicy, clock: Clock,
        chance: Chance, metrics: Metrics,
    ) -> None:  # fmt: skip
        super().__init__(pool, plans, retry, breaker, clock, chance)
        self._metrics = metrics

    async def record(self, worker: str, ended: Sequence[Ended]) -> None:
        await super().record(worker, ended)
        for item in ended:
            outcome = "done" if isinstance(item.answer, Done) else item.answer.kind
            seconds = (item.ended_at - item.started_at).total_seconds()
            self._metrics.count_attempt(item.step.connection, item.step.operation, outcome, seconds)


def traced(connector: Connector, connection: str, tracing: Tracing) -> Connector:
    """The connector with a span around every call; the very same connector while tracing is off."""
    if not tracing.enabled:
        return connector
    return replace(
        connector,
        operations=tuple(_traced(operation, connection, tracing) for operation in connector.operations),
        feeds=tuple(replace(feed, read=_traced_feed(feed, tracing)) for feed in connector.feeds),
    )


def _traced(operation: Operation, connection: str, tracing: Tracing) -> Operation:
    return replace(
        operation,
        perform=_traced_one(operation.perform, connection, tracing) if operation.perform else None,
        perform_many=_traced_many(operation.perform_many, connection, tracing) if operation.perform_many else None,
        probe=_traced_one(operation.probe, connection, tracing, suffix=" probe") if operation.probe else None,
    )


def _traced_feed(feed: Feed, tracing: Tracing) -> Callable[[Any, str, str], Awaitable[Page]]:
    """An order that is fetched has arrived just as one that is sent: its trace begins here."""

    async def read_traced(client: Any, connection: str, cursor: str) -> Page:
        page = await feed.read(client, connection, cursor)
        return replace(page, facts=[_arrived(fact, feed.name, tracing) for fact in page.facts])

    return read_traced


def _arrived(fact: Fact, feed: str, tracing: Tracing) -> Fact:
    if fact.kind != "order.placed" or fact.traceparent:
        return fact
    attributes: dict[str, str | int] = {"connection": fact.connection, "feed": feed}
    span = tracing.start("feed.receive", attributes=attributes)
    if span is None:
        return fact
    span.end()
    return msgspec.structs.replace(fact, traceparent=span.traceparent)


def _traced_one(
    perform: Callable[[Any, Call], Awaitable[Answer]], connection: str, tracing: Tracing, suffix: str = ""
) -> Callable[[Any, Call], Awaitable[Answer]]:
    async def perform_traced(client: Any, call: Call) -> Answer:
        span = _begin(tracing, connection, call, suffix)
        if span is None:
            return await perform(client, call)
        try:
            # `exchanges` stays the caller's own list.
            done = await perform(client, msgspec.structs.replace(call, traceparent=span.traceparent))
        except CrossdockError as error:
            span.end(error.code)
            raise
        except BaseException as error:
            span.end(type(error).__name__)
            raise
        span.end()
        return done

    return perform_traced


def _traced_many(perform_many: PerformMany, connection: str, tracing: Tracing) -> PerformMany:
    async def perform_many_traced(client: Any, calls: Sequence[Call]) -> Sequence[Done | CrossdockError]:
        spans = [_begin(tracing, connection, call) for call in calls]
        carried = [
            msgspec.structs.replace(call, traceparent=span.traceparent) if span else call
            for call, span in zip(calls, spans, strict=True)
        ]
        failed = "interrupted"
        answers: Sequence[Done | CrossdockError] = ()
        try:
            answers = await perform_many(client, carried)
            failed = ""
        finally:
            for index, span in enumerate(spans):
                answer = answers[index] if index < len(answers) else None
                if span is not None:
                    span.end(answer.code if isinstance(answer, CrossdockError) else failed)
        return answers

    return perform_many_traced


def _begin(tracing: Tracing, connection: str, call: Call, suffix: str = "") -> ActiveSpan | None:
    attributes: dict[str, str | int] = {
        "crossdock.connection": connection, "crossdock.order": call.number, "crossdock.attempt": call.attempt,
    }  # fmt: skip
    return tracing.start(f"{call.name}{suffix}", call.traceparent, attributes=attributes, outgoing=True)
