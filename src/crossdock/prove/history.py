"""What is known when a run has ended: what senders were told, what partners logged, what the ledger says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from crossdock.model.facts import LineChange

Found = Iterator[tuple[str, str]]
"""What a checker finds: subject and message."""


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


class Moment(msgspec.Struct, frozen=True):
    """What one commit changed, in the order of commits: exposures by customer (net), places of stock (on hand,
    reserved), reservations, and the states of orders."""

    at: datetime
    process: str
    exposures: dict[str, Decimal] = {}
    stock: list[tuple[str, str, Decimal, Decimal]] = []
    reservations: list[Held] = []
    orders: list[tuple[int, str]] = []


class Held(msgspec.Struct, frozen=True, array_like=True):
    """What an order's line holds at a place."""

    order_id: int
    line: str
    location: str
    sku: str
    quantity: Decimal
    shipped: Decimal
    released: Decimal
    committed: Decimal

    @property
    def reserved(self) -> Decimal:
        """What the place counts as reserved for it."""
        return self.quantity - self.shipped - self.released - self.committed


class Deed(msgspec.Struct, frozen=True):
    """What a nemesis did, and at which simulated second."""

    at_seconds: float
    nemesis: str
    what: str


class Parked(msgspec.Struct, frozen=True):
    """What a person found parked before it was replayed."""

    subject: str
    cause: str
    message: str
    next_action: str


class History(msgspec.Struct):
    """Everything that the checkers look at. `counted_stock`: what is in the warehouses in the end. `tables` are rows of
    the ledger by table. `lost`: what partners had confirmed and have forgotten. `clock_skew_seconds`: how far the
    database's clock was off."""

    seed: int
    scenario: str
    limits: dict[str, Decimal] = {}
    counted_stock: dict[str, Decimal] = {}
    recorded_facts: list[tuple[str, str, str]] = []
    acknowledged: list[Acknowledged] = []
    unanswered: list[str] = []
    effects: list[Effect] = []
    dispatched: list[Dispatched] = []
    lost: list[Effect] = []
    moments: list[Moment] = []
    deeds: list[Deed] = []
    parked: list[Parked] = []
    clock_skew_seconds: float = 0
    tables: dict[str, list[dict[str, Any]]] = {}
    complaints: list[str] = []
    planted: list[str] = []
    changes: dict[str, tuple[LineChange, ...]] = {}
    prices: dict[str, tuple[tuple[float, Decimal], ...]] = {}
    spoken: list[str] = []
    virtual_seconds: float = 0

    def confirmed(self) -> list[Effect]:
        """What partners had confirmed: what they know, and what they have forgotten and were not asked again."""
        known = {effect.key for effect in self.effects}
        return self.effects + [effect for effect in self.lost if effect.key not in known]

    def hash(self) -> str:
        """Equal for equal histories, byte for byte."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()
