"""What is kept of an exchange carries no secret and no personal data."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.kit.masking import KEPT_CHARACTERS_MAX, MASK, masked_body, masked_mapping, masked_text, masked_url

PERSON = {
    "ship_to": {"name": "Ada Lovelace", "street": "12 St James's Square", "city": "London", "postalCode": "SW1Y 4JH",
                "country": "GB", "e-mail": "ada@example.org", "phone": "+44 20 7946 0000"},
    "card": {"number": "4111111111111111", "cvc": "123"}, "cardToken": "tok_visa_4242", "api_key": "k-secret-1",
    "sku": "HX-1001", "quantity": "3", "lines": [{"sku": "HX-1002", "note": "ring twice at Ada's"}],
}  # fmt: skip


def test_personal_data_and_secrets_are_gone_and_the_rest_stays() -> None:
    kept = masked_body(json.dumps(PERSON).encode())
    for private in ("Ada", "James", "London", "SW1Y", "example.org", "7946", "4111", "123\"", "tok_", "k-secret"):
        assert private not in kept
    for useful in ("HX-1001", "HX-1002", "GB", "quantity"):
        assert useful in kept


@pytest.mark.parametrize(
    "text",
    ["Authorization: Bearer abc.def.ghi", "token=abc.def.ghi", '{"broken": true, "access_token": "abc.def.ghi"',
     "password = abc.def.ghi", "Session abc.def.ghi", "key whsec_abc.def.ghi", "tok_abc.def.ghi is declined",
     f"{'the-longest-word-' * 4}token=abc.def.ghi"],
)  # fmt: skip
def test_secrets_in_free_text_are_gone(text: str) -> None:
    assert "abc" not in masked_text(text)


def test_known_secrets_are_gone_wherever_they_stand() -> None:
    assert "opensesame" not in masked_body(b'{"echo": "you said opensesame"}', ["opensesame"])
    assert "opensesame" not in masked_url("http://h/a/opensesame?x=opensesame", ["opensesame"])


def test_addresses_keep_no_credentials() -> None:
    kept = masked_url("http://user:pass@host:1/orders?token=abc&cursor=7&email=a%40b.de#f")
    assert kept == f"http://host:1/orders?token={MASK}&cursor=7&email={MASK}"


def test_control_and_bidirectional_characters_cannot_forge_a_line() -> None:
    assert masked_text("a\r\x1b[31m\u202eb\u0085") == "a\\u000d\\u001b[31m\\u202eb\\u0085"


def test_long_bodies_are_cut() -> None:
    assert len(masked_body(json.dumps(["x" * 50] * 1000).encode())) < KEPT_CHARACTERS_MAX + 50
    assert masked_body(b"x" * 1_000_000) == "(1000000 bytes)"


def test_deep_bodies_do_not_break_it() -> None:
    assert masked_body(b"[" * 5_000 + b"]" * 5_000)


def test_mappings_are_masked_for_logs() -> None:
    assert masked_mapping({"url": "u", "client_secret": "s", "deep": {"password": "p"}}) == {
        "url": "u", "client_secret": MASK, "deep": {"password": MASK},
    }  # fmt: skip


@given(st.binary(max_size=300))
def test_any_bytes_can_be_masked(body: bytes) -> None:
    masked_body(body, ["secret"]).encode()
