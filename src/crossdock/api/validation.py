"""The validation services for prices and accounts (availability has a module of its own). They answer from the ledger,
within a deadline, and say how old their data is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Final, Literal

import msgspec

from crossdock.api.answers import Answer, ApiProblem, json_answer
from crossdock.api.endpoint import Call
from crossdock.api.orders import Text, check_numbers, choose_channel
from crossdock.ledger.database import Queries
from crossdock.model.documents import Customer, Product
from crossdock.model.errors import CrossdockError, Invalid, Unavailable
from crossdock.model.orders import PlacedLine, PriceProvenance, Reason
from crossdock.model.values import Money, Quantity, check_money
from crossdock.policy.policy import ChannelPolicy
from crossdock.rules.book import Reference
from crossdock.rules.credit import Exposure, find_excess
from crossdock.rules.price import price_line
from crossdock.rules.reasons import reason, reason_of
from crossdock.rules.units import to_base

_SQL: Final = Queries.load("availability")
_CUSTOMER: Final = msgspec.json.Decoder(Customer)
LINES_MAX: Final = 500
_NOTHING: Final = Decimal(0)


class QuoteBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What would these lines cost this customer? `unit_price` on a line asks whether that price would be taken."""

    currency: str
    lines: Annotated[tuple[PlacedLine, ...], msgspec.Meta(min_length=1, max_length=LINES_MAX)]
    customer: Text = ""
    priced_on: date | None = None


class QuotedLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """`quantity` in base units, `unit_price` per base unit, net. `reasons`: what an order is held or refused for."""

    line: str
    sku: str = ""
    quantity: Quantity | None = None
    unit_price: Money | None = None
    amount: Money | None = None
    price: PriceProvenance | None = None
    reasons: tuple[Reason, ...] = ()


class Quote(msgspec.Struct, frozen=True):
    """`net` adds up the lines that have a price. `as_of` is when the oldest of the used products was reported."""

    at: datetime
    as_of: datetime | None
    source: Literal["ledger"]
    currency: str
    lines: tuple[QuotedLine, ...]
    net: Money


class ValidateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`amount`: would an order of this net amount fit? `live` asks the ERP itself, where policy allows it."""

    amount: Money | None = None
    live: bool = False


class AccountAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """`source` is erp only when the ERP answered in time; `fallback` says why it did not though live was asked."""

    code: str
    status: Literal["active", "blocked"]
    currency: str
    credit_limit: Decimal
    open_orders: Decimal
    open_invoices: Decimal
    exposure: Decimal
    available_credit: Decimal
    at: datetime
    as_of: datetime
    source: Literal["ledger", "erp"]
    may_order: bool
    excess: Decimal | None = None
    fallback: str = ""


@asynccontextmanager
async def deadline(call: Call) -> AsyncIterator[None]:
    """Bounds a validation service's answer. Raises ApiProblem 503."""
    try:
        async with asyncio.timeout(call.services.availability.deadline_seconds):
            yield
    except TimeoutError:
        raise ApiProblem(
            503, "deadline", "The answer took too long.", headers={"Retry-After": "1"},
            next_action="Ask again, or for less at once.",
        ) from None  # fmt: skip


async def quote_prices(call: Call) -> Answer:
    """What each line would cost on this channel, with provenance, and what would be wrong with it."""
    body: QuoteBody = call.body
    services = call.services
    rules = services.policy.channel(choose_channel(call))
    check_numbers(body.lines)
    if body.currency not in rules.currencies:
        message = f"This channel orders in {' or '.join(rules.currencies)}."
        raise ApiProblem(422, "currency_channel", message, field="currency")
    now = services.clock()
    async with deadline(call), services.pool.acquire() as database:
        version = await database.fetchval(_SQL["reference_version"])
        reference = await services.reference.catch_up(
            database, version, {line.sku for line in body.lines if line.sku},
            {line.gtin for line in body.lines if line.gtin and not line.sku},
        )  # fmt: skip
        customer = _customer_of(body, reference)
        lines = tuple([
            _quote_line(line, body.currency, rules, customer, reference, body.priced_on or now.date())
            for line in body.lines
        ])  # fmt: skip
        skus = [line.sku for line in lines if line.sku]
        reported = [row["reported_at"] for row in await database.fetch(_SQL["read_products"], skus)]
    net = sum([line.amount.amount for line in lines if line.amount is not None], _NOTHING)
    quote = Quote(now, min(reported, default=None), "ledger", body.currency, lines, Money(net, body.currency))
    return json_answer(quote)


def _customer_of(body: QuoteBody, reference: Reference) -> Customer | None:
    if not body.customer:
        return None
    customer = reference.customers.get(body.customer)
    if customer is None:
        raise ApiProblem(422, "customer_unknown", "There is no such customer.", field="customer")
    return customer


