"""What the business sets about stock: who owns which place, what channels may promise, how late is stale."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Final, Literal

import msgspec

_PERCENT: Final = msgspec.Meta(ge=0, le=100)
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)


class StockOwner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`connection` is the system of record for `location` from `since` (inclusive) until the next owner's `since`.

    `contains` says what its balances have in them: "departures" (physical stock: falls when goods leave) or "orders"
    (falls already when the owner takes the order). `told_by` is the operation whose success tells the owner of a
    departure; "" when the owner is the warehouse itself and `shipped_at` is by its own clock.
    `clock_skew_seconds`: how far the owner's clock may be from ours; a balance contains what was acknowledged at least
    so long before its `as_of`.
    Its balances are read `compare_calls_per_minute` times a minute, a slice each time, and compared with ours; `repair`
    "always" takes the owner's word where they differ, "ask" waits for a person.
    """

    location: str
    connection: str
    since: datetime = _BEGINNING
    contains: Literal["departures", "orders"] = "departures"
    told_by: str = ""
    clock_skew_seconds: Decimal = Decimal(0)
    compare_calls_per_minute: Annotated[int, msgspec.Meta(ge=0)] = 6
    repair: Literal["always", "ask"] = "always"


class Freshness(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A feed is stale when it is older than `late_factor` x its own rhythm, and at least `minimum_seconds`.

    Stale stock shrinks by the SKU's sales speed x age x `caution`; after `zero_after_hours` nothing of it is promised
    (0: never). `wild_share_percent`: a report that takes so many of the stocked SKUs to zero, or has fewer than
    100 - that share of the rows of the last complete one, is held for a person; only from `wild_rows_min` rows on.
    """

    late_factor: Decimal = Decimal(3)
    minimum_seconds: Decimal = Decimal(60)
    caution: Decimal = Decimal(1)
    zero_after_hours: Decimal = Decimal(0)
    wild_share_percent: Annotated[int, _PERCENT] = 50
    wild_rows_min: int = 20


class ChannelStock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a channel (or a customer group of it) may promise. Amounts are base units.

    `locations` empty: all that serve any region. `backorder`: "none", or "inbound" (sell what purchase orders will
    bring within `backorder_days`, with its date). `publish` false: the channel asks, it is not told.
    `calls_per_second`: the pace for stock that was agreed with the partner, where it is not the usual one.
    """

    locations: tuple[str, ...] = ()
    share_percent: Annotated[int, _PERCENT] = 100
    buffer: Decimal = Decimal(0)
    cap: Decimal | None = None
    hide_below: Decimal = Decimal(0)
    backorder: Literal["none", "inbound"] = "none"
    backorder_days: int = 30
    publish: bool = True
    calls_per_second: Decimal | None = None
    batch_max: int | None = None
    urgent_below: Decimal = Decimal(5)
    compare_calls_per_minute: int = 6
    repair: Literal["always", "ask"] = "always"
    groups: dict[str, ChannelStock] = {}


class StockPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`safety`: location -> base units of every SKU that are never promised there. A channel without an entry may
    promise everything and is not told. `hold_minutes_max` bounds the holds of carts."""

    owners: tuple[StockOwner, ...] = ()
    freshness: Freshness = Freshness()
    channels: dict[str, ChannelStock] = {}
    safety: dict[str, Decimal] = {}
    hold_minutes_max: int = 60

    def owner_of(self, location: str, at: datetime) -> StockOwner | None:
        """The owner whose reports count for what was counted at `at`; None: whoever reports it is believed."""
        found = [owner for owner in self.owners if owner.location == location and owner.since <= at]
        return max(found, key=lambda owner: owner.since) if found else None

    def divided(self) -> tuple[frozenset[str], ...]:
        """Groups of channels that sell from the same locations and whose shares add up to no more than 100 %: what one
        of them may still show, no other is told. Backorders are sold from what is not there and stay out of it."""
        groups: dict[frozenset[str], dict[str, ChannelStock]] = {}
        for name, stock in self.channels.items():
            if stock.publish:
                groups.setdefault(frozenset(stock.locations), {})[name] = stock
        return tuple(
            frozenset(members) for members in groups.values()
            if len(members) > 1 and sum(stock.share_percent for stock in members.values()) <= 100
            and all(stock.backorder == "none" for stock in members.values())
        )  # fmt: skip

    def terms_of(self, channel: str, group: str = "") -> ChannelStock:
        found = self.channels.get(channel) or ChannelStock(publish=False)
        return found.groups.get(group, found)
