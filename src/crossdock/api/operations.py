"""What operators' programs do: holds, connections, quarantine. Every action is audited under the client's name.

Holds are limited to the caller's channels. Connections and quarantine belong to the whole cell: give their scopes to
operators only.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec

from crossdock.api.answers import Answer, ApiProblem, json_answer
from crossdock.api.endpoint import Call
from crossdock.api.orders import Cursor, Limit, Text, order_ids_of, order_unknown
from crossdock.insight.connections import ConnectionState, read_connection, read_connections
from crossdock.insight.holds import (
    HeldOrder,
    HoldGroup,
    QuarantinedFact,
    QuarantinedStep,
    QuarantineGroup,
    list_holds,
    list_quarantined_facts,
    list_quarantined_steps,
    read_hold_groups,
    read_quarantine_groups,
)
from crossdock.insight.paging import LIMIT_MAX
from crossdock.ledger.clients import visible_orders
from crossdock.model.errors import Conflict, CrossdockError, Invalid

BULK_MAX: Final = 10_000
IDS_MAX: Final = 1_000
PROBLEMS_MAX: Final = 100
_RELEASES_AT_ONCE: Final = 50
Numbers = Annotated[tuple[Text, ...], msgspec.Meta(max_length=IDS_MAX)]
BIGINT_MAX: Final = 2**63 - 1
FactId = Annotated[int, msgspec.Meta(ge=1, le=BIGINT_MAX)]


class HoldQuery(msgspec.Struct, frozen=True):
    cause: Text = ""
    cursor: Cursor = ""
    limit: Limit = 50


class HoldPage(msgspec.Struct, frozen=True):
    """Held orders, oldest first, and all holds counted by cause."""

    items: tuple[HeldOrder, ...]
    cursor: str
    groups: tuple[HoldGroup, ...]


class ReleaseBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Either the numbers of orders, or a cause: all orders held for it."""

    orders: Numbers = ()
    cause: Text = ""


class RefuseBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Either the numbers of orders, or a cause; and what the buyer is told."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
    orders: Numbers = ()
    cause: Text = ""


class HoldProblem(msgspec.Struct, frozen=True):
    number: str
    code: str
    message: str


class HoldsDecided(msgspec.Struct, frozen=True):
    """How many were decided out of how many asked; `problems` are those that stay held (the first hundred)."""

    asked: int
    decided: int
    problems: tuple[HoldProblem, ...] = ()


class ConnectionPage(msgspec.Struct, frozen=True):
    at: datetime
    items: tuple[ConnectionState, ...]


class QuarantineQuery(msgspec.Struct, frozen=True):
    what: Literal["facts", "steps"] = "facts"
    connection: Text = ""
    cause: Text = ""
    cursor: Cursor = ""
    limit: Limit = 50


class QuarantinePage(msgspec.Struct, frozen=True):
    """A page of what was asked for, and everything that is parked counted by cause."""

    facts: tuple[QuarantinedFact, ...]
    steps: tuple[QuarantinedStep, ...]
    cursor: str
    groups: tuple[QuarantineGroup, ...]


class ReplayBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Facts by id, steps by their order, or all that match a connection and a cause; at least one must be given."""

    facts: Annotated[tuple[FactId, ...], msgspec.Meta(max_length=IDS_MAX)] = ()
    orders: Numbers = ()
    connection: Text = ""
    cause: Text = ""


class Replayed(msgspec.Struct, frozen=True):
    facts: int
    steps: int


Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class DismissBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Facts by id, or all that match a connection and a cause; and how they were settled."""

    reason: Reason
    facts: Annotated[tuple[FactId, ...], msgspec.Meta(max_length=IDS_MAX)] = ()
    connection: Text = ""
    cause: Text = ""


class Dismissed(msgspec.Struct, frozen=True):
    facts: int


class ParkedFact(msgspec.Struct, frozen=True):
    """A parked message as it would be decided again. It may name people."""

    fact: int
    body: msgspec.Raw


class CorrectBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The corrected message, what was corrected, and who said so."""

    body: msgspec.Raw
    reason: Reason


class SettleBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a person found a parked step at the partner. `number` is the partner's, for one that is done."""

    order: Text
    step: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    ended: Literal["done", "refused"]
    reason: Reason
    number: Text = ""


