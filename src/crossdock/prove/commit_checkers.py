"""Checkers over the order of commits: every change of a reservation, a place and an order, as the database kept them.

Transactions are committed one after the other, so the ledger gives a total order, and a history of reservations is
linearizable when that order is a legal one: each SKU at each place is a counter that is taken from only while enough is
free, given back to what was taken, and seen by a sender only after its commit.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Final

from crossdock.prove.history import Found, Held, History, Moment

ZERO: Final = Decimal(0)
_Key = tuple[int, str, str]


def reservations_follow_one_another(history: History) -> Found:
    """Each commit takes a SKU and place from one legal state to the next."""
    reserved: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    on_hand: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    held: dict[_Key, Held] = {}
    for moment in history.moments:
        changed, found = _changes(moment, held)
        yield from ((subject, f"{message} at {moment.at}") for subject, message in found)
        places = {(sku, location): (there, promised) for sku, location, there, promised in moment.stock}
        for place in sorted({*changed, *places}):
            there, promised = places.get(place, (on_hand[place], reserved[place]))
            if promised - reserved[place] != changed.get(place, ZERO):
                yield " ".join(place), (
                    f"counts {promised - reserved[place]} more as reserved, its orders took {changed.get(place, ZERO)} "
                    f"at {moment.at}"
                )  # fmt: skip
            if promised > max(there, reserved[place]):
                yield " ".join(place), f"gave {promised - reserved[place]} of {there - reserved[place]} at {moment.at}"
            on_hand[place], reserved[place] = there, promised


def _changes(moment: Moment, held: dict[_Key, Held]) -> tuple[dict[tuple[str, str], Decimal], list[tuple[str, str]]]:
    """What the commit's reservations take at each place, and what of them is no legal step."""
    changed: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    found = []
    for row in moment.reservations:
        key = (row.order_id, row.line, row.location)
        # A kit's line holds several SKUs at a place; so far the worlds have none.
        before = held.get(key, Held(*key, row.sku, ZERO, ZERO, ZERO, ZERO))
        name = f"order {row.order_id} line {row.line} {row.sku} {row.location}"
        if row.shipped < before.shipped or row.released < before.released:
            found.append((name, f"takes back what was shipped or released: {before} to {row}"))
        if row.shipped + row.released > row.quantity:
            found.append((name, f"gives up more than it held: {row}"))
        if row.location:
            changed[row.sku, row.location] += row.reserved - before.reserved
        held[key] = row
    return changed, found


def nothing_is_oversold(history: History) -> Found:
    """After no commit is more promised from a place than there is, but for what has left and was not yet told."""
    shipped: dict[_Key, tuple[str, Decimal]] = {}
    for moment in history.moments:
        shipped.update({(row.order_id, row.line, row.location): (row.sku, row.shipped) for row in moment.reservations})
        for sku, location, on_hand, reserved in moment.stock:
            if reserved <= on_hand:
                continue
            left = sum(
                (item.goods.get(sku, ZERO) for item in history.dispatched
                 if item.warehouse == location and item.at <= moment.at), ZERO
            )  # fmt: skip
            told = sum((count for key, (of, count) in shipped.items() if of == sku and key[2] == location), ZERO)
            if reserved > on_hand + left - told:
                yield f"{sku} {location}", f"had {on_hand} and {reserved} promised at {moment.at}"
                return


def answers_follow_commits(history: History) -> Found:
    """Nobody is told of an order before it is committed, and what he is told was its state by then."""
    seen: dict[int, list[tuple[object, str]]] = defaultdict(list)
    for moment in history.moments:
        for order_id, state in moment.orders:
            seen[order_id].append((moment.at, state))
    for item in history.acknowledged:
        if item.order_id is None:
            continue
        before = [state for at, state in seen[item.order_id] if at <= item.at]  # type: ignore[operator]
        if not before:
            yield item.channel_number, f"was answered at {item.at}, before it was committed"
        elif item.state and item.state not in before:
            yield item.channel_number, f"was answered {item.state} at {item.at}, it had been {before}"
