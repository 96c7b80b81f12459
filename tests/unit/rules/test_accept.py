from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossdock.model.documents import Address
from crossdock.model.orders import Order, OrderPlaced, OrderProgress
from crossdock.model.values import Quantity
from crossdock.rules.accept import Acceptance, Book, Exposure, decide_acceptance, hold_causes
from crossdock.rules.reasons import ACTIONS, HOLD_CAUSE
from tests.scenarios.reading import read_table
from tests.unit.rules.making import ADDRESS, CUSTOMERS, NOW, POLICY, REFERENCE, decide, make_book, make_line, make_order

CASES = read_table("acceptance")


def accepted(acceptance: Acceptance) -> tuple[Order, OrderProgress]:
    assert acceptance.order is not None, acceptance.reasons
    assert acceptance.progress is not None
    return acceptance.order, acceptance.progress


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_the_table_of_acceptance(case: dict[str, str]) -> None:
    order = make_order(case["lines"], payment=case["payment"], customer=case["customer"])
    if case["fulfilment"]:
        wish = {**msgspec.to_builtins(order), "fulfilment": case["fulfilment"]}
        order = msgspec.convert(wish, OrderPlaced, strict=False)
    found = decide(order, case["channel"])
    assert found.acknowledgment.state == case["state"], found.reasons
    told = [f"{reason.code}:{reason.line}" if reason.line else reason.code for reason in found.reasons]
    assert sorted(told) == sorted(case["reasons"].split())
    assert all(reason.message and reason.owner and reason.next_action for reason in found.reasons)


def test_an_accepted_order_carries_prices_units_and_promises() -> None:
    order, progress = accepted(found := decide(make_order("BOLT 6 XBX, CABLE 2.5 MTR @ 1.50")))
    bolt, cable = order.lines
    assert (bolt.quantity, bolt.ordered) == (Quantity(Decimal(60), "C62"), Quantity(Decimal(6), "XBX"))
    assert (bolt.unit_price.amount, bolt.amount.amount) == (Decimal("1.80"), Decimal("108.00"))
    assert (bolt.price.source, bolt.price.agreement) == ("contract", "G1-1")
    assert cable.amount.amount == Decimal("3.75")
    assert order.net.amount == Decimal("111.75") == found.credit_amount
    assert (order.region, order.plan, order.payment_term_days) == ("EU", "business", 30)
    assert set(found.reservations) == {
        ("1", "HAM", "BOLT", Decimal(50)), ("1", "BHX", "BOLT", Decimal(10)), ("2", "HAM", "CABLE", Decimal("2.5")),
    }  # fmt: skip
    assert progress.lines["1"].open == 60
    assert found.events[0].type == "OrderAccepted"


def test_what_is_not_there_waits_for_supply() -> None:
    _, progress = accepted(found := decide(make_order("BOLT 100 C62", payment="card")))
    assert ("1", "", "BOLT", Decimal(20)) in found.reservations
    assert progress.lines["1"].open == 80
    assert found.events[0].body["backordered"] == {"1": "20"}


def test_a_held_order_promises_nothing_and_says_who_acts() -> None:
    order, progress = accepted(found := decide(make_order("CABLE 900 MTR @ 1.00, BOLT 100 C62")))
    assert progress.hold is not None
    assert (progress.hold.cause, progress.hold.owner) == ("credit", "credit control")
    assert hold_causes(progress.hold) == {"credit", "price"}
    assert not found.reservations
    assert not found.credit_amount
    assert all(not line.allocations for line in order.lines)
    assert "limit of 1,000.00 EUR" in progress.hold.reasons[1].message


def test_a_refused_order_was_told_to_be_released() -> None:
    found = decide(make_order("BOLT 1 C62", customer="C9"))
    assert found.order is None
    (said,) = found.acknowledgment.reasons
    assert (said.code, said.next_action) == ("customer_unknown", "Open the account in the ERP.")


@pytest.mark.parametrize("waived", [{"credit", "price"}, {"credit", "price_beyond", "credit_limit"}])
def test_waived_causes_are_passed_over(waived: set[str]) -> None:
    order, progress = accepted(decide(make_order("CABLE 900 MTR @ 1.00, BOLT 100 C62"), waived=frozenset(waived)))
    assert progress.state == "accepted"
    assert order.lines[0].unit_price.amount == Decimal("1.00")


