"""Simulated channels that are told stock: each has a shelf of its own, sells from it, and keeps a log of its door.

As in the sandbox, a channel takes off a figure what its own buyers ordered and the seller had not confirmed when it
counted it. A call that was handed to the network arrives, whatever becomes of its sender.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal, TypeVar

from crossdock.kit.connector import Call, Done, Shown, StockLane, Submitted
from crossdock.model.errors import CrossdockError, InDoubt, Refused, Unavailable
from crossdock.model.orders import OrderPlaced
from crossdock.model.stock import StockFigure
from crossdock.prove.faults import Plan, RivalEdit, ShelfFault
from crossdock.prove.partners import LATE_SECONDS, TIMEOUT_SECONDS, Caller, Serve, SimulatedPartner
from crossdock.prove.processes import Process
from crossdock.prove.stock_history import Knock, Telling, Written
from crossdock.prove.virtual_time import VirtualLoop

Answer = TypeVar("Answer")
Kind = Literal["publish", "collect", "read"]
READ_MAX: Final = 50
REFUSED_SHARE: Final = 0.5
DROPPED_SHARE: Final = 0.6
NOTHING: Final = Decimal(0)


@dataclass(slots=True)
class Bought:
    """An order of the channel's own buyers. `confirmed_at`: when the seller said that it knows it. `is_off`: it was
    cancelled, its goods are nobody's."""

    goods: dict[str, Decimal]
    is_placed: bool
    confirmed_at: datetime | None = None
    is_off: bool = False


