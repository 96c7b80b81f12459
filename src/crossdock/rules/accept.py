"""Acceptance: may this order be taken? Accepted, held (cause, owner, next action) or refused, with every reason.

`decide_acceptance` is pure. It reads master data (`Reference`), the working figures of a batch (`Book`) and the policy,
and answers an `Acceptance`; the caller then calls `book.take(acceptance)` so that the next order sees what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from crossdock.model.codes import check_currency
from crossdock.model.documents import Address, Component, Customer, Product, check_address
from crossdock.model.errors import Invalid
from crossdock.model.facts import EventDraft
from crossdock.model.orders import (
    Allocation,
    FulfilmentPolicy,
    Hold,
    LineProgress,
    Order,
    OrderAcknowledgment,
    OrderLine,
    OrderPlaced,
    OrderProgress,
    PlacedLine,
    Reason,
    TaxDecision,
)
from crossdock.model.values import AMOUNT_MAX, Money, Quantity
from crossdock.policy.plans import PlanFacts
from crossdock.policy.policy import ChannelPolicy, Policy
from crossdock.rules.book import Acceptance, Book, Reference
from crossdock.rules.credit import Exposure, explain_excess, find_excess
from crossdock.rules.kits import check_components, spread
from crossdock.rules.price import PricedLine, price_line
from crossdock.rules.reasons import HOLD_CAUSE, first_cause, hold_causes, reason, reason_of, when_refused
from crossdock.rules.sourcing import Need, Source, choose_sources
from crossdock.rules.tax import decide_tax
from crossdock.rules.texts import check_texts
from crossdock.rules.units import is_indivisible, to_base

__all__ = ["Acceptance", "Book", "Exposure", "Reference", "acknowledge", "decide_acceptance", "hold_causes"]

CLOCK_TOLERANCE: Final = timedelta(days=1)
_NOTHING: Final = Decimal(0)


@dataclass(slots=True)
class _Reasons:
    """What speaks against the order so far: `refusals` end it, `holds` let a person decide."""

    waived: frozenset[str]
    refusals: list[Reason] = field(default_factory=list)
    holds: list[Reason] = field(default_factory=list)

    def refuse(self, code: str, message: str, *, line: str = "", field: str = "") -> None:
        self.refusals.append(reason(code, message, line=line, field=field))

    def stop(self, wish: str, code: str, message: str, *, line: str = "", field: str = "") -> None:
        """`wish` is the channel's: "hold" or "refuse". A waived cause or code is passed over."""
        if code in self.waived or HOLD_CAUSE[code] in self.waived:
            return
        (self.refusals if wish == "refuse" else self.holds).append(reason(code, message, line=line, field=field))


class _Draft(msgspec.Struct, frozen=True, gc=False):
    """A line that can be ordered: its product, base units and price; the components of a kit."""

    line: PlacedLine
    product: Product
    quantity: Decimal
    priced: PricedLine
    components: tuple[Component, ...] = ()


def decide_acceptance(
    placed: OrderPlaced, *, channel: str, order_id: int, number: str, accepted_at: datetime, reference: Reference,
    book: Book, policy: Policy, waived: frozenset[str] = frozenset(), against: Sequence[Reason] = (),
) -> Acceptance:  # fmt: skip
    """Decide a placed order. `waived` are causes of holds that a person has decided to pass over; `against` is what is
    already known to refuse it."""
    found = _Reasons(waived)
    found.refusals.extend(against)
    rules = policy.channels.get(channel)
    if rules is None:
        found.refuse("channel_unknown", f"The channel {channel} is not configured.")
        return _refuse(placed, found)
    found.refusals.extend(check_texts(placed))
    order_type = placed.order_type or rules.order_type
    region = _check_head(placed, rules, order_type, accepted_at, policy, found)
    customer = _find_customer(placed, rules, reference, found)
    drafts = _draft_lines(placed, rules, customer, reference, found)
    if found.refusals:
        return _refuse(placed, found)
    net = sum([draft.priced.amount for draft in drafts], _NOTHING)
    if net > AMOUNT_MAX:
        found.refuse("amount_absurd", f"The order's amount must not exceed {AMOUNT_MAX}.")
    tax = decide_tax(
        placed, policy.tax, ((draft.line.line, draft.product) for draft in drafts), customer, channel=channel,
        order_type=order_type, region=region,
    )  # fmt: skip
    for problem in tax.problems:
        found.stop(problem.wish, problem.code, problem.message, line=problem.line, field=problem.field)
    credit_amount = _check_credit(placed, rules, customer, book, net, found)
    fulfilment = placed.fulfilment or rules.fulfilment
    preference = policy.locations_of(channel, region, customer.price_group if customer is not None else "")
    sources = _source(drafts, policy, preference, order_type, fulfilment, book, found)
    if found.refusals:
        return _refuse(placed, found)
    held = bool(found.holds)
    warehouses = tuple(sorted({item.location for source in sources for item in source.allocations}))
    plan = policy.plans.choose(PlanFacts(
        channel, order_type, region, placed.currency, placed.payment.method, int(net), len(drafts), placed.customer,
        warehouses,
    ))  # fmt: skip
    lines = tuple([
        _order_line(draft, None if held else source, placed.currency)
        for draft, source in zip(drafts, sources, strict=True)
    ])  # fmt: skip
    order = Order(
        order_id, number, channel, placed.channel_number, order_type, region, placed.currency, placed.placed_at,
        accepted_at, placed.ship_to, lines, Money(net, placed.currency), placed.payment, plan.name, fulfilment,
        placed.customer, placed.customer_reference, customer.payment_term_days if customer is not None else 0,
        _is_exempt(tax.decision, customer), placed.bill_to, placed.requested_on, placed.note, tax.decision,
    )  # fmt: skip
    if held:
        return _hold(order, found, accepted_at, policy)
    return _accept(order, sources, credit_amount, policy)


