"""What a payment provider captured, booked in Tryton as the payment of the shipment's invoice.

Tryton's own wizard pays an invoice in one transaction: the move in the payment method's journal, posted, and reconciled
with what the invoice is owed. It finds nothing to pay on an invoice that is paid, so the same again, late or at the
same time, never books twice; it only asks back, which is told from a booking. The move's description bears the
provider's number of the capture and our shipment's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.connectors.tryton.client import TrytonClient, may_be_one
from crossdock.kit.connector import Call, Done
from crossdock.model.errors import CrossdockError, Misconfigured, Refused, Unavailable
from crossdock.model.fulfilment import ShipmentPart
from crossdock.model.values import Money

_INVOICE: Final = "account.invoice"
_WIZARD: Final = "wizard.account.invoice.pay"
_FIELDS: Final = (
    "number", "reference", "state", "currency", "currency.code", "amount_to_pay", "reconciled", "party", "account",
    "company", "reconciliation_lines.move.number", "reconciliation_lines.move.description",
)  # fmt: skip
_BY_HAND: Final = "Settle the invoice in Tryton by hand, then replay this step: what is paid counts as done."
Row = dict[str, Any]


class Captured(msgspec.Struct, frozen=True):
    """What the capturing step reported."""

    capture: str
    amount: Decimal


@dataclass(slots=True)
class Receipt:
    """The money of one part on its way into the books; an `error` takes it, and it alone, out of the work."""

    call: Call
    shipment: str
    capture: str
    amount: Money
    invoice: Row = field(default_factory=dict)
    error: CrossdockError | None = None

    @property
    def description(self) -> str:
        return f"{self.capture} {self.shipment}"

    def outcome(self) -> Done | CrossdockError:
        """With the number of the move that paid; of several, ours."""
        if self.error is not None:
            return self.error
        moves = [line["move."] for line in self.invoice.get("reconciliation_lines.", ())]
        moves.sort(key=lambda move: move["description"] != self.description)
        number = moves[0]["number"] if moves else ""
        result = {
            "payment": number, "invoice": self.invoice.get("number", ""), "amount": str(self.amount.amount),
        }  # fmt: skip
        return Done(msgspec.json.encode(result), number)


async def book_payments(client: TrytonClient, calls: Sequence[Call]) -> Sequence[Done | CrossdockError]:
    """All are looked for at once, and each that is missing is booked by itself, so that one stops only itself."""
    receipts = [receipt_of(call) for call in calls]
    try:
        await _read_invoices(client, receipts)
        unpaid = [receipt for receipt in receipts if _is_due(receipt)]
        settled = [receipt for receipt in receipts if receipt.error is None and receipt not in unpaid]
        if unpaid:
            await _pay(client, unpaid)
        await _finish(client, [*settled, *(receipt for receipt in unpaid if receipt.invoice["state"] == "posted")])
    except CrossdockError as error:
        return [error] * len(calls)
    return [receipt.outcome() for receipt in receipts]


async def find_payment(client: TrytonClient, call: Call) -> Done | None:
    receipt = receipt_of(call)
    await _read_invoices(client, [receipt])
    if _is_due(receipt) or receipt.error is not None:
        return None
    await _finish(client, [receipt])
    found = receipt.outcome()
    return found if isinstance(found, Done) else None


def receipt_of(call: Call) -> Receipt:
    """What was captured for this shipment, as the capturing step reported it; else what it was to capture."""
    part = msgspec.json.decode(call.payload, type=ShipmentPart)
    result = call.results.get(f"payment.capture:{part.shipment}")
    captured = Captured("", part.gross.amount) if result is None else msgspec.json.decode(result, type=Captured)
    return Receipt(call, part.shipment, captured.capture, Money(captured.amount, part.gross.currency))


def _is_due(receipt: Receipt) -> bool:
    """Whether anything is left to book. Marks what does not fit the invoice as an error."""
    invoice, amount = receipt.invoice, receipt.amount
    if receipt.error is not None or not amount.amount:
        return False
    if not invoice:
        receipt.error = Refused(
            "erp_invoice_missing", f"Tryton has no posted invoice of shipment {receipt.shipment}.",
            next_action="Look what became of the invoice in Tryton, then replay this step.",
        )  # fmt: skip
        return False
    if invoice["reconciled"]:
        return False
    currency = invoice["currency."]["code"]
    if (currency, invoice["amount_to_pay"]) != (amount.currency, amount.amount):
        receipt.error = Refused(
            "erp_payment_differs",
            f"{amount.amount} {amount.currency} was captured, but Tryton's invoice {invoice['number']} has"
            f" {invoice['amount_to_pay']} {currency} left to pay.",
            next_action=_BY_HAND,
        )  # fmt: skip
        return False
    return True


async def _read_invoices(client: TrytonClient, receipts: Sequence[Receipt]) -> None:
    wanted = [receipt for receipt in receipts if receipt.amount.amount]
    if not wanted:
        return
    domain = [
        ["reference", "in", sorted({receipt.shipment for receipt in wanted})], ["type", "=", "out"],
        ["state", "in", ["posted", "paid"]], ["total_amount", ">", 0],
    ]  # fmt: skip
    rows = await client.rows([receipt.call for receipt in wanted], _INVOICE, domain, _FIELDS)
    found = {row["reference"]: row for row in reversed(rows)}
    for receipt in wanted:
        receipt.invoice = found.get(receipt.shipment, {})


async def _pay(client: TrytonClient, receipts: Sequence[Receipt]) -> None:
    """One session of the wizard for all: each of its transactions is told its invoice anew."""
    method = await _payment_method(client)
    calls = [receipt.call for receipt in receipts]
    session, *_ = await client.call(calls, f"{_WIZARD}.create")
    for receipt in receipts:
        invoice = receipt.invoice["id"]
        context = {"active_model": _INVOICE, "active_id": invoice, "active_ids": [invoice]}
        data = {"start": _start(receipt, method)}
        try:
            await client.call(receipt.call, f"{_WIZARD}.execute", session, data, "choice", context=context)
        except CrossdockError as error:
            if not may_be_one(error):
                raise
            receipt.error = error
    await client.call(calls, f"{_WIZARD}.delete", session)
    await _read_invoices(client, receipts)
    for receipt in receipts:
        # Where another was quicker it is paid, though Tryton asked back or objected.
        if receipt.invoice.get("reconciled"):
            receipt.error = None
        elif receipt.error is None:
            receipt.error = Refused(
                "erp_payment_questioned",
                f"Tryton does not take {receipt.amount.amount} {receipt.amount.currency} as the payment of the invoice"
                f" of shipment {receipt.shipment} without asking.",
                next_action=_BY_HAND,
            )  # fmt: skip


def _start(receipt: Receipt, method: int) -> Row:
    invoice = receipt.invoice
    return {
        "payee": invoice["party"], "amount": receipt.amount.amount, "currency": invoice["currency"],
        "company": invoice["company"], "invoice_account": invoice["account"], "description": receipt.description,
        "payment_method": method, "date": datetime.now(UTC).date(),
    }  # fmt: skip


async def _payment_method(client: TrytonClient) -> int:
    name = client.settings.payment_method
    references = await client.ensure_references()
    if name not in references.payment_methods:
        references = await client.ensure_references(again=True)
    if name not in references.payment_methods:
        raise Misconfigured(
            "erp_payment_method_unknown", f"Tryton has no payment method {name!r}.",
            next_action="Name one of Tryton's invoice payment methods in the connection's payment_method.",
        )  # fmt: skip
    return references.payment_methods[name]


async def _finish(client: TrytonClient, receipts: Sequence[Receipt]) -> None:
    """Tryton calls a reconciled invoice paid, and ends its sale, in transactions of their own that can be missing."""
    found = [receipt for receipt in receipts if receipt.error is None and receipt.invoice]
    if not found:
        return
    ids = [receipt.invoice["id"] for receipt in found]
    await client.call([receipt.call for receipt in found], f"model.{_INVOICE}.process", ids)
    await _read_invoices(client, found)
    for receipt in found:
        if receipt.invoice.get("state") != "paid":
            receipt.error = Unavailable("erp_invoice_not_paid", "Tryton does not yet show the invoice as paid.")