def _quote_line(
    line: PlacedLine, currency: str, rules: ChannelPolicy, customer: Customer | None, reference: Reference, on: date
) -> QuotedLine:
    try:
        product = _product_of(line, reference)
        quantity = to_base(line.quantity, reference.pack_sizes(product), product)
        priced = price_line(
            product, reference.offers(product.sku), customer, rules, currency=currency, ordered=line.quantity.value,
            quantity=quantity, asked=line.unit_price, on=on,
        )  # fmt: skip
    except Invalid as error:
        return QuotedLine(line.line, reasons=(reason_of(error, line=line.line),))
    base = Quantity(quantity, product.base_unit)
    if priced is None:
        missing = reason("price_missing", f"There is no price in {currency} for {product.sku}.", line=line.line)
        return QuotedLine(line.line, product.sku, base, reasons=(missing,))
    reasons = (reason(*priced.problem, line=line.line, field="unit_price"),) if priced.problem else ()
    return QuotedLine(
        line.line, product.sku, base, Money(priced.unit_price, currency), Money(priced.amount, currency),
        priced.provenance, reasons,
    )  # fmt: skip


def _product_of(line: PlacedLine, reference: Reference) -> Product:
    sku = line.sku
    if not sku and line.gtin:
        sku = reference.codes.get(line.gtin, ("", ""))[0]
        if not sku:
            raise Invalid("gtin_unknown", "No product has this GTIN.", field="gtin")
    product = reference.products.get(sku)
    if product is None:
        raise Invalid("sku_unknown" if sku else "product_missing", "There is no such product.", field="sku")
    return product


async def validate_account(call: Call) -> Answer:
    """May this account buy: status, limit, exposure, what is left of its credit; live where policy says so."""
    body: ValidateBody = call.body or ValidateBody()
    services = call.services
    async with deadline(call):
        row = await services.pool.fetchrow(_SQL["read_account"], call.path["code"])
    if row is None:
        raise ApiProblem(404, "account_unknown", "There is no such account.", field="code")
    customer = _CUSTOMER.decode(row["body"])
    if body.amount is not None:
        _check_amount(body.amount, customer)
    as_of = customer.receivable_as_of or row["reported_at"]
    exposure = Exposure(row["open_orders"], row["open_invoices"])
    source: Literal["ledger", "erp"] = "ledger"
    fallback = ""
    if body.live:
        customer, exposure, as_of, fallback = await _ask_live(call, customer, exposure, as_of)
        source = "ledger" if fallback else "erp"
    excess = find_excess(customer, exposure, body.amount.amount) if body.amount is not None else None
    return json_answer(AccountAnswer(
        customer.code, customer.status, customer.currency, customer.credit_limit, exposure.open_orders,
        exposure.open_invoices, exposure.total, customer.credit_limit - exposure.total, services.clock(), as_of, source,
        customer.status == "active" and not excess, excess, fallback,
    ))  # fmt: skip


def _check_amount(amount: Money, customer: Customer) -> None:
    if not amount.amount.is_finite():
        raise ApiProblem(422, "number_form", "The amount is no number.", field="amount.amount")
    check_money(amount)
    if amount.currency != customer.currency:
        message = f"The account is kept in {customer.currency}."
        raise ApiProblem(422, "currency_account", message, field="amount.currency")


def _why_not(error: Exception) -> str:
    """Why the ledger's figures count instead, in a sentence."""
    match error:
        case TimeoutError():
            return "The ERP did not answer in time."
        case Unavailable(code="connection_paused"):
            return error.message
        case Unavailable():
            return "The ERP does not answer."
        case CrossdockError() if error.who_acts == "sender":
            return error.message
        case _:
            return "The ERP could not be asked."


async def _ask_live(
    call: Call, customer: Customer, exposure: Exposure, as_of: datetime
) -> tuple[Customer, Exposure, datetime, str]:
    """The ERP's figures with our open orders; or the ledger's with the reason, or a refusal, as policy says."""
    policy = call.services.availability
    source = call.services.account_source
    if policy.live_erp == "never" or source is None:
        return customer, exposure, as_of, "Live answers are not offered here."
    try:
        async with asyncio.timeout(policy.live_deadline_seconds):
            live = await source(customer.code)
    except (TimeoutError, CrossdockError) as error:
        why = _why_not(error)
        if policy.fallback == "refuse":
            raise ApiProblem(503, "erp_silent", why, headers={"Retry-After": "5"}) from None
        return customer, exposure, as_of, why
    status: Literal["active", "blocked"] = "blocked" if live.blocked else "active"
    asked = msgspec.structs.replace(customer, status=status, credit_limit=live.credit_limit)
    return asked, Exposure(exposure.open_orders, live.receivable), live.as_of, ""


