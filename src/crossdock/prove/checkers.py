"""What must be true when a run has ended: small pure functions from a history to violations."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.prove.commit_checkers import (
    answers_follow_commits,
    nothing_is_oversold,
    reservations_follow_one_another,
)
from crossdock.prove.day_checkers import (
    changes_are_kept,
    prices_are_those_agreed,
    what_is_parked_says_why,
    what_was_forgotten_shows,
)
from crossdock.prove.history import Found, History
from crossdock.prove.stock_checkers import STOCK_CHECKERS
from crossdock.prove.stock_history import StockHistory
from crossdock.prove.story_checkers import causes_are_told_first
from crossdock.rules.plan import COMPENSATION

ZERO: Final = Decimal(0)
ENDED: Final = ("done", "cancelled", "failed")


class Violation(msgspec.Struct, frozen=True):
    """Something that must not be: which checker says so, about what."""

    checker: str
    subject: str
    message: str


def acknowledged_is_kept(history: History) -> Found:
    """What a sender was told is in the ledger, and all copies of one order were told the same."""
    orders = {row["channel_number"]: row for row in history.tables["orders"]}
    answered = {row["business_key"] for row in history.tables["facts"] if row["answered"] or row["order_id"]}
    told: dict[str, set[tuple[int | None, str]]] = defaultdict(set)
    for item in history.acknowledged:
        told[item.channel_number].add((item.order_id, item.state))
        if item.status not in ("new", "repeated"):
            yield item.channel_number, f"the same order under the same key was answered {item.status}"
        kept = orders.get(item.channel_number)
        if item.order_id is not None and (kept is None or kept["order_id"] != item.order_id):
            yield (
                item.channel_number,
                f"was acknowledged as {item.order_id}; the ledger has {kept and kept['order_id']}",
            )
        if item.order_id is None and item.channel_number not in answered:
            yield item.channel_number, "was answered, and the ledger knows nothing of it"
    for number, answers in told.items():
        if len(answers) > 1:
            yield number, f"was answered differently: {sorted(map(str, answers))}"
    for number in history.unanswered:
        yield number, "was never answered"


def one_effect_per_key(history: History) -> Found:
    """At every partner, each business key took effect once; what is done took effect, what took effect is done."""
    counts = Counter(effect.key for effect in history.effects)
    for key, count in counts.items():
        if count > 1:
            yield key, f"took effect {count} times"
    confirmed = {effect.key for effect in history.confirmed()}
    steps = {f"{step['number']}/{step['name']}": step for step in history.tables["steps"]}
    for key in counts:
        if key not in steps:
            yield key, "took effect, and the ledger has no such step"
        elif steps[key]["state"] != "done":
            yield key, f"took effect, and its step is {steps[key]['state']}"
    for key, step in steps.items():
        if step["state"] == "done" and key not in confirmed:
            yield key, "is done, and its partner knows nothing of it"


def every_fact_decided(history: History) -> Found:
    """What was taken in is applied, ignored as known, waiting for its order, or parked with a cause."""
    kept = {(row["connection"], row["kind"], row["business_key"]) for row in history.tables["facts"]}
    for connection, kind, key in history.recorded_facts:
        if (connection, kind, key) not in kept:
            yield f"{kind} {key}", "was taken in (or told by the warehouse), and is not in the inbox"
    for row in history.tables["facts"]:
        if row["state"] not in ("applied", "ignored", "early", "quarantined"):
            yield f"{row['kind']} {row['business_key']}", f"is still {row['state']}"
        if row["state"] == "quarantined" and row["cause"] not in _BUSINESS_CAUSES:
            yield f"{row['kind']} {row['business_key']}", f"is parked: {row['cause']}: {row['message']}"
    accepted = {row["channel_number"] for row in history.tables["orders"]}
    for row in history.tables["facts"]:
        if row["state"] == "early" and row["subject"] in accepted:
            yield f"{row['kind']} {row['business_key']}", "waits for its order, which is there"


_BUSINESS_CAUSES: Final = (
    "cancellation_too_late", "change_held", "change_more", "change_too_late", "order_unknown",
)  # fmt: skip


def history_without_gaps(history: History) -> Found:
    """A document's events are numbered without a gap, and their times never go back."""
    events: dict[int, list[tuple[int, datetime]]] = defaultdict(list)
    for event in history.tables["events"]:
        events[event["order_id"]].append((event["version"], event["at"]))
    for order in history.tables["orders"]:
        found = events.pop(order["order_id"], [])
        if [version for version, _ in found] != list(range(1, len(found) + 1)):
            yield order["number"], f"has the event versions {[version for version, _ in found]}"
        if len(found) != order["event_count"]:
            yield order["number"], f"counts {order['event_count']} events and has {len(found)}"
        skew = timedelta(seconds=history.clock_skew_seconds)
        if any(later[1] < earlier[1] - skew for earlier, later in itertools.pairwise(found)):
            yield order["number"], "has events that go back in time"
    for order_id in events:
        yield str(order_id), "has events and is no order"