def _is_exempt(tax: TaxDecision | None, customer: Customer | None) -> bool:
    """Without a tax policy the account's word counts."""
    if tax is None:
        return customer is not None and customer.tax_exempt
    return tax.treatment != "taxed"


def _check_head(
    placed: OrderPlaced, rules: ChannelPolicy, order_type: str, accepted_at: datetime, policy: Policy, found: _Reasons
) -> str:
    """Everything but customer and lines; return the region of the ship-to address, "" if there is none."""
    if not placed.channel_number.strip():
        found.refuse("channel_number_missing", "The order has no number of the channel.", field="channel_number")
    if placed.placed_at.tzinfo is None:
        found.refuse("placed_at_offset", "The time of the order has no offset from UTC.", field="placed_at")
    elif placed.placed_at > accepted_at + CLOCK_TOLERANCE:
        found.refuse("placed_at_future", "The order is dated in the future.", field="placed_at")
    if order_type != rules.order_type and order_type not in rules.order_types:
        allowed = ", ".join((rules.order_type, *rules.order_types))
        found.refuse("order_type_unknown", f"This channel has orders of type {allowed}.", field="order_type")
    if placed.payment.method not in rules.payments:
        message = f"This channel is paid by {' or '.join(rules.payments)}, not by {placed.payment.method}."
        found.refuse("payment_method", message, field="payment.method")
    elif placed.payment.method == "card" and not placed.payment.token:
        found.refuse("payment_token_missing", "A card payment needs a token.", field="payment.token")
    _check_currency(placed.currency, rules, found)
    _check_place(placed.ship_to, "ship_to", found)
    if placed.bill_to is not None:
        _check_place(placed.bill_to, "bill_to", found)
    region = policy.regions.get(placed.ship_to.country)
    if region is None:
        if not any(item.field == "ship_to.country" for item in found.refusals):
            message = f"Nothing is delivered to {placed.ship_to.country}."
            found.refuse("region_unserved", message, field="ship_to.country")
        return ""
    return region


def _check_currency(currency: str, rules: ChannelPolicy, found: _Reasons) -> None:
    if currency in rules.currencies:
        return
    try:
        check_currency(currency)
    except Invalid as error:
        found.refusals.append(reason_of(error))
        return
    message = f"This channel orders in {' or '.join(rules.currencies)}, not in {currency}."
    found.refuse("currency_channel", message, field="currency")


def _check_place(address: Address, field: str, found: _Reasons) -> None:
    try:
        check_address(address, field)
    except Invalid as error:
        found.refusals.append(reason_of(error))


def _find_customer(
    placed: OrderPlaced, rules: ChannelPolicy, reference: Reference, found: _Reasons
) -> Customer | None:
    on_account = placed.payment.method == "terms"
    if not placed.customer:
        if rules.customer_required or on_account:
            found.refuse("customer_missing", "The order names no customer account.", field="customer")
        return None
    customer = reference.customers.get(placed.customer)
    if customer is None:
        message = f"There is no customer {placed.customer[:64]}."
        found.stop(rules.customer_unknown, "customer_unknown", message, field="customer")
        return None
    if customer.status == "blocked":
        found.stop(rules.customer_blocked, "customer_blocked", f"Account {customer.code} is blocked.", field="customer")
    if on_account and customer.currency != placed.currency and placed.currency in rules.currencies:
        message = f"Account {customer.code} is kept in {customer.currency}, the order is in {placed.currency}."
        found.refuse("currency_account", message, field="currency")
    return customer


