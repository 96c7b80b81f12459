"""Keys and codes of the trade are checked: GS1's published examples pass, every typing error of one digit does not."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.model.codes import (
    check_country,
    check_currency,
    check_gln,
    check_gtin,
    check_sscc,
    check_unit,
    gs1_check_digit,
)
from crossdock.model.documents import Address, Customer, Pack, Product, check_address, check_customer, check_product
from crossdock.model.errors import Invalid
from crossdock.model.values import Money, Quantity, check_money, check_quantity

Check = Callable[[str], str]
# Examples that GS1 publishes in its General Specifications and on its pages.
GOOD: tuple[tuple[Check, str], ...] = (
    (check_gtin, "96385074"), (check_gtin, "614141000036"), (check_gtin, "4006381333931"),
    (check_gtin, "10614141000415"), (check_gln, "9501101020016"), (check_gln, "4012345000009"),
    (check_sscc, "340123450000000017"), (check_sscc, "106141412345678908"), (check_currency, "EUR"),
    (check_currency, "JPY"), (check_country, "DE"),
    (check_country, "GB"), (check_unit, "C62"), (check_unit, "KGM"), (check_unit, "XPX"),
)  # fmt: skip
BAD: tuple[tuple[Check, str, str], ...] = (
    (check_gtin, "4006381333932", "gtin_check_digit"), (check_gtin, "400638133393", "gtin_check_digit"),
    (check_gtin, "123456789", "gtin_form"), (check_gtin, "", "gtin_form"), (check_gtin, "400638133393X", "gtin_form"),
    (check_gtin, "４００６３８１３３３９３１", "gtin_form"), (check_gtin, "4006381333931\n", "gtin_form"),
    (check_gln, "614141000036", "gln_form"), (check_gln, "9501101020017", "gln_check_digit"),
    (check_sscc, "340123450000000018", "sscc_check_digit"), (check_sscc, "4006381333931", "sscc_form"),
    (check_currency, "EUX", "currency_unknown"), (check_currency, "eur", "currency_unknown"),
    (check_currency, "", "currency_unknown"), (check_country, "UK", "country_unknown"),
    (check_country, "DEU", "country_unknown"), (check_unit, "BOX", "unit_unknown"), (check_unit, "pcs", "unit_unknown"),
)  # fmt: skip


@pytest.mark.parametrize(("check", "code"), GOOD)
def test_good_codes_come_back_as_they_are(check: Check, code: str) -> None:
    assert check(code) == code


@pytest.mark.parametrize(("check", "code", "error"), BAD)
def test_bad_codes_are_named(check: Check, code: str, error: str) -> None:
    with pytest.raises(Invalid) as raised:
        check(code)
    assert raised.value.code == error


@given(st.text("0123456789", min_size=17, max_size=17), st.integers(0, 17), st.integers(1, 9))
def test_no_single_wrong_digit_passes(body: str, place: int, more: int) -> None:
    good = check_sscc(body + gs1_check_digit(body))
    wrong = good[:place] + str((int(good[place]) + more) % 10) + good[place + 1 :]
    with pytest.raises(Invalid):
        check_sscc(wrong)


ADDRESS = Address("Ada", "Quay 1", "Bremen", "28195", "DE")
PIECE = Pack("C62", Decimal(1))


def _product(**change: object) -> Product:
    values = {"base_unit": "C62", "packs": (PIECE,), **change}
    return Product("A", "A", tax_category="standard", list_prices=(), **values)  # type: ignore[arg-type]


def _customer(**change: object) -> Customer:
    return Customer("C", "C", **{"currency": "EUR", "status": "active", **change})  # type: ignore[arg-type]


IN_DOCUMENTS: tuple[tuple[str, Callable[[], object]], ...] = (
    ("gtin_check_digit", lambda: check_product(_product(packs=(Pack("C62", Decimal(1), "4006381333932"),)))),
    ("unit_unknown", lambda: check_product(_product(base_unit="BOX"))),
    ("gln_check_digit", lambda: check_customer(_customer(gln="9501101020017"))),
    ("currency_unknown", lambda: check_customer(_customer(currency="EUX"))),
    ("country_unknown", lambda: check_address(Address("Ada", "Quay 1", "Bremen", "28195", "UK"), "ship_to")),
    ("unit_unknown", lambda: check_quantity(Quantity(Decimal(1), "BOX"))),
    ("currency_unknown", lambda: check_money(Money(Decimal(1), "EUX"))),
    ("amount_decimals", lambda: check_money(Money(Decimal("1.5"), "JPY"))),
    ("amount_decimals", lambda: check_money(Money(Decimal("1.005"), "EUR"))),
    ("quantity_fraction", lambda: check_quantity(Quantity(Decimal("0.5"), "XPX"))),
)


@pytest.mark.parametrize(("code", "check"), IN_DOCUMENTS)
def test_documents_are_checked_for_them(code: str, check: Callable[[], object]) -> None:
    with pytest.raises(Invalid) as raised:
        check()
    assert raised.value.code == code
    assert raised.value.field


def test_the_number_of_decimals_is_the_currencys() -> None:
    assert check_money(Money(Decimal("1.005"), "KWD"))
    assert check_money(Money(Decimal(100), "JPY"))
    assert check_quantity(Quantity(Decimal("0.5"), "KGM"))
