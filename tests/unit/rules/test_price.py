from __future__ import annotations

from datetime import date
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.model.documents import Customer, PriceAgreement
from crossdock.model.values import Money, rounded
from crossdock.policy.policy import ChannelPolicy
from crossdock.rules.price import arrange_offers, find_agreement, price_line
from tests.scenarios.reading import read_table
from tests.unit.rules.making import PRODUCTS, euro

CASES = read_table("prices")
BOLT = msgspec.structs.replace(PRODUCTS["BOLT"], list_prices=(euro("2.00"), Money(Decimal("1.70"), "GBP")))
PORTAL = ChannelPolicy("portal", ("EUR", "GBP"), ("terms",), price_tolerance_percent=Decimal(2))
SHOP = ChannelPolicy("shop", ("EUR",), ("card",), price_source="channel")
ON = date(2026, 3, 1)
CUSTOMERS = {
    "C1": Customer("C1", "One", "EUR", "active", "G1"),
    "C4": Customer("C4", "Four", "EUR", "active", "G2"),
}


def agree(name: str, price: str, quantity_min: int, *, customer: str = "", **dates: date) -> PriceAgreement:
    group = "" if customer else "G1"
    return PriceAgreement(name, "BOLT", euro(price), customer, group, Decimal(quantity_min), **dates)


OFFERS = arrange_offers([
    agree("G1-1", "1.80", 1), agree("G1-50", "1.70", 50), agree("G1-NEW", "1.65", 50, valid_from=date(2026, 7, 1)),
    agree("C1-100", "1.50", 100, customer="C1"),
    agree("C1-OLD", "1.00", 1, customer="C1", valid_until=date(2025, 12, 31)),
])  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_the_table_of_prices(case: dict[str, str]) -> None:
    quantity = Decimal(case["quantity"])
    found = price_line(
        BOLT, OFFERS, CUSTOMERS.get(case["customer"]), PORTAL, currency=case["currency"], ordered=quantity,
        quantity=quantity, asked=None, on=date.fromisoformat(case["on"]),
    )  # fmt: skip
    assert found is not None
    assert (str(found.unit_price), found.provenance.agreement) == (case["price"], case["agreement"])
    assert found.provenance.source == ("contract" if case["agreement"] else "list")
    assert found.amount == rounded(quantity * found.unit_price, case["currency"])


@given(
    st.lists(st.tuples(st.integers(1, 500), st.decimals("0.01", 99, places=2)), min_size=1, max_size=12),
    st.integers(1, 600), st.integers(0, 600),
)  # fmt: skip
def test_more_never_falls_back_to_a_smaller_break(
    breaks: list[tuple[int, Decimal]], quantity: int, more: int
) -> None:
    offers = arrange_offers([agree(str(n), str(price), least) for n, (least, price) in enumerate(breaks)])
    less_found = find_agreement(offers, CUSTOMERS["C1"], "EUR", Decimal(quantity), ON)
    more_found = find_agreement(offers, CUSTOMERS["C1"], "EUR", Decimal(quantity + more), ON)
    reached = [least for least, _ in breaks if least <= quantity]
    assert (less_found.quantity_min if less_found else None) == max(reached, default=None)
    if less_found is not None:
        assert more_found is not None
        assert more_found.quantity_min >= less_found.quantity_min


@given(st.integers(1, 500), st.sampled_from([1, 3, 6, 7, 10, 12, 25]), st.decimals("0.01", 500, places=2))
def test_what_is_charged_is_what_the_channel_asked_or_a_reason_is_told(
    boxes: int, size: int, asked: Decimal
) -> None:
    found = price_line(
        BOLT, OFFERS, None, SHOP, currency="EUR", ordered=Decimal(boxes), quantity=Decimal(boxes * size),
        asked=Money(asked, "EUR"), on=ON,
    )  # fmt: skip
    assert found is not None
    assert found.provenance.source == "channel"
    assert -found.unit_price.as_tuple().exponent <= 4  # type: ignore[operator]
    if found.problem is None:
        assert found.amount == rounded(boxes * asked, "EUR")
    else:
        assert found.problem[0] == "price_indivisible"


@given(st.decimals("0.01", 9, places=2))
def test_the_tolerance_is_never_overstepped(asked: Decimal) -> None:
    found = price_line(
        BOLT, OFFERS, None, PORTAL, currency="EUR", ordered=Decimal(1), quantity=Decimal(1), asked=Money(asked, "EUR"),
        on=ON,
    )  # fmt: skip
    assert found is not None
    assert (found.problem is None) == (abs(asked - 2) * 100 <= 2 * 2)