class ShelfChannel(SimulatedPartner):
    """A channel that serves orders like every other, and has a door for stock with faults and a log of its own."""

    def __init__(
        self, name: str, plan: Plan, loop: VirtualLoop, chance: random.Random, telling: Telling
    ) -> None:
        super().__init__(name, plan, loop, chance)
        self.telling = telling
        self.shelf: dict[str, Decimal] = {}
        self.written: list[Written] = []
        self.knocks: list[Knock] = []
        self.bought: dict[str, Bought] = {}
        self._door_faults: Mapping[int, ShelfFault] = plan.shelf_faults(name)
        self._feeds: dict[str, list[Shown] | None] = {}

    # What its buyers do.

    def sell(self, placed: OrderPlaced) -> bool:
        """Whether the order could be placed: what is not shown is not sold. Asked again, the answer is the same."""
        number = placed.channel_number
        if number in self.bought:
            return self.bought[number].is_placed
        goods: dict[str, Decimal] = {}
        for line in placed.lines:
            goods[line.sku] = goods.get(line.sku, NOTHING) + line.quantity.value
        is_there = all(self.shelf.get(sku, NOTHING) >= quantity for sku, quantity in goods.items())
        self.bought[number] = Bought(goods, is_there, is_off=not is_there)
        for sku, quantity in goods.items() if is_there else ():
            self._lay(sku, self.shelf[sku] - quantity, "buyer")
        return is_there

    def call_off(self, number: str) -> None:
        """Its buyer cancels an order here. What he gives back is shown again when the seller tells the next figure."""
        self.bought[number].is_off = True

    def kept_back(self, sku: str) -> Decimal:
        """What its buyers ordered of a SKU and the seller has not confirmed."""
        return self._not_in_figure(sku, None)

    def is_settled(self) -> bool:
        """Whether no feed is being worked on."""
        return all(answer is not None for answer in self._feeds.values())

    def edit(self, edit: RivalEdit) -> None:
        """A rival writer."""
        if edit.sku in self.shelf:
            self.note("rival_writer", f"has {edit.quantity} of {edit.sku} written by somebody else")
            self._lay(edit.sku, Decimal(edit.quantity), "rival")

    async def _serve(self, call: Call, serve: Serve, late_seconds: float) -> Done | CrossdockError:
        answer = await super()._serve(call, serve, late_seconds)
        bought = self.bought.get(call.order.channel_number)
        if bought is not None and isinstance(answer, Done):
            if call.operation == "channel.acknowledge":
                bought.confirmed_at = bought.confirmed_at or self.loop.now()
            elif call.operation == "channel.cancel":
                bought.is_off = True
        return answer

    # What the seller tells.

    async def publish(self, process: Process, figures: Sequence[StockFigure]) -> Sequence[Shown] | Submitted:
        if self.telling.manner == "singly":
            return await self._publish_singly(process, figures)
        if self.telling.manner == "feeds":
            return await self._knock(
                process, "publish", len(figures), lambda knock: self._take_feed(figures, knock)
            )
        shown = await self._knock(
            process, "publish", len(figures), lambda knock: self._take(figures, knock)
        )
        if self.telling.manner == "answers":
            return shown
        refused = {item.sku: item for item in shown if item.code}
        return [refused.get(figure.sku, Shown(figure.sku)) for figure in figures]

    async def collect(self, process: Process, feed: str) -> Sequence[Shown] | None:
        return await self._knock(process, "collect", 0, lambda _: self._outcome(feed))

    async def read_back(self, process: Process, skus: Sequence[str]) -> Mapping[str, Decimal]:
        return await self._knock(
            process, "read", len(skus), lambda _: {sku: self.shelf[sku] for sku in skus if sku in self.shelf}
        )

    async def _publish_singly(self, process: Process, figures: Sequence[StockFigure]) -> Sequence[Shown]:
        """What was answered before the channel stopped answering counts; the error is raised when nothing was."""
        failed: list[CrossdockError] = []
        rest: list[Shown] = []

        async def place(figure: StockFigure) -> Shown | None:
            try:
                shown = await self._knock(process, "publish", 1, lambda knock: self._take([figure], knock))
            except CrossdockError as error:
                failed.append(error)
                rest.append(Shown(figure.sku, error.code, error.message, _asked_seconds(error)))
                return None
            return shown[0]

        answers = [shown for shown in await asyncio.gather(*map(place, figures)) if shown is not None]
        if failed and not answers:
            raise max(failed, key=_asked_seconds)
        return [*answers, *rest]

    async def _knock(
        self, process: Process, kind: Kind, items: int, serve: Callable[[Knock], Answer]
    ) -> Answer:
        knock = Knock(self.name, process.name, kind, items, round(self.loop.time(), 6), self._next_door_fault(kind))
        self.knocks.append(knock)
        coming = self.begin(self._let_in(process, knock, serve))
        # Whoever asked may have given up: nobody looks at its end then.
        coming.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(coming)

    async def _let_in(self, process: Process, knock: Knock, serve: Callable[[Knock], Answer]) -> Answer:
        await process.stand_still()
        await process.reach()
        stood_still = self.loop.time() > knock.asked_at_seconds + 1
        await self._travel()
        fault, is_read = knock.fault, knock.kind != "publish"
        if stood_still and not process.alive and not self.telling.is_compared:
            # It died in the moment in which it went on: that it sent something old, only reading back can find.
            await process.reach()
        if fault == "outage":
            raise Unavailable("partner_unreachable", "The partner cannot be reached.")
        if fault == "lose_request":
            raise _lost("connection_lost", is_read=is_read)
        knock.arrived_at_seconds = round(self.loop.time(), 6)
        if fault == "slow":
            await asyncio.sleep(TIMEOUT_SECONDS + LATE_SECONDS)
        answer = None if fault in ("too_many", "unavailable") else serve(knock)
        await self._travel()
        await process.stand_still()
        await process.reach()
        knock.ended_at_seconds = round(self.loop.time(), 6)
        if answer is None and fault == "too_many":
            wait = self.chance.choice((None, 0.5, 3.0, 8.0))
            if wait is not None:
                knock.waits_until_seconds = round(self.loop.time() + wait, 6)
            raise Unavailable("too_many_requests", "Too many requests.", retry_after_seconds=wait)
        if fault == "unavailable":
            raise Unavailable("partner_unavailable", "The partner is being maintained.")
        if fault in ("drop_answer", "garbled", "late_feed"):
            raise _lost("answer_lost", is_read=is_read)
        return answer  # type: ignore[return-value] # it is None only where it was not served, or says so itself

    def _next_door_fault(self, kind: Kind) -> str:
        now = self.loop.time()
        if any(outage.from_seconds <= now < outage.until_seconds for outage in self._outages):
            self.note("outage", f"is away for stock ({kind})")
            return "outage"
        found = self._door_faults.get(len(self.knocks) + 1)
        if found is None or (kind != "publish" and found.kind in _OF_FIGURES):
            return ""
        self.note(found.kind, f"at its stock door, call {found.number} ({kind})")
        return found.kind

    def _take(self, figures: Sequence[StockFigure], knock: Knock) -> list[Shown]:
        fault, asked_at = knock.fault, knock.asked_at_seconds
        answers = []
        for figure in figures:
            if fault == "refused_items" and self.chance.random() < REFUSED_SHARE:
                answers.append(Shown(figure.sku, "try_later", "This item is not taken now."))
                continue
            is_dropped = fault == "dropped_items" and self.chance.random() < DROPPED_SHARE
            self._show(figure, asked_at, is_dropped=is_dropped)
            answers.append(Shown(figure.sku))
        if fault == "duplicated_call":
            self.begin_work(self._take_again(figures, asked_at))
        return answers

    async def _take_again(self, figures: Sequence[StockFigure], asked_at: float) -> None:
        await asyncio.sleep(self.chance.uniform(0.05, 3))
        for figure in figures:
            self._show(figure, asked_at, again=True)

    def _take_feed(self, figures: Sequence[StockFigure], knock: Knock) -> Submitted:
        feed = f"{self.name}-{len(self._feeds) + 1}"
        self._feeds[feed] = None
        seconds = self.chance.uniform(0.3, 3) + (self.chance.uniform(4, 12) if knock.fault == "late_feed" else 0)
        self.begin_work(self._work_on(feed, figures, knock, seconds))
        return Submitted(feed)

    async def _work_on(self, feed: str, figures: Sequence[StockFigure], knock: Knock, seconds: float) -> None:
        knock.worked_until_seconds = round(self.loop.time() + seconds, 6)
        await asyncio.sleep(seconds)
        self._feeds[feed] = self._take(figures, knock)

    def _outcome(self, feed: str) -> list[Shown] | None:
        if feed not in self._feeds:
            raise Refused("feed_unknown", "There is no such feed.")
        return self._feeds[feed]

    def _show(
        self, figure: StockFigure, asked_at: float, *, is_dropped: bool = False, again: bool = False
    ) -> None:
        left = max(figure.quantity - self._not_in_figure(figure.sku, figure.as_of), NOTHING)
        shown = self.shelf.get(figure.sku, NOTHING) if is_dropped else left
        if not is_dropped:
            self.shelf[figure.sku] = left
        self.written.append(Written(
            round(self.loop.time(), 6), self.name, figure.sku, "seller", shown, figure.quantity, figure.version,
            figure.as_of, asked_at, is_dropped, again,
        ))  # fmt: skip

    def _lay(self, sku: str, shown: Decimal, by: Literal["buyer", "rival"]) -> None:
        self.shelf[sku] = shown
        self.written.append(Written(round(self.loop.time(), 6), self.name, sku, by, shown))

    def _not_in_figure(self, sku: str, as_of: datetime | None) -> Decimal:
        """What its buyers ordered that a figure counted until then cannot contain."""
        waiting = [
            bought for bought in self.bought.values()
            if not bought.is_off
            and (bought.confirmed_at is None or (as_of is not None and bought.confirmed_at > as_of))
        ]  # fmt: skip
        return sum((bought.goods.get(sku, NOTHING) for bought in waiting), NOTHING)


