"""Why an order is refused or held: for each code who must act and what to do next, and the hold that it belongs to.

A reason with a cause in `HOLD_CAUSE` can hold an order: a person may waive the cause and release. All other reasons
refuse: nobody can decide the message right, it must be sent again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from crossdock.model.errors import CrossdockError
from crossdock.model.orders import Hold, Reason

SENDER: Final = "sender"
SERVICE: Final = "customer service"
CREDIT: Final = "credit control"
PRICING: Final = "pricing"
CATALOGUE: Final = "product data"
TAX: Final = "tax"
OPERATOR: Final = "operator"

# Code -> (owner, next action).
ACTIONS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType({
    "channel_unknown": (OPERATOR, "Add the channel to the configuration, then send the order again."),
    "channel_number_missing": (SENDER, "Send the order's own number."),
    "placed_at_offset": (SENDER, "Send the time of the order with its offset, such as 2026-03-01T10:15:00+01:00."),
    "placed_at_future": (SENDER, "Send the time when the order was really placed."),
    "lines_missing": (SENDER, "Send at least one line."),
    "lines_too_many": (SENDER, "Split the order."),
    "line_missing": (SENDER, "Give each line an identifier."),
    "line_duplicate": (SENDER, "Give each line its own identifier."),
    "text_too_long": (SENDER, "Shorten the text and send the order again."),
    "text_characters": (SENDER, "Remove the characters and send the order again."),
    "card_number": (SENDER, "Remove the card number; send the payment provider's token in payment.token instead."),
    "order_type_unknown": (SENDER, "Use an order type of this channel, or leave it out."),
    "payment_method": (SENDER, "Use a payment method of this channel."),
    "payment_token_missing": (SENDER, "Send the payment provider's token."),
    "currency_unknown": (SENDER, "Use an ISO 4217 code such as EUR."),
    "currency_channel": (SENDER, "Place the order in a currency of this channel."),
    "currency_mixed": (SENDER, "Send all prices in the order's currency."),
    "currency_account": (SENDER, "Place the order in the account's currency."),
    "amount_negative": (SENDER, "Send a price of zero or more."),
    "amount_absurd": (SENDER, "Check the price or quantity and send the order again."),
    "amount_decimals": (SENDER, "Send the price with the decimals of its currency."),
    "country_unknown": (SENDER, "Use an ISO 3166-1 alpha-2 code such as DE."),
    "address_incomplete": (SENDER, "Complete the address."),
    "gln_form": (SENDER, "Correct the GLN or leave it out."),
    "gln_check_digit": (SENDER, "Correct the GLN or leave it out."),
    "region_unserved": (SERVICE, "Offer the customer an address in a country that is served."),
    "product_missing": (SENDER, "Send a SKU or a GTIN."),
    "sku_unknown": (SENDER, "Check the SKU; if it is new, publish the product first."),
    "gtin_unknown": (SENDER, "Check the GTIN; if it is new, publish the product first."),
    "gtin_mismatch": (SENDER, "Send the SKU or the GTIN, or make them agree."),
    "kit_component_unknown": (CATALOGUE, "Publish the component, or take it out of the kit."),
    "kit_nested": (CATALOGUE, "Make the kit of the inner kit's own components."),
    "kit_fraction": (CATALOGUE, "Correct the quantity of the component, or its base unit."),
    "product_blocked": (CATALOGUE, "Offer another product, or unblock it in the ERP."),
    "product_discontinued": (SERVICE, "Offer a successor; what is in stock can still be ordered."),
    "quantity_positive": (SENDER, "Send a quantity greater than zero."),
    "quantity_absurd": (SENDER, "Check the quantity and send the order again."),
    "quantity_fraction": (SENDER, "Send a quantity that the unit allows."),
    "unit_unknown": (SENDER, "Use a UN/ECE Rec 20 code such as C62 or XBX."),
    "unit_impossible": (SENDER, "Order in a unit that the product has."),
    "price_missing": (PRICING, "Maintain a price in this currency in the ERP."),
    "price_beyond": (PRICING, "Release to charge the asked price, or refuse; the customer may have an old price list."),
    "price_indivisible": (PRICING, "Release to charge the price rounded per base unit, or agree another price."),
    "customer_missing": (SENDER, "Send the customer's code."),
    "customer_unknown": (SERVICE, "Open the account in the ERP, then release; or refuse."),
    "customer_blocked": (CREDIT, "Clear the account with the customer, then release or refuse."),
    "credit_limit": (CREDIT, "Release when paid or agreed, or refuse."),
    "tax_identifier": (TAX, "Correct the account in the ERP, then release; released as it is, the order is taxed."),
    "tax_unruled": (TAX, "Add a rule to [tax] or refuse; released without one, the order is taxed."),
    "tax_category_unknown": (CATALOGUE, "Correct the product's tax category in the ERP, then release."),
    "reservation_unknown": (SENDER, "Send the number that POST /v1/reservations answered, or leave it out."),
    "reservation_used": (SENDER, "Each reservation serves one order: make a new one, or leave it out."),
    "stock_short": (SENDER, "Ask for less, or wait for supply."),
    "stock_incomplete": (SERVICE, "Release to ship what is there, wait for supply, or refuse."),
})  # fmt: skip

# Code -> cause of the hold, in the order in which a person should look at them.
HOLD_CAUSE: Final[Mapping[str, str]] = MappingProxyType({
    "customer_unknown": "customer_unknown",
    "customer_blocked": "customer_blocked",
    "credit_limit": "credit",
    "price_beyond": "price",
    "price_indivisible": "price",
    "tax_identifier": "tax",
    "tax_unruled": "tax",
    "tax_category_unknown": "tax",
    "stock_incomplete": "stock_incomplete",
})  # fmt: skip


# Where the channel's policy refuses what others hold, nobody can release it: what to do instead.
REFUSED_ACTIONS: Final[Mapping[str, str]] = MappingProxyType({
    "price_beyond": "Order at the agreed price; the customer may have an old price list.",
    "price_indivisible": "Agree a price that can be divided, or order in whole packs.",
    "customer_unknown": "Open the account in the ERP.",
    "customer_blocked": "Clear the account with the customer.",
    "credit_limit": "Agree it with credit control, or have open invoices paid.",
    "tax_identifier": "Correct the account in the ERP.",
    "tax_unruled": "Add a rule to [tax], or ship to a country that has one.",
    "tax_category_unknown": "Correct the product's tax category in the ERP.",
})  # fmt: skip


def when_refused(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """The reasons of a refusal, with what can be done about a refusal."""
    return tuple(
        msgspec.structs.replace(item, next_action=REFUSED_ACTIONS.get(item.code, item.next_action)) for item in reasons
    )


def reason(code: str, message: str, *, line: str = "", field: str = "") -> Reason:
    owner, next_action = ACTIONS[code]
    return Reason(code, message, owner, next_action, line, field)


def reason_of(error: CrossdockError, *, line: str = "", field: str = "") -> Reason:
    """A checked value's error as a reason; `field` overrides what the error names."""
    owner, next_action = ACTIONS.get(error.code, (SENDER, "Correct it and send the order again."))
    return Reason(error.code, error.message, owner, error.next_action or next_action, line, field or error.field)


def hold_causes(hold: Hold) -> frozenset[str]:
    """Every cause that a person waives by releasing this hold."""
    return frozenset({hold.cause, *(HOLD_CAUSE.get(item.code, item.code) for item in hold.reasons)})


def first_cause(reasons: Iterable[Reason]) -> Reason:
    """The reason that names the hold: by the order of `HOLD_CAUSE`."""
    order = list(HOLD_CAUSE)
    return min(reasons, key=lambda item: order.index(item.code))
