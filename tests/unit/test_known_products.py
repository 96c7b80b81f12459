"""What is kept of products in memory: never older than a reading of stock, and never more than its bound."""

from __future__ import annotations

import tracemalloc

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from crossdock.ledger.known_products import CHANGED_MAX, NEVER, KnownProducts

SKUS = [f"SKU-{number}" for number in range(12)]


def body(sku: str, unit: str = "C62") -> bytes:
    packs = [{"unit": unit, "base_quantity": "1", "gtin": f"40000{sku[4:]}"}]
    return msgspec.json.encode({"sku": sku, "name": f"Product {sku}", "base_unit": unit, "packs": packs})


def test_what_is_kept_is_bounded() -> None:
    known = KnownProducts(kept_max=1_000)
    for first in range(0, 50_000, 100):
        known.learn(0, [(f"SKU-{number}", body(f"SKU-{number}")) for number in range(first, first + 100)])
        known.find(["SKU-0"])
        assert known.count() <= 1_000
    # What is asked for again and again stays.
    assert known.find(["SKU-0", "SKU-1"]).keys() == {"SKU-0"}


def test_twenty_thousand_products_cost_less_than_four_megabytes() -> None:
    known = KnownProducts()
    tracemalloc.start()
    try:
        for number in range(20_000):
            known.learn(0, [(f"SKU-{number}", body(f"SKU-{number}"))])
        assert known.count() == 20_000
        assert tracemalloc.get_traced_memory()[0] < 4_000_000
    finally:
        tracemalloc.stop()


def test_an_answer_that_was_overtaken_brings_nothing_older_back() -> None:
    known = KnownProducts()
    known.catch_up(1, known.since, [])
    known.learn(1, [("SKU-1", body("SKU-1"))])
    known.catch_up(2, 1, ["SKU-1"])
    assert known.learn(1, [("SKU-1", body("SKU-1"))])["SKU-1"].base_unit == "C62"
    assert known.find(["SKU-1"]) == {}


def test_more_changes_than_are_told_forget_everything() -> None:
    known = KnownProducts()
    known.catch_up(1, NEVER, [])
    known.learn(1, [("SKU-1", body("SKU-1"))])
    known.catch_up(2, 1, [f"OTHER-{number}" for number in range(CHANGED_MAX + 1)])
    assert known.find(["SKU-1"]) == {}


@given(st.lists(st.one_of(
    st.tuples(st.just("change"), st.sampled_from(SKUS)), st.tuples(st.just("ask"), st.sampled_from(SKUS)),
    st.tuples(st.just("late"), st.sampled_from(SKUS)), st.tuples(st.just("other"), st.just("")),
), max_size=60))  # fmt: skip
def test_a_reading_never_finds_a_product_as_it_was(actions: list[tuple[str, str]]) -> None:
    """Against a ledger of two dictionaries; a "late" reading is answered only when the next one was."""
    units = dict.fromkeys(SKUS, "U0")
    changed = dict.fromkeys(SKUS, 0)
    version = 0
    known = KnownProducts(kept_max=6)
    late: tuple[int, int, list[str]] | None = None
    for action, sku in actions:
        if action in ("change", "other"):
            version += 1
            if sku:
                units[sku], changed[sku] = f"U{version}", version
            continue
        since = known.since
        reading = (version, since, [one for one, at in changed.items() if at > since])
        if action == "late":
            late = reading
            continue
        known.catch_up(*reading)
        found = known.find([sku]) or known.learn(version, [(sku, body(sku, units[sku]))])
        assert found[sku].base_unit == units[sku]
        if late is not None:
            known.catch_up(*late)
            late = None
