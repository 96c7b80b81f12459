"""One account as Tryton sees it right now, for a validation that does not want to wait for the feed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from crossdock.connectors.tryton.client import TrytonClient
from crossdock.connectors.tryton.translate import CENT
from crossdock.kit.connector import LiveAccount
from crossdock.model.errors import Invalid, Refused
from crossdock.model.orders import Order

BLOCKED: Final = "Blocked"
_FIELDS: Final = ("customer_currency", "credit_limit_amount", "receivable", "categories")


async def read_account(client: TrytonClient, code: str) -> LiveAccount:
    """Two or three reads, no write. Raises Invalid `account_unknown` where Tryton has no such customer."""
    as_of = datetime.now(UTC)
    parties = await client.rows(None, "party.party", [["code", "=", code]], _FIELDS, 1)
    if not parties or not parties[0]["customer_currency"]:
        raise Invalid("account_unknown", f"The ERP has no account {code}.", field="code")
    party = parties[0]
    currencies = await client.rows(None, "currency.currency", [["id", "=", party["customer_currency"]]], ("rate",))
    marks = await client.rows(None, "party.category", [["id", "in", party["categories"]]], ("name",))
    return account_of(party, currencies[0]["rate"], [row["name"] for row in marks], as_of)


async def check_credit(client: TrytonClient, order: Order) -> None:
    """Raises Refused `erp_credit_limit` where Tryton's own figures leave no room for the order.

    Tryton counts what is owed and what is ordered; its own sentence calls the order's amount the excess.
    """
    fields = ("credit_limit_amount", "credit_amount")
    parties = await client.rows(None, "party.party", [["code", "=", order.customer]], fields, 1)
    currencies = await client.rows(None, "currency.currency", [["code", "=", order.currency]], ("rate",))
    if not order.customer or not parties or not currencies or parties[0]["credit_limit_amount"] is None:
        return
    limit = _converted(parties[0]["credit_limit_amount"], currencies[0]["rate"])
    used = _converted(parties[0]["credit_amount"], currencies[0]["rate"])
    if used + order.net.amount > limit:
        raise Refused(
            "erp_credit_limit",
            f"In Tryton {order.customer} has used {used} of {limit} {order.currency} of credit; this order takes"
            f" {order.net.amount} more.",
            next_action="Raise the limit in Tryton or wait for a payment, then release the order.",
        )  # fmt: skip


def account_of(party: Mapping[str, Any], rate: Decimal, categories: list[str], as_of: datetime) -> LiveAccount:
    """Tryton's figures are in the company's currency; ours in the customer's."""
    return LiveAccount(
        blocked=BLOCKED in categories, credit_limit=_converted(party["credit_limit_amount"], rate),
        receivable=_converted(party["receivable"], rate), as_of=as_of,
    )  # fmt: skip


def _converted(amount: Decimal | None, rate: Decimal) -> Decimal:
    return ((amount or Decimal(0)) * rate).quantize(CENT, "ROUND_HALF_UP")
