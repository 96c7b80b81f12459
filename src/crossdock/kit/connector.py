"""A connector declares itself once: its settings, operations, feeds, webhook and limits.

The engine knows nothing else of a partner. A connector is three modules: `declaration` (this, filled in), `client`
(wire calls) and `translate` (pure). Example:

    CONNECTOR = Connector(
        system="acme", title="Acme WMS", settings=AcmeSettings, open=AcmeClient.open,
        operations=(Operation("wms.release", perform=release, probe=find_release),),
        feeds=(Feed("shipments", read=read_shipments, interval_seconds=10),),
        webhook=Webhook(read=read_webhook),
    )

An operation's `perform` and `probe` are given the opened client and a call. `perform` returns `Done` or raises an
error of `crossdock.model.errors`; the class of the error decides what happens next, so raise the true one:
`InDoubt` whenever the partner may have committed. `probe` answers whether the effect of a call is already there,
found by business key: `Done` (it is, with what the partner knows) or None (it is not).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from crossdock.model.errors import CrossdockError
from crossdock.model.facts import Fact
from crossdock.model.orders import Order
from crossdock.model.stock import InventoryBalance, StockFigure


class Exchange(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request and its answer, masked, as the timeline shows it."""

    method: str
    url: str
    status: int = 0
    request: str = ""
    response: str = ""
    milliseconds: int = 0
    error: str = ""


class Call(msgspec.Struct, frozen=True, gc=False):
    """One step to be done. `key` is the idempotency key (stable over attempts); `number` our order number.

    `order` is the accepted order, `payload` the step's own JSON (decode it with the operation's type). `results`: of a
    step that needs others, the JSON results of all steps of the order that are done, by step name and, the newest of
    each, by operation; what was settled by hand has none. `exchanges` collects what went over the wire.
    """

    key: str
    number: str
    name: str
    operation: str
    order: Order
    payload: bytes
    results: Mapping[str, bytes]
    attempt: int = 1
    traceparent: str = ""
    exchanges: list[Exchange] = []


class Done(msgspec.Struct, frozen=True, gc=False):
    """The effect is there. `result` is JSON kept on the step and handed to steps that need it.

    `booked_at`: a time by which the partner surely had it in its books, by its own clock; None where it does not say,
    and then it is the time of its answer. Balances that the partner gives after this time contain the effect.
    """

    result: bytes = b"{}"
    external_id: str = ""
    booked_at: datetime | None = None


Perform = Callable[[Any, Call], Awaitable[Done]]
PerformMany = Callable[[Any, Sequence[Call]], Awaitable[Sequence["Done | CrossdockError"]]]
Probe = Callable[[Any, Call], Awaitable["Done | None"]]


