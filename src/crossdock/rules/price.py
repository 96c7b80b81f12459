"""Prices: what a line should cost, where that comes from, and what follows when the channel asks for another price.

Prices are net of tax and per base unit. Contract prices of the customer come first, then those of its price group, then
the list price. Among agreements of equal rank the highest quantity break that the line reaches counts; of two with the
same break the one that began later, then the lower price.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

import msgspec

from crossdock.model.codes import CURRENCY_DIGITS, UNIT_NAMES
from crossdock.model.documents import Customer, PriceAgreement, Product
from crossdock.model.errors import Invalid
from crossdock.model.orders import PriceProvenance
from crossdock.model.values import AMOUNT_MAX, Money, amount_text, check_money, rounded
from crossdock.policy.policy import ChannelPolicy
from crossdock.rules.units import ONE

_NOTHING: Final = Decimal(0)
_HUNDRED: Final = Decimal(100)
_TENTH_OF_PERCENT: Final = Decimal("0.01")
_FOUR_DECIMALS: Final = Decimal("0.0001")
# How many more decimals than the currency's amounts a unit price may have: four in all.
EXTRA_DECIMALS: Final = {0: 0, 2: 2, 3: 1}

Offers = Mapping[tuple[str, str, str], Sequence[PriceAgreement]]
"""(customer, price group, currency) -> agreements, those with the highest quantity break first."""


class PricedLine(msgspec.Struct, frozen=True, gc=False):
    """`unit_price` is what is charged per base unit; `problem` is a reason's code and sentence, or None."""

    unit_price: Decimal
    amount: Decimal
    provenance: PriceProvenance
    problem: tuple[str, str] | None = None


def arrange_offers(agreements: Sequence[PriceAgreement]) -> dict[tuple[str, str, str], list[PriceAgreement]]:
    """Sort the agreements of one SKU for `find_agreement`."""
    offers: dict[tuple[str, str, str], list[PriceAgreement]] = {}
    for agreement in agreements:
        key = (agreement.customer, agreement.price_group, agreement.unit_price.currency)
        offers.setdefault(key, []).append(agreement)
    for found in offers.values():
        # Sorting is stable: by name, then lower price, then later begin, then higher break.
        found.sort(key=lambda item: (item.unit_price.amount, item.agreement))
        found.sort(key=lambda item: item.valid_from or date.min, reverse=True)
        found.sort(key=lambda item: item.quantity_min, reverse=True)
    return offers


def find_agreement(
    offers: Offers, customer: Customer | None, currency: str, quantity: Decimal, on: date
) -> PriceAgreement | None:
    """Return the contract price that applies to `quantity` base units ordered on a date."""
    if customer is None:
        return None
    keys = [(customer.code, "", currency)]
    if customer.price_group:
        keys.append(("", customer.price_group, currency))
    for key in keys:
        for agreement in offers.get(key, ()):
            if agreement.quantity_min > quantity:
                continue
            if agreement.valid_from is not None and agreement.valid_from > on:
                continue
            if agreement.valid_until is not None and agreement.valid_until < on:
                continue
            return agreement
    return None


