"""Orders: place, list, read, timeline, change, cancel; and their shipments."""

from __future__ import annotations

import hashlib
import re
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Final

import msgspec

from crossdock.api.answers import ORDER_REFUSED, Answer, ApiProblem, ProblemDetail, detail_of, json_answer
from crossdock.api.endpoint import Call
from crossdock.engine.intake import Answer as IntakeAnswer
from crossdock.insight.orders import OrderDetail, OrderFilter, list_shipments, order_id_of, read_order, search_orders
from crossdock.insight.paging import LIMIT_MAX
from crossdock.insight.timeline import read_timeline
from crossdock.ledger.acceptance import Arrival
from crossdock.model.facts import LineChange
from crossdock.model.orders import OrderAcknowledgment, OrderPlaced, OrderState, PlacedLine

Limit = Annotated[int, msgspec.Meta(ge=1, le=LIMIT_MAX, description="How many at most")]
Cursor = Annotated[str, msgspec.Meta(max_length=600, description="The cursor of the page before")]
Text = Annotated[str, msgspec.Meta(max_length=100)]
_KEY: Final = re.compile(r"[\x21-\x7e]{1,200}\Z")
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)
KEY_HEADER: Final = "idempotency-key"
CHANNEL_HEADER: Final = "crossdock-channel"
LINES_MAX: Final = 1_000


class OrderQuery(msgspec.Struct, frozen=True):
    """`text` is any partner's number, a customer or a SKU."""

    text: Text = ""
    customer: Text = ""
    sku: Text = ""
    state: OrderState | None = None
    channel: Text = ""
    placed_since: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    cursor: Cursor = ""
    limit: Limit = 50


class ShipmentQuery(msgspec.Struct, frozen=True):
    order: Text = ""
    cursor: Cursor = ""
    limit: Limit = 50


class CancelBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why the order is cancelled."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=300)]


class OrderCancelled(msgspec.Struct, frozen=True):
    """The order's state right after: `cancelled`, or `shipping` when a part had left already."""

    number: str
    state: OrderState


class ChangeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is still wanted, in all, of the lines named; the others stay as they are. In the unit that was ordered, or
    in the base unit; zero takes a line off."""

    lines: Annotated[tuple[LineChange, ...], msgspec.Meta(min_length=1, max_length=LINES_MAX)]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=300)]


class ChangedLine(msgspec.Struct, frozen=True):
    """Base units: `ordered` at first, `wanted` of it now, `cancelled` the rest."""

    line: str
    ordered: Decimal
    wanted: Decimal
    cancelled: Decimal


class OrderChanged(msgspec.Struct, frozen=True):
    """The order's state and lines right after."""

    number: str
    state: OrderState
    lines: tuple[ChangedLine, ...]


def choose_channel(call: Call) -> str:
    """The channel that the caller speaks for. Raises ApiProblem 400 and 403."""
    asked = call.headers.get(CHANNEL_HEADER, "")
    allowed = call.channels
    if asked:
        if (allowed is not None and asked not in allowed) or asked not in call.services.policy.channels:
            raise ApiProblem(403, "channel_not_yours", "You may not speak for this channel.", field="Crossdock-Channel")
        return asked
    if allowed is not None and len(allowed) == 1:
        return allowed[0]
    raise ApiProblem(
        400, "channel_missing", "Say for which channel this is.", field="Crossdock-Channel",
        next_action="Send the header Crossdock-Channel.",
    )  # fmt: skip


def check_numbers(lines: tuple[PlacedLine, ...]) -> None:
    """NaN and Infinity are words, not numbers. Raises ApiProblem 422 with every place."""
    wrong = []
    for index, line in enumerate(lines):
        if not line.quantity.value.is_finite():
            wrong.append(_no_number(line.line, f"lines[{index}].quantity.value"))
        if line.unit_price is not None and not line.unit_price.amount.is_finite():
            wrong.append(_no_number(line.line, f"lines[{index}].unit_price.amount"))
        if len(wrong) >= 100:
            break
    if wrong:
        raise ApiProblem(422, "number_form", "A quantity or amount is no number.", field=wrong[0].field, errors=wrong)


def _no_number(line: str, field: str) -> ProblemDetail:
    return ProblemDetail("number_form", "This is no number.", line[:64], field)


def read_key(call: Call) -> str:
    """The sender's key. Raises ApiProblem 400."""
    key = call.headers.get(KEY_HEADER, "")
    if not _KEY.match(key):
        raise ApiProblem(
            400, "idempotency_key", "Send a key of 1 to 200 visible ASCII characters.",
            field="Idempotency-Key", next_action="Use the same key when you send the same message again.",
        )  # fmt: skip
    return key


async def place_order(call: Call) -> Answer:
    """Accept, hold or refuse an order; it is committed before this answers."""
    key = read_key(call)
    channel = choose_channel(call)
    placed: OrderPlaced = call.body
    check_numbers(placed.lines)
    if placed.placed_at.tzinfo is not None and not _EARLIEST < placed.placed_at < _LATEST:
        raise ApiProblem(422, "placed_at_absurd", "The order is dated in another age.", field="placed_at")
    services = call.services
    span = services.tracing.start("order.place", call.traceparent, attributes={"channel": channel})
    traceparent = span.traceparent if span is not None else call.traceparent
    began = time.monotonic()
    try:
        answer = await services.intake.place(
            Arrival(channel, placed, call.raw, key, hashlib.sha256(call.raw).digest(), traceparent)
        )
    finally:
        if span is not None:
            span.end()
    state = answer.acknowledgment.state if answer.acknowledgment is not None else answer.status
    services.metrics.observe_answer(channel, time.monotonic() - began)
    services.metrics.count_order(channel, state if answer.status == "new" else answer.status)
    if answer.status == "new":
        services.metrics.count_facts(services.policy.channels[channel].connection or channel, 1)
    return _acknowledge(answer)


