"""What a text in an order may hold: no control characters, no half characters, no card numbers, not too much of it.

The texts of an order are looked at together first; one by one only when something is wrong with any of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from crossdock.model.documents import Address
from crossdock.model.orders import OrderPlaced, Reason
from crossdock.rules.reasons import reason

NOTE_MAX: Final = 4000
TEXT_MAX: Final = 300
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
# 13 to 19 digits in groups, beginning as cards do; the check digit decides.
_CARD: Final = re.compile(r"(?<!\d)(?:[2-6](?:[ -]?\d){12,18})(?!\d)", re.ASCII)
_GAPS: Final = str.maketrans("", "", " -")
# Twice a digit, and the sum of what has two.
_DOUBLED: Final = str.maketrans("0123456789", "0246813579")
_ADDRESS_TEXTS: Final = ("name", "street", "city", "postal_code", "country", "email", "phone", "gln")
# Identifiers and telephone numbers have check digits and lengths of their own: they would be taken for cards.
_NO_CARD_EXPECTED: Final = ("channel_number", ".gln", ".gtin", ".phone", ".line", ".sku")


def check_texts(placed: OrderPlaced) -> list[Reason]:
    """Every text that cannot be kept or passed on. The text itself is never repeated in the reason."""
    ship_to = placed.ship_to
    texts = [
        placed.channel_number, placed.customer, placed.customer_reference, placed.order_type, placed.note, ship_to.name,
        ship_to.street, ship_to.city, ship_to.postal_code, ship_to.country, ship_to.email, ship_to.phone, ship_to.gln,
        placed.payment.token, placed.currency,
    ]  # fmt: skip
    for line in placed.lines:
        texts += (line.line, line.sku, line.gtin, line.name, line.note)
    if placed.bill_to is not None:
        texts += [getattr(placed.bill_to, name) for name in _ADDRESS_TEXTS]
    # A bar is no part of a card number and can be printed, so one search stands for all.
    together = "|".join(texts)
    if together.isprintable() and len(max(texts, key=len)) <= TEXT_MAX and _CARD.search(together) is None:
        return []
    return [problem for name, line, text in _named_texts(placed) if (problem := _check(name, line, text)) is not None]


def holds_card_number(text: str) -> bool:
    return any(_is_luhn_valid(match.group()) for match in _CARD.finditer(text))


def _check(name: str, line: str, text: str) -> Reason | None:
    # A line's own identifier may be what is wrong: then it is not repeated.
    shown = line if line.isprintable() and len(line) <= 64 else ""
    most = NOTE_MAX if name.endswith("note") else TEXT_MAX
    if len(text) > most:
        message = f"The text has {len(text)} characters; at most {most} are kept."
        return reason("text_too_long", message, line=shown, field=name)
    if _CONTROL.search(text) is not None or (not name.endswith("note") and ("\n" in text or "\r" in text)):
        message = "The text holds control characters or halves of characters."
        return reason("text_characters", message, line=shown, field=name)
    if not name.endswith(_NO_CARD_EXPECTED) and holds_card_number(text):
        message = "The text holds what looks like a card number; card numbers are never kept."
        return reason("card_number", message, line=shown, field=name)
    return None


def _named_texts(placed: OrderPlaced) -> Iterator[tuple[str, str, str]]:
    """(field, line, text) of every text of an order."""
    for name in ("channel_number", "currency", "customer", "customer_reference", "order_type", "note"):
        yield name, "", getattr(placed, name)
    yield "payment.token", "", placed.payment.token
    addresses: list[tuple[str, Address | None]] = [("ship_to", placed.ship_to), ("bill_to", placed.bill_to)]
    for field, address in addresses:
        if address is not None:
            for name in _ADDRESS_TEXTS:
                yield f"{field}.{name}", "", getattr(address, name)
    for index, line in enumerate(placed.lines):
        for name in ("line", "sku", "gtin", "name", "note"):
            yield f"lines[{index}].{name}", line.line, getattr(line, name)


def _is_luhn_valid(text: str) -> bool:
    digits = text.translate(_GAPS)[::-1]
    return sum(map(int, digits[::2] + digits[1::2].translate(_DOUBLED))) % 10 == 0