def price_line(
    product: Product, offers: Offers, customer: Customer | None, channel: ChannelPolicy, *, currency: str,
    ordered: Decimal, quantity: Decimal, asked: Money | None, on: date,
) -> PricedLine | None:  # fmt: skip
    """Price `quantity` base units, ordered as `ordered` units at `asked` each. None: there is no price at all.

    Raises Invalid when the asked price is no price.
    """
    agreement = None
    if channel.price_source == "contract":
        agreement = find_agreement(offers, customer, currency, quantity, on)
    if asked is None:
        return _our_price(product, agreement, currency, quantity, on)
    _check_asked(asked, currency)
    per_base = asked.amount if ordered == quantity else asked.amount * ordered / quantity
    expected = agreement.unit_price.amount if agreement is not None else _list_price(product, currency)
    by_channel = channel.price_source == "channel"
    if expected is None:
        if not by_channel:
            return None
        expected = per_base
    deviation = _deviation(expected, per_base)
    unit_price = per_base
    problem = None
    if ordered != quantity or per_base.as_tuple().exponent < -4:  # type: ignore[operator]
        unit_price = per_base.quantize(_FOUR_DECIMALS, ROUND_HALF_UP)
    amount = rounded(quantity * unit_price, currency)
    if unit_price != per_base and amount != rounded(ordered * asked.amount, currency):
        message = f"{asked.amount} {currency} per unit is no price per {product.base_unit} of at most 4 decimals."
        problem = ("price_indivisible", message)
    if not by_channel and channel.price_beyond != "accept" and abs(deviation) > channel.price_tolerance_percent:
        problem = ("price_beyond", _beyond(product, agreement, expected, per_base, currency, deviation, channel))
    if amount > AMOUNT_MAX:
        raise Invalid("amount_absurd", f"The line's amount must not exceed {AMOUNT_MAX}.", field="unit_price.amount")
    provenance = PriceProvenance(
        "channel" if by_channel else "list" if agreement is None else "contract", expected,
        agreement.agreement if agreement is not None else "",
        agreement.quantity_min if agreement is not None else ONE, unit_price, deviation, on,
    )  # fmt: skip
    return PricedLine(unit_price, amount, provenance, problem)


def _our_price(
    product: Product, agreement: PriceAgreement | None, currency: str, quantity: Decimal, on: date
) -> PricedLine | None:
    if agreement is not None:
        unit_price = agreement.unit_price.amount
        provenance = PriceProvenance(
            "contract", unit_price, agreement.agreement, agreement.quantity_min, None, _NOTHING, on
        )
    else:
        found = _list_price(product, currency)
        if found is None:
            return None
        unit_price = found
        provenance = PriceProvenance("list", unit_price, "", ONE, None, _NOTHING, on)
    amount = rounded(quantity * unit_price, currency)
    if amount > AMOUNT_MAX:
        raise Invalid("amount_absurd", f"The line's amount must not exceed {AMOUNT_MAX}.", field="quantity.value")
    return PricedLine(unit_price, amount, provenance)


def _check_asked(asked: Money, currency: str) -> None:
    if asked.currency != currency:
        check_money(asked, "unit_price")
        message = f"The line is priced in {asked.currency}, the order is in {currency}."
        raise Invalid("currency_mixed", message, field="unit_price.currency")
    check_money(asked, "unit_price", extra_decimals=EXTRA_DECIMALS[CURRENCY_DIGITS[currency]])


def _list_price(product: Product, currency: str) -> Decimal | None:
    for price in product.list_prices:
        if price.currency == currency:
            return price.amount
    return None


def _deviation(expected: Decimal, asked: Decimal) -> Decimal:
    """Percent by which the asked price differs, rounded away from zero so that a tolerance is never overstepped."""
    if asked == expected:
        return _NOTHING
    if expected == 0:
        return _HUNDRED
    exact = (asked - expected) * _HUNDRED / expected
    percent = exact.quantize(_TENTH_OF_PERCENT, ROUND_HALF_UP)
    if abs(percent) < abs(exact):
        percent += _TENTH_OF_PERCENT if exact > 0 else -_TENTH_OF_PERCENT
    return percent


def _beyond(
    product: Product, agreement: PriceAgreement | None, expected: Decimal, asked: Decimal, currency: str,
    deviation: Decimal, channel: ChannelPolicy,
) -> str:  # fmt: skip
    source = f"agreement {agreement.agreement}" if agreement is not None else "the list price"
    shown = amount_text(asked.quantize(_FOUR_DECIMALS, ROUND_HALF_UP), currency)
    each = UNIT_NAMES.get(product.base_unit, product.base_unit)
    return (
        f"{product.sku} was asked at {shown} per {each}; {source} says {amount_text(expected, currency)} "
        f"({deviation:+f} %, the channel's tolerance is {channel.price_tolerance_percent.normalize():f} %)."
    )
