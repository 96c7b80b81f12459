"""From orders and shipment parts to the payment provider's minor units and back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

import msgspec

from crossdock.kit.connector import Call, Done
from crossdock.model.codes import CURRENCY_DIGITS
from crossdock.model.errors import Defect, Refused
from crossdock.model.fulfilment import ShipmentPart
from crossdock.model.orders import LineTax
from crossdock.model.values import Money

DECLINES: Final[Mapping[str, str]] = MappingProxyType({
    "card_declined": "The card's bank refused the payment.",
    "limit_exceeded": "The amount exceeds the card's limit.",
})  # fmt: skip


class Authorisation(msgspec.Struct, frozen=True):
    id: str
    state: str
    amount: int
    currency: str


class Movement(msgspec.Struct, frozen=True):
    id: str
    amount: int
    currency: str


class Decline(msgspec.Struct, frozen=True):
    code: str


class Declined(msgspec.Struct, frozen=True):
    error: Decline


class RefundPayload(msgspec.Struct, frozen=True):
    """`capture` is the provider's id of the capture that money is given back from."""

    capture: str
    amount: Money
    reference: str


class QuotedTaxes(msgspec.Struct, frozen=True):
    taxes: dict[str, LineTax] = {}


def authorisation_reference(number: str, step_name: str) -> str:
    """Our order number, with the round ("#2") when the order was released from a hold and is authorised anew."""
    _, mark, round_number = step_name.partition("#")
    return f"{number}{mark}{round_number}"


def authorisation_body(call: Call) -> dict[str, Any]:
    gross = call.order.net
    for name, result in call.results.items():
        if name.startswith("tax.quote"):
            taxes = msgspec.json.decode(result, type=QuotedTaxes).taxes
            tax = sum((line.amount for line in taxes.values()), Decimal(0))
            gross = Money(call.order.net.amount + tax, call.order.currency)
    return {
        "amount": minor_units(gross), "currency": gross.currency, "card_token": call.order.payment.token,
        "reference": authorisation_reference(call.number, call.name),
    }  # fmt: skip


def capture_body(part: ShipmentPart) -> dict[str, Any]:
    return {"amount": minor_units(part.gross), "reference": part.shipment}


def refund_body(payload: RefundPayload) -> dict[str, Any]:
    return {
        "capture_id": payload.capture, "amount": minor_units(payload.amount), "reference": payload.reference,
    }  # fmt: skip


def known_authorisation(call: Call) -> str:
    for name, result in call.results.items():
        if name.startswith("payment.authorise"):
            return str(msgspec.json.decode(result, type=dict[str, Any]).get("authorisation", ""))
    return ""


def authorisation_done(found: Authorisation) -> Done:
    result = {"authorisation": found.id, "amount": str(major_units(found.amount, found.currency))}
    return Done(msgspec.json.encode(result), found.id)


def movement_done(kind: str, found: Movement) -> Done:
    result = {kind: found.id, "amount": str(major_units(found.amount, found.currency))}
    return Done(msgspec.json.encode(result), found.id)


def decline(body: bytes) -> Refused:
    try:
        code = msgspec.json.decode(body, type=Declined).error.code
    except (msgspec.DecodeError, UnicodeError):
        code = "card_declined"
    message = DECLINES.get(code, "The payment was refused.")
    return Refused(
        code if code in DECLINES else "card_declined", message, next_action="Ask the buyer for another card."
    )


def minor_units(money: Money) -> int:
    scaled = money.amount.scaleb(CURRENCY_DIGITS[money.currency])
    if scaled != scaled.to_integral_value():
        raise Defect("amount_not_rounded", "An amount was not rounded to its currency.", detail=str(money.amount))
    return int(scaled)


def major_units(amount: int, currency: str) -> Decimal:
    return Decimal(amount).scaleb(-CURRENCY_DIGITS[currency])