class Settled(msgspec.Struct, frozen=True):
    order: str
    step: str
    ended: str


async def show_holds(call: Call) -> Answer:
    """A page of held orders, oldest first."""
    query: HoldQuery = call.query
    pool = call.services.pool
    page = await list_holds(
        pool, cause=query.cause, channels=call.channels, cursor=query.cursor, limit=query.limit
    )
    return json_answer(HoldPage(page.items, page.cursor, await read_hold_groups(pool, call.channels)))


async def release_holds(call: Call) -> Answer:
    """Decide held orders anew with their causes waived."""
    body: ReleaseBody = call.body
    wanted = await _wanted_orders(call, body.orders, body.cause)
    control, now = call.services.control, call.services.clock()
    decided = 0
    problems: list[HoldProblem] = []
    for index, (order_id, number) in enumerate(wanted.items()):
        try:
            if await control.release_holds(now, call.actor, [order_id]):
                decided += 1
            else:
                problems.append(HoldProblem(number, "not_released", "The order is not held, or is held again."))
        except CrossdockError as error:
            if len(wanted) == 1:
                raise
            problems.append(HoldProblem(number, error.code, error.message))
        if index % _RELEASES_AT_ONCE == _RELEASES_AT_ONCE - 1:
            # Orders that arrive meanwhile are not kept waiting by a large release.
            await asyncio.sleep(0)
    if len(wanted) == 1 and problems:
        raise Conflict("order_not_held", "The order is not held, or is held again for another cause.", field="orders")
    return json_answer(HoldsDecided(len(wanted), decided, tuple(problems[:PROBLEMS_MAX])))


async def refuse_holds(call: Call) -> Answer:
    """Refuse held orders for good; they are cancelled with the given reason."""
    body: RefuseBody = call.body
    wanted = await _wanted_orders(call, body.orders, body.cause)
    count = await call.services.control.refuse_holds(
        call.services.clock(), call.actor, list(wanted), body.reason
    )
    if len(wanted) == 1 and count == 0:
        raise Conflict("order_not_held", "The order is not held.", field="orders")
    return json_answer(HoldsDecided(len(wanted), count))


async def _wanted_orders(call: Call, numbers: tuple[str, ...], cause: str) -> dict[int, str]:
    """Order id -> number. Raises ApiProblem 422 for none or both, 404 for one that the caller may not see."""
    if bool(numbers) == bool(cause):
        raise ApiProblem(422, "selection", "Name either orders or a cause.", field="orders")
    pool = call.services.pool
    if numbers:
        wanted = order_ids_of(numbers)
        visible = await visible_orders(pool, list(wanted), call.channels)
        if len(visible) < len(wanted):
            raise order_unknown()
        return wanted
    found: dict[int, str] = {}
    cursor = ""
    while len(found) < BULK_MAX:
        page = await list_holds(pool, cause=cause, channels=call.channels, cursor=cursor, limit=LIMIT_MAX)
        found.update({item.order_id: item.number for item in page.items})
        cursor = page.cursor
        if not cursor:
            break
    return found


async def show_connections(call: Call) -> Answer:
    """Every connection: health, backlog, breakers, feeds."""
    now = call.services.clock()
    return json_answer(ConnectionPage(now, await read_connections(call.services.pool, now)))


async def pause_connection(call: Call) -> Answer:
    """Send nothing more to this partner until it is resumed; orders are still accepted."""
    name = await _known_connection(call)
    await call.services.control.pause_connection(call.services.clock(), call.actor, name)
    return await _show_connection(call, name)


async def resume_connection(call: Call) -> Answer:
    """Go on with what has waited."""
    name = await _known_connection(call)
    await call.services.control.resume_connection(call.services.clock(), call.actor, name)
    return await _show_connection(call, name)


async def _known_connection(call: Call) -> str:
    name = call.path["name"]
    if await read_connection(call.services.pool, name, call.services.clock()) is None:
        raise ApiProblem(404, "connection_unknown", "There is no such connection.", field="name")
    return name


async def _show_connection(call: Call, name: str) -> Answer:
    return json_answer(await read_connection(call.services.pool, name, call.services.clock()))