def _acknowledge(answer: IntakeAnswer) -> Answer:
    """201 accepted, 202 held, 422 refused with every reason; a repeated one is 200 (refused: 422 again), marked so."""
    if answer.status == "key_reused":
        raise ApiProblem(
            422, "idempotency_key_reused", "This key was used for another message.", field="Idempotency-Key",
            next_action="Use a new key for a new order.",
        )  # fmt: skip
    acknowledgment = answer.acknowledgment
    if answer.status == "conflict" or acknowledgment is None:
        raise ApiProblem(
            409, "channel_number_taken", "This number was already accepted with another content.",
            field="channel_number", next_action="Read the order, or place it under a new number.",
        )  # fmt: skip
    repeated = answer.status == "repeated"
    headers = {"Idempotency-Replayed": "true"} if repeated else {}
    if acknowledgment.state == "refused":
        raise _refusal(acknowledgment, headers)
    headers["Location"] = f"/v1/orders/{acknowledgment.number}"
    status = 200 if repeated else 202 if acknowledgment.state == "held" else 201
    return json_answer(acknowledgment, status, headers)


def _refusal(acknowledgment: OrderAcknowledgment, headers: dict[str, str]) -> ApiProblem:
    errors = [detail_of(reason) for reason in acknowledgment.reasons]
    first = errors[0] if errors else ProblemDetail("refused", "The order was refused.")
    message = first.message if len(errors) < 2 else f"The order was refused for {len(errors)} reasons."
    return ApiProblem(
        422, ORDER_REFUSED, message, field=first.field, next_action=first.next_action, errors=errors, headers=headers
    )


async def list_orders(call: Call) -> Answer:
    """A page of orders, newest first; only those of the caller's channels."""
    query: OrderQuery = call.query
    if query.placed_since is not None and not _EARLIEST < query.placed_since < _LATEST:
        raise ApiProblem(422, "placed_since_absurd", "This is a time of another age.", field="placed_since")
    wanted = OrderFilter(
        text=query.text, customer=query.customer, sku=query.sku, state=query.state or "", channel=query.channel,
        placed_since=query.placed_since, channels=call.channels,
    )  # fmt: skip
    return json_answer(await search_orders(call.services.pool, wanted, query.cursor, query.limit))


async def find_order(call: Call) -> OrderDetail:
    """The order in the path. Raises ApiProblem 404, also for an order of another channel."""
    found = await read_order(call.services.pool, call.path["number"], call.channels)
    if found is None:
        raise order_unknown()
    return found


def order_unknown() -> ApiProblem:
    return ApiProblem(404, "order_unknown", "There is no such order.", field="number")


async def show_order(call: Call) -> Answer:
    """One order whole. The payment token stays with us."""
    found = await find_order(call)
    payment = msgspec.structs.replace(found.order.payment, token="")
    order = msgspec.structs.replace(found.order, payment=payment)
    return json_answer(msgspec.structs.replace(found, order=order))


async def show_timeline(call: Call) -> Answer:
    """Everything that happened to an order at every system, and what happens next."""
    found = await find_order(call)
    return json_answer(await read_timeline(call.services.pool, found.order.order_id, call.services.clock()))


async def cancel_order(call: Call) -> Answer:
    """Cancel what has not left yet; what was done at the partners is undone by steps."""
    found = await find_order(call)
    body: CancelBody = call.body
    await call.services.control.cancel_order(
        call.services.clock(), call.actor, found.order.order_id, body.reason
    )
    after = await find_order(call)
    return json_answer(OrderCancelled(after.order.number, after.progress.state), 202)


async def change_order(call: Call) -> Answer:
    """Lower lines, or take them off, as far as no warehouse has been told of them: all that is asked, or nothing."""
    found = await find_order(call)
    body: ChangeBody = call.body
    await call.services.control.change_order(
        call.services.clock(), call.actor, found.order.order_id, body.lines, body.reason
    )
    after = await find_order(call)
    lines = tuple(
        ChangedLine(name, line.ordered, line.ordered - line.cancelled, line.cancelled)
        for name, line in after.progress.lines.items()
    )
    return json_answer(OrderChanged(after.order.number, after.progress.state, lines))


async def show_shipments(call: Call) -> Answer:
    """A page of shipments, newest orders first."""
    query: ShipmentQuery = call.query
    page = await list_shipments(
        call.services.pool, order_number=query.order, channels=call.channels, cursor=query.cursor, limit=query.limit
    )
    return json_answer(page)


def order_ids_of(numbers: tuple[str, ...]) -> dict[int, str]:
    """Order id -> number as given. Raises ApiProblem 404 for what is no number of ours."""
    found: dict[int, str] = {}
    for number in numbers:
        order_id = order_id_of(number)
        if order_id is None:
            raise order_unknown()
        found[order_id] = number
    return found


__all__ = [
    "OrderDetail", "cancel_order", "change_order", "list_orders", "place_order", "show_order", "show_shipments",
    "show_timeline",
]  # fmt: skip
