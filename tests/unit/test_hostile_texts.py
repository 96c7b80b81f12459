"""No text, however made, keeps a process busy: the search for secrets, people and card numbers is over at once.

Processor time is measured, as others use the machine too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest

from crossdock.insight.masking import masked_payload
from crossdock.insight.masking import masked_text as shown_text
from crossdock.kit.masking import KEPT_CHARACTERS_MAX, PARSED_BYTES_MAX, masked_body, masked_text, masked_url
from crossdock.model.documents import Address
from crossdock.model.orders import OrderPlaced, PaymentIntent, PlacedLine
from crossdock.model.values import Quantity
from crossdock.rules.texts import check_texts

PIECES = (
    "a", "a-", "1 ", "a@", "a.", "x@a.", "tok_", "token", "token=", "bearer ", "-", '"', "api_", "\\", "4111 1",
    "\u202e", "550e8400-e29b-41d4-a716-446655440000 ",
)  # fmt: skip
CHARACTERS = PARSED_BYTES_MAX // 3 - 1000
MILLISECONDS_MAX = 50.0


def milliseconds(work: Callable[[], object], enough: float = MILLISECONDS_MAX) -> float:
    """The least of three, or the first that is less than `enough`: the others met a garbage collection, or a
    processor that somebody else had."""
    least = float("inf")
    for _ in range(3):
        started = time.process_time()
        work()
        least = min(least, (time.process_time() - started) * 1000)
        if least < enough:
            break
    return least


@pytest.mark.parametrize("piece", PIECES)
def test_the_longest_text_of_a_partner_is_masked_at_once(piece: str) -> None:
    text = (piece * CHARACTERS)[:CHARACTERS]
    as_json = msgspec.json.encode({"x": text})
    for work in (
        lambda: masked_text(text), lambda: masked_body(text.encode()), lambda: masked_body(as_json),
        lambda: masked_url(f"http://h/{text}"), lambda: shown_text(text), lambda: masked_payload(as_json.decode()),
    ):  # fmt: skip
        assert milliseconds(work) < MILLISECONDS_MAX


@pytest.mark.parametrize("piece", PIECES)
def test_the_largest_order_is_looked_through_at_once(piece: str) -> None:
    text = (piece * 300)[:300]
    one = Quantity(Decimal(1), "C62")
    lines = tuple(PlacedLine(str(n), one, sku=text, gtin=text, name=text, note=text) for n in range(500))
    address = Address("Ada", "Quay 1", "Bremen", "28195", "DE")
    order = OrderPlaced("S-1", datetime(2026, 3, 2, tzinfo=UTC), "EUR", address, lines, PaymentIntent("card", "tok"))
    assert milliseconds(lambda: check_texts(order), 2 * MILLISECONDS_MAX) < 2 * MILLISECONDS_MAX


@pytest.mark.parametrize("shift", range(0, 40, 3))
def test_no_half_of_a_secret_is_left_where_a_long_text_is_cut(shift: int) -> None:
    secret = "opensesame-0123456789"
    body = b"x" * shift + f"token={'y' * 60} ".encode() * 110 + f" {secret} ".encode() * 40 + b"z" * 90_000
    kept = masked_body(body, [secret])
    assert "open" not in kept
    assert len(kept) < KEPT_CHARACTERS_MAX + 50
    assert kept.endswith(f"({len(body)} characters)")
