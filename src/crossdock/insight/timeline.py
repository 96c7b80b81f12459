"""One timeline of an order over all systems, and what happens next.

Merged by time: the arrival and other facts, decisions (events), steps with each attempt and its masked exchanges,
shipments, invoices, payments and what operators did. `read_outlook` tells for every open step what it waits for.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal

import asyncpg
import msgspec

from crossdock.insight.masking import masked_payload, masked_text
from crossdock.kit.connector import Exchange
from crossdock.ledger.database import Queries

_SQL: Final = Queries.load("insight_timeline")
_FACTS_MAX: Final = 200
_ATTEMPTS_MAX: Final = 300

EntryKind = Literal["fact", "event", "step", "attempt", "shipment", "invoice", "payment", "action"]


class TimelineEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened, at one system. `title` is a machine word (event type, step name, fact kind);
    `details` are labelled values that are safe to show; `exchanges` only where they were asked for."""

    at: datetime
    kind: EntryKind
    title: str
    system: str = ""
    state: str = ""
    reference: str = ""
    attempt: int = 0
    milliseconds: int | None = None
    message: str = ""
    error_code: str = ""
    next_action: str = ""
    details: tuple[tuple[str, str], ...] = ()
    exchanges: tuple[Exchange, ...] = ()


class StepSummary(msgspec.Struct, frozen=True, omit_defaults=True):
    """A step of the order's plan as it stands."""

    name: str
    connection: str
    operation: str
    state: str
    needs: tuple[str, ...]
    attempt: int
    failures: int
    created_at: datetime
    due_at: datetime
    started_at: datetime | None = None
    done_at: datetime | None = None
    external_id: str = ""
    error_kind: str = ""
    error_code: str = ""
    error_message: str = ""
    next_action: str = ""