def _draft_lines(
    placed: OrderPlaced, rules: ChannelPolicy, customer: Customer | None, reference: Reference, found: _Reasons
) -> list[_Draft]:
    count = len(placed.lines)
    if not count:
        found.refuse("lines_missing", "The order has no lines.", field="lines")
    if count > rules.lines_max:
        # Not looked at any further: the answer would be as long as the order.
        message = f"The order has {count} lines; at most {rules.lines_max} are taken."
        found.refuse("lines_too_many", message, field="lines")
        return []
    seen: set[str] = set()
    drafts: list[_Draft] = []
    priced_on = placed.placed_at.date()
    for index, line in enumerate(placed.lines):
        if not line.line.strip():
            found.refuse("line_missing", "The line has no identifier.", field=f"lines[{index}].line")
        elif line.line in seen:
            message = f"Line {line.line[:64]} is there twice."
            found.refuse("line_duplicate", message, line=line.line, field=f"lines[{index}].line")
        seen.add(line.line)
        draft = _draft_line(line, placed.currency, rules, customer, reference, priced_on, found)
        if draft is not None:
            drafts.append(draft)
    return drafts


def _draft_line(
    line: PlacedLine, currency: str, rules: ChannelPolicy, customer: Customer | None, reference: Reference,
    priced_on: date, found: _Reasons,
) -> _Draft | None:  # fmt: skip
    """Return None when a reason was found that ends the line."""
    name = line.line
    product = _find_product(line, reference, found)
    if product is None:
        return None
    try:
        quantity = to_base(line.quantity, reference.pack_sizes(product), product)
        components = check_components(product, reference.products) if product.components else ()
        priced = price_line(
            product, reference.offers(product.sku), customer, rules, currency=currency, ordered=line.quantity.value,
            quantity=quantity, asked=line.unit_price, on=priced_on,
        )  # fmt: skip
    except Invalid as error:
        found.refusals.append(reason_of(error, line=name))
        return None
    if priced is None:
        message = f"There is no price in {currency[:3]} for {product.sku}."
        found.refuse("price_missing", message, line=name, field="unit_price")
        return None
    if priced.problem is not None:
        code, message = priced.problem
        found.stop("refuse" if rules.price_beyond == "refuse" else "hold", code, message, line=name, field="unit_price")
    return _Draft(line, product, quantity, priced, components)


def _find_product(line: PlacedLine, reference: Reference, found: _Reasons) -> Product | None:
    sku = line.sku
    if line.gtin:
        known = reference.codes.get(line.gtin)
        if known is None:
            found.refuse("gtin_unknown", f"No product has the GTIN {line.gtin[:20]}.", line=line.line, field="gtin")
            return None
        if sku and known[0] != sku:
            message = f"The GTIN {line.gtin} is that of {known[0]}, not of {sku[:64]}."
            found.refuse("gtin_mismatch", message, line=line.line, field="gtin")
            return None
        sku = known[0]
    if not sku:
        found.refuse("product_missing", "The line names no product.", line=line.line, field="sku")
        return None
    product = reference.products.get(sku)
    if product is None:
        found.refuse("sku_unknown", f"There is no product {sku[:64]}.", line=line.line, field="sku")
        return None
    if product.status == "blocked":
        found.refuse("product_blocked", f"{sku} is blocked for sale.", line=line.line, field="sku")
        return None
    return product


def _check_credit(
    placed: OrderPlaced, rules: ChannelPolicy, customer: Customer | None, book: Book, net: Decimal, found: _Reasons
) -> Decimal:
    """Return what the order adds to the account's open orders: nothing unless it is bought on account."""
    if placed.payment.method != "terms" or customer is None:
        return _NOTHING
    if rules.credit_check:
        exposure = book.exposure(customer.code)
        excess = find_excess(customer, exposure, net)
        if excess > 0:
            message = explain_excess(customer, exposure, net, excess)
            found.stop(rules.credit_beyond, "credit_limit", message, field="customer")
    return net


