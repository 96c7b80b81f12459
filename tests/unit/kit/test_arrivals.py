"""What cannot be translated is kept: every item by itself, with its cause, and without secrets."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from crossdock.kit.arrivals import WEBHOOK, Row, cause_of, named, translate_rows, untranslated
from crossdock.model.errors import Invalid, Misconfigured
from crossdock.model.facts import UNTRANSLATED, Fact, Untranslated


def test_a_row_with_a_typing_error_keeps_no_other_row_from_counting() -> None:
    def fact_of(row: Row) -> Fact | None:
        if row["code"] == "none of ours":
            return None
        quantity = Decimal(row["pack"])
        body = msgspec.json.encode({"quantity": quantity})
        return Fact("erp", "product.published", row["code"], body, body)

    rows = [
        {"code": "A", "pack": "12"}, {"code": "B", "pack": "twelve"}, {"code": "C"}, {"code": "none of ours"},
        {"code": "D", "pack": "6"},
    ]  # fmt: skip
    facts = translate_rows("erp", "products", rows, fact_of, lambda row: str(row["code"]))
    assert [(fact.kind, fact.business_key) for fact in facts] == [
        ("product.published", "A"), (UNTRANSLATED, "B"), (UNTRANSLATED, "C"), ("product.published", "D"),
    ]  # fmt: skip
    why = msgspec.json.decode(facts[1].body, type=Untranslated)
    assert (why.source, why.code, why.owner) == ("products", "row_form", "sender")
    assert "next reading" in why.next_action
    assert msgspec.json.decode(facts[1].raw) == rows[1]


def test_the_kept_headers_hold_no_signature_and_no_secret() -> None:
    headers = {
        "webhook-id": "msg_1", "webhook-signature": "v1,secret", "authorization": "Bearer secret", "x-topic": "orders",
        "x-api-key": "secret", "cookie": "secret", "content-type": "application/json",
    }  # fmt: skip
    fact = untranslated("shop", WEBHOOK, b"{", Invalid("webhook_form", "No order."), "msg_1", headers)
    assert b"secret" not in fact.body
    assert set(msgspec.json.decode(fact.body, type=Untranslated).headers) == {"webhook-id", "x-topic", "content-type"}


def test_the_same_payload_is_kept_once_and_another_beside_it() -> None:
    error = Invalid("form", "No.")
    first, again, other = (untranslated("shop", "orders", raw, error) for raw in (b"1", b"1", b"2"))
    assert (first.business_key, first.version) == (again.business_key, again.version)
    assert first.business_key != other.business_key


def test_every_failure_has_a_cause_and_an_owner() -> None:
    assert cause_of(Misconfigured("credentials", "Wrong key.")).who_acts == "operator"
    assert cause_of(msgspec.ValidationError("Expected `str`")).code == "payload_form"
    assert cause_of(KeyError("x")).who_acts == "crossdock"
    assert "x" not in cause_of(KeyError("x")).message.split()
    assert [named(raw, "number") for raw in (b'{"number": 7}', b"[]", b"\xff", b'{"number": []}')] == ["7", "", "", ""]