def goods_are_conserved(history: History) -> Found:
    """Units: ordered is shipped, open, waiting or cancelled; what left is what was shipped; stock is what is left."""
    left: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for dispatched in history.dispatched:
        for sku, quantity in dispatched.goods.items():
            left[dispatched.number, sku] += quantity
    shipped: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for order in history.tables["orders"]:
        lines = order["progress"]["lines"]
        skus = {line["line"]: line["sku"] for line in order["body"]["lines"]}
        for name, line in lines.items():
            counted = {
                part: Decimal(line.get(part, "0")) for part in ("ordered", "shipped", "backordered", "cancelled")
            }
            rest = counted["ordered"] - counted["shipped"] - counted["backordered"] - counted["cancelled"]
            if rest < 0 or min(counted.values()) < 0:
                yield order["number"], f"line {name} does not add up: {line}"
            if order["state"] in ("completed", "cancelled") and rest:
                yield order["number"], f"is {order['state']} with {rest} open in line {name}"
            shipped[order["number"], skus[name]] += counted["shipped"]
    parked = any(
        row["state"] == "quarantined" for row in history.tables["facts"] if row["kind"] == "shipment.confirmed"
    )
    if parked:
        return
    for place in sorted({*left, *shipped}):
        if left[place] != shipped[place]:
            yield " ".join(place), f"{left[place]} left the warehouse, the order says {shipped[place]}"
    for row in history.tables["stock"]:
        place_name = f"{row['sku']} {row['location']}"
        expected = history.counted_stock.get(place_name, ZERO)
        if row["on_hand"] != expected:
            yield place_name, f"has {expected} in the warehouse, {row['on_hand']} in the ledger"


def reservations_agree(history: History) -> Found:
    """What places count as reserved is what orders hold there; what an order no longer wants it does not hold."""
    held: dict[str, Decimal] = defaultdict(Decimal)
    by_order: dict[int, Decimal] = defaultdict(Decimal)
    for row in history.tables["reservations"]:
        rest = row["quantity"] - row["shipped"] - row["released"]
        by_order[row["order_id"]] += rest
        if row["location"]:
            held[f"{row['sku']} {row['location']}"] += rest - row["committed"]
    for row in history.tables["stock"]:
        place = f"{row['sku']} {row['location']}"
        if row["reserved"] != held[place]:
            yield place, f"counts {row['reserved']} as reserved, orders hold {held[place]}"
    for order in history.tables["orders"]:
        wanted = sum(
            (
                Decimal(line["ordered"]) - Decimal(line.get("shipped", "0")) - Decimal(line.get("cancelled", "0"))
                for line in order["progress"]["lines"].values()
            ),
            ZERO,
        )
        if order["state"] == "held":
            wanted = ZERO
        if by_order[order["order_id"]] != wanted:
            yield order["number"], f"is {order['state']}, wants {wanted} and holds {by_order[order['order_id']]}"


def money_is_conserved(history: History) -> Found:
    """Cents: what shipped was invoiced and captured, the same here and at the partners, never more than allowed."""
    partners: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for effect in history.confirmed():
        partners[effect.number, effect.operation] += effect.amount
    invoiced: dict[int, Decimal] = defaultdict(Decimal)
    for row in history.tables["invoices"]:
        invoiced[row["order_id"]] += row["net"] + row["tax"]
    paid: dict[tuple[int, str], Decimal] = defaultdict(Decimal)
    for row in history.tables["payments"]:
        paid[row["order_id"], row["kind"]] += row["amount"]
    for order in history.tables["orders"]:
        number, order_id = order["number"], order["order_id"]
        if order["steps_open"]:
            continue
        at_erp = partners[number, "erp.ship"]
        if invoiced[order_id] != at_erp:
            yield number, f"{at_erp} was invoiced by the ERP, {invoiced[order_id]} by our books"
        if paid[order_id, "capture"] != partners[number, "payment.capture"]:
            yield (
                number,
                f"{partners[number, 'payment.capture']} was captured, {paid[order_id, 'capture']} in our books",
            )
        if paid[order_id, "authorisation"] != partners[number, "payment.authorise"]:
            yield number, "what was authorised differs"
        if partners[number, "payment.capture"] > partners[number, "payment.authorise"]:
            yield number, "more was captured than authorised"
        if order["body"]["plan"] == "card" and at_erp != partners[number, "payment.capture"]:
            yield number, f"{at_erp} was invoiced, {partners[number, 'payment.capture']} captured"
        yield from _whole_amount(history, order, partners[number, "erp.ship"])


