"""What a payment provider captured, booked in Tryton as the payment of the shipment's invoice, many in the same calls.

A move in the payment method's journal is drafted upon the invoice, posted, and reconciled with what the invoice is
owed; Tryton then calls the invoice paid by itself. (Its own wizard pays one invoice at a time and takes five times as
long.) The move's description bears the provider's number of the capture and our shipment's: by it every attempt finds
how far an earlier one came. The money is entered at the rate of the invoice; what the provider pays out later at
another one belongs to the account on which it waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.connectors.tryton.client import PaymentMethodRef, TrytonClient, together_or_alone
from crossdock.kit.connector import Call, Done
from crossdock.model.errors import CrossdockError, Misconfigured, Refused, Unavailable
from crossdock.model.fulfilment import ShipmentPart
from crossdock.model.values import Money

_INVOICE: Final = "account.invoice"
_MOVE: Final = "account.move"
_LINE_FIELDS: Final = ("debit", "credit", "party", "reconciliation")
_FIELDS: Final = (
    "number", "reference", "state", "currency", "currency.code", "amount_to_pay", "reconciled", "account", "company",
    "company.currency", *(f"lines_to_pay.{name}" for name in _LINE_FIELDS),
    *(f"payment_lines.{name}" for name in (*_LINE_FIELDS, "move", "move.state", "move.description")),
    "reconciliation_lines.move.number", "reconciliation_lines.move.description",
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
        """As Tryton keeps it: without blanks around it."""
        return " ".join(f"{self.capture} {self.shipment}".split())

    @property
    def is_open(self) -> bool:
        """Whether there is an invoice, not yet reconciled, and nothing that speaks against booking it."""
        return self.error is None and bool(self.invoice) and not self.invoice["reconciled"]

    def own_lines(self) -> list[Row]:
        """Ours among the payments that wait to be reconciled: a posted one first, then the eldest."""
        found = [
            line for line in self.invoice.get("payment_lines.", ())
            if line["move."]["description"] == self.description and not line["reconciliation"]
        ]  # fmt: skip
        return sorted(found, key=lambda line: (line["move."]["state"] != "posted", line["move"]))

    def other_lines(self) -> list[Row]:
        """What the invoice is owed, and what others have paid of it."""
        ours = {line["id"] for line in self.own_lines()}
        lines = (*self.invoice["lines_to_pay."], *self.invoice["payment_lines."])
        return [line for line in lines if not line["reconciliation"] and line["id"] not in ours]

    def outcome(self) -> Done | CrossdockError:
        """With the number of the move that paid; of several, ours."""
        if self.error is not None:
            return self.error
        moves = [line["move."] for line in self.invoice.get("reconciliation_lines.", ())]
        moves.sort(key=lambda move: move["description"] != self.description)
        number = moves[0]["number"] if moves else ""
        result = {"payment": number, "invoice": self.invoice.get("number", ""), "amount": str(self.amount.amount)}
        return Done(msgspec.json.encode(result), number)


async def book_payments(client: TrytonClient, calls: Sequence[Call]) -> Sequence[Done | CrossdockError]:
    return await together_or_alone(_book, client, calls)


async def find_payment(client: TrytonClient, call: Call) -> Done | None:
    receipt = receipt_of(call)
    await _read_invoices(client, [receipt])
    if receipt.is_open or (not receipt.invoice and receipt.amount.amount):
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


async def _book(client: TrytonClient, calls: Sequence[Call]) -> list[Done | CrossdockError]:
    """Every stage looks what is there and does what is missing."""
    receipts = [receipt_of(call) for call in calls]
    async with AsyncExitStack() as stack:
        for number in sorted({call.number for call in calls}):
            await stack.enter_async_context(client.lock(number))
        await _read_invoices(client, receipts)
        settled = [receipt for receipt in receipts if receipt.invoice and not receipt.is_open]
        await _drop_doubles(client, receipts)
        for receipt in receipts:
            receipt.error = _misfit(receipt)
        due = [receipt for receipt in receipts if receipt.is_open]
        await _draft(client, [receipt for receipt in due if not receipt.own_lines()])
        await _drop_doubles(client, due)
        await _post(client, [receipt for receipt in due if receipt.is_open])
        await _reconcile(client, [receipt for receipt in due if receipt.is_open])
        await _read_invoices(client, due)
        await _finish(client, [*settled, *(receipt for receipt in due if receipt.invoice.get("state") != "paid")])
    return [receipt.outcome() for receipt in receipts]


def _misfit(receipt: Receipt) -> CrossdockError | None:
    """Why the money is not the payment of the invoice as it stands."""
    invoice, amount = receipt.invoice, receipt.amount
    if not amount.amount or invoice.get("reconciled"):
        return None
    if not invoice:
        return Refused(
            "erp_invoice_missing", f"Tryton has no posted invoice of shipment {receipt.shipment}.",
            next_action="Look what became of the invoice in Tryton, then replay this step.",
        )  # fmt: skip
    left, currency = invoice["amount_to_pay"], invoice["currency."]["code"]
    if receipt.own_lines():
        # Drafted before: Tryton has taken it off already.
        left += amount.amount
    if (currency, left) != (amount.currency, amount.amount):
        return Refused(
            "erp_payment_differs",
            f"{amount.amount} {amount.currency} was captured, but Tryton's invoice {invoice['number']} has"
            f" {left} {currency} left to pay.",
            next_action=_BY_HAND,
        )  # fmt: skip
    return None


async def _read_invoices(client: TrytonClient, receipts: Sequence[Receipt]) -> None:
    wanted = [receipt for receipt in receipts if receipt.amount.amount]
    if not wanted:
        return
    domain = [
        ["reference", "in", sorted({receipt.shipment for receipt in wanted})], ["type", "=", "out"],
        ["state", "in", ["posted", "paid"]], ["total_amount", ">", 0],
    ]  # fmt: skip
    rows = await client.rows(_calls(wanted), _INVOICE, domain, _FIELDS)
    found = {row["reference"]: row for row in reversed(rows)}
    for receipt in wanted:
        receipt.invoice = found.get(receipt.shipment, {})


async def _drop_doubles(client: TrytonClient, receipts: Sequence[Receipt]) -> None:
    """A request that the network delivered twice, or another worker's, drafted a second one: one stays."""
    doubled = [receipt for receipt in receipts if receipt.is_open and len(receipt.own_lines()) > 1]
    if doubled:
        surplus = [line["move"] for receipt in doubled for line in receipt.own_lines()[1:]]
        await client.call(_calls(doubled), f"model.{_MOVE}.delete", surplus)
        await _read_invoices(client, doubled)


