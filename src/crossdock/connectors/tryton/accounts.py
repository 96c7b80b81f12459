"""One account as Tryton sees it right now, for a validation that does not want to wait for the feed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from crossdock.connectors.tryton.client import TrytonClient
from crossdock.connectors.tryton.translate import CENT
from crossdock.kit.connector import LiveAccount
from crossdock.model.errors import Invalid

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


def account_of(party: Mapping[str, Any], rate: Decimal, categories: list[str], as_of: datetime) -> LiveAccount:
    """Tryton's figures are in the company's currency; ours in the customer's."""
    return LiveAccount(
        blocked=BLOCKED in categories, credit_limit=_converted(party["credit_limit_amount"], rate),
        receivable=_converted(party["receivable"], rate), as_of=as_of,
    )  # fmt: skip


def _converted(amount: Decimal | None, rate: Decimal) -> Decimal:
    return ((amount or Decimal(0)) * rate).quantize(CENT, "ROUND_HALF_UP")
