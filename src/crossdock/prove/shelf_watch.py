"""Looks at the shelves while a run is played, as anybody could who stands before them and before the warehouse's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from crossdock.ledger import proof
from crossdock.prove.faults import RivalEdit
from crossdock.prove.run import Run
from crossdock.prove.shelves import ShelfChannel
from crossdock.prove.stock_history import Excess, StockHistory
from crossdock.prove.stock_told import allowed

NOTHING = Decimal(0)


class ShelfWatch:
    """`look` says whether all channels show what they should and nothing is left to be told."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._since: dict[tuple[str, str], Excess] = {}

    async def look(self, connection: Any) -> bool:
        history = self._run.history
        if not isinstance(history, StockHistory):
            return True
        now = round(self._run.loop.time(), 6)
        agree = True
        for channel, sku, shown, may in compare(self._run):
            shelf = self._run.shelf_of(channel)
            kept = shelf.kept_back(sku) if shelf is not None else NOTHING
            agree = agree and shown == max(may - kept, NOTHING)
            key = (channel, sku)
            if shown > may:
                begun = self._since.get(key, Excess(channel, sku, now, now, shown, may))
                self._since[key] = Excess(channel, sku, begun.from_seconds, now, shown, may)
            elif key in self._since:
                history.excesses.append(self._since.pop(key))
        untold = await proof.count_untold(connection)
        is_over = agree and not untold and all(shelf.is_settled() for shelf in shelves_of(self._run).values())
        if is_over or now >= self._run.rhythm.run_seconds_max:
            history.excesses.extend(self._since.values())
            self._since.clear()
        return is_over


def shelves_of(run: Run) -> dict[str, ShelfChannel]:
    return {name: partner for name, partner in run.partners.items() if isinstance(partner, ShelfChannel)}


def compare(run: Run) -> Iterator[tuple[str, str, Decimal, Decimal]]:
    """(channel, SKU, what it shows, what its terms make of the warehouse's own stock and what it still has to ship)."""
    promised: dict[tuple[str, str], Decimal] = {}
    for instruction in run.warehouse.instructions.values():
        for line, rest in instruction.rest.items():
            place = (instruction.skus[line], instruction.order.warehouse)
            promised[place] = promised.get(place, NOTHING) + rest
    for channel, shelf in shelves_of(run).items():
        stock = run.business.policy.stock.channels[channel]
        for sku in sorted({sku for sku, _ in run.warehouse.stock}):
            free = {
                place: quantity - promised.get((sku, place), NOTHING)
                for (found, place), quantity in run.warehouse.stock.items() if found == sku
            }
            yield channel, sku, shelf.shelf.get(sku, NOTHING), allowed(stock, free)


async def begin_rival(run: Run, edit: RivalEdit) -> None:
    """Somebody else writes a channel's stock when his time has come."""
    await asyncio.sleep(edit.at_seconds)
    shelf = run.shelf_of(edit.channel)
    if shelf is not None:
        shelf.edit(edit)


def collect_shelves(run: Run) -> None:
    """What the channels kept of it goes into the history."""
    history = run.history
    if not isinstance(history, StockHistory):
        return
    history.tellings = dict(run.business.shelves)
    history.outages = sorted(
        (outage.partner, outage.from_seconds, outage.until_seconds)
        for channel in run.business.shelves for outage in run.plan.outages(channel)
    )
    for channel, sku, shown, may in compare(run):
        shelf = run.shelf_of(channel)
        history.shelves.setdefault(channel, {})[sku] = shown
        kept = shelf.kept_back(sku) if shelf is not None else NOTHING
        history.allowed.setdefault(channel, {})[sku] = max(may - kept, NOTHING)
    for shelf in shelves_of(run).values():
        history.written.extend(shelf.written)
        history.knocks.extend(shelf.knocks)
    history.written.sort(key=lambda one: (one.at_seconds, one.channel, one.sku))
    history.knocks.sort(key=lambda one: (one.asked_at_seconds, one.channel))