def _source(
    drafts: Sequence[_Draft], policy: Policy, preference: Sequence[str], order_type: str, fulfilment: FulfilmentPolicy,
    book: Book, found: _Reasons,
) -> list[Source]:  # fmt: skip
    if order_type in policy.sourcing.unstocked_order_types:
        return [Source(()) for _ in drafts]
    needs = [
        Need(
            draft.line.line, draft.product.sku, draft.quantity, is_indivisible(draft.product.base_unit),
            draft.components,
        )
        for draft in drafts
    ]  # fmt: skip
    sources = choose_sources(needs, book.available, preference, fulfilment)
    for draft, source in zip(drafts, sources, strict=True):
        if not source.backordered:
            continue
        unit = draft.product.base_unit
        missing = f"{source.backordered.normalize():f} of {draft.quantity.normalize():f} {unit}"
        if draft.product.status == "discontinued":
            message = f"{draft.product.sku} is discontinued and {missing} are not in stock any more."
            found.refuse("product_discontinued", message, line=draft.line.line, field="quantity")
        elif fulfilment == "complete":
            message = f"{missing} of {draft.product.sku} are not available, and the order ships complete only."
            found.stop("hold", "stock_incomplete", message, line=draft.line.line, field="quantity")
    return sources


def _order_line(draft: _Draft, source: Source | None, currency: str) -> OrderLine:
    line, product, priced = draft.line, draft.product, draft.priced
    return OrderLine(
        line.line, product.sku, line.name or product.name, line.quantity, Quantity(draft.quantity, product.base_unit),
        Money(priced.unit_price, currency), Money(priced.amount, currency), priced.provenance, product.tax_category,
        source.allocations if source is not None else (), source.backordered if source is not None else _NOTHING,
        draft.components,
    )  # fmt: skip


def acknowledge(order: Order) -> OrderAcknowledgment:
    """What is answered to a placed order that is accepted: it follows from the order, so it is not kept beside it."""
    return OrderAcknowledgment(order.number, order.channel_number, "accepted", order.net, order.lines)


def _accept(order: Order, sources: Sequence[Source], credit_amount: Decimal, policy: Policy) -> Acceptance:
    reservations: list[tuple[str, str, str, Decimal]] = []
    progress = {}
    backordered = {}
    for line, source in zip(order.lines, sources, strict=True):
        rest = source.backordered
        if line.components:
            held = [*source.allocations, *((Allocation("", rest),) if rest else ())]
            effects = [effect for one in held for effect in spread("reserve", line, one.location, one.quantity)]
            reservations += [(effect.line, effect.location, effect.sku, effect.quantity) for effect in effects]
        else:
            reservations += [(line.line, item.location, line.sku, item.quantity) for item in source.allocations]
            if rest:
                reservations.append((line.line, "", line.sku, rest))
        if rest:
            backordered[line.line] = str(rest)
        progress[line.line] = LineProgress(line.quantity.value, _NOTHING, rest)
    body: dict[str, Any] = {
        "number": order.number, "channel": order.channel, "net": str(order.net.amount), "currency": order.currency,
        "plan": order.plan, "policy": policy.version,
    }  # fmt: skip
    if order.tax is not None:
        body["tax"] = {"treatment": order.tax.treatment, "rule": order.tax.rule}
    if backordered:
        body["backordered"] = backordered
    return Acceptance(
        order, OrderProgress("accepted", progress), acknowledge(order), (),
        tuple(reservations), credit_amount, (EventDraft("OrderAccepted", body),),
    )  # fmt: skip


def _hold(order: Order, found: _Reasons, since: datetime, policy: Policy) -> Acceptance:
    reasons = tuple(found.holds)
    first = first_cause(reasons)
    hold = Hold(HOLD_CAUSE[first.code], first.owner, first.next_action, since, reasons)
    progress = OrderProgress(
        "held", {line.line: LineProgress(line.quantity.value) for line in order.lines}, hold=hold
    )
    event = EventDraft("OrderHeld", {
        "number": order.number, "channel": order.channel, "cause": hold.cause, "policy": policy.version,
        "reasons": [{"code": item.code, "line": item.line, "message": item.message} for item in reasons],
    })  # fmt: skip
    acknowledgment = OrderAcknowledgment(
        order.number, order.channel_number, "held", order.net, order.lines, hold, reasons
    )
    return Acceptance(order, progress, acknowledgment, reasons, events=(event,))


def _refuse(placed: OrderPlaced, found: _Reasons) -> Acceptance:
    """Nothing is kept but the answer; it repeats no text that may not be kept."""
    reasons = when_refused((*found.refusals, *found.holds))
    number = placed.channel_number
    if any(item.field == "channel_number" for item in reasons):
        number = ""
    return Acceptance(None, None, OrderAcknowledgment("", number, "refused", reasons=reasons), reasons)
