"""Wire calls of the payment provider."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from crossdock.connectors.payment.translate import (
    Authorisation,
    Movement,
    RefundPayload,
    authorisation_body,
    authorisation_done,
    authorisation_reference,
    capture_body,
    decline,
    known_authorisation,
    movement_done,
    refund_body,
)
from crossdock.kit.connector import Call, Done
from crossdock.kit.http import HttpSession, path
from crossdock.model.errors import Refused
from crossdock.model.fulfilment import ShipmentPart

ROUNDS_MAX: Final = 9  # an order that is released from a hold is authorised anew: "#2", "#3" ...


class PaymentSettings(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    key: str


class AuthorisationList(msgspec.Struct, frozen=True):
    authorisations: list[Authorisation]


class CaptureList(msgspec.Struct, frozen=True):
    captures: list[Movement]


class RefundList(msgspec.Struct, frozen=True):
    refunds: list[Movement]


@asynccontextmanager
async def open_payment(settings: PaymentSettings) -> AsyncIterator[HttpSession]:
    async with HttpSession.open(settings.url, bearer=settings.key) as session:
        yield session


async def check(session: HttpSession) -> None:
    await session.request(None, "GET", "/v1/authorisations", write=False, params={"reference": "none"})


async def authorise(session: HttpSession, call: Call) -> Done:
    answer = await session.request(
        call, "POST", "/v1/authorisations", write=True, json=authorisation_body(call), idempotency_key=call.key,
        expected=(200, 201, 402),
    )  # fmt: skip
    if answer.status == 402:
        raise decline(answer.body)
    return authorisation_done(answer.decode(Authorisation))


async def find_authorisation(session: HttpSession, call: Call) -> Done | None:
    found = await _find_by_reference(session, call, authorisation_reference(call.number, call.name))
    return None if found is None else authorisation_done(found)


async def capture(session: HttpSession, call: Call) -> Done:
    part = msgspec.json.decode(call.payload, type=ShipmentPart)
    body = capture_body(part)
    if body["amount"] == 0:
        return Done(msgspec.json.encode({"capture": "", "amount": str(part.gross.amount)}))
    address = path("/v1/authorisations/{}/captures", await _authorisation(session, call))
    answer = await session.request(call, "POST", address, write=True, json=body, idempotency_key=call.key)
    return movement_done("capture", answer.decode(Movement))


async def find_capture(session: HttpSession, call: Call) -> Done | None:
    shipment = msgspec.json.decode(call.payload, type=ShipmentPart).shipment
    address = path("/v1/authorisations/{}/captures", await _authorisation(session, call))
    answer = await session.request(call, "GET", address, write=False, params={"reference": shipment})
    found = answer.decode(CaptureList).captures
    return movement_done("capture", found[0]) if found else None


async def void(session: HttpSession, call: Call) -> Done:
    authorisation = await _authorisation(session, call)
    address = path("/v1/authorisations/{}/void", authorisation)
    await session.request(call, "POST", address, write=True, idempotency_key=call.key)
    return Done(external_id=authorisation)


async def find_void(session: HttpSession, call: Call) -> Done | None:
    authorisation = await _authorisation(session, call)
    answer = await session.request(call, "GET", path("/v1/authorisations/{}", authorisation), write=False)
    return Done(external_id=authorisation) if answer.decode(Authorisation).state == "voided" else None


async def refund(session: HttpSession, call: Call) -> Done:
    body = refund_body(msgspec.json.decode(call.payload, type=RefundPayload))
    answer = await session.request(
        call, "POST", "/v1/refunds", write=True, json=body, idempotency_key=call.key
    )
    return movement_done("refund", answer.decode(Movement))


async def find_refund(session: HttpSession, call: Call) -> Done | None:
    reference = msgspec.json.decode(call.payload, type=RefundPayload).reference
    answer = await session.request(call, "GET", "/v1/refunds", write=False, params={"reference": reference})
    found = answer.decode(RefundList).refunds
    return movement_done("refund", found[0]) if found else None


async def _authorisation(session: HttpSession, call: Call) -> str:
    """What the authorising step reported, else what the provider knows under the reference we gave then."""
    known = known_authorisation(call)
    if known:
        return known
    for round_number in range(1, ROUNDS_MAX + 1):
        mark = f"#{round_number}" if round_number > 1 else ""
        found = await _find_by_reference(session, call, authorisation_reference(call.number, mark))
        if found is None:
            break
        if found.state != "voided" or call.operation == "payment.void":
            return found.id
    raise Refused(
        "authorisation_missing", "There is no authorisation of this order's payment.",
        next_action="Authorise the payment anew, then replay this step.",
    )  # fmt: skip


async def _find_by_reference(session: HttpSession, call: Call, reference: str) -> Authorisation | None:
    answer = await session.request(
        call, "GET", "/v1/authorisations", write=False, params={"reference": reference}
    )
    found = answer.decode(AuthorisationList).authorisations
    return found[0] if found else None
