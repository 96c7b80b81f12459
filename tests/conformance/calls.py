"""What a buyer of the conformance tests puts into the basket: the order of `crossdock.kit.samples`."""

from __future__ import annotations

from typing import Any

BASKET: dict[str, Any] = {
    "currency": "EUR", "email": "anna.vermeer@example.com", "card_token": "tok_00001234",
    "ship_to": {
        "name": "Anna Vermeer", "street": "Station Road 1", "city": "Kiel", "postal_code": "24103", "country": "DE",
    },
    "lines": [
        {"sku": "ND-0001", "quantity": "2", "unit": "XBX", "unit_price": "12.00"},
        {"sku": "ND-0002", "quantity": "3", "unit": "C62", "unit_price": "1.50"},
    ],
}  # fmt: skip
