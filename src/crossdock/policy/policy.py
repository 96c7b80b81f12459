"""The policy that the rules of acceptance read: channels, regions, locations and sourcing, plans, tax."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

import msgspec

from crossdock.model.errors import Misconfigured
from crossdock.model.orders import FulfilmentPolicy, PaymentMethod
from crossdock.policy.plans import Plan, PlanFacts, Plans
from crossdock.policy.stock import StockPolicy
from crossdock.policy.tax import Taxation, TaxPolicy


class ChannelPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one channel may order, and how far its word on prices goes.

    `connection` is the system that its orders come from and that is told of them; "" for a channel that does both by
    our API itself: its plans lay no steps at the channel.
    `price_source`: "contract" (customer, then price group, then list), "list", or "channel" (the asked price is
    charged: marketplaces and shops with their own promotions). `price_beyond` says what follows when an asked price
    deviates by more than the tolerance. `stock_held_until`: an order that is held for stock is decided anew when that
    stock is there, or only by a person. `order_types` may be asked for besides the default `order_type`.
    """

    connection: str
    currencies: tuple[str, ...]
    payments: tuple[PaymentMethod, ...]
    order_type: str = "consumer"
    order_types: tuple[str, ...] = ()
    price_source: Literal["contract", "list", "channel"] = "contract"
    price_tolerance_percent: Decimal = Decimal(0)
    price_beyond: Literal["hold", "refuse", "accept"] = "hold"
    fulfilment: FulfilmentPolicy = "split"
    stock_held_until: Literal["stock", "person"] = "stock"
    customer_required: bool = False
    customer_unknown: Literal["hold", "refuse"] = "refuse"
    customer_blocked: Literal["hold", "refuse"] = "hold"
    credit_check: bool = True
    credit_beyond: Literal["hold", "refuse"] = "hold"
    lines_max: int = 500


class Location(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A warehouse: `connection` is the system that releases goods there."""

    code: str
    region: str
    connection: str


class Sourcing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`preference`: ship-to region -> locations, best first. Orders of `unstocked_order_types` need no goods."""

    preference: dict[str, tuple[str, ...]]
    unstocked_order_types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """`version` is the content's hash; it is stamped on every decision's event."""

    version: str
    channels: Mapping[str, ChannelPolicy]
    regions: Mapping[str, str]
    locations: Mapping[str, Location]
    sourcing: Sourcing
    plans: Plans
    stock: StockPolicy = field(default_factory=StockPolicy)
    tax: Taxation = field(default_factory=lambda: Taxation(TaxPolicy()))

    def channel(self, name: str) -> ChannelPolicy:
        """Raises Misconfigured `channel_unknown`."""
        found = self.channels.get(name)
        if found is None:
            raise Misconfigured(
                "channel_unknown", f"The channel {name} is not configured.",
                next_action=f"Add [channels.{name}] to the configuration.",
            )  # fmt: skip
        return found

    def region_of(self, country: str) -> str | None:
        return self.regions.get(country)

    def locations_for(self, region: str) -> tuple[str, ...]:
        return self.sourcing.preference.get(region, ())

    def locations_of(self, channel: str, region: str, group: str = "") -> tuple[str, ...]:
        """Where an order of the channel (or a customer group of it) to a region may be served from, best first."""
        serving = self.sourcing.preference.get(region, ())
        own = self.stock.terms_of(channel, group).locations
        return tuple([location for location in serving if location in own]) if own else serving

    def choose_plan(self, facts: PlanFacts) -> Plan:
        return self.plans.choose(facts)
