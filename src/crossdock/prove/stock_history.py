"""What is known besides of a run in which channels are told stock: their own logs, and what they should have shown."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from crossdock.prove.history import History


class Telling(msgspec.Struct, frozen=True):
    """How a channel takes figures, and its limits. answers: of every item in a batch. names_refused: only those that it
    did not take. singly: one call for each. feeds: it works on them for a while. `is_compared`: whether we read back
    what it shows; if not, nothing that it does by itself goes wrong."""

    manner: Literal["answers", "names_refused", "singly", "feeds"]
    batch_max: int
    calls_per_second: float
    burst: float
    is_compared: bool = True


class Written(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something came to lie on a channel's shelf: `shown` is there now. A seller's has its `figure`, its `version`,
    until when it was counted, and when it was asked for. `dropped`: it was confirmed and nothing changed. `again`: the
    wire brought it a second time."""

    at_seconds: float
    channel: str
    sku: str
    by: Literal["seller", "buyer", "rival"]
    shown: Decimal
    figure: Decimal = Decimal(0)
    version: int = 0
    counted_at: datetime | None = None
    asked_at_seconds: float = 0.0
    dropped: bool = False
    again: bool = False


class Knock(msgspec.Struct, omit_defaults=True):
    """A call at a channel's stock door. `waits_until_seconds`: it was answered that nobody should come before.
    `worked_until_seconds`: so long it worked on the feed."""

    channel: str
    worker: str
    kind: Literal["publish", "collect", "read"]
    items: int
    asked_at_seconds: float
    fault: str = ""
    arrived_at_seconds: float | None = None
    ended_at_seconds: float | None = None
    waits_until_seconds: float | None = None
    worked_until_seconds: float | None = None


class Excess(msgspec.Struct, frozen=True):
    """A channel showed more of a SKU than the owner's stock allowed, for so long."""

    channel: str
    sku: str
    from_seconds: float
    until_seconds: float
    shown: Decimal
    allowed: Decimal


class StockHistory(History):
    """`shelves` are what channels show in the end, `allowed` what they should: both by channel and SKU. `outages` are
    the seconds in which a channel was away."""

    tellings: dict[str, Telling] = msgspec.field(default_factory=dict)
    shelves: dict[str, dict[str, Decimal]] = msgspec.field(default_factory=dict)
    allowed: dict[str, dict[str, Decimal]] = msgspec.field(default_factory=dict)
    written: list[Written] = msgspec.field(default_factory=list)
    knocks: list[Knock] = msgspec.field(default_factory=list)
    excesses: list[Excess] = msgspec.field(default_factory=list)
    outages: list[tuple[str, float, float]] = msgspec.field(default_factory=list)
