"""Steps as rows: claimed under limits, recorded under a fence, expired when their worker is gone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from crossdock.ledger.database import Connection, Queries, as_rows
from crossdock.model.orders import Order

_ORDER: Final = msgspec.json.Decoder(Order)
_SQL: Final = Queries.load("steps")
SILENT_FOR: Final = timedelta(seconds=6)
"""A worker not heard of for so long counts as dead: its steps go on elsewhere, in doubt."""


class ClaimedStep(msgspec.Struct, frozen=True, gc=False):
    """A step that this process may now send. `doubt`: probe before sending. `needy`: it needs results of others."""

    order: Order
    order_id: int
    name: str
    connection: str
    operation: str
    attempt: int
    failures: int
    doubt: bool
    needy: bool
    payload: bytes
    number: str
    traceparent: str


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of a claimed step: its next state, and what to show of it. `result` and `exchanges` are JSON."""

    step: ClaimedStep
    state: str
    started_at: datetime
    ended_at: datetime
    due_at: datetime
    result: bytes | None = None
    external_id: str = ""
    exchanges: bytes = b""
    error_kind: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    next_action: str | None = None
    detail: str = ""


class _OutcomeRow(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    order_id: int
    name: str
    attempt: int
    state: str
    result: str | None = None
    external_id: str | None = None
    exchanges: str | None = None
    due_at: datetime | None = None
    error_kind: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    next_action: str | None = None


async def claim_steps(
    connection: Connection, worker: str, now: datetime, leased_until: datetime,
    wanted: Sequence[tuple[str, str, int, bool]],
) -> list[ClaimedStep]:  # fmt: skip
    """Claim up to `slots` steps of each (connection, operation, slots, one worker); committed when it returns. Of lanes
    that one worker at a time performs, it claims from those that are this worker's."""
    columns = [list(column) for column in zip(*wanted, strict=True)] or [[], [], [], []]
    rows = await connection.fetch(_SQL["claim_steps"], worker, leased_until, now, *columns)
    steps = []
    order: Order | None = None
    number = traceparent = ""
    for row in rows:
        if row[11] is not None:
            number, traceparent, order = row[9], row[10], _ORDER.decode(row[11])
        if order is not None:
            steps.append(ClaimedStep(
                order, row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], row[8], number, traceparent
            ))  # fmt: skip
    return steps


async def give_back_claims(
    connection: Connection, worker: str, in_hand: Collection[tuple[int, str, int]], now: datetime
) -> int:
    """Make due again what this worker was given, but for what it has in hand; return how many steps that were."""
    columns = [list(column) for column in zip(*in_hand, strict=True)] or [[], [], []]
    count: int = await connection.fetchval(_SQL["give_back_claims"], worker, *columns, now)
    return count


async def hold_lanes(
    connection: Connection, worker: str, lanes: Sequence[tuple[str, str]], now: datetime
) -> frozenset[tuple[str, str]]:
    """Of these lanes, those that this worker has; it takes what no living worker has."""
    columns = [row[0] for row in lanes], [row[1] for row in lanes]
    await connection.execute(_SQL["hold_lanes"], worker, *columns, now - SILENT_FOR, now)
    return frozenset((row[0], row[1]) for row in await connection.fetch(_SQL["read_held_lanes"], worker, *columns))


async def read_results(connection: Connection, order_ids: Sequence[int]) -> dict[int, dict[str, bytes]]:
    """Order id -> results by step name and, for the newest of each, by operation."""
    found: dict[int, dict[str, bytes]] = {}
    for row in await connection.fetch(_SQL["read_results"], list(order_ids)):
        results = found.setdefault(row[0], {})
        results[row[1]] = results[row[2]] = row[3]
    return found


