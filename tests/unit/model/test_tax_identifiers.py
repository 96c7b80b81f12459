from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.model.errors import Invalid
from crossdock.model.tax_identifiers import check_tax_identifier, country_of_tax_identifier
from crossdock.sandbox.world import make_world

VALID = (
    "ATU13585627", "BE0403019261", "CZ25123891", "DE136695976", "DK13585628", "EL094259216", "ESB58378431",
    "FI20774740", "FR40303265045", "FR83404833048", "HR33392005961", "IE6433435F", "IT00743110157", "LU15027442",
    "NL004495445B01", "NL123456789B13", "PL8567346215", "PT501964843", "SE123456789701", "XI980780684",
)  # fmt: skip
# Countries whose numbers one sum protects as a whole.
PROTECTED = [number for number in VALID if number[:2] in {"AT", "BE", "DE", "DK", "FI", "HR", "IT", "LU", "PL"}]


@pytest.mark.parametrize("number", VALID)
def test_real_numbers_are_valid(number: str) -> None:
    assert check_tax_identifier(number, "f") == number


def test_blanks_dots_and_small_letters_do_not_matter() -> None:
    assert check_tax_identifier(" nl 0044.95.445 b01", "f") == "NL004495445B01"


@pytest.mark.parametrize("number", [
    "", "DE", "136695976", "GB980780684", "US123456789", "DE13669597", "DE1366959760", "NL004495445C01", "ATX13585627",
    "FRIO303265045", "DE٣٣٣٣٣٣٣٣٣", "SE123456789702",
])  # fmt: skip
def test_what_has_not_the_form_of_a_country_of_the_union_is_not_valid(number: str) -> None:
    with pytest.raises(Invalid) as raised:
        check_tax_identifier(number, "f")
    assert raised.value.code == "tax_identifier_form"


@given(number=st.sampled_from(PROTECTED), data=st.data())
def test_one_wrong_digit_is_found(number: str, data: st.DataObject) -> None:
    place = data.draw(st.sampled_from([index for index, sign in enumerate(number) if sign.isdigit()]))
    digit = data.draw(st.sampled_from([sign for sign in "0123456789" if sign != number[place]]))
    with pytest.raises(Invalid):
        check_tax_identifier(number[:place] + digit + number[place + 1 :], "f")


@given(st.text(max_size=20) | st.from_regex(r"\A[A-Z]{2}[0-9A-Z+*]{2,12}\Z"))
def test_any_text_is_answered(text: str) -> None:
    country_of_tax_identifier(text)
    with suppress(Invalid):
        compact = check_tax_identifier(text, "f")
        assert check_tax_identifier(compact, "f") == compact


def test_the_country_is_told_by_its_own_code() -> None:
    assert country_of_tax_identifier("EL094259216") == "GR"
    assert country_of_tax_identifier("nl 0044") == "NL"
    assert country_of_tax_identifier("GB980780684") == country_of_tax_identifier("") == ""


def test_the_demonstrations_customers_have_valid_ones() -> None:
    customers = [row for row in make_world().customers if row.tax_identifier]
    assert {row.address.country for row in customers} == {"NL", "FR"}
    assert len({check_tax_identifier(row.tax_identifier, "f") for row in customers}) == len(customers) == 24