async def _draft(client: TrytonClient, receipts: Sequence[Receipt]) -> None:
    if not receipts:
        return
    method = await _payment_method(client)
    today = datetime.now(UTC).date()
    period = await _open_period(client, receipts, today)
    moves = [_move(receipt, method) | {"date": today, "period": period} for receipt in receipts]
    made = await client.call(_calls(receipts), f"model.{_MOVE}.create", moves)
    await _read_invoices(client, receipts)
    # Another was quicker and it is paid: ours is no longer linked with it, and only we know of it.
    surplus = [move for move, receipt in zip(made, receipts, strict=True) if receipt.invoice.get("reconciled")]
    if surplus:
        await client.call(_calls(receipts), f"model.{_MOVE}.delete", surplus)


def _move(receipt: Receipt, method: PaymentMethodRef) -> Row:
    """In the company's currency exactly what is open, so that it comes out even whatever the rates are."""
    invoice, others = receipt.invoice, receipt.other_lines()
    open_ = sum((line["debit"] - line["credit"] for line in others), Decimal(0))
    paying: Row = {
        "account": invoice["account"], "party": others[0]["party"], "debit": Decimal(0), "credit": open_,
        "invoice_payment": invoice["id"],
    }  # fmt: skip
    waiting: Row = {"account": method.account, "debit": open_, "credit": Decimal(0)}
    if invoice["currency"] != invoice["company."]["currency"]:
        amount = receipt.amount.amount
        paying |= {"amount_second_currency": -amount, "second_currency": invoice["currency"]}
        waiting |= {"amount_second_currency": amount, "second_currency": invoice["currency"]}
    return {
        "journal": method.journal, "company": invoice["company"], "description": receipt.description,
        "origin": f"{_INVOICE},{invoice['id']}", "lines": [["create", [paying, waiting]]],
    }  # fmt: skip


async def _post(client: TrytonClient, receipts: Sequence[Receipt]) -> None:
    drafts = [line["move"] for receipt in receipts for line in receipt.own_lines() if line["move."]["state"] == "draft"]
    if drafts:
        await client.call(_calls(receipts), f"model.{_MOVE}.post", drafts)


async def _reconcile(client: TrytonClient, receipts: Sequence[Receipt]) -> None:
    if not receipts:
        return
    rows = [
        {
            "company": receipt.invoice["company"], "date": datetime.now(UTC).date(),
            "lines": [["add", [line["id"] for line in (*receipt.other_lines(), *receipt.own_lines())]]],
        }
        for receipt in receipts
    ]  # fmt: skip
    await client.call(_calls(receipts), f"model.{_MOVE}.reconciliation.create", rows)


async def _payment_method(client: TrytonClient) -> PaymentMethodRef:
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


async def _open_period(client: TrytonClient, receipts: Sequence[Receipt], day: date) -> int:
    domain = [
        ["start_date", "<=", day], ["end_date", ">=", day], ["type", "=", "standard"], ["state", "=", "open"],
        ["company", "=", receipts[0].invoice["company"]],
    ]  # fmt: skip
    found = await client.rows(_calls(receipts), "account.period", domain, ["name"], limit=1)
    if not found:
        raise Refused(
            "erp_period_closed", f"Tryton has no open period for {day.isoformat()}.",
            next_action="Open the period in Tryton, then replay this step.",
        )  # fmt: skip
    return int(found[0]["id"])


async def _finish(client: TrytonClient, receipts: Sequence[Receipt]) -> None:
    """Tryton calls a reconciled invoice paid, and ends its sale, in transactions of their own that can be missing."""
    found = [receipt for receipt in receipts if receipt.error is None and receipt.invoice]
    if not found:
        return
    ids = [receipt.invoice["id"] for receipt in found]
    await client.call(_calls(found), f"model.{_INVOICE}.process", ids)
    await _read_invoices(client, found)
    for receipt in found:
        if receipt.invoice.get("state") != "paid":
            receipt.error = Unavailable("erp_invoice_not_paid", "Tryton does not yet show the invoice as paid.")


def _calls(receipts: Sequence[Receipt]) -> list[Call]:
    return [receipt.call for receipt in receipts]