@dataclass(frozen=True, slots=True)
class Operation:
    """Something the partner can be asked to do.

    Give `perform` (one call) or `perform_many` (a batch, up to `batch_max`, outcomes in the order of the calls).
    `probe` is None only where `repeatable` is true: the partner itself makes repetition harmless (reads, or an
    honoured idempotency key). `settle_seconds`: how long after an ambiguous end the partner may still be committing,
    so how long to wait before the probe. `timeout_seconds` bounds a call. `one_worker`: only one worker at a time
    performs it, whichever is there, because calls of several get in each other's way at the partner.
    """

    name: str
    perform: Perform | None = None
    perform_many: PerformMany | None = None
    probe: Probe | None = None
    repeatable: bool = False
    batch_max: int = 1
    concurrency: int = 4
    settle_seconds: float = 1.0
    timeout_seconds: float = 20.0
    one_worker: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Facts read from a feed. `cursor` is kept once they are committed; `more` asks for the next page at once."""

    facts: Sequence[Fact]
    cursor: str
    more: bool = False


@dataclass(frozen=True, slots=True)
class Feed:
    """Something to be polled: `read(client, connection, cursor)`; the cursor is "" at first.

    `translate(connection, raw)` is the pure translation of one item. With it, an item that was parked because it could
    not be translated is translated again when it is replayed; see `crossdock.kit.arrivals`.
    """

    name: str
    read: Callable[[Any, str, str], Awaitable[Page]]
    interval_seconds: float = 10.0
    translate: Callable[[str, bytes], Sequence[Fact]] | None = None


@dataclass(frozen=True, slots=True)
class Webhook:
    """Facts pushed to us. The signature is verified over the raw body before `read` sees it.

    `read(client, connection, headers, body)` translates; it may call the partner (thin notifications).
    """

    read: Callable[[Any, str, Mapping[str, str], bytes], Awaitable[Sequence[Fact]]]


@dataclass(frozen=True, slots=True)
class Shown:
    """What became of one stock figure at a channel: `code` "" when it was taken, else why it was not.

    `wait_seconds`: the channel asked for this pause before anything else is told.
    """

    sku: str
    code: str = ""
    message: str = ""
    wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Submitted:
    """The partner took the figures as a feed and works on them; `StockLane.collect` asks for the outcome."""

    feed: str


@dataclass(frozen=True, slots=True)
class StockLane:
    """How a channel is told what it may sell. Figures are absolute, so telling them again is harmless.

    `publish(client, figures)` answers for every figure (or `Submitted`); what it leaves out counts as not taken.
    `collect(client, feed)` is None while the partner works. `read_back(client, skus)` reads what the channel shows now,
    in the listing's unit; a SKU that it does not know is left out. `calls_per_second`, `burst` and `batch_max` are the
    partner's usual limits; a policy may set what was agreed with it. `counts_figures`: the limit counts figures, not
    calls (one call for each). `settle_seconds`: how long after an ambiguous end the partner may still be taking what it
    was told, so how long to wait before it is told something newer. The codes `sku_unknown`, `unit_unknown` and
    `unlisted` park a figure at once, others are tried again.
    """

    publish: Callable[[Any, Sequence[StockFigure]], Awaitable[Sequence[Shown] | Submitted]]
    read_back: Callable[[Any, Sequence[str]], Awaitable[Mapping[str, Decimal]]]
    collect: Callable[[Any, str], Awaitable[Sequence[Shown] | None]] | None = None
    batch_max: int = 100
    read_max: int = 100
    calls_per_second: float = 5.0
    burst: float = 1.0
    counts_figures: bool = False
    settle_seconds: float = 1.0
    timeout_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class LiveAccount:
    """An account's figures as the ERP says them right now, in the account's currency."""

    blocked: bool
    credit_limit: Decimal
    receivable: Decimal
    as_of: datetime


ReadAccount = Callable[[Any, str], Awaitable[LiveAccount]]


class Open(Protocol):
    """Opens the partner's client for a connection's settings; closed when the process stops."""

    def __call__(self, settings: Any) -> AbstractAsyncContextManager[Any]: ...


@dataclass(frozen=True, slots=True)
class Connector:
    """A partner system's kind. `settings` is a msgspec Struct; fields named in `secrets` are never shown.

    `stock` tells a channel its figures. `read_balances(client, location, skus)` reads an owner's balances afresh.
    `check(client)` proves address and credentials with one harmless call; it raises an error a shopkeeper understands.
    `read_account(client, code)` is an ERP's: what it says of an account at this moment; a mere read, with a deadline.
    """

    system: str
    title: str
    settings: type[Any]
    open: Open
    operations: tuple[Operation, ...] = ()
    feeds: tuple[Feed, ...] = ()
    webhook: Webhook | None = None
    stock: StockLane | None = None
    read_balances: Callable[[Any, str, Sequence[str]], Awaitable[Sequence[InventoryBalance]]] | None = None
    secrets: tuple[str, ...] = ()
    check: Callable[[Any], Awaitable[None]] | None = None
    read_account: ReadAccount | None = None

    def operation(self, name: str) -> Operation:
        """Raises KeyError when the connector has no such operation."""
        return {operation.name: operation for operation in self.operations}[name]

    def feed(self, name: str) -> Feed:
        """Raises KeyError when the connector has no such feed."""
        return {feed.name: feed for feed in self.feeds}[name]
