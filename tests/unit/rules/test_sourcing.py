from __future__ import annotations

from decimal import Decimal
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.rules.sourcing import Need, choose_sources
from tests.scenarios.reading import read_table

CASES = read_table("sources")
PREFERENCE = ("HAM", "BHX")
Wish = Literal["complete", "split", "backorder"]


def split(cell: str) -> list[list[str]]:
    return [part.split() for part in cell.split(",") if part.strip()]


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_the_table_of_sources(case: dict[str, str]) -> None:
    available = {(sku, place): Decimal(value) for sku, place, value in split(case["available"])}
    needs = [Need(str(index), sku, Decimal(value)) for index, (sku, value) in enumerate(split(case["needs"]))]
    fulfilment: Wish = case["fulfilment"]  # type: ignore[assignment]
    found = choose_sources(needs, available, PREFERENCE, fulfilment)
    sources = [
        f"{need.sku} {item.location} {item.quantity}"
        for need, source in zip(needs, found, strict=True) for item in source.allocations
    ]  # fmt: skip
    rest = [f"{need.sku} {source.backordered}" for need, source in zip(needs, found, strict=True) if source.backordered]
    assert ", ".join(sources) == case["sources"]
    assert ", ".join(rest) == case["rest"]


SKUS = st.sampled_from(["A", "B", "C"])
STOCK = st.dictionaries(
    st.tuples(SKUS, st.sampled_from(["HAM", "BHX", "LYS"])), st.decimals(-5, 40, places=1), max_size=9
)
NEEDS = st.lists(st.tuples(SKUS, st.integers(1, 30), st.booleans()), min_size=1, max_size=8)


@given(NEEDS, STOCK, st.sampled_from(["complete", "split", "backorder"]))
def test_nothing_is_taken_twice_or_lost(
    wishes: list[tuple[str, int, bool]], available: dict[tuple[str, str], Decimal], fulfilment: Wish
) -> None:
    needs = [Need(str(index), sku, Decimal(value), whole) for index, (sku, value, whole) in enumerate(wishes)]
    found = choose_sources(needs, available, ("LYS", *PREFERENCE), fulfilment)
    taken: dict[tuple[str, str], Decimal] = {}
    for need, source in zip(needs, found, strict=True):
        given_now = sum((item.quantity for item in source.allocations), Decimal(0))
        assert given_now + source.backordered == need.quantity
        assert all(item.quantity > 0 for item in source.allocations)
        if need.indivisible:
            assert all(item.quantity == int(item.quantity) for item in source.allocations)
        if fulfilment == "backorder":
            assert source.backordered in (0, need.quantity)
        for item in source.allocations:
            key = (need.sku, item.location)
            taken[key] = taken.get(key, Decimal(0)) + item.quantity
    assert all(quantity <= available.get(key, Decimal(0)) for key, quantity in taken.items())
    assert found == choose_sources(needs, available, ("LYS", *PREFERENCE), fulfilment)
