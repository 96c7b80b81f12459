"""Checkers of what a day brings: prices that change, partners that speak otherwise or forget."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from crossdock.prove.history import Found, History
from crossdock.prove.virtual_time import EPOCH

DECIDED_WITHIN_SECONDS: Final = 60.0
"""So long after it was taken in, a new price may not have been decided yet: workers die, or stand still."""


def prices_are_those_agreed(history: History) -> Found:
    """A contract price is the one that was in force when the order was accepted, by the generated truth."""
    for order in history.tables["orders"]:
        for line in order["body"]["lines"]:
            if line["price"]["source"] != "contract":
                continue
            charged = Decimal(line["unit_price"]["amount"])
            at = (order["accepted_at"] - EPOCH).total_seconds()
            if charged not in _in_force(history, line["sku"], at):
                yield order["number"], f"line {line['line']} of {line['sku']} was charged {charged} at second {at:.1f}"


def _in_force(history: History, sku: str, at_seconds: float) -> set[Decimal]:
    """Prices that may have been known at a moment. Of those that came long before it, only the last."""
    skew = history.clock_skew_seconds
    told = history.prices.get(sku, ())
    known = [price for since, price in told if since + DECIDED_WITHIN_SECONDS <= at_seconds - skew][-1:]
    first, last = at_seconds - skew - DECIDED_WITHIN_SECONDS, at_seconds + skew
    return {*known, *(price for since, price in told if first < since <= last)}


def what_is_parked_says_why(history: History) -> Found:
    """Whatever a person found parked said why, in a sentence, and what to do."""
    for item in history.parked:
        if not (item.cause and item.message and item.next_action):
            yield item.subject, f"was parked without a cause, a sentence or a next action: {item}"


def what_was_forgotten_shows(history: History) -> Found:
    """Where a partner refuses what follows because it has forgotten what it had confirmed, a person sees the step."""
    for step in history.tables["steps"]:
        if step["error_code"] != "document_unknown":
            continue
        if step["state"] not in ("quarantined", "failed", "cancelled", "done"):
            yield f"{step['number']}/{step['name']}", f"was refused by a partner that forgot, and is {step['state']}"


def changes_are_kept(history: History) -> Found:
    """Of what a buyer changed no more left, or is still to leave, than he wanted after it."""
    taken = {
        row["subject"] for row in history.tables["facts"]
        if row["kind"] == "order.change_requested" and row["state"] == "applied"
    }  # fmt: skip
    for order in history.tables["orders"]:
        if order["channel_number"] not in taken:
            continue
        sizes = {
            line["line"]: Decimal(line["quantity"]["value"]) / Decimal(line["ordered"]["value"])
            for line in order["body"]["lines"]
        }  # fmt: skip
        for change in history.changes[order["channel_number"]]:
            line = order["progress"]["lines"][change.line]
            standing = Decimal(line["ordered"]) - Decimal(line.get("cancelled", "0"))
            wanted = change.quantity.value * sizes[change.line]
            if max(standing, Decimal(line.get("shipped", "0"))) > wanted:
                yield order["number"], f"line {change.line}: {wanted} were wanted after a change, {standing} stand"
