"""How orders are taxed: the rules of a distributor in Germany who also sells elsewhere in the Union and abroad."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.connectors.tax.translate import quote_body
from crossdock.model.documents import Customer
from crossdock.model.orders import OrderPlaced, TaxDecision
from crossdock.policy.tax import Taxation, TaxPolicy, TaxRule
from crossdock.rules.accept import Acceptance, decide_acceptance
from crossdock.rules.reasons import hold_causes
from tests.unit.rules.making import ADDRESS, CUSTOMERS, NOW, POLICY, PRODUCTS, REFERENCE, make_book, make_order

RULES = (
    TaxRule("abroad", "export", 'region == "ABROAD"'),
    TaxRule(
        "union-business", "reverse_charge",
        'order_type == "business" && region == "EU" && country != "DE" && (exempt || identifier_country == country)',
    ),
    TaxRule("diplomats", "exempt", "exempt"),
    TaxRule("place-of-delivery", "taxed", 'region == "EU"'),
)  # fmt: skip
REGIONS = {"DE": "EU", "NL": "EU", "CH": "ABROAD", "GB": "UK"}
VALID = "NL 0044.95.445.B01"


def decide(
    country: str = "NL", *, channel: str = "portal", waived: frozenset[str] = frozenset(), category: str = "standard",
    policy: dict[str, Any] | None = None, **of_customer: Any,
) -> Acceptance:  # fmt: skip
    customer = msgspec.structs.replace(CUSTOMERS["C1"], **of_customer)
    product = msgspec.structs.replace(PRODUCTS["BOLT"], tax_category=category)
    taxation = Taxation(TaxPolicy(**{"rules": RULES, "categories": ("standard",), **(policy or {})}))
    sourcing = msgspec.structs.replace(
        POLICY.sourcing, preference=dict.fromkeys(REGIONS.values(), ("HAM", "BHX"))
    )
    return decide_acceptance(
        ordered(country, channel), channel=channel, order_id=1, number="CD00000001", accepted_at=NOW,
        reference=replace(REFERENCE, customers={"C1": customer}, products={**PRODUCTS, "BOLT": product}),
        book=make_book(), policy=replace(POLICY, regions=REGIONS, sourcing=sourcing, tax=taxation), waived=waived,
    )  # fmt: skip


def ordered(country: str, channel: str) -> OrderPlaced:
    is_shop = channel == "shop"
    order = make_order("BOLT 1 C62", payment="card" if is_shop else "terms", customer="" if is_shop else "C1")
    return msgspec.structs.replace(order, ship_to=msgspec.structs.replace(ADDRESS, country=country))


def codes_of(acceptance: Acceptance) -> list[str]:
    return [reason.code for reason in acceptance.reasons]


@pytest.mark.parametrize(("case", "treatment", "rule", "identifier"), [
    ({"country": "DE"}, "taxed", "place-of-delivery", ""),
    ({"country": "DE", "tax_identifier": VALID}, "taxed", "place-of-delivery", ""),
    ({"country": "NL"}, "taxed", "place-of-delivery", ""),
    ({"country": "NL", "tax_identifier": VALID}, "reverse_charge", "union-business", "NL004495445B01"),
    ({"country": "NL", "channel": "shop"}, "taxed", "place-of-delivery", ""),
    ({"country": "DE", "tax_exempt": True}, "exempt", "diplomats", ""),
    ({"country": "CH"}, "export", "abroad", ""),
    ({"country": "CH", "channel": "shop"}, "export", "abroad", ""),
])  # fmt: skip
def test_each_order_is_taxed_by_its_rule(case: dict[str, Any], treatment: str, rule: str, identifier: str) -> None:
    found = decide(**case)
    assert found.acknowledgment.state == "accepted", found.reasons
    assert found.order is not None
    assert found.order.tax == TaxDecision(treatment, rule, identifier)  # type: ignore[arg-type]
    assert found.order.tax_exempt == (treatment != "taxed")
    assert found.events[0].body["tax"] == {"treatment": treatment, "rule": rule}


@pytest.mark.parametrize(("identifier", "said"), [
    ("", "has no identifier"), ("NL004495446B01", "check digits do not fit"), ("GB980780684", "no country of the Euro"),
    ("NL12", "not the form of NL"),
])  # fmt: skip
def test_a_claim_of_exemption_without_a_valid_identifier_is_held(identifier: str, said: str) -> None:
    found = decide("NL", tax_exempt=True, tax_identifier=identifier)
    assert found.progress is not None
    assert found.progress.hold is not None
    hold = found.progress.hold
    assert (found.acknowledgment.state, hold.cause, hold.owner) == ("held", "tax", "tax")
    assert said in hold.reasons[0].message
    assert "released as it is, the order is taxed" in hold.next_action
    assert not identifier or identifier not in hold.reasons[0].message
    assert hold_causes(hold) == {"tax"}


def test_such_an_order_is_refused_where_the_rule_says_so() -> None:
    strict = tuple(msgspec.structs.replace(rule, without_identifier="refuse") for rule in RULES)
    found = decide("NL", tax_exempt=True, policy={"rules": strict})
    assert (found.acknowledgment.state, codes_of(found)) == ("refused", ["tax_identifier"])


def test_released_without_an_identifier_it_is_taxed() -> None:
    found = decide("NL", tax_exempt=True, waived=frozenset({"tax"}))
    assert found.order is not None
    assert (found.acknowledgment.state, found.order.tax, found.order.tax_exempt) == (
        "accepted", TaxDecision("taxed"), False
    )  # fmt: skip


def test_a_place_without_a_tax_rule_is_not_accepted_silently() -> None:
    found = decide("GB")
    assert (found.acknowledgment.state, codes_of(found)) == ("held", ["tax_unruled"])
    assert found.reasons[0].message == "No tax rule says how an order of portal to GB is taxed."
    assert decide("GB", policy={"unruled": "refuse"}).acknowledgment.state == "refused"


def test_a_product_without_a_rate_holds_its_order_for_product_data() -> None:
    found = decide("DE", category="luxury")
    assert (found.acknowledgment.state, codes_of(found)) == ("held", ["tax_category_unknown"])
    assert (found.reasons[0].line, found.reasons[0].owner) == ("1", "product data")
    assert decide("DE", category="luxury", policy={"category_unknown": "refuse"}).acknowledgment.state == "refused"
    # What bears no tax needs no rate.
    assert decide("CH", category="luxury").acknowledgment.state == "accepted"


def test_without_a_policy_the_accounts_word_counts_as_it_always_did() -> None:
    found = decide("NL", tax_exempt=True, category="luxury", policy={"rules": ()})
    assert found.order is not None
    assert (found.order.tax, found.order.tax_exempt) == (None, True)
    assert "tax" not in found.events[0].body


def test_the_tax_engine_is_told_how_and_why() -> None:
    order = decide("NL", tax_identifier=VALID).order
    assert order is not None
    body = quote_body(order)
    assert (body["treatment"], body["exemption"]) == ("reverse_charge", "NL004495445B01")
    order = decide("DE", tax_exempt=True).order
    assert order is not None
    assert (quote_body(order)["treatment"], quote_body(order)["exemption"]) == ("exempt", "C1")
    order = decide("DE").order
    assert order is not None
    assert (quote_body(order)["treatment"], quote_body(order)["exemption"]) == ("taxed", "")


@given(
    country=st.sampled_from(sorted(REGIONS)), channel=st.sampled_from(["portal", "shop"]), exempt=st.booleans(),
    identifier=st.sampled_from(["", VALID, "NL004495446B01", "GB980780684", "DE136695976", "?"]),
    category=st.sampled_from(["standard", "luxury"]), waived=st.booleans(),
)  # fmt: skip
def test_no_tax_is_left_out_without_a_ground(
    country: str, channel: str, exempt: bool, identifier: str, category: str, waived: bool
) -> None:
    found = decide(
        country, channel=channel, tax_exempt=exempt, tax_identifier=identifier, category=category,
        waived=frozenset({"tax"} if waived else ()),
    )  # fmt: skip
    tax = found.order.tax if found.order is not None else None
    assert tax is not None
    if found.acknowledgment.state == "accepted":
        assert tax.treatment != "reverse_charge" or (tax.identifier and country == "NL" and channel == "portal")
        assert tax.treatment != "exempt" or exempt
        assert tax.treatment != "export" or country == "CH"
        assert waived or (tax.rule and (country != "GB" or exempt))
        assert waived or tax.treatment != "taxed" or category == "standard"
    else:
        assert not waived
        assert found.reasons[0].owner in ("tax", "product data")


def test_a_customer_of_the_erp_keeps_its_number() -> None:
    customer = Customer("C1", "One", "EUR", "active", tax_identifier=VALID)
    assert msgspec.json.decode(msgspec.json.encode(customer), type=Customer) == customer
