"""What is known when a run has ended: what senders were told, what partners logged, what the ledger says."""

from __future__ import annotations

import hashlib
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec


class Effect(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a partner's write log."""

    at: datetime
    partner: str
    operation: str
    key: str
    number: str
    amount: Decimal = Decimal(0)
    goods: dict[str, Decimal] = {}
    external_id: str = ""


class Dispatched(msgspec.Struct, frozen=True):
    """Goods that left a warehouse, by the warehouse's own books."""

    at: datetime
    shipment: str
    number: str
    warehouse: str
    goods: dict[str, Decimal]


class Acknowledged(msgspec.Struct, frozen=True):
    """What a sender was told about its order."""

    at: datetime
    channel_number: str
    order_id: int | None
    state: str
    status: str


class Sample(msgspec.Struct, frozen=True):
    """What everybody could have seen at a moment: exposures by customer (net), stock that is promised twice."""

    at: datetime
    exposures: dict[str, Decimal]
    oversold: list[str]


class History(msgspec.Struct):
    """Everything that the checkers look at. `counted_stock`: what is in the warehouses in the end. `tables` are rows of
    the ledger by table."""

    seed: int
    scenario: str
    limits: dict[str, Decimal] = {}
    counted_stock: dict[str, Decimal] = {}
    recorded_facts: list[tuple[str, str, str]] = []
    acknowledged: list[Acknowledged] = []
    unanswered: list[str] = []
    effects: list[Effect] = []
    dispatched: list[Dispatched] = []
    samples: list[Sample] = []
    tables: dict[str, list[dict[str, Any]]] = {}
    complaints: list[str] = []
    planted: list[str] = []
    spoken: list[str] = []
    virtual_seconds: float = 0

    def hash(self) -> str:
        """Equal for equal histories, byte for byte."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()