def test_waiving_one_cause_leaves_the_other() -> None:
    _, progress = accepted(decide(make_order("CABLE 900 MTR @ 1.00, BOLT 100 C62"), waived=frozenset({"credit"})))
    assert progress.hold is not None
    assert progress.hold.cause == "price"


def test_services_need_no_goods() -> None:
    order, progress = accepted(found := decide(make_order("PLATE 2 C62"), "services"))
    assert not found.reservations
    assert not order.lines[0].allocations
    assert progress.lines["1"].open == 2


def test_gtin_names_the_product() -> None:
    order = make_order("")
    line = msgspec.structs.replace(make_line("1", "X 1 C62"), sku="", gtin="4012345678901")
    found, _ = accepted(decide(msgspec.structs.replace(order, lines=(line,))))
    assert found.lines[0].sku == "BOLT"


Change = dict[str, Any]
HEADS: list[tuple[str, Change, str]] = [
    ("no number", {"channel_number": " "}, "channel_number_missing"),
    ("no offset", {"placed_at": datetime(2026, 3, 1)}, "placed_at_offset"),  # noqa: DTZ001
    ("dated next month", {"placed_at": NOW + timedelta(days=31)}, "placed_at_future"),
    ("no such type", {"order_type": "gift"}, "order_type_unknown"),
    ("no currency", {"currency": "EUX"}, "currency_unknown"),
    ("not this channel's currency", {"currency": "JPY"}, "currency_channel"),
    ("no country", {"ship_to": msgspec.structs.replace(ADDRESS, country="XX")}, "country_unknown"),
    ("not served", {"ship_to": msgspec.structs.replace(ADDRESS, country="US")}, "region_unserved"),
    ("no street", {"ship_to": msgspec.structs.replace(ADDRESS, street=" ")}, "address_incomplete"),
    ("wrong GLN", {"bill_to": msgspec.structs.replace(ADDRESS, gln="4012345000001")}, "gln_check_digit"),
    ("no lines", {"lines": ()}, "lines_missing"),
    ("too many lines", {"lines": tuple(make_line(str(n), "BOLT 1 C62") for n in range(501))}, "lines_too_many"),
    ("line twice", {"lines": (make_line("1", "BOLT 1 C62"), make_line("1", "BOLT 1 C62"))}, "line_duplicate"),
    ("line without name", {"lines": (make_line(" ", "BOLT 1 C62"),)}, "line_missing"),
    ("no product", {"lines": (msgspec.structs.replace(make_line("1", "X 1 C62"), sku=""),)}, "product_missing"),
    ("unknown GTIN", {"lines": (msgspec.structs.replace(make_line("1", "BOLT 1 C62"), gtin="1"),)}, "gtin_unknown"),
    ("other GTIN", {
        "lines": (msgspec.structs.replace(make_line("1", "CABLE 1 MTR"), gtin="4012345678901"),)
    }, "gtin_mismatch"),
    ("endless note", {"note": "x" * 10_000_000}, "text_too_long"),
    ("control character", {"note": "a\x00b"}, "text_characters"),
    ("half a character", {"customer_reference": "a\ud800"}, "text_characters"),
    ("two lines in a reference", {"customer_reference": "a\nb"}, "text_characters"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "code"), [head[1:] for head in HEADS], ids=[head[0] for head in HEADS])
def test_poison_is_refused_with_a_sentence(change: Change, code: str) -> None:
    found = decide(msgspec.structs.replace(make_order("BOLT 1 C62"), **change))
    assert found.acknowledgment.state == "refused"
    assert code in [reason.code for reason in found.reasons]
    assert found.order is None
    # What goes back can always be written as JSON, and is no megabytes.
    assert len(msgspec.json.encode(found.acknowledgment)) < 100_000


@pytest.mark.parametrize("place", ["note", "customer_reference", "payment", "ship_to", "line"])
@pytest.mark.parametrize("card", ["4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005"])
def test_card_numbers_are_refused_and_never_repeated(card: str, place: str) -> None:
    order = make_order("BOLT 1 C62")
    changes: dict[str, Change] = {
        "note": {"note": f"please charge {card} thanks"}, "customer_reference": {"customer_reference": card},
        "payment": {"payment": msgspec.structs.replace(order.payment, token=card)},
        "ship_to": {"ship_to": msgspec.structs.replace(ADDRESS, name=card)},
        "line": {"lines": (msgspec.structs.replace(order.lines[0], note=card),)},
    }  # fmt: skip
    found = decide(msgspec.structs.replace(order, **changes[place]))
    assert [reason.code for reason in found.reasons] == ["card_number"]
    answer = msgspec.json.encode(found.acknowledgment).decode()
    assert card not in answer
    assert card.replace(" ", "") not in answer


