"""Decimals at every door are plain; what Python's Decimal would take besides is refused with its place."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.model.decimals import read_json
from crossdock.model.documents import Address
from crossdock.model.orders import OrderPlaced, PaymentIntent, PlacedLine
from crossdock.model.values import Money, Quantity

NOT_PLAIN = (
    '"1_0"', '" 10"', '"10 "', '"1e3"', '"1E+3"', "1e3", "1E-2", '"NaN"', '"nan"', '"sNaN"', '"NaN7"', '"Infinity"',
    '"-inf"', '"１２"', '"٣"', '"+1"', '"1."', '".5"', '"10\\n"', '"\\t10"', '"\\u0031_0"', '"\\uff11"',
    '"-.5"', '"--1"',
)  # fmt: skip


def placed() -> bytes:
    line = PlacedLine("1", Quantity(Decimal(777), "C62"), sku="A-1", unit_price=Money(Decimal("888.5"), "EUR"))
    order = OrderPlaced(
        "S-1", datetime(2026, 3, 2, tzinfo=UTC), "EUR", Address("Nan Inf", "Kai 1e3", "İzmir", "1_0", "DE"), (line,),
        PaymentIntent("card", "tok"),
    )  # fmt: skip
    return msgspec.json.encode(order)


@pytest.mark.parametrize("text", NOT_PLAIN)
def test_a_quantity_that_is_no_plain_decimal_is_refused_with_its_place(text: str) -> None:
    raw = placed().replace(b'"777"', text.encode())
    with pytest.raises(msgspec.ValidationError) as caught:
        read_json(raw, OrderPlaced)
    assert "$.lines[0].quantity.value" in str(caught.value)


@pytest.mark.parametrize("text", NOT_PLAIN)
def test_a_price_that_is_no_plain_decimal_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        read_json(placed().replace(b'"888.5"', text.encode()), OrderPlaced)
    assert "$.lines[0].unit_price.amount" in str(caught.value)


@pytest.mark.parametrize("text", ['"10"', '"-3"', '"0.5"', '"007"', "10", "0.25", "-1"])
def test_plain_decimals_are_taken_and_texts_may_look_like_anything(text: str) -> None:
    found = read_json(placed().replace(b'"777"', text.encode()), OrderPlaced)
    assert found.lines[0].quantity.value == Decimal(text.strip('"'))
    assert found.ship_to.postal_code == "1_0"


@given(st.text(alphabet="0123456789._eE+- \t\n١１naifNAITYsS", min_size=1, max_size=12))
def test_no_text_gets_through_that_is_not_plain(text: str) -> None:
    raw = placed().replace(b'"777"', msgspec.json.encode(text))
    try:
        read_json(raw, OrderPlaced)
    except msgspec.ValidationError:
        return
    digits = text.removeprefix("-").replace(".", "", 1)
    assert digits.isascii()
    assert digits.isdigit()
