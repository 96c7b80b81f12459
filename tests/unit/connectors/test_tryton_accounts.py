"""Tryton's figures of one account, in the customer's currency."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from crossdock.connectors.tryton.accounts import account_of

AS_OF = datetime(2026, 3, 2, tzinfo=UTC)


def test_an_account_is_converted_to_its_currency_to_the_cent() -> None:
    row = {"credit_limit_amount": Decimal(25_000), "receivable": Decimal("100.01")}
    found = account_of(row, Decimal("0.86"), [], AS_OF)
    assert (found.credit_limit, found.receivable) == (Decimal("21500.00"), Decimal("86.01"))
    assert not found.blocked
    assert found.as_of == AS_OF


def test_a_blocked_account_without_figures() -> None:
    found = account_of({"credit_limit_amount": None, "receivable": None}, Decimal(1), ["Blocked"], AS_OF)
    assert found.blocked
    assert (found.credit_limit, found.receivable) == (Decimal("0.00"), Decimal("0.00"))