def _whole_amount(history: History, order: Mapping[str, Any], invoiced: Decimal) -> Found:
    """An order that was shipped as ordered was invoiced as ordered, to the cent."""
    lines = order["progress"]["lines"].values()
    if any(Decimal(line.get("shipped", "0")) != Decimal(line["ordered"]) for line in lines):
        return
    taxes = sum((Decimal(tax["amount"]) for tax in order["progress"].get("taxes", {}).values()), ZERO)
    if order["net"] + taxes != invoiced:
        yield order["number"], f"was ordered for {order['net'] + taxes} and invoiced for {invoiced}"


def exposure_agrees(history: History) -> Found:
    """An account's open orders are what its orders have not been invoiced or cancelled for, now and at every moment."""
    invoiced: dict[int, Decimal] = defaultdict(Decimal)
    for row in history.tables["invoices"]:
        invoiced[row["order_id"]] += row["net"]
    expected: dict[str, Decimal] = defaultdict(Decimal)
    unsettled: set[str] = set()
    for order in history.tables["orders"]:
        if not order["customer"] or order["state"] in ("completed", "cancelled", "held", "refused"):
            continue
        expected[order["customer"]] += order["net"] - invoiced[order["order_id"]]
        is_reduced = any(Decimal(line.get("cancelled", "0")) for line in order["progress"]["lines"].values())
        if order["steps_open"] or is_reduced:
            unsettled.add(order["customer"])
    for row in history.tables["accounts"]:
        if row["customer"] not in unsettled and row["open_orders"] != expected[row["customer"]]:
            yield row["customer"], f"has {row['open_orders']} on order, its orders make {expected[row['customer']]}"
    customers = {order["order_id"]: order["customer"] for order in history.tables["orders"]}
    accepted: set[int] = set()
    for moment in history.moments:
        accepted.update(order_id for order_id, state in moment.orders if state not in ("held", "refused"))
        for customer, exposure in moment.exposures.items():
            # What was invoiced in the end was on order, or invoiced, ever since it was accepted.
            least = sum((invoiced[found] for found in accepted if customers.get(found) == customer), ZERO)
            if exposure < least:
                yield customer, f"had {exposure} at {moment.at}, its orders made at least {least}"
                return


def credit_is_kept(history: History) -> Found:
    """After no commit does an account have more on order and invoiced, net, than its limit."""
    for moment in history.moments:
        for customer, exposure in moment.exposures.items():
            if exposure > history.limits.get(customer, ZERO):
                yield customer, f"had {exposure} at {moment.at}, its limit is {history.limits.get(customer)}"
                return


def nothing_is_stuck(history: History) -> Found:
    """When all is quiet, no step is under way, and none is parked but for a partner's refusal."""
    for step in history.tables["steps"]:
        name = f"{step['number']}/{step['name']}"
        if step["state"] == "quarantined" and step["error_kind"] != "refused":
            yield name, f"is parked: {step['error_kind']} {step['error_code']}: {step['error_message']}"
        elif step["state"] not in (*ENDED, "quarantined"):
            yield name, f"is still {step['state']}"
    opened = Counter(step["order_id"] for step in history.tables["steps"] if step["state"] not in ENDED)
    for order in history.tables["orders"]:
        if order["steps_open"] != opened[order["order_id"]]:
            yield order["number"], f"counts {order['steps_open']} open steps and has {opened[order['order_id']]}"
        closed = all(
            Decimal(line["ordered"]) == Decimal(line.get("shipped", "0")) + Decimal(line.get("cancelled", "0"))
            for line in order["progress"]["lines"].values()
        )
        if closed and not opened[order["order_id"]] and order["state"] not in ("completed", "cancelled", "held"):
            yield order["number"], f"is {order['state']}, with nothing left to do"
    for complaint in history.complaints:
        yield history.scenario, complaint


