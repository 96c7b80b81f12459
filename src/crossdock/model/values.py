"""Quantity and Money: the only forms in which goods and money cross a module boundary.

On the wire both are objects with a decimal string: `{"value": "3", "unit": "XBX"}`, `{"amount": "12.30",
"currency": "EUR"}`. Arithmetic is Decimal; rounding is half up to the currency's minor unit and never silent.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

import msgspec

from crossdock.model.codes import CURRENCY_DIGITS, UNIT_DECIMALS, check_currency, check_unit
from crossdock.model.errors import Invalid

QUANTITY_MAX: Final = Decimal("1000000000")
AMOUNT_MAX: Final = Decimal("1000000000000")
UNIT_PRICE_DECIMALS: Final = 4
_STEP: Final = tuple(Decimal(1).scaleb(-digits) for digits in range(7))


def _decimals(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return -exponent if isinstance(exponent, int) and exponent < 0 else 0


class Quantity(msgspec.Struct, frozen=True, gc=False):
    """A number of units (`unit`: UN/ECE Rec 20)."""

    value: Decimal
    unit: str


class Money(msgspec.Struct, frozen=True, gc=False):
    """An amount in major units of an ISO 4217 currency."""

    amount: Decimal
    currency: str

    def __add__(self, other: Money) -> Money:
        _same_currency(self, other)
        return Money(self.amount + other.amount, self.currency)

    def __sub__(self, other: Money) -> Money:
        _same_currency(self, other)
        return Money(self.amount - other.amount, self.currency)


def _same_currency(left: Money, right: Money) -> None:
    if left.currency != right.currency:
        raise Invalid("currency_mixed", f"{left.currency} and {right.currency} cannot be added.", field="currency")


def check_quantity(quantity: Quantity, field: str = "quantity") -> Quantity:
    """Return `quantity` if it is positive, finite, in a known unit and not a fraction of an indivisible unit."""
    check_unit(quantity.unit, f"{field}.unit")
    value = quantity.value
    if not value.is_finite() or value <= 0:
        raise Invalid("quantity_positive", "The quantity must be greater than zero.", field=f"{field}.value")
    if value > QUANTITY_MAX:
        raise Invalid("quantity_absurd", f"The quantity must not exceed {QUANTITY_MAX}.", field=f"{field}.value")
    allowed = UNIT_DECIMALS[quantity.unit]
    if _decimals(value.normalize()) > allowed:
        rule = "must be whole" if allowed == 0 else f"may have at most {allowed} decimals"
        raise Invalid("quantity_fraction", f"A quantity in {quantity.unit} {rule}.", field=f"{field}.value")
    return quantity


def check_money(money: Money, field: str = "amount", *, extra_decimals: int = 0) -> Money:
    """Return `money` if finite, not negative, of a known currency and with no more decimals than it has.

    Unit prices may carry more decimals than the currency: pass the number allowed on top as `extra_decimals`.
    """
    check_currency(money.currency, f"{field}.currency")
    amount = money.amount
    if not amount.is_finite() or amount.is_signed():
        raise Invalid("amount_negative", "The amount must be zero or more.", field=f"{field}.amount")
    if amount > AMOUNT_MAX:
        raise Invalid("amount_absurd", f"The amount must not exceed {AMOUNT_MAX}.", field=f"{field}.amount")
    allowed = CURRENCY_DIGITS[money.currency] + extra_decimals
    if _decimals(amount) > allowed and _decimals(amount.normalize()) > allowed:
        message = f"An amount in {money.currency} has at most {allowed} decimals."
        raise Invalid("amount_decimals", message, field=f"{field}.amount")
    return money


def rounded(amount: Decimal, currency: str) -> Decimal:
    """Round half up to the currency's minor unit."""
    return amount.quantize(_STEP[CURRENCY_DIGITS[currency]], ROUND_HALF_UP)


def amount_text(amount: Decimal, currency: str) -> str:
    """An amount in a sentence: grouped, with the currency's decimals, and more only where there are more."""
    plain = amount.normalize()
    return f"{plain:,.{max(_decimals(plain), CURRENCY_DIGITS[currency])}f} {currency}"


def part_amount(whole: Decimal, whole_quantity: Decimal, before: Decimal, part: Decimal, currency: str) -> Decimal:
    """The part's share of `whole` so that consecutive parts add up to it exactly.

    Each share is the difference of two rounded running totals, so no cent is lost or made:
    `before` and `part` are quantities already taken and taken now, out of `whole_quantity`.
    """
    taken = rounded(whole * before / whole_quantity, currency)
    return rounded(whole * (before + part) / whole_quantity, currency) - taken


def total(amounts: Sequence[Money], currency: str) -> Money:
    """The sum; zero in `currency` when empty. Raises Invalid `currency_mixed`."""
    found = Money(Decimal(0), currency)
    for money in amounts:
        found = found + money
    return found