@pytest.mark.parametrize(
    "text", ["4111 1111 1111 1112", "order 20260301123456", "+49 421 555 0199", "line one\nline two"]
)
def test_ordinary_texts_pass(text: str) -> None:
    found = decide(msgspec.structs.replace(make_order("BOLT 1 C62"), note=text))
    assert found.acknowledgment.state == "accepted", found.reasons


def test_an_unknown_channel_refuses_only_its_own_order() -> None:
    found = decide(make_order("BOLT 1 C62"), "nowhere")
    assert [reason.code for reason in found.reasons] == ["channel_unknown"]


def test_the_order_date_is_the_channels_own() -> None:
    late = datetime.fromisoformat("2026-02-28T23:30:00-05:00")
    order, _ = accepted(decide(msgspec.structs.replace(make_order("BOLT 1 C62"), placed_at=late)))
    assert order.lines[0].price.priced_on is not None
    assert order.lines[0].price.priced_on.isoformat() == "2026-02-28"


def test_every_cause_of_a_hold_has_an_owner() -> None:
    assert set(HOLD_CAUSE) <= set(ACTIONS)


QUANTITIES = st.integers(1, 60)


@given(st.lists(st.tuples(st.sampled_from(["BOLT", "PLATE"]), QUANTITIES), min_size=1, max_size=25))
@settings(deadline=None)
def test_exposure_never_passes_the_limit_within_a_batch(wishes: list[tuple[str, int]]) -> None:
    book = make_book()
    limit = CUSTOMERS["C1"].credit_limit
    for sku, quantity in wishes:
        found = decide(make_order(f"{sku} {quantity} C62"), book=book)
        before = book.exposure("C1").total
        book.take(found)
        assert book.exposure("C1").total == before + found.credit_amount
        assert book.exposure("C1").total <= limit
        assert found.acknowledgment.state in ("accepted", "held")


@given(st.lists(QUANTITIES, min_size=1, max_size=12), st.sampled_from(["complete", "split", "backorder"]))
@settings(deadline=None)
def test_a_batch_never_promises_more_than_is_there(quantities: list[int], fulfilment: Any) -> None:
    book = make_book()
    for quantity in quantities:
        order = msgspec.structs.replace(make_order(f"BOLT {quantity} C62", payment="card"), fulfilment=fulfilment)
        found = decide(order, book=book)
        book.take(found)
        assert all(left >= 0 for left in book.available.values())
        if found.acknowledgment.state == "accepted":
            assert sum(row[3] for row in found.reservations) == quantity


def test_an_account_without_figures_has_used_nothing() -> None:
    assert Book({}, {}).exposure("C1") == Exposure()


def test_the_same_question_has_the_same_answer() -> None:
    orders = [make_order("BOLT 60 C62, CABLE 3 MTR"), make_order("NIX 1 C62")]
    for order in orders:
        assert decide(order) == decide(order)


def test_a_price_that_changed_counts_at_once() -> None:
    cheaper = [msgspec.structs.replace(REFERENCE.agreements["BOLT"][0], unit_price=msgspec.structs.replace(
        REFERENCE.agreements["BOLT"][0].unit_price, amount=Decimal("0.90")))]  # fmt: skip
    agreements = {"BOLT": REFERENCE.agreements["BOLT"]}
    reference = replace(REFERENCE, agreements=agreements)
    for expected in ("1.80", "0.90"):
        found = decide_acceptance(
            make_order("BOLT 1 C62"), channel="portal", order_id=1, number="CD1", accepted_at=NOW, reference=reference,
            book=make_book(), policy=POLICY,
        )  # fmt: skip
        order, _ = accepted(found)
        assert order.lines[0].unit_price.amount == Decimal(expected)
        agreements["BOLT"] = cheaper


def test_addresses_are_personal_and_stay_out_of_events() -> None:
    address = Address("Erika Mustermann", "Geheimweg 7", "Bremen", "28195", "DE", "erika@example.com")
    found = decide(msgspec.structs.replace(make_order("BOLT 1 C62"), ship_to=address))
    assert b"Geheimweg" not in msgspec.json.encode(found.events)