_OF_FIGURES: Final = ("refused_items", "dropped_items", "duplicated_call", "late_feed")


def _lost(code: str, *, is_read: bool) -> CrossdockError:
    """What is only read is read again; of what was told nobody knows whether it was taken."""
    kind = Unavailable if is_read else InDoubt
    return kind(code, "The connection was lost, or the answer cannot be read.")


def _asked_seconds(error: CrossdockError) -> float:
    return (error.retry_after_seconds or 0.0) if isinstance(error, Unavailable) else 0.0


async def _publish(client: Caller, figures: Sequence[StockFigure]) -> Sequence[Shown] | Submitted:
    return await _shelf(client).publish(client.process, figures)


async def _collect(client: Caller, feed: str) -> Sequence[Shown] | None:
    return await _shelf(client).collect(client.process, feed)


async def _read_back(client: Caller, skus: Sequence[str]) -> Mapping[str, Decimal]:
    return await _shelf(client).read_back(client.process, skus)


def _shelf(client: Caller) -> ShelfChannel:
    if not isinstance(client.partner, ShelfChannel):
        raise TypeError(client.partner.name)
    return client.partner


def declare_lane(telling: Telling) -> StockLane:
    """What a connector of such a channel declares."""
    return StockLane(
        publish=_publish, read_back=_read_back, collect=_collect if telling.manner == "feeds" else None,
        batch_max=telling.batch_max, read_max=READ_MAX, calls_per_second=telling.calls_per_second,
        burst=telling.burst, counts_figures=telling.manner == "singly", timeout_seconds=TIMEOUT_SECONDS,
    )  # fmt: skip
