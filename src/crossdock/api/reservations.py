"""Reservations: a cart's stock is set aside until an order redeems it, the cart gives it back, or its time is over."""

from __future__ import annotations

import hashlib
from typing import Annotated, Final

import msgspec

from crossdock.api.answers import Answer, ApiProblem, detail_of, json_answer
from crossdock.api.endpoint import Call
from crossdock.api.orders import Text, check_numbers, choose_channel, read_key
from crossdock.engine.holds import HoldAnswer, Wish
from crossdock.ledger.inventory import read_price_group
from crossdock.model.orders import PlacedLine
from crossdock.model.stock import Reservation
from crossdock.model.values import Quantity

LINES_MAX: Final = 500


class ReservedLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`sku` or `gtin`, in any unit that the product has."""

    line: Text
    quantity: Quantity
    sku: Text = ""
    gtin: Text = ""


class ReservationBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a cart wants, for so many minutes. `country` is where it will be shipped to: then only what can be shipped
    from there is held. `customer` is the account, whose group may have locations of its own."""

    lines: Annotated[tuple[ReservedLine, ...], msgspec.Meta(min_length=1, max_length=LINES_MAX)]
    minutes: Annotated[int, msgspec.Meta(ge=1)] = 15
    country: Annotated[str, msgspec.Meta(max_length=2)] = ""
    customer: Text = ""


async def reserve_stock(call: Call) -> Answer:
    """Set the stock of a cart aside: all of its lines whole, or nothing. It is committed before this answers."""
    key = read_key(call)
    channel = choose_channel(call)
    body: ReservationBody = call.body
    services = call.services
    lines = tuple([PlacedLine(line.line, line.quantity, line.sku, line.gtin) for line in body.lines])
    check_numbers(lines)
    longest = services.policy.stock.hold_minutes_max
    if body.minutes > longest:
        raise ApiProblem(422, "reservation_long", f"Stock is held for {longest} minutes at most.", field="minutes")
    region = services.policy.region_of(body.country) if body.country else ""
    if region is None:
        raise ApiProblem(422, "region_unserved", "Nothing is delivered to this country.", field="country")
    wish = Wish(
        channel, key, hashlib.sha256(call.raw).hexdigest(), lines, body.minutes, region, await _group_of(call, body)
    )
    return await _answer(call, await services.holds.reserve(wish))


async def _group_of(call: Call, body: ReservationBody) -> str:
    if not body.customer:
        return ""
    async with call.services.pool.acquire() as database:
        group = await read_price_group(database, body.customer)
    if group is None:
        raise ApiProblem(422, "customer_unknown", "There is no such customer.", field="customer")
    return group


async def _answer(call: Call, answer: HoldAnswer) -> Answer:
    if answer.status == "key_reused":
        raise ApiProblem(
            422, "idempotency_key_reused", "This key was used for another message.", field="Idempotency-Key",
            next_action="Use a new key for a new reservation.",
        )  # fmt: skip
    if answer.reasons:
        errors = [detail_of(reason) for reason in answer.reasons]
        status, code = (409, "stock_short") if answer.status == "short" else (422, "reservation_refused")
        message = errors[0].message if len(errors) == 1 else f"Nothing was set aside, for {len(errors)} reasons."
        raise ApiProblem(
            status, code, message, field=errors[0].field, next_action=errors[0].next_action, errors=errors
        )
    found = await call.services.holds.read(answer.reservation, None)
    repeated = answer.status == "repeated"
    headers = {"Location": f"/v1/reservations/{answer.reservation}"}
    if repeated:
        headers["Idempotency-Replayed"] = "true"
    return json_answer(found, 200 if repeated else 201, headers)


async def show_reservation(call: Call) -> Answer:
    """Where a reservation stands: reserved, committed to an order, contained in the owners' balances, or ended."""
    return json_answer(_known(await call.services.holds.read(call.path["reservation"], call.channels)))


async def release_reservation(call: Call) -> Answer:
    """Give back what a cart holds. Doing it again changes nothing."""
    return json_answer(_known(await call.services.holds.release(call.path["reservation"], call.channels)))


def _known(found: Reservation | None) -> Reservation:
    if found is None:
        raise ApiProblem(404, "reservation_unknown", "There is no such reservation.", field="reservation")
    return found
