"""Credit: what a business account owes and has on order must stay within its limit.

The limit is checked on net amounts: open orders (net) + open invoices (as the ledger keeps them) + this order's net.
Tax is not known at acceptance (the tax engine is asked by a step) and is a passing item for a business account, so it
is left out of orders on purpose; limits should be set accordingly.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from crossdock.model.documents import Customer
from crossdock.model.values import amount_text

_NOTHING: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class Exposure:
    """What an account has on order and owes, in its own currency."""

    open_orders: Decimal = _NOTHING
    open_invoices: Decimal = _NOTHING

    @property
    def total(self) -> Decimal:
        return self.open_orders + self.open_invoices

    def plus_order(self, net: Decimal) -> Exposure:
        return Exposure(self.open_orders + net, self.open_invoices)


def find_excess(customer: Customer, exposure: Exposure, net: Decimal) -> Decimal:
    """By how much an order of `net` oversteps the customer's limit; zero when it fits."""
    return max(exposure.open_orders + exposure.open_invoices + net - customer.credit_limit, _NOTHING)


def explain_excess(customer: Customer, exposure: Exposure, net: Decimal, excess: Decimal) -> str:
    limit, invoiced, ordered, wanted, over = (
        amount_text(amount, customer.currency)
        for amount in (customer.credit_limit, exposure.open_invoices, exposure.open_orders, net, excess)
    )
    return (
        f"Account {customer.code} has a limit of {limit}: {invoiced} invoiced and {ordered} on order leave too little "
        f"for {wanted}; it is {over} over."
    )
