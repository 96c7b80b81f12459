"""What is shown of a payload: personal data and secrets are gone whatever their depth, the rest stays."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.insight.masking import MASK, TEXT_LENGTH_MAX, masked_payload, masked_text

PERSONAL = (
    "name",
    "firstName",
    "last_name",
    "street",
    "address1",
    "city",
    "postalCode",
    "zip",
    "email",
    "e_mail",
    "phone",
    "token",
    "client_secret",
    "Authorization",
    "apiKey",
    "password",
    "note",
    "card_number",
    "iban",
)
HARMLESS = (
    "sku",
    "number",
    "product_name",
    "quantity",
    "amount",
    "currency",
    "status",
    "tracking",
    "line",
    "warehouse",
)

keys = st.sampled_from(HARMLESS)
values = st.recursive(
    st.sampled_from(["ND-0001", "12.30", "EUR", 7]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(PERSONAL), st.lists(keys, max_size=4), values)
def test_a_personal_value_is_gone_at_any_depth(key: str, path: list[str], neighbour: object) -> None:
    body: object = {key: "Canary Person", "sku": neighbour}
    for outer in path:
        body = {outer: [body]}
    shown = masked_payload(msgspec.json.encode(body).decode())
    assert "Canary" not in shown
    assert MASK in shown


@given(values)
def test_harmless_values_stay(value: object) -> None:
    body = {"lines": value}
    assert msgspec.json.decode(masked_payload(msgspec.json.encode(body).decode())) == body


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer canary.123",
        "password=canary&x=1",
        "token: canary",
        "write to canary@example.org",
        "https://partner.example/x?api_key=canary",
    ],
)
def test_free_text_loses_secrets_and_addresses(text: str) -> None:
    assert "canary" not in masked_text(text)


@given(st.text(max_size=300))
def test_any_text_can_be_shown(text: str) -> None:
    shown = masked_payload(text)
    assert not any(character in shown for character in "\x00\x1b\u202e\u2066\r")


def test_a_long_payload_is_cut() -> None:
    assert len(masked_payload("x" * 10_000_000)) < TEXT_LENGTH_MAX + 60
    assert masked_payload("[" * 100_000) != ""
    assert MASK in masked_payload("[" * 60 + '"x"' + "]" * 60)