class NextStep(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an open step waits for: `reason` is a stable code, `sentence` says it, `since` is when the wait
    began; `needs` are the steps that must be done first."""

    name: str
    connection: str
    operation: str
    state: str
    reason: Literal[
        "needs", "paused", "breaker_open", "rate_limited", "retry", "due", "sending", "in_doubt", "quarantined"
    ]
    sentence: str
    since: datetime | None = None
    due_at: datetime | None = None
    next_action: str = ""
    needs: tuple[str, ...] = ()


class Timeline(msgspec.Struct, frozen=True):
    """`cut` tells that there were more attempts than are shown."""

    entries: tuple[TimelineEntry, ...]
    steps: tuple[StepSummary, ...]
    next: tuple[NextStep, ...]
    cut: bool = False


async def read_timeline(pool: asyncpg.Pool[Any], order_id: int, now: datetime, *, exchanges: bool = False) -> Timeline:
    """Everything that is known of one order, oldest first."""
    facts = await pool.fetch(_SQL["facts"], order_id, _FACTS_MAX)
    events = await pool.fetch(_SQL["events"], order_id)
    steps = in_order_of_plan(await pool.fetch(_SQL["steps"], order_id))
    attempts = await pool.fetch(_SQL["attempts"], order_id, _ATTEMPTS_MAX + 1)
    documents = await pool.fetch(_SQL["documents"], order_id)
    actions = await pool.fetch(_SQL["actions"], f"CD{order_id:08d}", str(order_id), order_id)
    entries = [
        *(_fact_entry(row) for row in facts),
        *(_event_entry(row) for row in events),
        *(_step_entry(row, exchanges) for row in steps if row["done_at"] is not None),
        *(_attempt_entry(row, exchanges) for row in attempts[:_ATTEMPTS_MAX]),
        *(_document_entry(row) for row in documents),
        *(_action_entry(row) for row in actions),
    ]
    connections = {row["connection"]: row for row in await pool.fetch(_SQL["connection_states"], order_id)}
    lanes = {(row["connection"], row["operation"]): row for row in await pool.fetch(_SQL["lane_states"], order_id)}
    done = {row["name"] for row in steps if row["state"] == "done"}
    upcoming = [
        _next(row, done, connections.get(row["connection"]), lanes.get((row["connection"], row["operation"])), now)
        for row in steps
        if row["state"] in _OPEN
    ]
    return Timeline(
        entries=tuple(sorted(entries, key=lambda entry: (entry.at, _RANK[entry.kind]))),
        steps=tuple(_step(row) for row in steps),
        next=tuple(sorted(upcoming, key=lambda step: step.reason == "needs")),
        cut=len(attempts) > _ATTEMPTS_MAX,
    )


def in_order_of_plan(steps: Sequence[Any]) -> list[Any]:
    """What is done as it was done; of what is laid with it and not done yet, what is needed before what needs it."""
    depths = dict.fromkeys((row["name"] for row in steps), 0)
    for _ in steps:
        deeper = {row["name"]: max((depths.get(name, -1) + 1 for name in row["needs"]), default=0) for row in steps}
        if deeper == depths:
            break
        depths = deeper
    return sorted(
        steps, key=lambda row: (row["created_at"], row["done_at"] is None, 0 if row["done_at"] else depths[row["name"]])
    )


_OPEN: Final = frozenset({"waiting", "ready", "sending", "in_doubt", "quarantined"})
# At the same instant a cause stands before its effect.
_RANK: Final = {"fact": 0, "action": 1, "shipment": 2, "event": 3, "attempt": 4, "step": 5, "invoice": 6, "payment": 7}


def _fact_entry(row: asyncpg.Record) -> TimelineEntry:
    return TimelineEntry(
        row["received_at"],
        "fact",
        row["kind"],
        row["connection"],
        row["state"],
        row["subject"],
        attempt=row["attempt"],
        message=masked_text(row["message"]),
        error_code=row["cause"],
        next_action=row["next_action"],
    )


def _event_entry(row: asyncpg.Record) -> TimelineEntry:
    body = msgspec.json.decode(row["body"])
    return TimelineEntry(row["at"], "event", row["type"], "crossdock", details=_details(body))


def _step_entry(row: asyncpg.Record, with_exchanges: bool) -> TimelineEntry:
    return TimelineEntry(
        row["done_at"],
        "step",
        row["name"],
        row["connection"],
        row["state"],
        row["external_id"],
        attempt=row["attempt"],
        milliseconds=_between(row["started_at"], row["done_at"]),
        message=masked_text(row["error_message"]) if row["state"] != "done" else "",
        error_code=row["error_code"] if row["state"] != "done" else "",
        exchanges=_exchanges(row["exchanges"]) if with_exchanges else (),
    )


def _attempt_entry(row: asyncpg.Record, with_exchanges: bool) -> TimelineEntry:
    return TimelineEntry(
        row["ended_at"],
        "attempt",
        row["name"],
        row["connection"],
        row["outcome"],
        attempt=row["attempt"],
        milliseconds=_between(row["started_at"], row["ended_at"]),
        message=masked_text(row["error_message"]),
        error_code=row["error_code"],
        exchanges=_exchanges(row["exchanges"]) if with_exchanges else (),
    )


def _document_entry(row: asyncpg.Record) -> TimelineEntry:
    details = tuple((label, value) for label, value in zip(row["labels"], row["texts"], strict=True) if value)
    return TimelineEntry(
        row["at"], row["kind"], row["title"], row["system"], reference=row["reference"], details=details
    )


def _action_entry(row: asyncpg.Record) -> TimelineEntry:
    return TimelineEntry(
        row["at"],
        "action",
        row["action"],
        row["actor"],
        details=_details(msgspec.json.decode(row["detail"])),
    )


def _step(row: asyncpg.Record) -> StepSummary:
    return StepSummary(
        row["name"],
        row["connection"],
        row["operation"],
        row["state"],
        tuple(row["needs"]),
        row["attempt"],
        row["failures"],
        row["created_at"],
        row["due_at"],
        row["started_at"],
        row["done_at"],
        row["external_id"],
        row["error_kind"],
        row["error_code"],
        masked_text(row["error_message"]),
        row["next_action"],
    )


def _next(
    step: asyncpg.Record,
    done: set[str],
    connection: asyncpg.Record | None,
    lane: asyncpg.Record | None,
    now: datetime,
) -> NextStep:
    """The first of the reasons, in the order in which the engine would stop at them."""

    def waits(reason: Any, sentence: str, since: datetime | None = None, due_at: datetime | None = None) -> NextStep:
        name, place = step["name"], step["connection"]
        return NextStep(
            name, place, step["operation"], step["state"], reason, sentence, since, due_at, step["next_action"]
        )

    place = step["connection"]
    began = step["first_attempt_at"] or step["created_at"]
    match step["state"]:
        case "waiting":
            missing = tuple(name for name in step["needs"] if name not in done)
            later = waits("needs", f"Begins when {', '.join(missing) or 'its turn comes'} is done.")
            return msgspec.structs.replace(later, needs=missing)
        case "quarantined":
            return waits(
                "quarantined", masked_text(step["error_message"]) or "Parked until somebody replays it.", began
            )
        case "sending":
            return waits("sending", f"Being sent to {place} now.", step["started_at"])
    if connection is not None and connection["paused"]:
        return waits("paused", f"{place} is paused by an operator.", connection["paused_at"])
    if lane is not None and (lane["override"] or lane["state"]) == "open":
        return waits(
            "breaker_open", f"Waiting for {place}: it does not answer.", lane["opened_at"] or began, lane["retry_at"]
        )
    if connection is not None and connection["blocked_until"] is not None and connection["blocked_until"] > now:
        until = connection["blocked_until"]
        return waits("rate_limited", f"{place} asked us to slow down.", connection["last_error_at"], until)
    if step["state"] == "in_doubt":
        return waits(
            "in_doubt", f"{place} may have done it; asking before sending again.", step["started_at"], step["due_at"]
        )
    if step["failures"] > 0:
        sentence = f"Waiting for {place}: {masked_text(step['error_message']) or 'the last attempt failed'}"
        return waits("retry", sentence, began, step["due_at"])
    return waits("due", f"Next in line for {place}.", step["created_at"], step["due_at"])


def _exchanges(body: bytes | None) -> tuple[Exchange, ...]:
    if not body:
        return ()
    found = msgspec.json.decode(body, type=list[Exchange] | None) or []
    return tuple(
        msgspec.structs.replace(
            exchange,
            url=masked_text(exchange.url),
            request=masked_payload(exchange.request),
            response=masked_payload(exchange.response),
            error=masked_text(exchange.error),
        )
        for exchange in found
    )


_DETAILS_MAX: Final = 12
_PERSONAL_DETAILS: Final = frozenset({"ship_to", "bill_to", "address", "email", "phone", "name", "note", "token"})


def _details(body: Any) -> tuple[tuple[str, str], ...]:
    """The plain values of an event's body, labelled; nested values are summed up by their size."""
    if not isinstance(body, dict):
        return ()
    found: list[tuple[str, str]] = []
    for key, value in body.items():
        if key in _PERSONAL_DETAILS or value in (None, "", [], {}):
            continue
        found.append((key.replace("_", " "), _plain(value)))
    return tuple(found[:_DETAILS_MAX])


def _plain(value: Any) -> str:
    match value:
        case {"amount": amount, "currency": currency}:
            return f"{amount} {currency}"
        case {"value": quantity, "unit": unit}:
            return f"{quantity} {unit}"
        case bool():
            return "yes" if value else "no"
        case str() | int() | float():
            return masked_text(str(value))[:200]
        case list() if all(isinstance(item, str | int) for item in value):
            return masked_text(", ".join(str(item) for item in value))[:200]
        case list() if all(isinstance(item, dict) and "message" in item for item in value):
            return masked_text(" ".join(str(item["message"]) for item in value))[:400]
        case dict() if all(isinstance(item, str | int) for item in value.values()):
            return masked_text(", ".join(f"{key} {item}" for key, item in value.items()))[:200]
        case list() | dict():
            return f"{len(value)} entries"
    return ""


def _between(start: datetime | None, end: datetime | None) -> int | None:
    return None if start is None or end is None else max(0, round((end - start).total_seconds() * 1000))