async def show_quarantine(call: Call) -> Answer:
    """A page of parked facts or steps, oldest first."""
    query: QuarantineQuery = call.query
    pool = call.services.pool
    wanted: dict[str, Any] = {
        "connection": query.connection, "cause": query.cause, "cursor": query.cursor, "limit": query.limit,
    }  # fmt: skip
    groups = await read_quarantine_groups(pool)
    if query.what == "facts":
        facts = await list_quarantined_facts(pool, **wanted)
        return json_answer(QuarantinePage(facts.items, (), facts.cursor, groups))
    steps = await list_quarantined_steps(pool, **wanted)
    return json_answer(QuarantinePage((), steps.items, steps.cursor, groups))


async def replay_quarantine(call: Call) -> Answer:
    """Begin parked facts and steps again, from their kept payloads."""
    body: ReplayBody = call.body
    by_filter = bool(body.connection or body.cause)
    if not (body.facts or body.orders or by_filter):
        raise ApiProblem(422, "selection", "Name facts, orders, a connection or a cause.", field="facts")
    if by_filter and (body.facts or body.orders):
        raise ApiProblem(422, "selection", "Name either single ones or a filter.", field="facts")
    control, now, actor = call.services.control, call.services.clock(), call.actor
    connection, cause = body.connection or None, body.cause or None
    facts = steps = 0
    if body.facts or by_filter:
        ids = list(body.facts) if body.facts else None
        facts = await control.replay_facts(now, actor, connection=connection, cause=cause, fact_ids=ids)
    if body.orders or by_filter:
        order_ids = await _replayable_orders(call, body.orders)
        steps = await control.replay_steps(
            now, actor, connection=connection, error_code=cause, order_ids=order_ids
        )
    return json_answer(Replayed(facts, steps))


async def dismiss_quarantine(call: Call) -> Answer:
    """Close parked facts that were settled otherwise; their payload is kept."""
    body: DismissBody = call.body
    by_filter = bool(body.connection or body.cause)
    if by_filter == bool(body.facts):
        raise ApiProblem(422, "selection", "Name either facts, or a connection or a cause.", field="facts")
    count = await call.services.control.dismiss_facts(
        call.services.clock(), call.actor, body.reason, connection=body.connection or None, cause=body.cause or None,
        fact_ids=list(body.facts) or None,
    )  # fmt: skip
    return json_answer(Dismissed(count))


async def show_parked_fact(call: Call) -> Answer:
    """A parked message as it would be decided again."""
    fact_id = _fact_id(call)
    try:
        body = await call.services.control.read_parked(fact_id)
    except Invalid as error:
        raise _as_absent(error) from None
    return json_answer(ParkedFact(fact_id, msgspec.Raw(body)))


async def correct_parked_fact(call: Call) -> Answer:
    """Decide a parked message again with a corrected body; what was received is kept."""
    body: CorrectBody = call.body
    fact_id = _fact_id(call)
    try:
        await call.services.control.correct_fact(
            call.services.clock(), call.actor, fact_id, bytes(body.body), body.reason
        )
    except Invalid as error:
        raise _as_absent(error) from None
    return json_answer(Replayed(1, 0))


async def settle_parked_step(call: Call) -> Answer:
    """End a parked step as a person found it at the partner."""
    body: SettleBody = call.body
    (order_id,) = order_ids_of((body.order,))
    if not await visible_orders(call.services.pool, [order_id], call.channels):
        raise order_unknown()
    await call.services.control.settle_step(
        call.services.clock(), call.actor, order_id, body.step, body.ended, body.number, body.reason
    )
    return json_answer(Settled(body.order, body.step, body.ended))


def _fact_id(call: Call) -> int:
    """Raises ApiProblem 404 for what cannot be the number of a fact."""
    given = call.path["fact"]
    if not (given.isascii() and given.isdigit() and 1 <= int(given[:20]) <= BIGINT_MAX):
        raise ApiProblem(404, "fact_not_parked", "There is no parked message of this number.", field="fact")
    return int(given)


def _as_absent(error: Invalid) -> CrossdockError | ApiProblem:
    if error.code == "fact_not_parked":
        return ApiProblem(404, error.code, error.message, field="fact")
    return error


async def _replayable_orders(call: Call, numbers: tuple[str, ...]) -> list[int] | None:
    if not numbers:
        return None
    wanted = order_ids_of(numbers)
    if len(await visible_orders(call.services.pool, list(wanted), call.channels)) < len(wanted):
        raise order_unknown()
    return list(wanted)
