"""How amounts are written in sentences."""

from __future__ import annotations

from decimal import Decimal

import pytest

from crossdock.model.values import amount_text


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        ("0", "EUR", "0.00 EUR"), ("3.8", "EUR", "3.80 EUR"), ("36.5220", "EUR", "36.522 EUR"),
        ("12067.93", "EUR", "12,067.93 EUR"), ("5E+3", "GBP", "5,000.00 GBP"), ("1500", "JPY", "1,500 JPY"),
    ],
)  # fmt: skip
def test_a_limit_was_told_as_zero_beside_amounts_with_cents(amount: str, currency: str, text: str) -> None:
    assert amount_text(Decimal(amount), currency) == text
