"""The payment provider: authorise, capture in parts, void, refund. Amounts are whole minor units.

It honours `Idempotency-Key`: the same key with the same body gets the first answer again, another body is refused.
Without a key, sending twice is paying twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec

from crossdock.sandbox.service import Answer, Call, Refusal, Route, wait_for_ever
from crossdock.sandbox.storage import Storage

LIMIT_MINOR: Final = 50_000_00
Minor = Annotated[int, msgspec.Meta(gt=0)]


class AuthorisationRequest(msgspec.Struct, frozen=True):
    amount: Minor
    currency: str
    card_token: str
    reference: str


class CaptureRequest(msgspec.Struct, frozen=True):
    amount: Minor
    reference: str


class RefundRequest(msgspec.Struct, frozen=True):
    capture_id: str
    amount: Minor
    reference: str


class Authorisation(msgspec.Struct, frozen=True):
    id: str
    state: str
    amount: int
    currency: str
    reference: str
    captured: int
    created_at: str


class Movement(msgspec.Struct, frozen=True):
    """A capture or a refund; `source` is the authorisation or the capture that it takes from."""

    id: str
    source: str
    amount: int
    currency: str
    reference: str
    created_at: str


class Remembered(msgspec.Struct, frozen=True):
    fingerprint: str
    status: int
    body: Any


class PaymentProvider:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def live(self) -> None:
        await wait_for_ever()

    def routes(self) -> Sequence[Route]:
        return (
            Route("POST", "/v1/authorisations", self._once(self.authorise)),
            Route("GET", "/v1/authorisations", self.list_authorisations),
            Route("GET", "/v1/authorisations/{id}", self.read_authorisation),
            Route("POST", "/v1/authorisations/{id}/captures", self._once(self.capture)),
            Route("GET", "/v1/authorisations/{id}/captures", self.list_captures),
            Route("POST", "/v1/authorisations/{id}/void", self._once(self.void)),
            Route("POST", "/v1/refunds", self._once(self.refund)),
            Route("GET", "/v1/refunds", self.list_refunds),
        )

    def authorise(self, call: Call) -> Answer:
        request = call.read(AuthorisationRequest)
        declined = "card_declined" if request.card_token.startswith("tok_declined") else ""
        if request.amount > (100_00 if request.card_token.startswith("tok_limit") else LIMIT_MINOR):
            declined = "limit_exceeded"
        if declined:
            self._storage.append_log("decline", request.reference, {"code": declined, "amount": request.amount})
            return Answer({"error": {"code": declined, "message": "the card's bank says no"}}, 402)
        authorisation = Authorisation(
            self._id("auth"), "authorised", request.amount, request.currency, request.reference, 0, _now()
        )
        self._storage.place("authorisation", authorisation.id, authorisation, parent=request.reference)
        self._storage.append_log("authorisation", request.reference, authorisation)
        return Answer(authorisation, 201)

    def list_authorisations(self, call: Call) -> Answer:
        reference = call.query.get("reference", "")
        return Answer({"authorisations": self._storage.read_children("authorisation", reference, Authorisation)})

    def read_authorisation(self, call: Call) -> Answer:
        return Answer(self._authorisation(call))

    def capture(self, call: Call) -> Answer:
        authorisation, request = self._authorisation(call), call.read(CaptureRequest)
        if authorisation.state == "voided":
            raise Refusal(409, "voided", "the authorisation was voided")
        if authorisation.captured + request.amount > authorisation.amount:
            raise Refusal(422, "over_capture", "more than was authorised")
        capture = Movement(
            self._id("cap"), authorisation.id, request.amount, authorisation.currency, request.reference, _now()
        )
        captured = authorisation.captured + request.amount
        state = "captured" if captured == authorisation.amount else "partly_captured"
        changed = msgspec.structs.replace(authorisation, captured=captured, state=state)
        self._storage.place("authorisation", authorisation.id, changed, parent=authorisation.reference)
        self._storage.place("capture", capture.id, capture, parent=authorisation.id)
        self._storage.append_log("capture", request.reference, capture)
        return Answer(capture, 201)

    def list_captures(self, call: Call) -> Answer:
        captures = self._storage.read_children("capture", self._authorisation(call).id, Movement)
        reference = call.query.get("reference")
        return Answer({"captures": [found for found in captures if reference in (None, found.reference)]})

    def void(self, call: Call) -> Answer:
        """Let go of what was not captured."""
        authorisation = self._authorisation(call)
        if authorisation.state == "voided":
            return Answer(authorisation)
        voided = msgspec.structs.replace(authorisation, state="voided")
        self._storage.place("authorisation", authorisation.id, voided, parent=authorisation.reference)
        self._storage.append_log("void", authorisation.reference, voided)
        return Answer(voided)

    def refund(self, call: Call) -> Answer:
        request = call.read(RefundRequest)
        capture = self._storage.read("capture", request.capture_id, Movement)
        if capture is None:
            raise Refusal(404, "not_found", "no such capture")
        refunds = self._storage.read_children("refund", request.capture_id, Movement)
        if sum(refund.amount for refund in refunds) + request.amount > capture.amount:
            raise Refusal(422, "over_refund", "more than was captured")
        refund = Movement(
            self._id("ref"), capture.id, request.amount, capture.currency, request.reference, _now()
        )
        self._storage.place("refund", refund.id, refund, parent=capture.id)
        self._storage.place("refund_reference", refund.id, refund, parent=refund.reference)
        self._storage.append_log("refund", request.reference, refund)
        return Answer(refund, 201)

    def list_refunds(self, call: Call) -> Answer:
        reference = call.query.get("reference", "")
        return Answer({"refunds": self._storage.read_children("refund_reference", reference, Movement)})

    def _authorisation(self, call: Call) -> Authorisation:
        authorisation = self._storage.read("authorisation", call.path["id"], Authorisation)
        if authorisation is None:
            raise Refusal(404, "not_found", "no such authorisation")
        return authorisation

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{self._storage.next_number(prefix, 1000001)}"

    def _once(self, operation: Callable[[Call], Answer]) -> Callable[[Call], Answer]:
        def once(call: Call) -> Answer:
            key = call.headers.get("idempotency-key", "")
            if not key:
                return operation(call)
            fingerprint = hashlib.sha256(call.raw + repr(sorted(call.path.items())).encode()).hexdigest()
            before = self._storage.read("idempotency", key, Remembered)
            if before is not None and before.fingerprint != fingerprint:
                raise Refusal(422, "idempotency_key_reused", "this key was used for another request")
            if before is not None:
                return Answer(before.body, before.status)
            answer = operation(call)
            self._storage.place("idempotency", key, Remembered(fingerprint, answer.status, answer.body))
            return answer

        return once


def _now() -> str:
    return datetime.now(UTC).isoformat()