async def record_outcomes(
    connection: Connection, worker: str, outcomes: Sequence[Outcome], now: datetime
) -> set[tuple[int, str, int]]:
    """Write outcomes; return the order, name and attempt of those that counted (a lost lease does not).

    A batch may hold two ends of one step: the late one of an attempt whose lease was lost, and that of the next.
    Unclean ends are kept as attempts.
    """
    rows = [
        _OutcomeRow(
            item.step.order_id, item.step.name, item.step.attempt, item.state,
            item.result.decode() if item.result is not None else None, item.external_id or None,
            item.exchanges.decode() if item.exchanges else None, item.due_at if item.state != "done" else None,
            item.error_kind, item.error_code, item.error_message, item.next_action,
        )
        for item in outcomes
    ]  # fmt: skip
    found = await connection.fetch(_SQL["record_outcomes"], worker, as_rows(rows), now)
    counted = {(row[0], row[1], row[2]) for row in found}
    unclean = [item for item in outcomes if item.state != "done" or item.step.doubt or item.step.attempt > 1]
    if unclean:
        await connection.execute(
            _SQL["insert_attempts"], worker, [item.step.order_id for item in unclean],
            [item.step.name for item in unclean], [item.step.attempt for item in unclean],
            [item.started_at for item in unclean], [item.ended_at for item in unclean],
            [item.state if attempt_of(item.step) in counted else "fenced" for item in unclean],
            [item.error_code for item in unclean], [item.error_message for item in unclean],
            [item.detail[:2000] for item in unclean], [item.exchanges or None for item in unclean],
        )  # fmt: skip
    return counted


def attempt_of(step: ClaimedStep) -> tuple[int, str, int]:
    """What identifies one attempt at one step."""
    return step.order_id, step.name, step.attempt


async def fail_steps(connection: Connection, steps: Sequence[tuple[int, str]], now: datetime) -> None:
    if steps:
        await connection.execute(_SQL["fail_steps"], [row[0] for row in steps], [row[1] for row in steps], now)


async def expire_leases(connection: Connection, now: datetime) -> int:
    """Put steps of dead or overdue workers in doubt; return how many."""
    tag: str = await connection.execute(_SQL["expire_leases"], now, now - SILENT_FOR)
    return int(tag.rsplit(" ", 1)[1])


async def beat(connection: Connection, process: str, kind: str, now: datetime) -> None:
    await connection.execute(_SQL["beat"], process, kind, now, now - timedelta(hours=1))


async def end_process(connection: Connection, process: str) -> None:
    await connection.execute(_SQL["end_process"], process)


async def place_connection(
    connection: Connection, name: str, system: str, calls_per_second: Any, burst: Any, operations: Sequence[str],
    feeds: Sequence[tuple[str, Any]],
) -> None:  # fmt: skip
    """Make a configured connection, its lanes and feeds known; what operators set is kept."""
    await connection.execute(_SQL["place_connection"], name, system, calls_per_second, burst)
    for operation in operations:
        await connection.execute(_SQL["place_lane"], name, operation)
    for feed, interval_seconds in feeds:
        await connection.execute(_SQL["place_feed"], name, feed, interval_seconds)


async def read_lanes(connection: Connection, lanes: Sequence[tuple[str, str]]) -> list[Any]:
    return list(await connection.fetch(_SQL["read_lanes"], [row[0] for row in lanes], [row[1] for row in lanes]))


async def write_lane(
    connection: Connection, name: str, operation: str, state: str, failures: int, opened_at: datetime | None,
    retry_at: datetime | None,
) -> None:  # fmt: skip
    await connection.execute(_SQL["write_lane"], name, operation, state, failures, opened_at, retry_at)


async def note_connections(
    connection: Connection,
    notes: Sequence[tuple[str, datetime | None, datetime | None, str | None, datetime | None]],
) -> None:
    """`notes` are (connection, last ok, last error, its sentence, blocked until)."""
    if notes:
        await connection.execute(_SQL["note_connections"], *[list(column) for column in zip(*notes, strict=True)])


async def claim_feed(
    connection: Connection, worker: str, now: datetime, leased_until: datetime, connections: Sequence[str]
) -> Any:
    return await connection.fetchrow(_SQL["claim_feed"], worker, leased_until, now, list(connections), now - SILENT_FOR)


async def finish_feed(
    connection: Connection,
    name: str,
    feed: str,
    worker: str,
    cursor: str,
    due_at: datetime,
    now: datetime,
    *,
    changed: bool,
) -> bool:
    tag: str = await connection.execute(_SQL["finish_feed"], name, feed, worker, cursor, due_at, now, changed)
    return tag == "UPDATE 1"


async def fail_feed(
    connection: Connection, name: str, feed: str, worker: str, due_at: datetime, code: str, message: str
) -> None:
    await connection.execute(_SQL["fail_feed"], name, feed, worker, due_at, code, message)


async def keep_cursor(connection: Connection, name: str, feed: str, worker: str, cursor: str, now: datetime) -> bool:
    tag: str = await connection.execute(_SQL["keep_cursor"], name, feed, worker, cursor, now)
    return tag == "UPDATE 1"