def timeline_tells_the_truth(history: History) -> Found:
    """A step's times enclose what its partner logged, in the order in which the plan needs it."""
    at = {effect.key: effect.at for effect in history.confirmed()}
    skew = timedelta(seconds=history.clock_skew_seconds)
    for step in history.tables["steps"]:
        moment = at.get(f"{step['number']}/{step['name']}")
        if moment is None or step["state"] != "done":
            continue
        if not (step["started_at"] - skew <= moment <= step["done_at"] + skew):
            yield (
                f"{step['number']}/{step['name']}",
                (f"ran from {step['started_at']} to {step['done_at']}, the partner says {moment}"),
            )
    for effect in history.effects:
        placed = at.get(f"{effect.number}/erp.place_order")
        if effect.operation in ("wms.release", "erp.ship") and (placed is None or placed > effect.at):
            yield effect.key, "took effect before the ERP had the order"


def what_was_stopped_is_undone(history: History) -> Found:
    """An order that was cancelled before anything left stands nowhere: what took effect at partners was taken back, and
    they confirmed that. What they then forgot is their own breach."""
    done = {effect.key for effect in history.confirmed()}
    for order in history.tables["orders"]:
        shipped = any(Decimal(line.get("shipped", "0")) for line in order["progress"]["lines"].values())
        if order["state"] != "cancelled" or order["steps_open"] or shipped:
            continue
        for effect in history.effects:
            undo = COMPENSATION.get(effect.operation)
            undone = effect.key.replace(f"/{effect.operation}", f"/{undo}")
            if effect.number == order["number"] and undo and undone not in done:
                yield effect.key, f"stands at its partner, its order is cancelled: no {undone}"


def the_rest_is_let_go(history: History) -> Found:
    """An order of which a part left and another was cancelled is closed where it was kept for the rest, after the last
    part of it: the sale, and what the payment holds beyond what was captured."""
    last = {(effect.number, effect.operation): effect.at for effect in history.effects}
    forgotten = {(effect.number, effect.operation) for effect in history.lost}
    for order in history.tables["orders"]:
        lines = order["progress"]["lines"].values()
        parts = [sum(Decimal(line.get(part, "0")) for line in lines) for part in ("shipped", "cancelled")]
        if order["state"] != "completed" or not all(parts):
            continue
        for kept, used in (("erp.place_order", "erp.ship"), ("payment.authorise", "payment.capture")):
            number, undo = order["number"], COMPENSATION[kept]
            closed = last.get((number, undo))
            if (number, kept) not in last or (closed is None and (number, undo) in forgotten):
                continue
            if closed is None or closed < last.get((number, used), closed):
                yield number, f"a part of it was cancelled: no {undo} after its last part"


def what_was_reported_is_known(history: History) -> Found:
    """A payment that the channel reported stands in its order, also when it came first."""
    paid = {row["subject"] for row in history.tables["facts"] if row["kind"] == "order.paid"}
    for order in history.tables["orders"]:
        if order["channel_number"] in paid and not order["progress"].get("paid"):
            yield order["number"], "was reported as paid and does not know it"


def secrets_stay_secret(history: History) -> Found:
    """No planted token or name in log lines, errors, attempts or events."""
    told = [("log", line) for line in history.spoken]
    for table in ("step_attempts", "events"):
        told.extend((table, str(row)) for row in history.tables[table])
    told.extend(("step", f"{step['error_message']} {step['result']}") for step in history.tables["steps"])
    for place, text in told:
        for secret in history.planted:
            if secret in text:
                yield place, "holds a planted secret or personal datum"
                return


Checker = Callable[[History], Found]
CHECKERS: Final[tuple[Checker, ...]] = (
    acknowledged_is_kept, one_effect_per_key, every_fact_decided, history_without_gaps, goods_are_conserved,
    reservations_agree, money_is_conserved, exposure_agrees, credit_is_kept, nothing_is_oversold, nothing_is_stuck,
    timeline_tells_the_truth, what_was_stopped_is_undone, the_rest_is_let_go, what_was_reported_is_known,
    secrets_stay_secret,
    reservations_follow_one_another, answers_follow_commits, prices_are_those_agreed, what_is_parked_says_why,
    what_was_forgotten_shows, causes_are_told_first, changes_are_kept,
)  # fmt: skip


def judge(history: History) -> list[Violation]:
    """All violations, checker by checker."""
    found = [
        Violation(checker.__name__, subject, message) for checker in CHECKERS for subject, message in checker(history)
    ]
    if isinstance(history, StockHistory):
        found.extend(
            Violation(checker.__name__, subject, message)
            for checker in STOCK_CHECKERS for subject, message in checker(history)
        )  # fmt: skip
    return found
